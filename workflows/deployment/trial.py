"""A trial: old and new model side by side, looked at again and again until a function decides.

The two kinds, A/B test and shadow test, differ in the endpoint configuration and in the judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Choice, Pass, State, Wait

from workflows.deployment import verdicts
from workflows.deployment.alarms import look_at_alarms, one_is_raised
from workflows.deployment.change import Changes, serves_previous
from workflows.deployment.endpoint import CHANGING, PRODUCTION, describe, update, wait_and
from workflows.steps import JsonObject, ServiceTask, catch_all, formatted, invoke_function

COMMON: JsonObject = {
    "execution_id.$": "$$.Execution.Id",
    "endpoint_name.$": "$.deployment.endpoint_name",
    "started_at.$": "$.trial.started_at",
    "look.$": "$.trial.look",
    "capture_uri.$": "$.deployment.capture.uri",
}
"""What both judges are asked with"""


@dataclass(frozen=True)
class Kind:
    """How a trial is called in the states' names, and what judges it."""

    noun: str
    judge: str
    comment: str
    payload: JsonObject
    reason: str
    """path, below the decision, of what speaks for the champion"""


def run(
    kind: Kind,
    configuration: ServiceTask,
    changes: Changes,
    promote: State,
    undo: State,
    put_back: State,
) -> ServiceTask:
    """From ``configuration`` to ``promote``, or to ``put_back`` where the champion stays."""
    noun = kind.noun
    start = update(
        f"Start the {noun}",
        "At once: SageMaker shifts traffic step by step only between variants of the same names",
        "$.trial_configuration.name",
        catch_all(undo),
    )
    configuration.next(start)
    start.next(
        changes.follow(
            f"Check the {noun}",
            f"Is the {noun} in service?",
            f"Wait for the {noun}",
            "$.trial_configuration.name",
            _looks(kind, promote, undo, put_back),
        )
    )
    return configuration


def _looks(kind: Kind, promote: State, undo: State, put_back: State) -> State:
    noun = kind.noun
    begin = Pass(
        f"Begin the {noun}",
        comment="Only what is asked from now on counts",
        parameters={"started_at.$": "$$.State.EnteredTime", "look": 0},
        result_path="$.trial",
    )
    wait = Wait(
        f"Let the {noun} run",
        comment="Seconds from the stack's settings: requests and labels must come in",
        seconds_path="$.deployment.trial.look_seconds",
    )
    count = Pass(
        f"Count the {noun}'s looks",
        comment="The judge must know how often it has looked",
        parameters={
            "started_at.$": "$.trial.started_at",
            "look.$": "States.MathAdd($.trial.look, 1)",
        },
        result_path="$.trial",
    )
    alarms = look_at_alarms(
        f"Look at the {noun}'s alarms", "SageMaker watches them only while traffic shifts", catch_all(undo)
    )
    look = describe(
        f"Look at the endpoint of the {noun}",
        "A person may have ended the trial",
        PRODUCTION,
        catch_all(undo),
    )
    judge = invoke_function(
        f"Judge the {noun}",
        kind.judge,
        comment=kind.comment,
        payload={**COMMON, **kind.payload},
        result_selector={"decision.$": "$.Payload", "tested.$": "$.Payload.tested"}
        if "tested.$" in kind.payload
        else {"decision.$": "$.Payload"},
        result_path="$.record.judged",
        catch=catch_all(undo),
    )
    raised = Choice(f"Is an alarm of the {noun} raised?", comment="Then the trial is over")
    raised.add_choice(
        one_is_raised(),
        verdicts.at_fault(
            f"Note the alarm of the {noun}",
            "The new model has done harm",
            "AlarmRaised",
            formatted(
                f"Alarm {{}} was raised during the {noun} on endpoint {{}}",
                "$.record.alarms.raised[0]",
                PRODUCTION.name,
            ),
            undo,
        ),
    )
    raised.default_choice(look)
    on_trial = Choice(
        f"Is the {noun} still on?", comment="What a person put back is not replaced by the new model again"
    )
    on_trial.add_choice(PRODUCTION.status_in(*CHANGING), wait_and(f"Wait while the {noun} changes", look))
    on_trial.add_choice(
        serves_previous(),
        verdicts.at_fault(
            f"Note that a person ended the {noun}",
            "The former configuration serves again",
            "TrialEnded",
            formatted(
                f"The {noun} on endpoint {{}} was ended from outside: configuration {{}} serves again",
                PRODUCTION.name,
                "$.previous.EndpointConfigName",
            ),
            undo,
        ),
    )
    on_trial.default_choice(judge)
    keep = verdicts.kept(
        f"Note the end of the {noun}",
        "The champion stays",
        formatted(
            f"The {noun} on endpoint {{}} did not show a better model: {{}}",
            PRODUCTION.name,
            kind.reason,
        ),
        put_back,
    )
    decision = Choice(f"What came out of the {noun}?", comment="Promote, go on looking, or keep what serves")
    decision.add_choice(ChoiceRule.StringEquals("$.record.judged.decision.verdict", "promote"), promote)
    decision.add_choice(
        ChoiceRule.And(
            [
                ChoiceRule.StringEquals("$.record.judged.decision.verdict", "continue"),
                ChoiceRule.BooleanEquals("$.record.judged.decision.final", False),
            ]
        ),
        wait,
    )
    decision.default_choice(keep)
    begin.next(wait)
    wait.next(count)
    count.next(alarms)
    alarms.next(raised)
    look.next(on_trial)
    judge.next(decision)
    return begin
