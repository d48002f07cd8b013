"""The interpreter of one execution: an input and the time go in, history events and effects come out.

It is deterministic: the same inputs at the same times give the same events and effects. So the inputs in the
journal are all that a restart needs; running them again rebuilds what was in memory.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.stepfunctions import failures, history
from triptych.localcloud.stepfunctions.definition import Block, State
from triptych.localcloud.stepfunctions.effects import (
    CancelTask,
    Effect,
    Ended,
    ReadItems,
    RedriveMapRun,
    SetTimer,
    StopMapRun,
)
from triptych.localcloud.stepfunctions.failures import ProcessingFailure, QueryFailure, StateFailure
from triptych.localcloud.stepfunctions.frames import Branch, Join, TaskCall
from triptych.localcloud.stepfunctions.jsontext import MAX_PAYLOAD_BYTES, encode, size_bytes
from triptych.localcloud.stepfunctions.processing import Processing
from triptych.localcloud.stepfunctions.scope import Scope
from triptych.localcloud.stepfunctions.timestamps import format_timestamp

_log = logging.getLogger(__name__)

RUNNING, SUCCEEDED, FAILED, ABORTED, TIMED_OUT = "RUNNING", "SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"
_LAST_EVENTS = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"})


@dataclass(frozen=True)
class Facts:
    """What is fixed when an execution starts."""

    arn: str
    name: str
    machine_arn: str
    machine_name: str
    role_arn: str
    region: str
    account_id: str
    partition: str
    input_text: str
    start_time: float
    seed: int
    express: bool = False
    timeout_seconds: float | None = None
    version_arn: str | None = None
    alias_arn: str | None = None


class Interpreter(Processing):
    """One execution. Feed it with ``begin`` once, then with the other public methods as things happen.

    After each call the caller takes ``events`` (new ones, in order) and ``effects`` (to be carried out once the
    events are kept) and empties both lists.
    """

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

    # ------------------------------------------------------------------------------------- inputs

    def begin(self) -> None:
        facts = self.facts
        details = history.with_input(facts.input_text, roleArn=facts.role_arn)
        if facts.version_arn:
            details["stateMachineVersionArn"] = facts.version_arn
        if facts.alias_arn:
            details["stateMachineAliasArn"] = facts.alias_arn
        self.emit(None, "ExecutionStarted", details)
        self._limit_time()
        self._begin_block(self.root)
        self._run()

    def fire(self, now: float, key: int) -> bool:
        """A timer is due; ``False`` when nobody waits for it any more."""
        found = self.timers.pop(key, None)
        if found is None:
            return False
        self.now = now
        self._ready.append(found[1])
        self._run()
        return True

    def task_event(self, now: float, task_id: str, kind: str, data: dict[str, Any]) -> bool:
        """What became of a task; ``False`` when the task is over already.

        Kinds: ``started``, ``submitted`` {output}, ``succeeded`` {output}, ``failed`` / ``start_failed`` /
        ``submit_failed`` {error, cause}, ``heartbeat``.
        """
        call = self.tasks.get(task_id)
        if call is None:
            return False
        self.now = now
        if kind not in ("heartbeat", "start_failed"):
            self._ready.append(lambda: self._task_started(call, data.get("worker")))
        if kind == "heartbeat":
            self._beat(call)
        elif kind == "submitted":
            self._ready.append(lambda: self._task_submitted(call, data["output"]))
        elif kind == "succeeded":
            self._ready.append(lambda: self._task_succeeded(call, data["output"]))
        elif kind != "started":
            self._ready.append(lambda: self._task_failed(call, kind, data.get("error"), data.get("cause")))
        self._run()
        return True

    def items_read(self, now: float, key: int, data: dict[str, Any]) -> bool:
        """A Distributed Map's items have been read: ``{items}`` or ``{error, cause}``."""
        join = self.map_runs.get(key)
        if join is None or self.reads.pop(key, None) is None:
            return False
        self.now = now

        def go_on() -> None:
            if "items" in data:
                self.guard(join.owner, lambda: self.launch_map_run(join, data["items"]))
            else:
                del self.map_runs[key]
                self._join_failed(join, StateFailure(data["error"], data["cause"]))

        self._ready.append(go_on)
        self._run()
        return True

    def map_run_ended(self, now: float, key: int, data: dict[str, Any]) -> bool:
        """A map run is over: ``{result}`` or ``{error, cause}``."""
        join = self.map_runs.pop(key, None)
        if join is None:
            return False
        self.now = now
        self._ready.append(lambda: self._map_run_ended(join, data))
        self._run()
        return True

    def stop(self, now: float, error: str | None, cause: str | None) -> None:
        """StopExecution."""
        self.now = now
        self._cancel_below(self.root, record=False)
        self.emit(self.root, "ExecutionAborted", history.error_details(error, cause))
        self._end(ABORTED, error=error, cause=cause)

    def redrive(self, now: float) -> None:
        """RedriveExecution: go on from what did not succeed."""
        self.now = now
        self.status, self.output, self.error, self.cause = RUNNING, None, None, None
        self.redrive_count += 1
        self.redrive_time = now
        self.emit(self.root, "ExecutionRedriven", {"redriveCount": self.redrive_count})
        self._limit_time()
        self._revive(self.root)
        self._run()

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
                    f"The state/task '{state.name}' returned a result with a size exceeding the maximum number of "
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

    # ------------------------------------------------------------------------------------- tasks

    def _task_history(self, call: TaskCall, kind: str, details: dict[str, Any] | None) -> None:
        if call.kind == "service":
            details = {"resourceType": call.resource_type, "resource": call.resource_name, **(details or {})}
        self.emit(call.branch, kind, details)

    def _task_started(self, call: TaskCall, worker: str | None = None) -> None:
        if call.started:
            return
        call.started = True
        if call.kind == "lambda":
            self.emit(call.branch, "LambdaFunctionStarted")
        elif call.kind == "activity":
            self.emit(call.branch, "ActivityStarted", {"workerName": worker} if worker else {})
        else:
            self._task_history(call, "TaskStarted", None)

    def _task_submitted(self, call: TaskCall, output: Any) -> None:
        call.submitted, call.has_submitted = output, True
        if call.kind == "service":
            self._task_history(call, "TaskSubmitted", history.with_output(encode(output)))

    def _task_over(self, call: TaskCall) -> None:
        self.tasks.pop(call.request.task_id, None)
        self.clear_timer(call.timeout_timer)
        self.clear_timer(call.heartbeat_timer)
        call.branch.task = None

    def _task_succeeded(self, call: TaskCall, output: Any) -> None:
        branch, state = call.branch, call.branch.state
        assert state is not None
        self._task_over(call)
        prefix = {"lambda": "LambdaFunction", "activity": "Activity"}.get(call.kind, "Task")
        try:
            text = self.text_of(output)
        except StateFailure as failure:
            self.guard(branch, _raiser(failure))
            return
        if size_bytes(text) > MAX_PAYLOAD_BYTES:
            cause = (
                f"The state/task '{call.request.resource}' returned a result with a size exceeding the maximum "
                "number of bytes service limit."
            )
            self._task_history(call, f"{prefix}Failed", history.error_details(failures.DATA_LIMIT, cause))
            self.guard(branch, _raiser(StateFailure(failures.DATA_LIMIT, cause)))
            return
        self._task_history(call, f"{prefix}Succeeded", history.with_output(text))
        self.guard(branch, lambda: self.finish_with_result(branch, state, output))

    def _task_failed(self, call: TaskCall, kind: str, error: str | None, cause: str | None) -> None:
        self._task_over(call)
        names = {
            "lambda": {"start_failed": "LambdaFunctionStartFailed", "submit_failed": "LambdaFunctionFailed"},
            "activity": {"start_failed": "ActivityScheduleFailed", "submit_failed": "ActivityFailed"},
            "service": {"start_failed": "TaskStartFailed", "submit_failed": "TaskSubmitFailed"},
        }[call.kind]
        usual = {"lambda": "LambdaFunctionFailed", "activity": "ActivityFailed", "service": "TaskFailed"}[
            call.kind
        ]
        self._task_history(call, names.get(kind, usual), history.error_details(error, cause))
        self.guard(call.branch, _raiser(StateFailure(error, cause)))

    def task_timed_out(self, call: TaskCall) -> None:
        """Its TimeoutSeconds or HeartbeatSeconds passed."""
        self._task_started(call)
        self._task_over(call)
        self.effects.append(CancelTask(call.request, call.kind == "activity"))
        kind = {"lambda": "LambdaFunctionTimedOut", "activity": "ActivityTimedOut"}.get(
            call.kind, "TaskTimedOut"
        )
        self._task_history(call, kind, history.error_details(failures.TIMEOUT, None))
        self.guard(call.branch, _raiser(StateFailure(failures.TIMEOUT, None)))

    def _beat(self, call: TaskCall) -> None:
        seconds = call.request.heartbeat_seconds
        if seconds is not None:
            self.clear_timer(call.heartbeat_timer)
            call.heartbeat_timer = self.set_timer(self.now + seconds, lambda: self.task_timed_out(call))

    # ------------------------------------------------------------------------------------- Parallel and Map

    def begin_children(self, join: Join) -> None:
        """Start as many branches or iterations as may run at once."""
        limit = join.concurrency or len(join.results)
        while join.next_index < len(join.results) and len(join.children) < limit:
            self._begin_child(join, join.next_index, join.started_event)
            join.next_index += 1

    def _begin_child(self, join: Join, index: int, after: int) -> None:
        owner, state = join.owner, join.owner.state
        assert state is not None
        if join.kind == "Parallel":
            value = join.items[0]
            child = Branch(
                state.branches[index],
                value,
                None,
                owner.variables,
                join,
                index,
                owner.map_item,
                last_event=after,
            )
            if value is owner.value:
                child.text = owner.text
        else:
            item = {"Index": index, "Value": join.raw_items[index]}
            child = Branch(
                state.processor, join.items[index], None, owner.variables, join, index, item, last_event=after
            )
            self.emit(child, "MapIterationStarted", {"name": state.name, "index": index})
        join.children[index] = child
        self._begin_block(child)

    def _child_done(self, join: Join, child: Branch) -> None:
        del join.children[child.index]
        join.results[child.index] = child.value
        join.remaining -= 1
        owner, state = join.owner, join.owner.state
        assert state is not None
        owner.last_event = child.last_event
        if join.kind == "Map":
            done = self.emit(
                child, "MapIterationSucceeded", {"name": state.name, "index": child.index}, advance=False
            )
            if join.next_index < len(join.results):
                self._begin_child(join, join.next_index, child.last_event)
                join.next_index += 1
                return
            owner.last_event = done
        if join.remaining == 0:
            self.guard(owner, lambda: self.finish_join(join))

    def finish_join(self, join: Join) -> bool:
        """All branches ended well: the state succeeds."""
        owner, state = join.owner, join.owner.state
        assert state is not None
        self.emit(owner, f"{state.type}StateSucceeded", advance=False)
        return self.finish_with_result(owner, state, join.results)

    def _child_failed(self, join: Join, child: Branch, error: str | None, cause: str | None) -> None:
        state = join.owner.state
        assert state is not None
        join.owner.last_event = child.last_event
        if join.kind == "Map":
            self.emit(child, "MapIterationFailed", {"name": state.name, "index": child.index}, advance=False)
        for index in sorted(join.children):
            sibling = join.children[index]
            if sibling is not child:
                self._cancel_below(sibling, record=True)
        self.guard(join.owner, _raiser(StateFailure(error, cause)))

    def _join_failed(self, join: Join, failure: StateFailure) -> None:
        self.emit(join.owner, "MapRunFailed", history.error_details(failure.error, failure.cause))
        self.guard(join.owner, _raiser(failure))

    def _map_run_ended(self, join: Join, data: dict[str, Any]) -> None:
        if "result" not in data:
            self._join_failed(join, StateFailure(data["error"], data["cause"]))
            return

        def finish() -> bool:
            self.emit(join.owner, "MapRunSucceeded")
            join.results = data["result"]
            return self.finish_join(join)

        self.guard(join.owner, finish)

    # ------------------------------------------------------------------------------------- stopping, redriving

    def _cancel_below(self, branch: Branch, record: bool) -> None:
        """Stop what a branch waits for; ``record`` writes the Aborted events of a sibling that failed."""
        self.clear_timer(branch.timer)
        branch.timer = None
        branch.stopped = True
        if branch.task is not None:
            call = branch.task
            self._task_over(call)
            self.effects.append(CancelTask(call.request, call.kind == "activity"))
        join = branch.join
        if join is not None:
            for index in sorted(join.children):
                self._cancel_below(join.children[index], record)
            if join.map_run_arn is not None and self.map_runs.pop(join.key, None) is not None:
                self.effects.append(StopMapRun(join.map_run_arn))
                if record:
                    self.emit(branch, "MapRunAborted")
        if record and not branch.done and not branch.failed and branch.state is not None:
            if branch.entered_event and branch.state.type in ("Task", "Wait", "Parallel", "Map"):
                self.emit(branch, f"{branch.state.type}StateAborted")
            parent = branch.parent
            if parent is not None and parent.kind == "Map" and parent.owner.state is not None:
                details = {"name": parent.owner.state.name, "index": branch.index}
                self.emit(branch, "MapIterationAborted", details, advance=False)

    def _revive(self, branch: Branch) -> None:
        """After RedriveExecution: run again what failed or was stopped, keep what succeeded."""
        branch.failed = branch.stopped = False
        branch.last_event = self.event_count
        branch.attempts = []
        branch.retry_count = 0
        join = branch.join
        if join is None or (join.kind == "MapRun" and not join.launched):
            branch.join = None

            def again() -> None:
                if not branch.entered_event or self._attempt(branch):
                    self._walk(branch)

            self._ready.append(again)
            return
        if join.map_run_arn is not None:
            self.map_runs[join.key] = join
            self.emit(
                branch, "MapRunRedriven", {"mapRunArn": join.map_run_arn, "redriveCount": self.redrive_count}
            )
            self.effects.append(RedriveMapRun(join.map_run_arn))
            return
        for index in sorted(join.children):
            self._revive(join.children[index])

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
    """A fault of the interpreter ends the state, as States.Runtime, instead of leaving the execution hanging."""
    _log.exception("interpreting a state failed")
    return ProcessingFailure(f"Internal error: {type(error).__name__}: {error}")


def _raiser(failure: StateFailure) -> Callable[[], bool]:
    def fail() -> bool:
        raise failure

    return fail
