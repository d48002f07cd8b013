"""Execution histories as small tables: ``(previous event, type, name or details)``, numbered from 1."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.history import History
from triptych.states import ExecutionRun

START = datetime(2026, 1, 1, tzinfo=UTC)
Event = tuple[int, str] | tuple[int, str, Any]

_DETAILS = {
    "TaskScheduled": "taskScheduledEventDetails",
    "TaskSubmitted": "taskSubmittedEventDetails",
    "TaskFailed": "taskFailedEventDetails",
    "MapStateStarted": "mapStateStartedEventDetails",
    "MapRunStarted": "mapRunStartedEventDetails",
}


def arn(machine: str) -> str:
    return f"arn:aws:states:us-east-1:123456789012:execution:{machine}:run-1"


def read(events: list[Event], status: str = "RUNNING", machine: str = "demo-pipeline") -> ExecutionRun:
    """An execution with these events, one a second."""
    run = ExecutionRun(arn(machine), status, started=START)
    history = History(run)
    for number, (previous, kind, *rest) in enumerate(events, 1):
        told = rest[0] if rest else None
        event = {"id": number, "previousEventId": previous, "type": kind}
        event["timestamp"] = START + timedelta(seconds=number)
        if kind.endswith("StateEntered"):
            event["stateEnteredEventDetails"] = {"name": told}
        elif kind.endswith("StateExited"):
            event["stateExitedEventDetails"] = {"name": told}
        elif kind.startswith("MapIteration"):
            event[f"{kind}EventDetails"] = {"name": told}
        elif kind == "TaskScheduled":
            event[_DETAILS[kind]] = {
                "resourceType": "glue", "resource": "startJobRun.sync", "parameters": json.dumps(told or {}),
            }  # fmt: skip
        elif kind == "TaskFailed":
            event[_DETAILS[kind]] = {"error": told, "cause": f"why {told}"}
        elif told is not None:
            event[_DETAILS[kind]] = told
        history.take(event)
    if status != "RUNNING":
        run.stopped = START + timedelta(seconds=len(events))
    return run
