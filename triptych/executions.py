"""Executions as a person sees them: the states of a run, read from Step Functions' history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_FAILURES = ("Failed", "TimedOut", "Aborted")


@dataclass
class StateRun:
    """One visit of one state."""

    name: str
    kind: str
    """the ASL type: Task, Choice, Map …"""
    entered: datetime
    parent: StateRun | None = None
    exited: datetime | None = None
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

    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth() + 1

    def status(self, execution: str) -> str:
        """``running``, ``succeeded``, ``caught`` (failed, but handled), or the execution's own end."""
        if self.exited is not None:
            return "caught" if self.error else "succeeded"
        if execution == "RUNNING":
            return "retrying" if self.error else "running"
        return execution.lower()


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

    def walk(self) -> Iterator[ExecutionRun]:
        """This execution and all nested ones."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def failed_state(self) -> tuple[ExecutionRun, StateRun] | None:
        """The innermost state at which an unsuccessful execution ended."""
        for state in reversed(self.states):
            if state.child_arn in self.children and (found := self.children[state.child_arn].failed_state()):
                return found
        if self.status in ("RUNNING", "SUCCEEDED"):
            return None
        for state in reversed(self.states):
            if state.exited is None:
                # a failure path ends in a Task of its own: what it was taken for is what failed
                caught = [other for other in self.states if other.error and other.exited]
                return self, caught[-1] if caught and state.kind == "Task" else state
        return None


class ExecutionReader:
    """Follows one execution and its nested ones; ``refresh`` reads only what came since the last time."""

    def __init__(self, stepfunctions: Any, arn: str) -> None:
        self._client = stepfunctions
        self._histories: dict[str, _History] = {}
        self.run = self._open(arn)

    def refresh(self) -> ExecutionRun:
        """Read what is new; returns the root execution."""
        self._refresh(self.run)
        return self.run

    def _open(self, arn: str) -> ExecutionRun:
        run = ExecutionRun(arn)
        self._histories[arn] = _History(run)
        return run

    def _refresh(self, run: ExecutionRun) -> None:
        ended = run.status != "RUNNING"
        described = self._client.describe_execution(executionArn=run.arn)
        run.redrive_count = described.get("redriveCount", 0)
        if ended and described["status"] == run.status:
            return
        history = self._histories[run.arn]
        for event in self._new_events(run.arn, history.last_id):
            history.take(event)
        run.status = described["status"]
        run.started = described["startDate"].astimezone(UTC)
        stopped = described.get("stopDate")
        run.stopped = stopped.astimezone(UTC) if stopped else None
        run.input = parse(described.get("input")) or {}
        run.output = parse(described.get("output"))
        run.error, run.cause = described.get("error"), described.get("cause")
        for state in run.states:
            if state.child_arn:
                if state.child_arn not in run.children:
                    run.children[state.child_arn] = self._open(state.child_arn)
                self._refresh(run.children[state.child_arn])
            if state.map_run_arn and (state.items_total is None or state.exited is None or not ended):
                counts = self._client.describe_map_run(mapRunArn=state.map_run_arn)["itemCounts"]
                state.items_total = counts["total"]
                state.items_done = counts["total"] - counts["pending"] - counts["running"]

    def _new_events(self, arn: str, last_id: int) -> list[dict[str, Any]]:
        """Events after ``last_id``, oldest first; read backwards, so that a refresh is cheap."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = self._client.get_execution_history(
                executionArn=arn, reverseOrder=True, maxResults=200, includeExecutionData=True, **token
            )
            for event in page["events"]:
                if event["id"] <= last_id:
                    return found[::-1]
                found.append(event)
            if not page.get("nextToken"):
                return found[::-1]
            token = {"nextToken": page["nextToken"]}


class _History:
    """Turns events into states; who owns an event follows from its previous event."""

    def __init__(self, run: ExecutionRun) -> None:
        self.run = run
        self.last_id = 0
        self._owner: dict[int, StateRun | None] = {0: None}
        self._after_exit: dict[int, bool] = {}
        self._takers: dict[str, Callable[[StateRun, dict[str, Any]], None]] = {
            "TaskScheduled": self._scheduled,
            "LambdaFunctionScheduled": self._scheduled,
            "TaskSubmitted": self._submitted,
            "MapRunStarted": self._map_run,
            "MapStateStarted": self._map_started,
        }

    def take(self, event: dict[str, Any]) -> None:
        kind: str = event["type"]
        self.last_id = event["id"]
        previous = self._owner.get(event["previousEventId"])
        if kind.endswith("StateEntered"):
            details = event["stateEnteredEventDetails"]
            # after an exited state: its sibling; inside a Map or Parallel that has just started: its child
            if previous is not None and self._after_exit.get(event["previousEventId"]):
                parent = previous.parent
            elif previous is not None and previous.exited is None and previous.kind in ("Map", "Parallel"):
                parent = previous
            else:
                parent = previous.parent if previous else None
            state = StateRun(
                details["name"], kind.removesuffix("StateEntered"), event["timestamp"].astimezone(UTC), parent
            )
            self.run.states.append(state)
            self._owner[event["id"]] = state
            return
        if kind.endswith("StateExited"):
            details = event["stateExitedEventDetails"]
            owner = previous
            while owner is not None and owner.name != details["name"]:
                owner = owner.parent
            if owner is not None:
                owner.exited = event["timestamp"].astimezone(UTC)
                owner.output = details.get("output")
            self._owner[event["id"]] = owner
            self._after_exit[event["id"]] = True
            return
        self._owner[event["id"]] = previous
        if kind.startswith("MapIteration"):
            self._iteration(previous, event, kind)
        elif previous is not None:
            if kind in self._takers:
                self._takers[kind](previous, event)
            elif kind.endswith(_FAILURES) and not kind.startswith("Execution"):
                details = _details(event)
                previous.error = details.get("error", kind)
                previous.cause = details.get("cause")
            elif kind.endswith("Succeeded") and not kind.startswith("Execution"):
                previous.error = previous.cause = None

    def _scheduled(self, state: StateRun, event: dict[str, Any]) -> None:
        details = _details(event)
        state.attempts += 1
        state.error = None
        if "resourceType" in details:
            state.resource = f"{details['resourceType']}:{details['resource']}"
            state.parameters = parse(details.get("parameters")) or {}
        else:
            state.resource = "lambda"
            state.parameters = {"FunctionName": details.get("resource")}

    def _submitted(self, state: StateRun, event: dict[str, Any]) -> None:
        state.submitted = parse(_details(event).get("output")) or {}

    def _map_run(self, state: StateRun, event: dict[str, Any]) -> None:
        state.map_run_arn = _details(event)["mapRunArn"]

    def _map_started(self, state: StateRun, event: dict[str, Any]) -> None:
        state.items_total = _details(event).get("length")

    def _iteration(self, previous: StateRun | None, event: dict[str, Any], kind: str) -> None:
        name = _details(event)["name"]
        owner = previous
        while owner is not None and owner.name != name:
            owner = owner.parent
        self._owner[event["id"]] = owner
        if owner is not None and kind == "MapIterationSucceeded":
            owner.items_done += 1


def _details(event: dict[str, Any]) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})


def parse(text: str | None) -> Any:
    """JSON text as its value; None where there is none or it was cut."""
    if not text:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
