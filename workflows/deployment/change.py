"""Following a change of the production endpoint until it serves what was asked for, or something else."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Choice, State

from workflows.deployment import verdicts
from workflows.deployment.endpoint import CHANGING, PRODUCTION, describe, wait_and
from workflows.steps import catch_all, formatted


class Changes:
    """Builds the loops; the states that note what went wrong are the same for all of them.

    ``undo`` takes a change back, ``failure`` is the failure path.
    """

    def __init__(self, undo: State, failure: State) -> None:
        self._undo = undo
        self._went_back = _at_fault_with_reason(
            "Note that SageMaker rolled back",
            "The endpoint serves, but not the configuration that was asked for",
            "UpdateRolledBack",
            "SageMaker put configuration {} back on endpoint {}",
            ("$.endpoint.EndpointConfigName", PRODUCTION.name),
            undo,
        )
        self._failed = _at_fault_with_reason(
            "Note that the endpoint failed",
            "Failed, out of service, or being deleted by somebody else",
            "EndpointFailed",
            "Endpoint {} is {}; its log group is /aws/sagemaker/Endpoints/{}",
            (PRODUCTION.name, "$.endpoint.EndpointStatus", PRODUCTION.name),
            undo,
        )
        self._no_capacity = verdicts.broken(
            "Note that there is no capacity",
            "No fault of the model: it is not rejected",
            "NoCapacity",
            formatted(
                "Endpoint {} got no instances: {}",
                PRODUCTION.name,
                "$.endpoint.FailureReason",
            ),
            undo,
        )
        self._taken_over = verdicts.broken(
            "Note that somebody else changed the endpoint",
            "What they deployed goes on serving",
            "EndpointTakenOver",
            formatted(
                "Endpoint {} serves configuration {}, which somebody else put there while this run deployed {}. "
                "Model package {} is registered and approved, but not served; "
                "to serve it, resume this run or deploy the package again",
                PRODUCTION.name,
                "$.endpoint.EndpointConfigName",
                "$.configuration.name",
                "$.deployment.model_package_arn",
            ),
            failure,
        )

    def follow(self, check: str, question: str, wait: str, configuration: str, then: State) -> State:
        """Until the endpoint serves ``configuration`` (a path), then ``then``; anything else is noted.

        An endpoint that serves neither the new configuration nor the old one is somebody else's now: two
        deployments raced, and the later change stands. Nothing is taken back then.
        """
        look = describe(check, "How far is the change?", PRODUCTION, catch_all(self._undo))
        choice = Choice(question, comment="In service counts only with the configuration that was asked for")
        choice.add_choice(PRODUCTION.serves(configuration), then)
        choice.add_choice(PRODUCTION.status_in(*CHANGING), wait_and(wait, look))
        choice.add_choice(PRODUCTION.lacks_capacity(), self._no_capacity)
        choice.add_choice(serves_previous(), self._went_back)
        choice.add_choice(PRODUCTION.status_in("InService"), self._taken_over)
        choice.default_choice(self._failed)
        look.next(choice)
        return look


def _at_fault_with_reason(
    name: str, comment: str, error: str, cause: str, paths: tuple[str, ...], undo: State
) -> Choice:
    """The note with SageMaker's own reason after it, where it gives one."""
    reason = f"{PRODUCTION.at}.FailureReason"
    choice = Choice(f"{name}: why?", comment="SageMaker does not always say")
    choice.add_choice(
        ChoiceRule.IsPresent(reason, True),
        verdicts.at_fault(
            f"{name}, and why", comment, error, formatted(cause + ": {}", *paths, reason), undo
        ),
    )
    choice.default_choice(verdicts.at_fault(name, comment, error, formatted(cause, *paths), undo))
    return choice


def serves_previous() -> ChoiceRule:
    """Whether the endpoint serves what it served before the deployment."""
    return ChoiceRule.And(
        [
            ChoiceRule.IsPresent("$.previous", True),
            PRODUCTION.serves("$.previous.EndpointConfigName"),
        ]
    )
