"""After a restart, or a transaction that was lost: executions rebuilt from the journal, and gone on with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from triptych.localcloud.stepfunctions import failures
from triptych.localcloud.stepfunctions.activities import Activities
from triptych.localcloud.stepfunctions.commands import Sink
from triptych.localcloud.stepfunctions.effects import ReadItems
from triptych.localcloud.stepfunctions.facts import FAILED, RUNNING
from triptych.localcloud.stepfunctions.interpreter import Interpreter
from triptych.localcloud.stepfunctions.journal import NewExecution
from triptych.localcloud.stepfunctions.jsontext import decode
from triptych.localcloud.stepfunctions.live import Live, apply
from triptych.localcloud.stepfunctions.mapdispatch import MapDispatch
from triptych.localcloud.stepfunctions.tasks import TaskRequest

_log = logging.getLogger(__name__)


class Recovery(MapDispatch):
    """The part of the engine that finds executions again."""

    live: dict[str, Live]
    sink: Sink
    activities: Activities
    _after: list[Callable[[], None]]

    # given by Engine

    def _interpreter(self, new: NewExecution, value: Any) -> Interpreter:
        raise NotImplementedError

    def _schedule(self, due: float, arn: str, key: int) -> None:
        raise NotImplementedError

    def _announce(self, arn: str, status: str) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- recovery

    def _recover(self) -> list[Callable[[], None]]:
        """Rebuild running executions from the journal; returns what there is to do once the thread runs."""
        actions: list[Callable[[], None]] = []
        arns = [row["arn"] for row in self.journal.running()]
        for arn in arns:
            actions += self._resume(arn)
        actions.append(lambda: self.post(self.recover_map_runs))
        return actions

    def _restore(self, arns: set[str]) -> None:
        for arn in arns:
            row = self.journal.execution(arn)
            if row is not None and row["status"] == RUNNING and arn not in self.live:
                self._resume(arn)
        self.recover_map_runs()

    def _resume(self, arn: str) -> list[Callable[[], None]]:
        """Bring one running execution back; returns what must happen for its tasks."""
        try:
            live = self._load(arn)
        except Exception as error:
            _log.exception("execution %s cannot be resumed", arn)
            why = str(error)
            self.post(lambda: self._give_up(arn, why))
            return []
        if live.interpreter.status != RUNNING:
            self.post(lambda: self._give_up(arn, "its journal says that it has ended"))
            return []
        self.live[arn] = live
        interpreter = live.interpreter
        for key, (due, _) in interpreter.timers.items():
            self._schedule(due, arn, key)
        actions: list[Callable[[], None]] = []
        for call in list(interpreter.tasks.values()):
            submitted = call.submitted if call.has_submitted else None
            if call.kind == "activity":
                if not call.started:
                    self.activities.add(call.request)
            else:
                actions.append(_recovery(self, call.request, submitted))
        for read in list(interpreter.reads.values()):
            actions.append(_reading(self, arn, read))
        return actions

    def _load(self, arn: str) -> Live:
        """An execution rebuilt by running its inputs again; nothing is written and nothing takes effect."""
        row = self.journal.execution(arn)
        if row is None:
            raise LookupError(f"no execution {arn}")
        new = NewExecution(
            arn, row["name"], row["machine_arn"], row["machine_name"], row["type"], row["revision"],
            tuple(decode(row["pointer"])), row["role_arn"], row["input"], row["start"], int(row["seed"]),
            row["version_arn"], row["alias_arn"], row["trace_header"], row["map_run_arn"], row["item_index"],
            row["item_count"],
        )  # fmt: skip
        interpreter = self._interpreter(new, decode(row["input"]))
        inputs = self.journal.inputs(row["seq"])
        interpreter.begin()
        for happened in inputs:
            apply(interpreter, happened)
        kept = self.journal.one("SELECT MAX(last) AS last FROM history WHERE execution = ?", row["seq"])
        if kept is not None and kept["last"] != interpreter.event_count:
            raise RuntimeError(
                f"the journal holds {kept['last']} events, but its inputs give {interpreter.event_count}: "
                "was it written by another version?"
            )
        interpreter.events.clear()
        interpreter.effects.clear()
        live = Live(row["seq"], interpreter, True, len(inputs), row["map_run_arn"])
        live.item_index, live.item_count = row["item_index"] or 0, row["item_count"] or 1
        return live

    def _give_up(self, arn: str, why: str) -> None:
        self.journal.run(
            "UPDATE executions SET status = ?, error = ?, cause = ?, stop = ? WHERE arn = ? AND status = ?",
            FAILED, failures.RUNTIME, f"The execution could not be resumed: {why}", self.clock(), arn,
            RUNNING,
        )  # fmt: skip
        self._announce(arn, FAILED)


def _recovery(engine: Recovery, request: TaskRequest, submitted: Any) -> Callable[[], None]:
    def recover() -> None:
        try:
            engine.tasks.recover(request, submitted, engine.sink)
        except Exception as error:
            _log.exception("recovering %s failed", request.resource)
            engine.sink.failed(
                request.task_id, failures.TASK_FAILED, f"The task could not be recovered: {error}"
            )

    return recover


def _reading(engine: Recovery, arn: str, read: ReadItems) -> Callable[[], None]:
    return lambda: engine.read_items(arn, read)
