"""A run as a person sees it: executions, the states they visited, and how each came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(eq=False)
class StateRun:
    """One visit of one state."""

    name: str
    kind: str
    """the ASL type: Task, Choice, Map …"""
    entered: datetime
    parent: StateRun | None = None
    """the Map or Parallel that it is a part of"""
    exited: datetime | None = None
    stopped: datetime | None = None
    """when it failed, or was given up for what happened to another; None again once it is tried again"""
    given_up: bool = False
    """ended by what happened to another: its Parallel or Map failed, was tried again, or had enough"""
    attempts: int = 0
    error: str | None = None
    cause: str | None = None
    resource: str | None = None
    """what a Task calls: ``glue:startJobRun.sync``, ``lambda:invoke`` …"""
    parameters: dict[str, Any] = field(default_factory=dict)
    submitted: dict[str, Any] = field(default_factory=dict)
    """the start call's answer of the last attempt of a ``.sync`` task"""
    output: str | None = None
    map_run_arn: str | None = None
    items_done: int = 0
    items_total: int | None = None

    @property
    def child_arn(self) -> str | None:
        """The nested execution that this state started."""
        arn = self.submitted.get("ExecutionArn")
        return arn if isinstance(arn, str) else None

    def ancestors(self) -> Iterator[StateRun]:
        """The Maps and Parallels around it, innermost first."""
        state = self.parent
        while state is not None:
            yield state
            state = state.parent

    def depth(self) -> int:
        """How many Maps and Parallels are around it."""
        return sum(1 for _ in self.ancestors())

    def status(self, execution: str) -> str:
        """How it stands, in an execution of that status.

        ``running``, ``retrying``, ``succeeded``, ``caught`` (failed, but handled), ``failed``, ``aborted`` (given up
        for another's failure), ``timed_out``.
        """
        if self.exited is not None:
            return "caught" if self.error else "succeeded"
        if self.given_up:
            return "failed" if self.error else "aborted"
        if execution == "RUNNING":
            return "retrying" if self.error else "running"
        return "failed" if self.error else execution.lower()


@dataclass
class ExecutionRun:
    """One execution with its states in the order they were entered."""

    arn: str
    status: str = "RUNNING"
    started: datetime | None = None
    stopped: datetime | None = None
    input: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    error: str | None = None
    cause: str | None = None
    redrive_count: int = 0
    states: list[StateRun] = field(default_factory=list)
    children: dict[str, ExecutionRun] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.arn.rsplit(":", 1)[1]

    @property
    def machine(self) -> str:
        return self.arn.split(":")[6]

    @property
    def seconds(self) -> float:
        if self.started is None:
            return 0.0
        return ((self.stopped or datetime.now(UTC)) - self.started).total_seconds()

    def state_seconds(self, state: StateRun) -> float:
        """How long a state took, or has taken so far."""
        end = state.exited or state.stopped or self.stopped or datetime.now(UTC)
        return max(0.0, (end - state.entered).total_seconds())

    def walk(self) -> Iterator[ExecutionRun]:
        """This execution and all nested ones."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def failed_state(self) -> tuple[ExecutionRun, StateRun] | None:
        """The innermost state that an unsuccessful execution failed at; None where none is known."""
        if self.status in ("RUNNING", "SUCCEEDED"):
            return None
        last = next((s for s in reversed(self.states) if s.status(self.status) != "succeeded"), None)
        if last is None:
            return None
        handled = next((s for s in reversed(self.states) if s.error and s.exited and s.parent is None), None)
        if handled and (_tells_a_failure(last) or (last.kind == "Fail" and handled.child_arn)):
            # the failure path ends in a state of its own; what it was taken for is what failed
            last = handled
        elif last.parent is not None:
            last = list(last.ancestors())[-1]
        return self._innermost(last)

    def _innermost(self, state: StateRun) -> tuple[ExecutionRun, StateRun]:
        within = [s for s in self.states if s.error and state in s.ancestors()]
        if within:
            # the first to fail is the reason; what was around it failed because of it
            deepest = max(s.depth() for s in within)
            state = next(s for s in within if s.depth() == deepest)
        child = self.children.get(state.child_arn or "")
        return (child.failed_state() if child else None) or (self, state)


def _tells_a_failure(state: StateRun) -> bool:
    """Whether this Task only ends an execution with a failure that was caught before."""
    payload = state.parameters.get("Payload")
    return state.exited is None and isinstance(payload, Mapping) and "failure" in payload
