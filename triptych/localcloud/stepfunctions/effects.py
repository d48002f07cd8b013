"""What the interpreter asks the world to do, once the events that led to it are in the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from triptych.localcloud.stepfunctions.definition import Pointer
from triptych.localcloud.stepfunctions.tasks import ItemsRequest, TaskRequest


@dataclass(frozen=True, slots=True)
class StartTask:
    """Hand a task to the TaskRunner, or to the workers of an activity."""

    request: TaskRequest
    activity: bool


@dataclass(frozen=True, slots=True)
class CancelTask:
    """The task's result is not wanted any more."""

    request: TaskRequest
    activity: bool


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Give the execution ``timer`` with this key at ``due`` (seconds since the epoch)."""

    key: int
    due: float


@dataclass(frozen=True, slots=True)
class ReadItems:
    """Read a Distributed Map's items and give them back with this key."""

    key: int
    request: ItemsRequest
    max_items: int | None


@dataclass(frozen=True, slots=True)
class StartMapRun:
    """Run child executions, one an input, and give back the results with this key."""

    key: int
    map_run_arn: str
    label: str
    pointer: Pointer
    """the child machine: the Map's processor"""
    express: bool
    inputs: list[Any]
    item_counts: list[int]
    """items in each input: more than one when batched"""
    max_concurrency: int
    tolerated_count: int | None
    tolerated_percentage: float | None
    writer: dict[str, Any] | None
    """``bucket``, ``prefix``, ``config`` of a ResultWriter"""


@dataclass(frozen=True, slots=True)
class StopMapRun:
    """Abort a map run and its children."""

    map_run_arn: str


@dataclass(frozen=True, slots=True)
class RedriveMapRun:
    """Run the children of a map run that did not succeed again."""

    map_run_arn: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The execution reached its last status."""

    status: str
    output: str | None = field(default=None)
    error: str | None = field(default=None)
    cause: str | None = field(default=None)


Effect = StartTask | CancelTask | SetTimer | ReadItems | StartMapRun | StopMapRun | RedriveMapRun | Ended
