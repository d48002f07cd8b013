"""From what Step Functions knows of a failure to a sentence.

A failed job's cause is the job's whole description as JSON, a function's is its exception, a nested
execution's is the execution; the reason is in another member of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_LONGEST_CAUSE = 2000
_LONGEST_SUBJECT = 100  # SNS's limit
_LONGEST_DESCRIPTION = 1024  # of an approval in the model registry
ROLLED_BACK = "DeploymentRolledBack"
_REASONS = ("FailureReason", "ErrorMessage", "errorMessage", "Cause", "ExitMessage")
_NAMES = (
    ("TrainingJobName", "training job"),
    ("ProcessingJobName", "processing job"),
    ("TransformJobName", "transform job"),
    ("JobName", "Glue job"),
)
_ADVICE = {
    "States.Timeout": "It took longer than the state allows.",
    "States.Permissions": "The state machine's role lacks a permission.",
    "States.DataLimitExceeded": "A payload was larger than 256 KB.",
}


def explain(event: Mapping[str, Any]) -> dict[str, Any]:
    """``{error, cause, subject, message, description, redrive_count}`` of a failure, a rejection or a rollback.

    ``description`` is one line that fits the model registry.
    """
    if "rejection" in event:
        error, cause, headline = _rejection(event["rejection"])
        closing = "What is in use stays in use."
    elif "rollback" in event:
        error, cause, headline = _rollback(event["rollback"])
        closing = f"It was about model package {event['rollback']['model_package_arn']}."
    else:
        error, cause, headline = _failure(event)
        closing = "Redrive the execution to go on where it failed."
    return {
        "error": error,
        "cause": cause,
        "subject": _ascii(f"{event['machine']}: {headline} ({event['execution_name']})"),
        "message": f"{cause}\n\nExecution: {event['execution_id']}\n{closing}\n",
        "description": " ".join(cause.split())[:_LONGEST_DESCRIPTION],
        "redrive_count": event.get("redrive_count", 0),
    }


def reason(cause: Any) -> str:
    """The innermost reason in a cause, which may be JSON in JSON."""
    if isinstance(cause, str):
        text = cause.strip()
        if not text.startswith("{"):
            return text
        try:
            return reason(json.loads(text))
        except ValueError:
            return text
    if not isinstance(cause, Mapping):
        return str(cause)
    who = next((f"{title} {cause[name]}: " for name, title in _NAMES if cause.get(name)), "")
    for member in _REASONS:
        if cause.get(member):
            return who + reason(cause[member])
    return who + json.dumps(cause, default=str)


def _failure(event: Mapping[str, Any]) -> tuple[str, str, str]:
    failure = event["failure"]
    error = _nested_error(failure.get("Cause")) or str(failure.get("Error") or "UnknownError")
    text = reason(failure.get("Cause") or "no cause was given")
    advice = _ADVICE.get(error, "")
    if text.startswith("State '"):  # a nested execution has said where and what already
        cause = text
    else:
        cause = f"State '{event['failed_state']}': {error}: {text} {advice}".strip()
    return error, cause[:_LONGEST_CAUSE], f"{event['failed_state']} failed"


def _nested_error(cause: Any) -> str | None:
    """The error of the nested execution that failed, so that its rejection is the parent's too."""
    try:
        found = json.loads(cause)
    except (TypeError, ValueError):
        return None
    if not isinstance(found, dict) or "ExecutionArn" not in found:
        return None
    return found.get("Error")


def _rejection(rejection: Mapping[str, Any]) -> tuple[str, str, str]:
    findings = rejection.get("findings") or []
    sentences = [_sentence(finding) for finding in findings]
    text = "; ".join(sentences) or "no reason was given"
    subject = rejection["subject"]
    return rejection["error"], f"The {subject} did not pass: {text}"[:_LONGEST_CAUSE], f"{subject} rejected"


def _rollback(rollback: Mapping[str, Any]) -> tuple[str, str, str]:
    """What took the deployment back: the failure, and what the alarms did meanwhile.

    ``alarms`` are DescribeAlarms', ``alarm_history`` is a list of DescribeAlarmHistory's answers: an alarm may be
    quiet again by the time that it is looked at.
    """
    endpoint = rollback["endpoint_name"]
    raised = {
        alarm["AlarmName"]: alarm.get("StateReason")
        for alarm in rollback.get("alarms") or []
        if alarm.get("StateValue") == "ALARM"
    }
    for page in rollback.get("alarm_history") or []:
        for item in page.get("AlarmHistoryItems") or []:
            state = _new_state(item.get("HistoryData"))
            if state.get("stateValue") == "ALARM":
                raised.setdefault(item["AlarmName"], state.get("stateReason"))
    told = reason(rollback["failure"].get("Cause") or "no cause was given")
    sentences = [told]
    sentences += [
        f"alarm {name}: {why or 'ALARM'}" for name, why in raised.items() if not why or why not in told
    ]
    headline = f"{endpoint} was rolled back"
    undo = rollback.get("undo_failure")
    if undo:
        sentences.append(f"what served before could not be put back: {reason(undo.get('Cause') or undo)}")
        headline = f"{endpoint} could not be rolled back"
    return ROLLED_BACK, "; ".join(sentences)[:_LONGEST_CAUSE], headline


def _new_state(history_data: Any) -> Mapping[str, Any]:
    """The state that an alarm went into, from a history item's JSON."""
    try:
        state = json.loads(history_data or "{}").get("newState") or {}
    except (TypeError, ValueError, AttributeError):
        return {}
    return state if isinstance(state, Mapping) else {}


def _sentence(finding: Any) -> str:
    """A finding as text: its own sentence where it has one, else its members in order."""
    if not isinstance(finding, Mapping):
        return str(finding)
    for member in ("message", "reason", "description"):
        if isinstance(finding.get(member), str):
            return str(finding[member])
    if finding.get("key") and isinstance(finding.get("reasons"), list):
        return f"{finding['key']}: {', '.join(str(item) for item in finding['reasons'])}"
    return ", ".join(f"{name} {value}" for name, value in finding.items() if value is not None)


def _ascii(text: str) -> str:
    """SNS takes one line of ASCII as a subject."""
    cleaned = text.encode("ascii", "replace").decode().replace("\n", " ")
    return cleaned if len(cleaned) <= _LONGEST_SUBJECT else cleaned[: _LONGEST_SUBJECT - 3] + "..."
