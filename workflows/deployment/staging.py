"""The staging endpoint: the new model on one instance, tested before production sees it, and always removed."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Choice, State

from workflows import retries
from workflows.deployment import configurations, verdicts
from workflows.deployment.endpoint import (
    CHANGING,
    STAGING,
    create,
    delete,
    describe,
    not_found,
    wait_and,
)
from workflows.deployment.testing import judged_well, test_endpoint
from workflows.steps import catch_all, formatted


def stage(then: State, ending: State, failure: State) -> State:
    """Create, poll, test, remove, and on to ``then``; the model's faults lead to ``ending``, as all else does."""
    take_down = delete(
        "Take the staging endpoint down",
        "The new model stays out of production",
        STAGING,
        # there may be none; the next deployment removes what is left over
        [Catch(error_equals=["States.ALL"], result_path="$.staging_leftover", next_step=ending)],
    )
    take_down.next(ending)
    remove = delete(
        "Remove staging endpoint", "It has done its work and costs money", STAGING, catch_all(failure)
    )
    remove.next(then)
    well = judged_well(
        "Does the staging endpoint answer well?",
        remove,
        verdicts.at_fault(
            "Note that the staging test failed",
            "The reasons that the test gave",
            "StagingTestFailed",
            formatted(
                "The staging endpoint {} failed its test: {}",
                STAGING.name,
                "States.JsonToString($.record.test.reasons)",
            ),
            take_down,
        ),
    )
    test = test_endpoint("Test staging endpoint", STAGING, "staging", catch_all(take_down))
    test.next(well)
    configuration = configurations.staging(catch_all(failure))
    creation = create(
        "Create staging endpoint",
        "The new model by itself; nobody's requests reach it",
        STAGING,
        "$.staging_configuration.name",
        catch_all(take_down),
    )
    creation.next(_until_in_service(test, take_down))
    configuration.next(creation)
    return _without_leftovers(configuration, failure)


def _without_leftovers(then: State, failure: State) -> State:
    """A deployment that was stopped in the middle may have left its staging endpoint."""
    look = describe(
        "Look for a staging endpoint",
        "Is one left over?",
        STAGING,
        [not_found(then), *catch_all(failure)],
        retries.SAGEMAKER_LOOKUP,
    )
    remove = delete(
        "Remove the old staging endpoint",
        "Left over by a deployment that was stopped",
        STAGING,
        catch_all(failure),
    )
    wait = wait_and("Wait for the old staging endpoint", look)
    remove.next(wait)
    choice = Choice(
        "Can the old staging endpoint go?", comment="One that is changing is waited for, then removed"
    )
    choice.add_choice(STAGING.status_in(*CHANGING, "Deleting"), wait)
    choice.default_choice(remove)
    look.next(choice)
    return look


def _until_in_service(then: State, take_down: State) -> State:
    look = describe("Check staging endpoint", "How far is it?", STAGING, catch_all(take_down))
    choice = Choice(
        "Is the staging endpoint in service?", comment="A container that does not start ends here"
    )
    choice.add_choice(STAGING.status_in("InService"), then)
    choice.add_choice(STAGING.status_in(*CHANGING), wait_and("Wait for the staging endpoint", look))
    choice.add_choice(
        STAGING.lacks_capacity(),
        verdicts.broken(
            "Note that staging got no instance",
            "No fault of the model: it is not rejected",
            "NoCapacity",
            formatted("Endpoint {} got no instance: {}", STAGING.name, "$.staging.FailureReason"),
            take_down,
        ),
    )
    choice.add_choice(
        ChoiceRule.And([STAGING.status_in("Failed"), ChoiceRule.IsPresent("$.staging.FailureReason", True)]),
        verdicts.at_fault(
            "Note that the model does not start",
            "Wrong artefact, a container that ends, out of memory",
            "ModelDoesNotStart",
            formatted(
                "The staging endpoint {} failed: {}. Its log group is /aws/sagemaker/Endpoints/{}",
                STAGING.name,
                "$.staging.FailureReason",
                STAGING.name,
            ),
            take_down,
        ),
    )
    choice.default_choice(
        verdicts.broken(
            "Note that staging is not to be had",
            "Somebody else is changing it",
            "StagingNotToBeHad",
            formatted("Endpoint {} is {}", STAGING.name, "$.staging.EndpointStatus"),
            take_down,
        )
    )
    look.next(choice)
    return look
