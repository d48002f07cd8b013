"""History events as GetExecutionHistory has them; times are seconds since the epoch until the API's edge."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

MAX_EVENTS = 25_000

Event = dict[str, Any]
_NOT_TRUNCATED = {"truncated": False}


@cache
def details_key(event_type: str) -> str:
    """The member of HistoryEvent that holds this type's details."""
    if event_type.endswith("StateEntered"):
        return "stateEnteredEventDetails"
    if event_type.endswith("StateExited"):
        return "stateExitedEventDetails"
    return event_type[0].lower() + event_type[1:] + "EventDetails"


def entered_details(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "input": text, "inputDetails": _NOT_TRUNCATED}


def exited_details(name: str, text: str, assigned: dict[str, str] | None) -> dict[str, Any]:
    details = {"name": name, "output": text, "outputDetails": _NOT_TRUNCATED}
    if assigned:
        details["assignedVariables"] = assigned
        details["assignedVariablesDetails"] = _NOT_TRUNCATED
    return details


def with_input(text: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "input": text, "inputDetails": _NOT_TRUNCATED}


def with_output(text: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "output": text, "outputDetails": _NOT_TRUNCATED}


def error_details(error: str | None, cause: str | None, **fields: Any) -> dict[str, Any]:
    """Details with ``error`` and ``cause``, each left out when there is none."""
    if error is not None:
        fields["error"] = error
    if cause is not None:
        fields["cause"] = cause
    return fields


_DATA = (
    "input",
    "inputDetails",
    "output",
    "outputDetails",
    "parameters",
    "error",
    "cause",
    "assignedVariables",
)


def to_api(events: Iterable[Event], include_data: bool = True) -> list[dict[str, Any]]:
    """Events in botocore's shape; without data, inputs, outputs and error texts are left out."""
    out = []
    for event in events:
        shaped = {**event, "timestamp": datetime.fromtimestamp(event["timestamp"], UTC)}
        if not include_data:
            for key, details in event.items():
                if key.endswith("Details") and isinstance(details, dict):
                    shaped[key] = {name: value for name, value in details.items() if name not in _DATA}
        out.append(shaped)
    return out
