"""What is under way inside one execution: branches that walk through states, and what they wait for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from triptych.localcloud.stepfunctions.definition import Block, State
from triptych.localcloud.stepfunctions.tasks import TaskRequest


@dataclass(eq=False, slots=True)
class Branch:
    """One walker: the execution itself, a branch of a Parallel or an iteration of a Map."""

    block: Block
    value: Any
    """the input of the current state"""
    text: str | None
    """the same as JSON text, when it is known"""
    variables: dict[str, Any]
    parent: Join | None = None
    index: int = 0
    map_item: dict[str, Any] | None = None
    """``$$.Map.Item`` here"""
    state: State | None = None
    last_event: int = 0
    """the id that the next event names as its previous one"""
    entered_event: int = 0
    before_entered: int = 0
    entered_time: float = 0.0
    attempts: list[int] = field(default_factory=list)
    """retries taken so far, by retrier"""
    retry_count: int = 0
    timer: int | None = None
    """of a Wait, or of a Retry"""
    task: TaskCall | None = None
    join: Join | None = None
    done: bool = False
    failed: bool = False
    stopped: bool = False
    """a sibling failed, or the execution was stopped"""


@dataclass(eq=False, slots=True)
class Join:
    """A Parallel or Map state that waits for its branches, or for a map run."""

    owner: Branch
    kind: str
    """``Parallel``, ``Map`` or ``MapRun``"""
    results: list[Any]
    items: list[Any] = field(default_factory=list)
    """of a Map: what its iterations get, ItemSelector applied"""
    raw_items: list[Any] = field(default_factory=list)
    children: dict[int, Branch] = field(default_factory=dict)
    """begun and not yet ended well"""
    next_index: int = 0
    concurrency: int = 0
    remaining: int = 0
    started_event: int = 0
    """ParallelStateStarted, MapStateStarted or MapRunStarted: what a branch's first event follows"""
    map_run_arn: str | None = None
    key: int = 0
    launched: bool = False
    """of a MapRun: its children have been asked for"""


@dataclass(eq=False, slots=True)
class TaskCall:
    """One attempt of a Task state."""

    branch: Branch
    request: TaskRequest
    kind: str
    """``lambda``, ``activity`` or ``service``"""
    resource_type: str
    resource_name: str
    started: bool = False
    submitted: Any = None
    has_submitted: bool = False
    timeout_timer: int | None = None
    heartbeat_timer: int | None = None
