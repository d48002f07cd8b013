"""How a machine ends badly so that it can go on: explain, notify, fail; after a redrive, back to what failed.

Step Functions redrives an execution from the state at which it *ended*. After a Catch that is the end of the
failure path, and a Fail state there would only fail again. So the path ends in a function that raises until
the execution is redriven, and in a Choice that then leads back to the state that failed. Each catcher notes
it in the variables ``failed_state`` (for the explanation) and ``resume_at``.

A rejection (bad data, a model below its gates) is no failure: it ends in a Fail state and nothing resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepfunctions.steps.states import Catch, Choice, State

from workflows import retries
from workflows.steps import FailWithPaths, JsonObject, ServiceTask, invoke_function

EXPLAIN = "Explain the failure"
GO_ON = "Go on where it failed"
_EXPLANATION = {
    "Error": "error",
    "Cause": "cause",
    "Subject": "subject",
    "Message": "message",
    "RedriveCount": "redrive_count",
}


def failure_path(machine: str) -> ServiceTask:
    """``Explain the failure`` → ``Notify failure`` → ``<machine> failed``; the error is at ``$.failure``."""
    end = invoke_function(
        f"{machine} failed",
        "FailExecutionFunction",
        comment="Ends the execution with the error and its cause; once redriven, lets it go on",
        payload={
            "machine": machine,
            "failure.$": "$.failure",
            "redrive_count.$": "$$.Execution.RedriveCount",
        },
        result_path=None,
        timeout_seconds=60,
    )
    # filled in by `resumable`, which knows every state
    end.next(Choice(GO_ON, comment="After a redrive: back to the state that failed, with the input it had"))
    return _path(
        machine,
        EXPLAIN,
        "Turn the error and its cause into a sentence an operator understands",
        {"failure.$": "$.failure", "failed_state.$": "$failed_state"},
        "Notify failure",
        end,
    )


def resumable(definition: JsonObject, resume_at: Mapping[str, str] | None = None) -> JsonObject:
    """Let every catcher on the failure path note its state, and ``Go on where it failed`` lead back there.

    ``resume_at`` names another state to go on at, for those whose work a failure undoes.
    """
    resume_at = resume_at or {}
    states = definition["States"]
    targets: list[str] = []
    for name, state in states.items():
        for catcher in state.get("Catch", []):
            if catcher["ResultPath"] == "$.failure" and "Explain" not in name:
                target = resume_at.get(name, name)
                catcher["Assign"] = {"failed_state": name, "resume_at": target}
                targets.append(target)
    states[GO_ON]["Choices"] = [
        {"Variable": "$resume_at", "StringEquals": target, "Next": target}
        for target in dict.fromkeys(targets)
    ]
    return definition


def rejection(fail_name: str, error: str) -> FailWithPaths:
    """The Fail state of a rejection: ``error`` is fixed, the cause says what was found."""
    return FailWithPaths(
        fail_name,
        comment="Nothing broke: what came in did not meet its limits, and what is in use stays in use",
        error=error,
        cause_path="$.failure.Cause",
    )


def rejection_path(machine: str, subject: str, findings: str, fail: FailWithPaths) -> ServiceTask:
    """Explain, notify, Fail for a ``subject`` found wanting; ``findings`` is the path of the reasons."""
    return _path(
        machine,
        f"Explain the rejected {subject}",
        f"Say which checks the {subject} failed, with limits and values",
        {"rejection": {"subject": subject, "error": fail.fields["error"], "findings.$": findings}},
        f"Notify rejected {subject}",
        fail,
    )


def notify(state_id: str, comment: str, subject_path: str, message_path: str, **kwargs: Any) -> ServiceTask:
    """Publish to the notification topic; the answer is dropped."""
    return ServiceTask(
        state_id,
        integration="sns:publish",
        comment=comment,
        timeout_seconds=60,
        retry=retries.NOTIFICATION,
        parameters={
            "TopicArn": "${NotificationsTopicArn}",
            "Subject.$": subject_path,
            "Message.$": message_path,
        },
        result_path=None,
        **kwargs,
    )


def _path(
    machine: str, name: str, comment: str, payload: JsonObject, notification_name: str, end: State
) -> ServiceTask:
    # What fails in here must not hide the first failure: the end is told whatever is known at $.failure.
    own_failure = "$.explanation_failure" if "failure.$" in payload else "$.failure"
    explanation = invoke_function(
        name,
        "ExplainFailureFunction",
        comment=comment,
        payload={
            "machine": machine,
            "execution_id.$": "$$.Execution.Id",
            "execution_name.$": "$$.Execution.Name",
            "redrive_count.$": "$$.Execution.RedriveCount",
            **payload,
        },
        result=_EXPLANATION,
        result_path="$.failure",
        timeout_seconds=60,
        catch=[Catch(error_equals=["States.ALL"], result_path=own_failure, next_step=end)],
    )
    notification = notify(
        notification_name,
        "Tell the operators",
        "$.failure.Subject",
        "$.failure.Message",
        catch=[Catch(error_equals=["States.ALL"], result_path="$.notification_failure", next_step=end)],
    )
    explanation.next(notification)
    notification.next(end)
    return explanation
