"""The durable engine: one thread owns every execution; what happens is journalled, and then takes effect.

Requests, task answers and timers become commands in a queue. The engine's thread takes what has gathered,
runs the interpreters, commits all of it in one transaction, and only then starts tasks, answers callers and
tells the bus.
"""

from __future__ import annotations

import heapq
import logging
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from triptych.localcloud.stepfunctions import failures
from triptych.localcloud.stepfunctions.activities import Activities
from triptych.localcloud.stepfunctions.commands import Command, Sink
from triptych.localcloud.stepfunctions.definition import Program
from triptych.localcloud.stepfunctions.effects import (
    CancelTask,
    Effect,
    Ended,
    ReadItems,
    RedriveMapRun,
    SetTimer,
    StartMapRun,
    StartTask,
    StopMapRun,
)
from triptych.localcloud.stepfunctions.facts import RUNNING, Facts
from triptych.localcloud.stepfunctions.interpreter import Interpreter
from triptych.localcloud.stepfunctions.journal import Input, Journal, NewExecution
from triptych.localcloud.stepfunctions.jsontext import decode
from triptych.localcloud.stepfunctions.live import Live, apply
from triptych.localcloud.stepfunctions.recovery import Recovery
from triptych.localcloud.stepfunctions.tasks import TaskError, TaskRequest, TaskRunner

_log = logging.getLogger(__name__)

MAX_EXPRESS_SECONDS = 300.0
MAX_BATCH = 256
"""commands in one transaction"""
RETRY_AFTER_SECONDS = 0.5
"""when the journal cannot be written (disk full, locked by another process)"""


class EngineUnavailable(Exception):
    """The journal could not be written; nothing of the request has taken effect."""


class DuplicateExecution(Exception):
    """An execution of this ARN exists already."""


class Clock(Protocol):
    """The engine's time: seconds since the epoch."""

    def __call__(self) -> float: ...


@dataclass(frozen=True)
class Finished:
    """Told to the engine's listener after the commit: an execution began or ended."""

    arn: str
    status: str


Listener = Callable[[Finished], None]


class Engine(Recovery):
    """Runs executions. Methods may be called from any thread; what changes something waits for the commit.

    ``listener`` is called in the engine's thread after each start and end; it must be quick.
    """

    def __init__(
        self,
        journal: Journal,
        tasks: TaskRunner,
        *,
        region: str,
        account_id: str,
        partition: str = "aws",
        clock: Clock = time.time,
        entropy: random.Random | None = None,
        listener: Listener = lambda finished: None,
    ) -> None:
        super().__init__()
        self.journal = journal
        self.tasks = tasks
        self.region, self.account_id, self.partition = region, account_id, partition
        self.clock = clock
        self.entropy: random.Random = entropy or random.SystemRandom()
        self.listener = listener
        self.activities = Activities()
        self.sink = Sink(self.post, self._task_event)
        self.live: dict[str, Live] = {}
        self._programs: dict[int, Program] = {}
        self._condition = threading.Condition()
        self._queue: deque[Command] = deque()
        self._timers: list[tuple[float, int, str, int]] = []
        self._timer_number = 0
        self._after: list[Callable[[], None]] = []
        self._touched: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopping = False

    # ------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Rebuild what was running and go on with it."""
        self._stopping = False
        recovered = self._recover()
        self._thread = threading.Thread(target=self._loop, name="stepfunctions-engine", daemon=True)
        self._thread.start()
        for action in recovered:
            action()

    def stop(self) -> None:
        """Stop the thread; executions stay where they are until the next ``start``."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)
        self._thread = None
        self.activities.close()

    # ------------------------------------------------------------------------------------- requests

    def begin(self, new: NewExecution, value: Any, *, kept: bool = True) -> Future[Interpreter]:
        """Start an execution; returns when its start is kept. The future is for those who wait for its
        end.
        """
        ended: Future[Interpreter] = Future()
        self.call(lambda: self._begin(new, value, kept, ended))
        return ended

    def stop_execution(self, arn: str, error: str | None, cause: str | None) -> bool:
        """Abort a running execution; ``False`` when it does not run."""
        return bool(self.call(lambda: self._stop_execution(arn, error, cause)))

    def redrive(self, arn: str) -> float:
        """Run a failed execution on; returns the time. The caller has checked that it may be."""
        return float(self.call(lambda: self._redrive(arn)))

    def task_event(self, arn: str, task_id: str, kind: str, data: dict[str, Any]) -> bool:
        """Tell an execution what became of its task, and wait until that is kept."""
        return bool(self.call(lambda: self._task_event(arn, task_id, kind, data)))

    def token_of(self, arn: str, task_id: str) -> str | None:
        """The task's token, while the task is waiting."""
        live = self.live.get(arn)
        call = live.interpreter.tasks.get(task_id) if live is not None else None
        return call.request.task_token if call is not None else None

    def call(self, action: Callable[[], Any]) -> Any:
        """Run an action in the engine's thread and return its result once it is kept."""
        command = Command(action, Future())
        if threading.current_thread() is self._thread:
            # A task runner or listener calls back while effects are carried out: no transaction is open now.
            self._process([command])
        else:
            self._enqueue(command)
        assert command.future is not None
        return command.future.result()

    def post(self, action: Callable[[], Any]) -> None:
        """Run an action in the engine's thread some time; it survives a journal that cannot be written for
        a while.
        """
        self._enqueue(Command(action, None))

    def _enqueue(self, command: Command) -> None:
        with self._condition:
            if self._stopping and command.future is not None:
                raise EngineUnavailable("the Step Functions engine is stopping")
            self._queue.append(command)
            self._condition.notify()

    # ------------------------------------------------------------------------------------- the thread

    def _loop(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._stopping:
                    wait = self._timers[0][0] - self.clock() if self._timers else None
                    if wait is not None and wait <= 0:
                        break
                    # A cap, so that a clock that jumps is noticed.
                    self._condition.wait(None if wait is None else min(wait, 5.0))
                stopping = self._stopping
            self.work()
            if stopping:
                # What gathered after this is told again by the tasks' recovery at the next start.
                return

    def work(self) -> int:
        """Do what is due now: queued commands and timers. Returns how many there were."""
        batch: list[Command] = []
        with self._condition:
            while self._queue and len(batch) < MAX_BATCH:
                batch.append(self._queue.popleft())
        now = self.clock()
        while self._timers and self._timers[0][0] <= now and len(batch) < 2 * MAX_BATCH:
            due, _, arn, key = heapq.heappop(self._timers)
            batch.append(Command(self._timer_action(arn, key, max(due, now)), None))
        if batch:
            self._process(batch)
        return len(batch)

    @property
    def next_due(self) -> float | None:
        """When the next timer is due."""
        return self._timers[0][0] if self._timers else None

    def _timer_action(self, arn: str, key: int, now: float) -> Callable[[], Any]:
        return lambda: self._tell(arn, "timer", {"key": key}, now)

    def _process(self, batch: list[Command]) -> None:
        try:
            with self.journal.write():
                for command in batch:
                    command.run()
        except (sqlite3.Error, OSError) as error:
            self._lost(batch, error)
            return
        after, self._after = self._after, []
        self._touched.clear()
        for command in batch:
            command.resolve()
        for action in after:
            try:
                action()
            except Exception:
                _log.exception("an effect of Step Functions failed")

    def _lost(self, batch: list[Command], error: Exception) -> None:
        """The transaction was rolled back: forget what memory says, and try again what nobody can repeat."""
        _log.error("Step Functions journal %s: %s; trying again", self.journal.database.path, error)
        self._after.clear()
        self.map_runs.clear()
        for arn in self._touched:
            dropped = self.live.pop(arn, None)
            if dropped is not None and dropped.waiter is not None and not dropped.kept:
                dropped.waiter.set_exception(EngineUnavailable(f"the journal cannot be written: {error}"))
        touched, self._touched = self._touched, set()
        again = []
        for command in batch:
            if command.future is not None:
                command.future.set_exception(EngineUnavailable(f"the journal cannot be written: {error}"))
            else:
                again.append(command)

        def restore() -> None:
            try:
                self._restore(touched)
            except sqlite3.Error:
                self._later(restore)
                return
            with self._condition:
                self._queue.extendleft(reversed(again))
                self._condition.notify()

        self._later(restore)

    def _later(self, action: Callable[[], None]) -> None:
        def enqueue() -> None:
            self.post(action)

        timer = threading.Timer(RETRY_AFTER_SECONDS, enqueue)
        timer.daemon = True
        timer.start()

    # --------------------------------------------------------------------- within a transaction

    def _begin(
        self, new: NewExecution, value: Any, kept: bool = True, ended: Future[Interpreter] | None = None
    ) -> None:
        if kept and self.journal.execution(new.arn) is not None:
            raise DuplicateExecution(new.arn)
        seq = self.journal.add_execution(new) if kept else 0
        self._touched.add(new.arn)
        interpreter = self._interpreter(new, value)
        live = Live(seq, interpreter, kept, map_run_arn=new.map_run_arn, waiter=ended)
        live.item_index, live.item_count = new.item_index or 0, new.item_count or 1
        self.live[new.arn] = live
        if kept:
            self._announce(new.arn, RUNNING)
        interpreter.begin()
        self._flush(live)

    def _interpreter(self, new: NewExecution, value: Any) -> Interpreter:
        program = self.program(new.revision)
        facts = Facts(
            new.arn, new.name, new.machine_arn, new.machine_name, new.role_arn, self.region, self.account_id,
            self.partition, new.input, new.start, new.seed, new.type == "EXPRESS",
            None if new.pointer else program.timeout_seconds, new.version_arn, new.alias_arn,
        )  # fmt: skip
        if new.type == "EXPRESS" and facts.timeout_seconds is None:
            facts = replace(facts, timeout_seconds=MAX_EXPRESS_SECONDS)
        return Interpreter(program.block(new.pointer), facts, value)

    def program(self, revision: int) -> Program:
        """The compiled definition of a revision."""
        found = self._programs.get(revision)
        if found is None:
            row = self.journal.one("SELECT definition FROM revisions WHERE id = ?", revision)
            assert row is not None
            if len(self._programs) > 200:
                self._programs.clear()
            found = self._programs[revision] = Program(decode(row["definition"]))
        return found

    def _tell(self, arn: str, kind: str, data: dict[str, Any], now: float | None = None) -> bool:
        """Give an execution an input: interpreted, journalled, its effects noted."""
        live = self.live.get(arn)
        if live is None:
            return False
        self._touched.add(arn)
        happened = Input(self.clock() if now is None else now, kind, data)
        if not apply(live.interpreter, happened):
            return False
        if live.kept:
            live.inputs += 1
            self.journal.add_input(live.seq, live.inputs, happened)
        self._flush(live)
        return True

    def _task_event(self, arn: str, task_id: str, kind: str, data: dict[str, Any]) -> bool:
        return self._tell(arn, "task", {"id": task_id, "kind": kind, **data})

    def _stop_execution(self, arn: str, error: str | None, cause: str | None) -> bool:
        return self._tell(arn, "stop", {"error": error, "cause": cause})

    def _redrive(self, arn: str) -> float:
        live = self.live.get(arn) or self._load(arn)
        self.live[arn] = live
        now = self.clock()
        self._tell(arn, "redrive", {}, now)
        # The status in the row follows the interpreter, unless the redriven part has ended already.
        status = live.interpreter.status
        self.journal.run(
            "UPDATE executions SET status = ?, redrive_count = ?, redrive_time = ? WHERE arn = ?",
            status, live.interpreter.redrive_count, now, arn,
        )  # fmt: skip
        if status == RUNNING:
            self.journal.run(
                "UPDATE executions SET stop = NULL, error = NULL, cause = NULL WHERE arn = ?", arn
            )
        self._announce(arn, RUNNING)
        return now

    def _flush(self, live: Live) -> None:
        """Journal new events and take over the effects."""
        interpreter = live.interpreter
        if interpreter.events:
            if live.kept:
                self.journal.add_events(live.seq, interpreter.events)
            interpreter.events = []
        if interpreter.effects:
            effects, interpreter.effects = interpreter.effects, []
            for effect in effects:
                self._take_over(live, effect)

    def _take_over(self, live: Live, effect: Effect) -> None:
        arn = live.interpreter.facts.arn
        match effect:
            case SetTimer(key, due):
                self._schedule(due, arn, key)
            case StartTask(request, activity):
                self._after.append(lambda: self._start_task(request, activity))
            case CancelTask(request, activity):
                self._after.append(lambda: self._cancel_task(request, activity))
            case ReadItems():
                self._after.append(lambda: self.read_items(arn, effect))
            case StartMapRun():
                self.create_map_run(live.seq, arn, effect)
            case StopMapRun(map_run_arn):
                self.abort_map_run(map_run_arn)
            case RedriveMapRun(map_run_arn):
                self.redrive_map_run(map_run_arn)
            case Ended(status, output, error, cause):
                self._ended(live, status, output, error, cause)

    def _ended(
        self, live: Live, status: str, output: str | None, error: str | None, cause: str | None
    ) -> None:
        arn = live.interpreter.facts.arn
        self.live.pop(arn, None)
        if live.kept:
            self.journal.run(
                "UPDATE executions SET status = ?, output = ?, error = ?, cause = ?, stop = ?, last_event = ?"
                " WHERE seq = ?",
                status, output, error, cause, live.interpreter.now, live.interpreter.event_count, live.seq,
            )  # fmt: skip
            self._announce(arn, status)
        if live.map_run_arn is not None:
            self.child_ended(live.map_run_arn, live.item_index, live.item_count, status)
        waiter = live.waiter
        if waiter is not None:
            self._after.append(lambda: waiter.set_result(live.interpreter))

    def _schedule(self, due: float, arn: str, key: int) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, arn, key))

    def _announce(self, arn: str, status: str) -> None:
        """Tell the listener once the transaction is committed."""
        self._after.append(lambda: self.listener(Finished(arn, status)))

    # ------------------------------------------------------------------------------------- effects

    def _start_task(self, request: TaskRequest, activity: bool) -> None:
        if activity:
            self.activities.add(request)
            return
        try:
            self.tasks.start(request, self.sink)
        except TaskError as error:
            if error.error == failures.RUNTIME:
                self.sink.rejected(request.task_id, error.cause)
            else:
                self.sink.failed(request.task_id, error.error, error.cause)
        except Exception as error:
            _log.exception("starting %s failed", request.resource)
            self.sink.failed(request.task_id, failures.RUNTIME, f"{type(error).__name__}: {error}")

    def _cancel_task(self, request: TaskRequest, activity: bool) -> None:
        if activity:
            self.activities.remove(request)
        else:
            self.tasks.cancel(request)
