"""From Step Functions' history events to states; who owns an event follows from its previous event."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from triptych.states import ExecutionRun, StateRun

_FAILURES = ("Failed", "TimedOut")
_JOINS = {"Parallel": ("ParallelState",), "Map": ("MapState", "MapRun")}


class History:
    """Fills ``run.states`` from events, which are given in their order, each once."""

    def __init__(self, run: ExecutionRun) -> None:
        self.run = run
        self.last_id = 0
        self._owner: dict[int, StateRun | None] = {0: None}
        self._redriven = False

    def take(self, event: Mapping[str, Any]) -> None:
        """The next event, as GetExecutionHistory gives it."""
        self.last_id = event["id"]
        previous = self._owner.get(event["previousEventId"])
        self._owner[event["id"]] = self._take(event, event["type"], previous)

    def _take(self, event: Mapping[str, Any], kind: str, previous: StateRun | None) -> StateRun | None:
        """Note the event; returns the state that it belongs to."""
        if kind.endswith("StateEntered"):
            return self._entered(event, kind, previous)
        if kind.endswith("StateExited"):
            return self._exited(event, previous)
        if kind.startswith("Execution"):
            self._redriven = self._redriven or kind == "ExecutionRedriven"
            return previous
        if kind.startswith("MapIteration"):
            return self._iteration(event, kind, previous)
        if kind.endswith("StateAborted"):
            if previous is not None:
                _give_up(previous, _time(event))
            return previous
        for join, prefixes in _JOINS.items():
            if kind.startswith(prefixes):
                opens = kind.endswith(("Started", "Redriven"))
                return self._join(event, kind, _around(previous, join, opens), previous)
        if kind.endswith("Scheduled"):
            return self._scheduled(event, previous)
        if previous is not None:
            self._of_a_task(event, kind, previous)
        return previous

    def _entered(self, event: Mapping[str, Any], kind: str, previous: StateRun | None) -> StateRun:
        # after an exited state comes its sibling, in a Map or Parallel that is open comes a part of it
        inside = previous is not None and previous.exited is None and previous.kind in _JOINS
        parent = previous if inside else previous.parent if previous else None
        name = event["stateEnteredEventDetails"]["name"]
        state = StateRun(name, kind.removesuffix("StateEntered"), _time(event), parent)
        self.run.states.append(state)
        return state

    def _exited(self, event: Mapping[str, Any], previous: StateRun | None) -> StateRun | None:
        details = event["stateExitedEventDetails"]
        state = _named(previous, details["name"])
        if state is not None:
            state.exited = _time(event)
            state.stopped, state.given_up = None, False
            state.output = details.get("output")
            self._give_up_inside(state, state.exited)
        return state

    def _join(
        self, event: Mapping[str, Any], kind: str, state: StateRun | None, previous: StateRun | None
    ) -> StateRun | None:
        """An event of a whole Parallel or Map; its failure is its part's, which the event does not repeat."""
        if state is None:
            return previous
        details = _details(event)
        if kind.endswith("StateStarted"):
            self._give_up_inside(state, _time(event))
            _reopen(state)
            state.attempts += 1
            if kind == "MapStateStarted":
                state.items_total, state.items_done = details.get("length"), 0
        elif kind in ("MapRunStarted", "MapRunRedriven"):
            state.map_run_arn = details["mapRunArn"]
            for each in (state, *state.ancestors()):
                _reopen(each)
        elif kind.endswith(_FAILURES):
            self._give_up_inside(state, _time(event))
            if "error" in details or state.error is None:
                _fail(state, event)
            if previous is not None and previous is not state and "error" not in details:
                state.error, state.cause = previous.error or state.error, previous.cause
        elif kind.endswith("Succeeded"):
            state.error = state.cause = state.stopped = None
        return state

    def _iteration(self, event: Mapping[str, Any], kind: str, previous: StateRun | None) -> StateRun | None:
        state = _named(previous, _details(event)["name"])
        if state is not None and kind == "MapIterationSucceeded":
            state.items_done += 1
        # what follows a failed iteration learns from it why: it goes on belonging to the part that failed
        return previous if kind in ("MapIterationFailed", "MapIterationAborted") else state

    def _scheduled(self, event: Mapping[str, Any], previous: StateRun | None) -> StateRun | None:
        details = _details(event)
        if "resourceType" in details:
            resource = f"{details['resourceType']}:{details['resource']}"
            parameters = _object(details.get("parameters"))
        else:
            resource, parameters = "lambda", {"FunctionName": details.get("resource")}
        state = previous
        if self._redriven and not (previous is not None and _is_tried_again(previous)):
            state = self._taken_up_again(resource, parameters) or previous
        if state is None:
            return None
        state.attempts += 1
        state.resource, state.parameters = resource, parameters
        for each in (state, *state.ancestors()):
            _reopen(each)
        return state

    def _taken_up_again(self, resource: str, parameters: Mapping[str, Any]) -> StateRun | None:
        """The Task that a redrive runs again: the event does not name it, but calls the same with the same."""
        open_tasks = [s for s in self.run.states if s.kind == "Task" and s.exited is None and s.stopped]
        same = [s for s in open_tasks if (s.resource, s.parameters) == (resource, parameters)]
        return next(iter(same[::-1] or open_tasks[::-1]), None)

    @staticmethod
    def _of_a_task(event: Mapping[str, Any], kind: str, state: StateRun) -> None:
        if kind == "TaskSubmitted":
            state.submitted = _object(_details(event).get("output"))
        elif kind.endswith(_FAILURES):
            _fail(state, event)
        elif kind.endswith("Succeeded"):
            state.error = state.cause = state.stopped = None

    def _give_up_inside(self, state: StateRun, when: datetime) -> None:
        for part in self.run.states:
            if part.exited is None and state in part.ancestors():
                _give_up(part, when)


def _is_tried_again(state: StateRun) -> bool:
    """Whether what is scheduled after this state's last event is its own next attempt."""
    return state.kind == "Task" and state.exited is None and not state.given_up


def _fail(state: StateRun, event: Mapping[str, Any]) -> None:
    details = _details(event)
    state.error, state.cause = details.get("error") or event["type"], details.get("cause")
    state.stopped = _time(event)


def _give_up(state: StateRun, when: datetime) -> None:
    state.given_up = True
    state.stopped = state.stopped or when


def _reopen(state: StateRun) -> None:
    state.error = state.cause = state.stopped = None
    state.given_up = False


def _around(state: StateRun | None, kind: str, opens: bool) -> StateRun | None:
    """The innermost state of a kind, from ``state`` outwards, that has not ended; or is opened (again)."""
    for each in _outwards(state):
        if each.kind == kind and each.exited is None and (not each.stopped or (opens and each is state)):
            return each
    return None


def _named(state: StateRun | None, name: str) -> StateRun | None:
    return next((s for s in _outwards(state) if s.name == name), None)


def _outwards(state: StateRun | None) -> Iterator[StateRun]:
    if state is not None:
        yield state
        yield from state.ancestors()


def _time(event: Mapping[str, Any]) -> datetime:
    when: datetime = event["timestamp"]
    return when.astimezone(UTC)


def _details(event: Mapping[str, Any]) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})


def _object(text: str | None) -> dict[str, Any]:
    found = parse(text)
    return found if isinstance(found, dict) else {}


def parse(text: str | None) -> Any:
    """JSON text as its value; None where there is none or it was cut."""
    if not text:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
