"""Walking through states: entering and leaving them, history events, timers, retries, catches, context."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from triptych.localcloud.stepfunctions import failures, history
from triptych.localcloud.stepfunctions.definition import Block, State
from triptych.localcloud.stepfunctions.effects import Effect, Ended, ReadItems, SetTimer
from triptych.localcloud.stepfunctions.facts import FAILED, RUNNING, SUCCEEDED, TIMED_OUT, Facts
from triptych.localcloud.stepfunctions.failures import ProcessingFailure, QueryFailure, StateFailure
from triptych.localcloud.stepfunctions.frames import Branch, Join, TaskCall
from triptych.localcloud.stepfunctions.jsontext import MAX_PAYLOAD_BYTES, encode, size_bytes
from triptych.localcloud.stepfunctions.processing import Processing
from triptych.localcloud.stepfunctions.scope import Scope
from triptych.localcloud.stepfunctions.timestamps import format_timestamp

_log = logging.getLogger(__name__)

_LAST_EVENTS = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"})


class Walker(Processing):
    """The part of the interpreter that takes branches from state to state."""

    def __init__(self, block: Block, facts: Facts, value: Any) -> None:
        self.facts = facts
        self.status = RUNNING
        self.output: str | None = None
        self.error: str | None = None
        self.cause: str | None = None
        self.redrive_count = 0
        self.redrive_time: float | None = None
        self.events: list[history.Event] = []
        self.effects: list[Effect] = []
        self.event_count = 0
        self.now = facts.start_time
        self.random = random.Random(facts.seed)
        self.root = Branch(block, value, facts.input_text, {})
        self.input_value = value
        self.tasks: dict[str, TaskCall] = {}
        self.timers: dict[int, tuple[float, Callable[[], None]]] = {}
        self.reads: dict[int, ReadItems] = {}
        self.map_runs: dict[int, Join] = {}
        self._counter = 0
        self._timeout_timer: int | None = None
        self._ready: deque[Callable[[], None]] = deque()

    # given by Branching

    def _child_done(self, join: Join, child: Branch) -> None:
        raise NotImplementedError

    def _child_failed(self, join: Join, child: Branch, error: str | None, cause: str | None) -> None:
        raise NotImplementedError

    def _cancel_below(self, branch: Branch, record: bool) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- running

    def _run(self) -> None:
        ready = self._ready
        try:
            while ready and self.status == RUNNING:
                ready.popleft()()
        except _HistoryFull:
            pass
        ready.clear()

    def emit(
        self, branch: Branch | None, kind: str, details: dict[str, Any] | None = None, advance: bool = True
    ) -> int:
        """Append a history event; ``advance`` makes it the previous one of the branch's next."""
        self.event_count += 1
        event: history.Event = {
            "timestamp": self.now,
            "type": kind,
            "id": self.event_count,
            "previousEventId": branch.last_event if branch is not None else 0,
        }
        if details is not None:
            event[history.details_key(kind)] = details
        self.events.append(event)
        if branch is not None and advance:
            branch.last_event = self.event_count
        if self.event_count >= history.MAX_EVENTS - 1 and self.status == RUNNING and kind not in _LAST_EVENTS:
            self._exhausted()
        return self.event_count

    def _exhausted(self) -> None:
        cause = f"The execution reached the maximum number of history events ({history.MAX_EVENTS})."
        self.status = FAILED
        self._cancel_below(self.root, record=False)
        self.emit(self.root, "ExecutionFailed", history.error_details(failures.RUNTIME, cause))
        self._end(FAILED, error=failures.RUNTIME, cause=cause)
        raise _HistoryFull

    def counter(self) -> int:
        self._counter += 1
        return self._counter

    def set_timer(self, due: float, action: Callable[[], None]) -> int:
        key = self.counter()
        self.timers[key] = (due, action)
        self.effects.append(SetTimer(key, due))
        return key

    def clear_timer(self, key: int | None) -> None:
        if key is not None:
            self.timers.pop(key, None)

    def _limit_time(self) -> None:
        seconds = self.facts.timeout_seconds
        if seconds is not None:
            self._timeout_timer = self.set_timer(self.now + seconds, self._timed_out)

    def _timed_out(self) -> None:
        self._cancel_below(self.root, record=False)
        self.emit(self.root, "ExecutionTimedOut", {})
        self._end(TIMED_OUT)

    def _end(
        self, status: str, output: str | None = None, error: str | None = None, cause: str | None = None
    ) -> None:
        self.status, self.output, self.error, self.cause = status, output, error, cause
        self.timers.clear()
        self.tasks.clear()
        self.map_runs.clear()
        self.reads.clear()
        self._ready.clear()
        self.effects.append(Ended(status, output, error, cause))

    # ------------------------------------------------------------------------------------- walking

    def _begin_block(self, branch: Branch) -> None:
        branch.state = branch.block.state(branch.block.start_at)
        self._ready.append(lambda: self._walk(branch))

    def _walk(self, branch: Branch) -> None:
        """Enter states one after another until the branch ends or has to wait."""
        while branch.state is not None:
            if self.status != RUNNING or branch.stopped:
                return
            state = branch.state
            branch.attempts = []
            branch.retry_count = 0
            branch.entered_time = self.now
            branch.before_entered = branch.last_event
            text = branch.text
            if text is None:
                text = branch.text = encode(branch.value)
            branch.entered_event = self.emit(
                branch, state.entered_type, history.entered_details(state.name, text)
            )
            if not self._attempt(branch):
                return
        self._finished(branch)

    def _attempt(self, branch: Branch) -> bool:
        """Do the current state; ``True`` when the branch may walk on."""
        state = branch.state
        assert state is not None
        try:
            return self.execute(branch, state)
        except StateFailure as failure:
            return self.fail(branch, failure)
        except _HistoryFull:
            raise
        except Exception as error:
            return self.fail(branch, _unforeseen(error))

    def guard(self, branch: Branch, action: Callable[[], bool | None]) -> None:
        """Go on with a state that had to wait; then walk on where that finishes it."""
        try:
            finished = bool(action())
        except StateFailure as failure:
            finished = self.fail(branch, failure)
        except _HistoryFull:
            raise
        except Exception as error:
            finished = self.fail(branch, _unforeseen(error))
        if finished:
            self._walk(branch)

    def leave(
        self, branch: Branch, value: Any, next_name: str | None, assigned: dict[str, Any] | None = None
    ) -> bool:
        """Exit the current state with its output."""
        state = branch.state
        assert state is not None
        if value is branch.value:
            text = branch.text
            assert text is not None
        else:
            text = self.text_of(value)
            if len(text) * 4 > MAX_PAYLOAD_BYTES and size_bytes(text) > MAX_PAYLOAD_BYTES:
                raise StateFailure(
                    failures.DATA_LIMIT,
                    f"The state/task '{state.name}' returned a result with a size exceeding the maximum "
                    "number of "
                    "bytes service limit.",
                )
        texts = {name: encode(item) for name, item in assigned.items()} if assigned else None
        if assigned:
            branch.variables = {**branch.variables, **assigned}
        self.emit(branch, state.exited_type, history.exited_details(state.name, text, texts))
        branch.value, branch.text = value, text
        branch.state = branch.block.state(next_name) if next_name is not None else None
        return True

    def text_of(self, value: Any) -> str:
        """JSON text of a value that a state made; raises ProcessingFailure for what JSON cannot say."""
        try:
            return encode(value)
        except (ValueError, RecursionError) as error:
            raise ProcessingFailure(f"The value cannot be written as JSON: {error}") from error

    def _finished(self, branch: Branch) -> None:
        branch.done = True
        if branch.parent is not None:
            self._child_done(branch.parent, branch)
            return
        assert branch.text is not None
        self.emit(branch, "ExecutionSucceeded", history.with_output(branch.text))
        self._end(SUCCEEDED, output=branch.text)

    # ------------------------------------------------------------------------------------- failing

    def fail(self, branch: Branch, failure: StateFailure) -> bool:
        """The current state failed: retry, catch, or hand the failure up. ``True`` when caught."""
        state = branch.state
        assert state is not None
        cause = failure.cause
        if isinstance(failure, ProcessingFailure):
            cause = (
                f"An error occurred while executing the state '{state.name}' "
                f"(entered at the event id #{branch.entered_event}). {cause}"
            )
        if isinstance(failure, QueryFailure):
            if state.type != "Wait":
                branch.last_event = branch.before_entered
            details = history.error_details(failure.error, cause, state=state.name)
            if failure.location is not None:
                details["location"] = failure.location
            self.emit(branch, "EvaluationFailed", details)
        if state.type in ("Task", "Parallel", "Map"):
            if self._retry(branch, state, failure.error):
                self._forget(branch)
                return False
            unprocessed = isinstance(failure, ProcessingFailure) and failure.error == failures.RUNTIME
            if state.type != "Task" and not unprocessed:
                self.emit(branch, f"{state.type}StateFailed")
            if self._catch(branch, state, failure.error, cause):
                self._forget(branch)
                return True
        branch.failed = True
        if branch.parent is not None:
            self._child_failed(branch.parent, branch, failure.error, cause)
            return False
        self.emit(branch, "ExecutionFailed", history.error_details(failure.error, cause))
        self._end(FAILED, error=failure.error, cause=cause)
        return False

    def _forget(self, branch: Branch) -> None:
        """Drop what the state waited for: it goes another way now."""
        branch.task = None
        branch.join = None

    def _retry(self, branch: Branch, state: State, error: str | None) -> bool:
        for number, retrier in enumerate(state.retriers):
            if not failures.matches(error, retrier.errors):
                continue
            branch.attempts = branch.attempts or [0] * len(state.retriers)
            attempt = branch.attempts[number]
            if attempt >= retrier.max_attempts:
                return False
            branch.attempts[number] += 1
            branch.retry_count += 1
            delay = retrier.delay_seconds(attempt, self.random.random())

            def again() -> None:
                branch.timer = None
                if self._attempt(branch):
                    self._walk(branch)

            branch.timer = self.set_timer(self.now + delay, again)
            return True
        return False

    def _catch(self, branch: Branch, state: State, error: str | None, cause: str | None) -> bool:
        for number, catcher in enumerate(state.catchers):
            if not failures.matches(error, catcher.errors):
                continue
            output = {"Error": error or "", "Cause": cause or ""}
            try:
                value, assigned = self.caught(branch, state, catcher, number, output)
                self.leave(branch, value, catcher.next, assigned)
            except StateFailure as failure:
                # A failure of the Catch itself is not caught again.
                self._fail_up(branch, state, failure)
                return False
            return True
        return False

    def _fail_up(self, branch: Branch, state: State, failure: StateFailure) -> None:
        cause = (
            f"An error occurred while executing the state '{state.name}' "
            f"(entered at the event id #{branch.entered_event}). {failure.cause}"
        )
        branch.failed = True
        if branch.parent is not None:
            self._child_failed(branch.parent, branch, failure.error, cause)
        else:
            self.emit(branch, "ExecutionFailed", history.error_details(failure.error, cause))
            self._end(FAILED, error=failure.error, cause=cause)

    # ------------------------------------------------------------------------------------- scopes

    def scope(self, branch: Branch, value: Any, token: str | None = None) -> Scope:
        """What expressions of the branch's current state see, with ``value`` as ``$``."""
        return Scope(value, lambda: self.context(branch, token), branch.variables, self.random, self.now)

    def context(
        self, branch: Branch, token: str | None = None, item: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The context object."""
        facts, state = self.facts, branch.state
        assert state is not None
        execution: dict[str, Any] = {
            "Id": facts.arn,
            "Input": self.input_value,
            "StartTime": format_timestamp(facts.start_time),
            "Name": facts.name,
            "RoleArn": facts.role_arn,
        }
        if not facts.express:
            execution["RedriveCount"] = self.redrive_count
            if self.redrive_time is not None:
                execution["RedriveTime"] = format_timestamp(self.redrive_time)
        about: dict[str, Any] = {"Name": state.name, "EnteredTime": format_timestamp(branch.entered_time)}
        if state.type in ("Task", "Parallel", "Map"):
            about["RetryCount"] = branch.retry_count
        out = {
            "Execution": execution,
            "StateMachine": {"Id": facts.machine_arn, "Name": facts.machine_name},
            "State": about,
        }
        item = item or branch.map_item
        if item is not None:
            out["Map"] = {"Item": item}
        if token is not None:
            out["Task"] = {"Token": token}
        return out


class _HistoryFull(Exception):
    """Unwinds to the engine's call when the history has no room for another event."""


def _unforeseen(error: Exception) -> StateFailure:
    """A fault of the interpreter ends the state, as States.Runtime, instead of leaving the execution
    hanging.
    """
    _log.exception("interpreting a state failed")
    return ProcessingFailure(f"Internal error: {type(error).__name__}: {error}")


def raiser(failure: StateFailure) -> Callable[[], bool]:
    def fail() -> bool:
        raise failure

    return fail
