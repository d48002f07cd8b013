"""Metrics that AWS's services publish by themselves, for those of ours: Lambda's and Step Functions'."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from triptych.localcloud.bus import Bus, ExecutionEnded, ServiceEvent
from triptych.localcloud.cloudwatch.store import Datum, Dimensions, MetricStore

_ENDINGS = {
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "TIMED_OUT": "ExecutionsTimedOut",
    "ABORTED": "ExecutionsAborted",
}


def invocation_metrics(
    function: str, began: datetime, duration_milliseconds: float, failed: bool
) -> Iterator[Datum]:
    """One invocation in AWS/Lambda: by function, and of all functions together."""
    sets: tuple[Dimensions, ...] = ((("FunctionName", function),), ())
    for dimensions in sets:
        yield Datum("AWS/Lambda", "Invocations", dimensions, began, value=1.0, unit="Count")
        yield Datum("AWS/Lambda", "Errors", dimensions, began, value=float(failed), unit="Count")
        yield Datum(
            "AWS/Lambda", "Duration", dimensions, began, value=duration_milliseconds, unit="Milliseconds"
        )


def publish_executions(bus: Bus, store: MetricStore) -> None:
    """From now on, AWS/States counts how executions start and end, and their time."""
    bus.subscribe(ServiceEvent, lambda event: store.put(started_metrics(event)))
    bus.subscribe(ExecutionEnded, lambda ended: store.put(ended_metrics(ended)))


def started_metrics(event: ServiceEvent) -> Iterator[Datum]:
    """An execution that has started, from the event that Step Functions sends (standard workflows only)."""
    if event.source == "aws.states" and event.detail.get("status") == "RUNNING":
        dimensions = (("StateMachineArn", event.detail["stateMachineArn"]),)
        yield Datum("AWS/States", "ExecutionsStarted", dimensions, event.time, value=1.0, unit="Count")


def ended_metrics(ended: ExecutionEnded) -> Iterator[Datum]:
    """An execution that has ended, by its state machine."""
    description = ended.description
    name, stopped = _ENDINGS.get(description.get("status", "")), description.get("stopDate")
    if name is None or stopped is None:
        return
    dimensions = (("StateMachineArn", description["stateMachineArn"]),)
    yield Datum("AWS/States", name, dimensions, stopped, value=1.0, unit="Count")
    seconds = (stopped - description["startDate"]).total_seconds()
    yield Datum("AWS/States", "ExecutionTime", dimensions, stopped, value=seconds * 1000, unit="Milliseconds")
