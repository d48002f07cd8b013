"""Metrics of Step Functions' executions, from what the engine tells the others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloudwatch.alarm_world import NOON, AlarmWorld
from triptych.localcloud.bus import ExecutionEnded, ServiceEvent

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:pipeline"


@pytest.fixture
def world(tmp_path: Path) -> AlarmWorld:
    return AlarmWorld(tmp_path / "home")


def _read(world: AlarmWorld, metric: str) -> list[float]:
    found = world.cloud.metrics.statistics(
        "AWS/States", metric, (("StateMachineArn", MACHINE),), NOON, NOON + timedelta(hours=1), 3600, "Sum"
    )
    return [value for _, value in found]


@pytest.mark.parametrize(
    ("status", "metric"),
    [
        ("SUCCEEDED", "ExecutionsSucceeded"),
        ("FAILED", "ExecutionsFailed"),
        ("TIMED_OUT", "ExecutionsTimedOut"),
        ("ABORTED", "ExecutionsAborted"),
    ],
)
def test_an_execution_counts_by_how_it_ended(world: AlarmWorld, status: str, metric: str) -> None:
    detail: dict[str, Any] = {"stateMachineArn": MACHINE, "status": "RUNNING"}
    kind = "Step Functions Execution Status Change"
    world.cloud.bus.publish(ServiceEvent("aws.states", kind, detail, time=NOON))
    world.cloud.bus.publish(ServiceEvent("aws.states", kind, detail | {"status": status}, time=NOON))
    times = {"startDate": NOON, "stopDate": NOON + timedelta(seconds=2)}
    world.cloud.bus.publish(ExecutionEnded("arn", {"stateMachineArn": MACHINE, "status": status, **times}))
    assert _read(world, "ExecutionsStarted") == [1.0]
    assert _read(world, metric) == [1.0]
    assert _read(world, "ExecutionTime") == [2000.0]


def test_other_events_count_nothing(world: AlarmWorld) -> None:
    world.cloud.bus.publish(ServiceEvent("aws.s3", "Object Created", {"status": "RUNNING"}))
    world.cloud.bus.publish(ExecutionEnded("arn"))
    assert list(world.cloud.metrics.series()) == []
