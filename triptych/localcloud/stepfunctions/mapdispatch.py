"""The engine's side of Distributed Maps: reading items, starting children, gathering and writing results."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

from triptych.localcloud.stepfunctions import failures
from triptych.localcloud.stepfunctions.effects import ReadItems, StartMapRun
from triptych.localcloud.stepfunctions.facts import ABORTED, FAILED, RUNNING, SUCCEEDED
from triptych.localcloud.stepfunctions.intrinsics import uuid_text
from triptych.localcloud.stepfunctions.journal import Journal, NewExecution
from triptych.localcloud.stepfunctions.jsontext import decode, encode
from triptych.localcloud.stepfunctions.mapruns import MapRun
from triptych.localcloud.stepfunctions.tasks import ChildExecution, ResultsRequest, TaskError, TaskRunner
from triptych.localcloud.stepfunctions.timestamps import format_timestamp

_log = logging.getLogger(__name__)


class MapDispatch:
    """Part of the engine; everything here but the reading and writing threads runs in the engine's thread."""

    journal: Journal
    tasks: TaskRunner
    clock: Callable[[], float]
    entropy: random.Random
    region: str
    account_id: str

    def __init__(self) -> None:
        self.map_runs: dict[str, MapRun] = {}

    # given by Engine

    def post(self, action: Callable[[], Any]) -> None:
        raise NotImplementedError

    def _begin(self, new: NewExecution, value: Any) -> None:
        raise NotImplementedError

    def _tell(self, arn: str, kind: str, data: dict[str, Any], now: float | None = None) -> bool:
        raise NotImplementedError

    def _stop_execution(self, arn: str, error: str | None, cause: str | None) -> bool:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- items

    def read_items(self, arn: str, read: ReadItems) -> None:
        """Read a Map's items in a thread, then tell the execution."""

        def work() -> None:
            data: dict[str, Any] = {"key": read.key}
            try:
                items = []
                for item in self.tasks.read_items(read.request):
                    items.append(item)
                    if read.max_items is not None and len(items) >= read.max_items:
                        break
                data["items"] = items
                encode(items)
            except TaskError as error:
                data |= {"error": error.error, "cause": error.cause}
            except Exception as error:
                _log.exception("reading items for %s failed", arn)
                data |= {"error": failures.ITEM_READER_FAILED, "cause": f"{type(error).__name__}: {error}"}
            if "error" in data:
                data.pop("items", None)
            self.post(lambda: self._tell(arn, "items", data))

        threading.Thread(target=work, name="stepfunctions-items", daemon=True).start()

    # ------------------------------------------------------------------------------------- life of a map run

    def create_map_run(self, seq: int, execution_arn: str, effect: StartMapRun) -> None:
        self.journal.run(
            "INSERT INTO map_runs (arn, execution, execution_arn, join_key, label, pointer, express, "
            "status, start,"
            " max_concurrency, tolerated_count, tolerated_percentage, writer)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'RUNNING', ?, ?, ?, ?, ?)",
            effect.map_run_arn, seq, execution_arn, effect.key, effect.label, encode(list(effect.pointer)),
            int(effect.express), self.clock(), effect.max_concurrency, effect.tolerated_count,
            effect.tolerated_percentage, encode(effect.writer),
        )  # fmt: skip
        rows = [
            (effect.map_run_arn, index, encode(value), effect.item_counts[index])
            for index, value in enumerate(effect.inputs)
        ]
        self.journal.database.connection.executemany("INSERT INTO map_items VALUES (?, ?, ?, ?)", rows)
        run = MapRun(
            effect.map_run_arn, execution_arn, effect.key, effect.label, effect.express, len(effect.inputs),
            effect.max_concurrency, effect.tolerated_count, effect.tolerated_percentage, effect.writer,
            item_counts=effect.item_counts,
        )  # fmt: skip
        self.map_runs[run.arn] = run
        self.post(lambda: self._pump(run))

    def _pump(self, run: MapRun) -> None:
        """Start children while there is room; end the run when nothing is left."""
        if run.ending or self.map_runs.get(run.arn) is not run:
            return
        started = 0
        while run.room() and started < 64:
            index = run.take()
            if index is None:
                break
            self._start_child(run, index)
            started += 1
        if run.finished:
            self._settle(run)
        elif started == 64:
            self.post(lambda: self._pump(run))

    def _start_child(self, run: MapRun, index: int) -> None:
        row = self.journal.one(
            "SELECT r.pointer, e.machine_arn, e.machine_name, e.revision, e.role_arn, e.pointer AS "
            "parent, i.input,"
            " i.items FROM map_runs r JOIN executions e ON e.seq = r.execution"
            " JOIN map_items i ON i.map_run = r.arn AND i.item_index = ? WHERE r.arn = ?",
            index, run.arn,
        )  # fmt: skip
        assert row is not None
        existing = self.journal.one(
            "SELECT arn FROM executions WHERE map_run_arn = ? AND item_index = ?", run.arn, index
        )
        name = uuid_text(self.entropy)
        prefix, _, machine = row["machine_arn"].rpartition(":stateMachine:")
        machine = machine.partition("/")[0]
        kind = "express" if run.express else "execution"
        arn = f"{prefix}:{kind}:{machine}/{run.label}:{name}"
        if run.express:
            arn += f":{uuid_text(self.entropy)}"
        if existing is not None:
            # A redrive runs an item anew only when its child cannot be redriven itself (Express).
            self.journal.run("UPDATE executions SET item_index = NULL WHERE arn = ?", existing["arn"])
        run.running[index] = arn
        self._begin(
            NewExecution(
                arn, name, f"{prefix}:stateMachine:{machine}/{run.label}", f"{machine}/{run.label}",
                "EXPRESS" if run.express else "STANDARD", row["revision"], tuple(decode(row["pointer"])),
                row["role_arn"], row["input"], self.clock(), self.entropy.getrandbits(120),
                map_run_arn=run.arn, item_index=index, item_count=row["items"],
            ),
            decode(row["input"]),
        )  # fmt: skip

    def child_ended(self, map_run_arn: str, index: int, items: int, status: str) -> None:
        """A child of a map run reached its last status (called within the same transaction)."""
        run = self.map_runs.get(map_run_arn)
        if run is None:
            return
        run.running.pop(index, None)
        if status == SUCCEEDED:
            run.succeeded += 1
        else:
            run.failed += 1
            run.failed_items += items
        if run.ending:
            return
        if run.intolerable:
            self._exceeded(run)
        elif run.finished or run.room():
            self.post(lambda: self._pump(run))

    def _exceeded(self, run: MapRun) -> None:
        run.ending = True
        for arn in list(run.running.values()):
            self.post(_stopper(self, arn))
        data = {
            "error": failures.TOLERANCE,
            "cause": "The specified tolerated failure threshold was exceeded",
        }
        if run.writer is not None:
            self._write_results(run, lambda details: self._close(run, FAILED, data))
        else:
            self._close(run, FAILED, data)

    def _settle(self, run: MapRun) -> None:
        """Every child has ended and few enough failed."""
        run.ending = True
        if run.writer is not None:
            self._write_results(
                run,
                lambda details: self._close(
                    run, SUCCEEDED, {"result": {"MapRunArn": run.arn, "ResultWriterDetails": details}}
                ),
            )
            return
        rows = self.journal.all(
            "SELECT status, output, error, cause FROM executions WHERE map_run_arn = ? AND item_index "
            "IS NOT NULL"
            " ORDER BY item_index",
            run.arn,
        )
        results = [
            decode(row["output"])
            if row["status"] == SUCCEEDED
            else {"Error": row["error"] or "", "Cause": row["cause"] or ""}
            for row in rows
        ]
        self._close(run, SUCCEEDED, {"result": results})

    def _close(self, run: MapRun, status: str, data: dict[str, Any]) -> None:
        self.journal.run(
            "UPDATE map_runs SET status = ?, stop = ?, results_written = ? WHERE arn = ?",
            status, self.clock(), int(run.writer is not None), run.arn,
        )  # fmt: skip
        self.map_runs.pop(run.arn, None)
        self._tell(run.execution_arn, "map_run", {"key": run.join_key, **data})

    def _write_results(self, run: MapRun, then: Callable[[dict[str, Any]], None]) -> None:
        """Have the result files written in a thread, then go on in the engine's."""
        row = self.journal.one("SELECT role_arn FROM executions WHERE arn = ?", run.execution_arn)
        writer = run.writer
        assert row is not None
        assert writer is not None
        role_arn = row["role_arn"]
        # Read here: the last child's end is not committed yet, another thread would not see it.
        children = self.children(run.arn)

        def work() -> None:
            try:
                request = ResultsRequest(
                    run.execution_arn, self.region, self.account_id, role_arn, run.arn,
                    writer["bucket"] or "",
                    writer["prefix"] or "", writer["config"], *children,
                )  # fmt: skip
                details = self.tasks.write_results(request)
                self.post(lambda: then(details))
            except TaskError as problem:
                failure = {"error": problem.error, "cause": problem.cause}
                self.post(lambda: self._close(run, FAILED, failure))
            except Exception as problem:
                _log.exception("writing the results of %s failed", run.arn)
                cause = f"{type(problem).__name__}: {problem}"
                self.post(
                    lambda: self._close(run, FAILED, {"error": failures.RESULT_WRITER_FAILED, "cause": cause})
                )

        threading.Thread(target=work, name="stepfunctions-results", daemon=True).start()

    def children(
        self, map_run_arn: str
    ) -> tuple[tuple[ChildExecution, ...], tuple[ChildExecution, ...], tuple[ChildExecution, ...]]:
        """The children of a map run for its ResultWriter: succeeded, failed, pending."""
        rows = self.journal.all(
            "SELECT * FROM executions WHERE map_run_arn = ? AND item_index IS NOT NULL ORDER BY item_index",
            map_run_arn,
        )
        groups: dict[str, list[ChildExecution]] = {"succeeded": [], "failed": [], "pending": []}
        begun = set()
        for row in rows:
            begun.add(row["item_index"])
            ended_well = row["status"] == SUCCEEDED
            group = "succeeded" if ended_well else "pending" if row["status"] == RUNNING else "failed"
            groups[group].append(
                ChildExecution(
                    row["arn"], row["name"], row["machine_arn"], row["status"], row["input"], row["output"],
                    row["error"], row["cause"], format_timestamp(row["start"]),
                    format_timestamp(row["stop"]) if row["stop"] is not None else None, row["redrive_count"],
                    "NOT_REDRIVABLE" if ended_well else "REDRIVABLE_BY_MAP_RUN",
                    "Execution is SUCCEEDED and cannot be redriven" if ended_well else None,
                )
            )  # fmt: skip
        for row in self.journal.all(
            "SELECT * FROM map_items WHERE map_run = ? ORDER BY item_index", map_run_arn
        ):
            if row["item_index"] not in begun:
                groups["pending"].append(ChildExecution("", "", "", "PENDING", row["input"], None))
        return tuple(groups["succeeded"]), tuple(groups["failed"]), tuple(groups["pending"])

    def abort_map_run(self, map_run_arn: str) -> None:
        """The parent was stopped, or a sibling of it failed."""
        run = self.map_runs.pop(map_run_arn, None)
        self.journal.run(
            "UPDATE map_runs SET status = ?, stop = ? WHERE arn = ? AND status = 'RUNNING'",
            ABORTED, self.clock(), map_run_arn,
        )  # fmt: skip
        if run is not None:
            run.ending = True
            for arn in list(run.running.values()):
                self.post(_stopper(self, arn))

    def redrive_map_run(self, map_run_arn: str) -> None:
        """The parent is redriven: run again what did not succeed, and what never began."""
        self.journal.run(
            "UPDATE map_runs SET status = 'RUNNING', stop = NULL, redrive_count = redrive_count + 1, "
            "redrive_time = ?"
            " WHERE arn = ?",
            self.clock(), map_run_arn,
        )  # fmt: skip
        run = self._rebuilt(map_run_arn)
        run.failed = run.failed_items = 0
        for row in self.journal.all(
            "SELECT arn, item_index, status, type FROM executions WHERE map_run_arn = ? AND item_index "
            "IS NOT NULL",
            map_run_arn,
        ):
            if row["status"] not in (SUCCEEDED, RUNNING):
                if row["type"] == "EXPRESS":
                    run.waiting.append(row["item_index"])
                else:
                    run.running[row["item_index"]] = row["arn"]
                    self.post(_redriver(self, row["arn"]))
        self.map_runs[map_run_arn] = run
        self.post(lambda: self._pump(run))

    def _redrive(self, arn: str) -> float:
        raise NotImplementedError

    def _rebuilt(self, map_run_arn: str) -> MapRun:
        row = self.journal.one("SELECT * FROM map_runs WHERE arn = ?", map_run_arn)
        assert row is not None
        counts = [
            item["items"]
            for item in self.journal.all(
                "SELECT items FROM map_items WHERE map_run = ? ORDER BY item_index", map_run_arn
            )
        ]
        run = MapRun(
            row["arn"], row["execution_arn"], row["join_key"], row["label"], bool(row["express"]),
            len(counts),
            row["max_concurrency"], row["tolerated_count"], row["tolerated_percentage"],
            decode(row["writer"]),
            item_counts=counts,
        )  # fmt: skip
        for child in self.journal.all(
            "SELECT arn, item_index, item_count, status FROM executions WHERE map_run_arn = ?"
            " AND item_index IS NOT NULL",
            map_run_arn,
        ):
            run.next_index = max(run.next_index, child["item_index"] + 1)
            if child["status"] == RUNNING:
                run.running[child["item_index"]] = child["arn"]
            elif child["status"] == SUCCEEDED:
                run.succeeded += 1
            else:
                run.failed += 1
                run.failed_items += child["item_count"]
        return run

    def change_map_run(self, map_run_arn: str, limits: dict[str, Any]) -> None:
        """UpdateMapRun: new limits (by column name), from now on."""
        for column, value in limits.items():
            self.journal.run(f"UPDATE map_runs SET {column} = ? WHERE arn = ?", value, map_run_arn)
        run = self.map_runs.get(map_run_arn)
        if run is not None:
            for column, value in limits.items():
                setattr(run, column, value)
            self.post(lambda: self._pump(run))

    def recover_map_runs(self) -> None:
        """After a restart: go on with every map run that was under way."""
        for row in self.journal.all("SELECT arn FROM map_runs WHERE status = 'RUNNING'"):
            if row["arn"] in self.map_runs:
                continue
            run = self._rebuilt(row["arn"])
            self.map_runs[run.arn] = run
            if run.intolerable:
                self._exceeded(run)
            else:
                self.post(lambda run=run: self._pump(run))  # type: ignore[misc]


def _stopper(dispatch: MapDispatch, arn: str) -> Callable[[], Any]:
    return lambda: dispatch._stop_execution(arn, None, None)


def _redriver(dispatch: MapDispatch, arn: str) -> Callable[[], Any]:
    return lambda: dispatch._redrive(arn)
