"""The one way a machine ends badly: explain, notify, fail. A rejection goes the same way under its own name."""

from __future__ import annotations

from typing import Any

from stepfunctions.steps.states import Catch

from workflows import retries
from workflows.steps import FailWithPaths, JsonObject, ServiceTask, invoke_function

_EXPLANATION = {"Error": "error", "Cause": "cause", "Subject": "subject", "Message": "message"}


def failure_path(machine: str, fail_name: str) -> ServiceTask:
    """``Explain the failure`` → ``Notify failure`` → Fail; expects ``{Error, Cause}`` at ``$.failure``."""
    return _path(
        explain="Explain the failure",
        explain_comment="Turn the error and its cause into a sentence an operator understands",
        payload={"failure.$": "$.failure"},
        notification_name="Notify failure",
        fail=FailWithPaths(
            fail_name,
            comment="The error and cause are those of the state that failed",
            error_path="$.failure.Error",
            cause_path="$.failure.Cause",
        ),
        machine=machine,
    )


def rejection(fail_name: str, error: str) -> FailWithPaths:
    """The Fail state of a rejection: ``error`` is fixed, the cause says what was found."""
    return FailWithPaths(
        fail_name,
        comment="Nothing broke: what came in did not meet its limits, and what is in use stays in use",
        error=error,
        cause_path="$.failure.Cause",
    )


def rejection_path(machine: str, subject: str, findings: str, fail: FailWithPaths) -> ServiceTask:
    """The same for a ``subject`` found wanting: ``findings`` is the path of the list of reasons."""
    return _path(
        explain=f"Explain the rejected {subject}",
        explain_comment=f"Say which checks the {subject} failed, with limits and values",
        payload={"rejection": {"subject": subject, "error": fail.fields["error"], "findings.$": findings}},
        notification_name=f"Notify rejected {subject}",
        fail=fail,
        machine=machine,
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
    *,
    explain: str,
    explain_comment: str,
    payload: JsonObject,
    notification_name: str,
    fail: FailWithPaths,
    machine: str,
) -> ServiceTask:
    # A failure here must not hide the first one: the Fail state is told whatever is known at $.failure.
    explanation = invoke_function(
        explain,
        "ExplainFailureFunction",
        comment=explain_comment,
        payload={
            "machine": machine,
            "execution_id.$": "$$.Execution.Id",
            "execution_name.$": "$$.Execution.Name",
            **payload,
        },
        result=_EXPLANATION,
        result_path="$.failure",
        timeout_seconds=60,
        catch=[
            Catch(
                error_equals=["States.ALL"],
                result_path="$.explanation_failure" if "failure.$" in payload else "$.failure",
                next_step=fail,
            )
        ],
    )
    notification = notify(
        notification_name,
        "Tell the operators",
        "$.failure.Subject",
        "$.failure.Message",
        catch=[Catch(error_equals=["States.ALL"], result_path="$.notification_failure", next_step=fail)],
    )
    explanation.next(notification)
    notification.next(fail)
    return explanation
