"""The endpoint's life: look, create or update, poll every status, and put the old configuration back.

Step Functions has no ``.sync`` for endpoints, so each change is followed by a loop: describe, decide, wait.
The first look comes at once. SageMaker itself ends every change, so the loops end too.
"""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Chain, Choice, Pass, State, Wait

from workflows import retries
from workflows.steps import PassWithAssign, ServiceTask, catch_all, formatted

_STATUS = {
    "status.$": "$.EndpointStatus",
    "configuration.$": "$.EndpointConfigName",
}
LOOK = "Look for the endpoint"
CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
"""The statuses that SageMaker leaves by itself; ``Deleting`` too, but not towards a serving endpoint"""


def create_or_update(failure: State, after_change: State) -> State:
    """Begin with a look at the endpoint; ends in ``after_change`` once a change was asked for."""
    create = _create(failure)
    create.next(after_change)
    remember = Pass(
        "Remember the old configuration",
        comment="What is put back if the new one fails",
        parameters={"configuration.$": "$.endpoint.configuration"},
        result_path="$.previous",
    )
    update = _update(
        "Update endpoint",
        "Requests go to the old model until the new one is ready",
        "$.configuration.name",
        failure,
    )
    update.next(after_change)
    remember.next(update)
    look = _describe(LOOK, "Is there one to update?", retries.SAGEMAKER_LOOKUP)
    look.add_catch(
        [
            # DescribeEndpoint's "Could not find endpoint" has no error of its own in SageMaker's model
            Catch(error_equals=["SageMaker.SageMakerException"], result_path="$.not_found", next_step=create),
            *catch_all(failure),
        ]
    )
    settled = Choice(
        "Can the endpoint be changed?",
        comment="Only an endpoint at rest takes an update; a failed one only a deletion",
    )
    settled.add_choice(_status_in("InService", "OutOfService", "UpdateRollbackFailed"), remember)
    settled.add_choice(
        _status_in("Failed"), Chain([_delete_failed(failure), _wait_and("Wait for the deletion", look)])
    )
    settled.default_choice(_wait_and("Wait for the endpoint to settle", look))
    look.next(settled)
    return look


def poll_change(undo: State, then: State, failure: State) -> State:
    """Until the endpoint serves the new configuration, then ``then``; anything else leads to ``undo``.

    But an endpoint that serves neither the new configuration nor the old one is somebody else's now: two
    deployments raced, and the later change stands. Nothing is taken back then.
    """
    check = _describe("Check endpoint", "How far is the change?", retries.SAGEMAKER_SDK)
    check.add_catch(catch_all(undo))
    went_back = _note(
        "Note that SageMaker rolled back",
        "The endpoint serves, but not the configuration that was asked for",
        "UpdateRolledBack",
        formatted(
            "SageMaker put configuration {} back on endpoint {}; its logs say why",
            "$.endpoint.configuration",
            "$.deployment.endpoint_name",
        ),
        undo,
    )
    failed = _note(
        "Note that the endpoint failed",
        "Failed, out of service, or being deleted by somebody else",
        "EndpointFailed",
        formatted(
            "Endpoint {} is {}; read its log group /aws/sagemaker/Endpoints/{}",
            "$.deployment.endpoint_name",
            "$.endpoint.status",
            "$.deployment.endpoint_name",
        ),
        undo,
    )
    taken_over = _note(
        "Note that somebody else changed the endpoint",
        "What they deployed goes on serving",
        "EndpointTakenOver",
        formatted(
            "Endpoint {} serves configuration {}, which somebody else put there while this run deployed {}. "
            "Model package {} is registered and approved, but not served; "
            "to serve it, resume this run or deploy the package again",
            "$.deployment.endpoint_name",
            "$.endpoint.configuration",
            "$.configuration.name",
            "$.deployment.model_package_arn",
        ),
        failure,
    )
    choice = Choice(
        "Is the endpoint in service?", comment="In service counts only with the new configuration"
    )
    choice.add_choice(
        ChoiceRule.And(
            [
                _status_in("InService"),
                ChoiceRule.StringEqualsPath("$.endpoint.configuration", "$.configuration.name"),
            ]
        ),
        then,
    )
    choice.add_choice(ChoiceRule.And([_status_in("InService"), _serves_previous()]), went_back)
    choice.add_choice(_status_in("InService"), taken_over)
    choice.add_choice(_status_in(*CHANGING), _wait_and("Wait for the endpoint", check))
    choice.default_choice(failed)
    check.next(choice)
    return check


def test_failed(undo: State) -> State:
    """The endpoint's answers were wrong or late: say so, and undo."""
    return _note(
        "Note that the test failed",
        "The reasons that the endpoint test gave",
        "EndpointTestFailed",
        formatted(
            "Endpoint {} failed its test: {}",
            "$.deployment.endpoint_name",
            "States.JsonToString($.test.reasons)",
        ),
        undo,
    )


def _note(name: str, comment: str, error: str, cause: str, undo: State) -> Pass:
    note = PassWithAssign(
        name,
        comment=comment,
        parameters={"Error": error, "Cause.$": cause},
        result_path="$.failure",
        assign={"failed_state": name, "resume_at": LOOK},
    )
    note.next(undo)
    return note


def undo(failure: State) -> State:
    """Put the old configuration back, or remove an endpoint that is new; then the failure path.

    ``$.failure`` holds the reason and is kept: what fails in here is added beside it.
    """
    settle = _describe("Look at the failed endpoint", "What is there to take back?", retries.SAGEMAKER_LOOKUP)
    settle.add_catch(_keep_reason(failure))
    put_back = _update(
        "Put the old configuration back",
        "The endpoint goes on serving what it served",
        "$.previous.configuration",
        failure,
        catch=_keep_reason(failure),
    )
    remove = ServiceTask(
        "Remove the new endpoint",
        integration="aws-sdk:sagemaker:deleteEndpoint",
        comment="It is new and was never good: nothing may use it",
        timeout_seconds=300,
        retry=retries.SAGEMAKER_SDK,
        parameters={"EndpointName.$": "$.deployment.endpoint_name"},
        result_path=None,
        catch=_keep_reason(failure),
    )
    remove.next(failure)
    confirm = _describe("Check the old configuration", "Does it serve again?", retries.SAGEMAKER_SDK)
    confirm.add_catch(_keep_reason(failure))
    confirmed = Choice(
        "Is the old configuration back?", comment="The failure is told once the endpoint is at rest"
    )
    confirmed.add_choice(_status_in(*CHANGING), _wait_and("Wait for the old configuration", confirm))
    confirmed.default_choice(failure)
    confirm.next(confirmed)
    put_back.next(confirm)
    serves_other = ChoiceRule.And(
        [
            _status_in("InService"),
            ChoiceRule.Not(ChoiceRule.StringEqualsPath("$.endpoint.configuration", "$.configuration.name")),
        ]
    )
    choice = Choice(
        "What is to be taken back?",
        comment="An update goes back; a new endpoint goes away; what serves the old configuration, or one "
        "that somebody else put there, is left alone",
    )
    choice.add_choice(_status_in(*CHANGING), _wait_and("Wait before taking back", settle))
    choice.add_choice(serves_other, failure)
    choice.add_choice(ChoiceRule.IsPresent("$.previous", True), put_back)
    choice.default_choice(remove)
    settle.next(choice)
    return settle


def _keep_reason(failure: State) -> list[Catch]:
    return [Catch(error_equals=["States.ALL"], result_path="$.undo_failure", next_step=failure)]


def _status_in(*statuses: str) -> ChoiceRule:
    rules = [ChoiceRule.StringEquals("$.endpoint.status", status) for status in statuses]
    return rules[0] if len(rules) == 1 else ChoiceRule.Or(rules)


def _serves_previous() -> ChoiceRule:
    return ChoiceRule.And(
        [
            ChoiceRule.IsPresent("$.previous", True),
            ChoiceRule.StringEqualsPath("$.endpoint.configuration", "$.previous.configuration"),
        ]
    )


def _wait_and(name: str, then: State) -> State:
    wait = Wait(name, comment="Seconds from the stack's settings", seconds_path="$.deployment.poll_seconds")
    wait.next(then)
    return wait


def _describe(name: str, comment: str, retry: retries.RetryPolicy) -> ServiceTask:
    return ServiceTask(
        name,
        integration="aws-sdk:sagemaker:describeEndpoint",
        comment=comment,
        timeout_seconds=60,
        retry=retry,
        parameters={"EndpointName.$": "$.deployment.endpoint_name"},
        result_selector=_STATUS,
        result_path="$.endpoint",
    )


def _create(failure: State) -> State:
    return ServiceTask(
        "Create endpoint",
        integration="sagemaker:createEndpoint",
        comment="There is none of this name yet",
        timeout_seconds=300,
        retry=[retries.SAGEMAKER_CAPACITY, retries.SAGEMAKER_CALL],
        parameters={
            "EndpointName.$": "$.deployment.endpoint_name",
            "EndpointConfigName.$": "$.configuration.name",
        },
        result_path=None,
        catch=catch_all(failure),
    )


def _update(
    name: str, comment: str, configuration: str, failure: State, catch: list[Catch] | None = None
) -> ServiceTask:
    return ServiceTask(
        name,
        integration="sagemaker:updateEndpoint",
        comment=comment,
        timeout_seconds=300,
        retry=[retries.SAGEMAKER_CAPACITY, retries.SAGEMAKER_CALL],
        parameters={
            "EndpointName.$": "$.deployment.endpoint_name",
            "EndpointConfigName.$": configuration,
        },
        result_path=None,
        catch=catch or catch_all(failure),
    )


def _delete_failed(failure: State) -> State:
    return ServiceTask(
        "Delete the failed endpoint",
        integration="aws-sdk:sagemaker:deleteEndpoint",
        comment="A failed endpoint serves nothing and takes no update",
        timeout_seconds=300,
        retry=retries.SAGEMAKER_SDK,
        parameters={"EndpointName.$": "$.deployment.endpoint_name"},
        result_path=None,
        catch=catch_all(failure),
    )
