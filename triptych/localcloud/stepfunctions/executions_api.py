"""The API of executions: start, stop, redrive, describe, list, history; map runs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError
from triptych.localcloud.stepfunctions import history
from triptych.localcloud.stepfunctions.arns import Arns, check_name, parse_arn
from triptych.localcloud.stepfunctions.engine import DuplicateExecution, Engine
from triptych.localcloud.stepfunctions.facts import ABORTED, FAILED, RUNNING, SUCCEEDED, TIMED_OUT
from triptych.localcloud.stepfunctions.intrinsics import uuid_text
from triptych.localcloud.stepfunctions.journal import Journal, NewExecution
from triptych.localcloud.stepfunctions.jsontext import MAX_PAYLOAD_BYTES, decode, encode, size_bytes
from triptych.localcloud.stepfunctions.machines_api import MachinesApi, moment
from triptych.localcloud.stepfunctions.paging import finish, offset_of, page, size_of
from triptych.localcloud.stepfunctions.versions_api import VersionsApi

REDRIVABLE_SECONDS = 14 * 86_400
STATUSES = (RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED, "PENDING_REDRIVE")


class ExecutionsApi:
    """Operations on executions, by their AWS names in ``operations``."""

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        machines: MachinesApi,
        versions: VersionsApi,
        arns: Arns,
        clock: Callable[[], float],
        entropy: random.Random,
    ) -> None:
        self._journal = journal
        self._engine = engine
        self._machines = machines
        self._versions = versions
        self._arns = arns
        self._clock = clock
        self._entropy = entropy
        self.operations: dict[str, Operation] = {
            "StartExecution": self.start,
            "StartSyncExecution": self.start_sync,
            "StopExecution": self.stop,
            "RedriveExecution": self.redrive,
            "DescribeExecution": self.describe,
            "ListExecutions": self.list_executions,
            "GetExecutionHistory": self.history,
            "DescribeStateMachineForExecution": self.describe_machine,
            "ListMapRuns": self.list_map_runs,
            "DescribeMapRun": self.describe_map_run,
            "UpdateMapRun": self.update_map_run,
        }

    # ------------------------------------------------------------------------------------- starting

    def start(self, context: RequestContext, params: Params) -> Params:
        row, new, value = self._new(params)
        if row["type"] == "STANDARD":
            known = self._journal.execution(new.arn)
            if known is not None:
                return _started_before(known, new)
        try:
            self._engine.begin(new, value)
        except DuplicateExecution:
            known = self._journal.execution(new.arn)
            assert known is not None
            return _started_before(known, new)
        return {"executionArn": new.arn, "startDate": moment(new.start)}

    def start_sync(self, context: RequestContext, params: Params) -> Params:
        row, new, value = self._new(params)
        if row["type"] != "EXPRESS":
            raise ServiceError(
                "StateMachineTypeNotSupported",
                "This operation is not supported by this type of state machine",
            )
        ended = self._engine.begin(new, value, kept=False).result()
        stop = ended.now
        answer: Params = {
            "executionArn": new.arn,
            "stateMachineArn": row["arn"],
            "name": new.name,
            "startDate": moment(new.start),
            "stopDate": moment(stop),
            "status": ended.status,
            "input": new.input,
            "inputDetails": {"included": True},
            "billingDetails": {
                "billedMemoryUsedInMB": 64,
                "billedDurationInMilliseconds": max(1, -(-int((stop - new.start) * 1000) // 100)) * 100,
            },
        }
        if ended.output is not None:
            answer |= {"output": ended.output, "outputDetails": {"included": True}}
        return answer | {
            name: text for name, text in (("error", ended.error), ("cause", ended.cause)) if text
        }

    def _new(self, params: Params) -> tuple[sqlite3.Row, NewExecution, Any]:
        row, revision, version_arn, alias_arn = self._versions.target(params["stateMachineArn"])
        name = check_name(params["name"]) if params.get("name") else uuid_text(self._entropy)
        text = params.get("input", "{}")
        if size_bytes(text) > MAX_PAYLOAD_BYTES:
            raise ServiceError(
                "InvalidExecutionInput",
                f"Invalid State Machine Execution Input: 'The input is larger than {MAX_PAYLOAD_BYTES} "
                "bytes'",
            )
        try:
            value = decode(text)
        except ValueError as error:
            raise ServiceError(
                "InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'"
            ) from error
        arn = self._arns.of("execution", f"{row['name']}:{name}")
        if row["type"] == "EXPRESS":
            arn = self._arns.of("express", f"{row['name']}:{name}:{uuid_text(self._entropy)}")
        new = NewExecution(
            arn, name, row["arn"], row["name"], row["type"], revision, (),
            self._machines.revision(revision)["role_arn"], text, self._clock(),
            self._entropy.getrandbits(120),
            version_arn, alias_arn, params.get("traceHeader"),
        )  # fmt: skip
        return row, new, value

    def stop(self, context: RequestContext, params: Params) -> Params:
        row = self._row(params["executionArn"])
        self._engine.stop_execution(row["arn"], params.get("error"), params.get("cause"))
        stopped = self._row(row["arn"])
        return {"stopDate": moment(stopped["stop"] or self._clock())}

    # ------------------------------------------------------------------------------------- redrive

    def redrive(self, context: RequestContext, params: Params) -> Params:
        row = self._row(params["executionArn"])
        status, reason = self._redrivable(row)
        if status != "REDRIVABLE":
            raise ServiceError("ExecutionNotRedrivable", reason or "The execution cannot be redriven")
        return {"redriveDate": moment(self._engine.redrive(row["arn"]))}

    def _redrivable(self, row: sqlite3.Row) -> tuple[str, str | None]:
        """``redriveStatus`` and its reason."""
        status = row["status"]
        if status in (RUNNING, SUCCEEDED):
            return "NOT_REDRIVABLE", f"Execution is {status} and cannot be redriven"
        if row["type"] == "EXPRESS":
            return "NOT_REDRIVABLE", "Execution is EXPRESS and cannot be redriven"
        if row["stop"] is not None and self._clock() - row["stop"] > REDRIVABLE_SECONDS:
            return "NOT_REDRIVABLE", "Execution was started more than 14 days ago and cannot be redriven"
        if (row["last_event"] or 0) >= history.MAX_EVENTS - 1:
            return "NOT_REDRIVABLE", "Execution has reached the maximum number of history events"
        if row["map_run_arn"] is not None:
            return "REDRIVABLE_BY_MAP_RUN", None
        return "REDRIVABLE", None

    # ------------------------------------------------------------------------------------- reading

    def describe(self, context: RequestContext, params: Params) -> Params:
        row = self._row(params["executionArn"])
        return self.description(row)

    def description(self, row: sqlite3.Row) -> Params:
        """DescribeExecution's answer."""
        redrive_status, reason = self._redrivable(row)
        answer: Params = {
            "executionArn": row["arn"],
            "stateMachineArn": row["machine_arn"],
            "name": row["name"],
            "status": row["status"],
            "startDate": moment(row["start"]),
            "input": row["input"],
            "inputDetails": {"included": True},
            "redriveCount": row["redrive_count"],
            "redriveStatus": redrive_status,
        }
        optional = {
            "stopDate": moment(row["stop"]),
            "output": row["output"],
            "outputDetails": {"included": True} if row["output"] is not None else None,
            "error": row["error"],
            "cause": row["cause"],
            "traceHeader": row["trace_header"],
            "mapRunArn": row["map_run_arn"],
            "stateMachineVersionArn": row["version_arn"],
            "stateMachineAliasArn": row["alias_arn"],
            "redriveDate": moment(row["redrive_time"]),
            "redriveStatusReason": reason,
        }
        return answer | {name: value for name, value in optional.items() if value is not None}

    def list_executions(self, context: RequestContext, params: Params) -> Params:
        conditions, values = [], []
        given = [name for name in ("stateMachineArn", "mapRunArn") if params.get(name)]
        if len(given) != 1:
            raise ServiceError(
                "ValidationException", "Exactly one of stateMachineArn and mapRunArn is required"
            )
        if given[0] == "mapRunArn":
            self._map_run(params["mapRunArn"])
            conditions.append("map_run_arn = ? AND item_index IS NOT NULL")
            values.append(params["mapRunArn"])
        else:
            machine, _, version_arn, alias_arn = self._versions.target(params["stateMachineArn"])
            if machine["type"] == "EXPRESS":
                raise ServiceError(
                    "StateMachineTypeNotSupported",
                    "This operation is not supported by this type of state machine",
                )
            column = "alias_arn" if alias_arn else "version_arn" if version_arn else "machine_arn"
            conditions.append(f"{column} = ?")
            values.append(params["stateMachineArn"])
        if params.get("statusFilter"):
            if params["statusFilter"] not in STATUSES:
                raise ServiceError(
                    "ValidationException", f"statusFilter must be one of {', '.join(STATUSES)}"
                )
            conditions.append("status = ?")
            values.append(params["statusFilter"])
        if params.get("redriveFilter"):
            conditions.append(
                "redrive_count > 0" if params["redriveFilter"] == "REDRIVEN" else "redrive_count = 0"
            )
        where = " AND ".join(conditions)
        scope = encode(["executions", where, values])
        offset, size = offset_of(params, scope), size_of(params)
        rows = self._journal.all(
            f"SELECT * FROM executions WHERE {where} ORDER BY start DESC, seq DESC LIMIT ? OFFSET ?",
            *values, size + 1, offset,
        )  # fmt: skip
        executions = [_listed(row) for row in rows[:size]]
        return finish({"executions": executions}, scope, offset + size, offset + len(rows))

    def history(self, context: RequestContext, params: Params) -> Params:
        row = self._row(params["executionArn"])
        reverse = bool(params.get("reverseOrder"))
        scope = encode(["history", row["arn"], reverse])
        offset, size = offset_of(params, scope), size_of(params)
        last = self._journal.one("SELECT MAX(last) AS last FROM history WHERE execution = ?", row["seq"])
        total = last["last"] if last is not None and last["last"] else 0
        if reverse:
            # The token names the next event itself: meanwhile newer ones may have come.
            newest = offset or total
            events = self._journal.events(row["seq"], max(1, newest - size + 1), newest)[::-1]
            end, more = newest - size, newest > size
        else:
            events = self._journal.events(row["seq"], offset + 1, offset + size)
            end, more = offset + size, offset + size < total
        answer: Params = {"events": history.to_api(events, params.get("includeExecutionData", True))}
        return finish(answer, scope, end, end + more)

    def describe_machine(self, context: RequestContext, params: Params) -> Params:
        row = self._row(params["executionArn"])
        revision = self._machines.revision(row["revision"])
        definition = revision["definition"]
        pointer = decode(row["pointer"])
        if pointer:
            block: Any = decode(definition)
            for key in pointer:
                block = block[key]
            definition = encode(block)
        answer = {
            "stateMachineArn": row["version_arn"] or row["machine_arn"],
            "name": row["machine_name"],
            "definition": definition,
            "roleArn": row["role_arn"],
            "updateDate": moment(revision["created"]),
            "loggingConfiguration": {"level": "OFF", "includeExecutionData": False},
            "tracingConfiguration": {"enabled": False},
        }
        machine = self._machines.row(row["machine_arn"])
        if machine is not None:
            answer |= decode(machine["settings"])
        if revision["revision_id"] != "INITIAL":
            answer["revisionId"] = revision["revision_id"]
        if row["map_run_arn"] is not None:
            answer |= {"mapRunArn": row["map_run_arn"], "label": row["machine_name"].partition("/")[2]}
        return answer

    def _row(self, arn: Any) -> sqlite3.Row:
        parse_arn(arn, "execution", "express")
        row = self._journal.execution(arn)
        if row is None:
            raise ServiceError("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        return row

    # ------------------------------------------------------------------------------------- map runs

    def list_map_runs(self, context: RequestContext, params: Params) -> Params:
        row = self._row(params["executionArn"])
        runs = [
            {
                "executionArn": row["arn"],
                "mapRunArn": run["arn"],
                "stateMachineArn": f"{row['machine_arn']}/{run['label']}",
                "startDate": moment(run["start"]),
                **({"stopDate": moment(run["stop"])} if run["stop"] is not None else {}),
            }
            for run in self._journal.all(
                "SELECT * FROM map_runs WHERE execution = ? ORDER BY start DESC, arn", row["seq"]
            )
        ]
        return page(params, f"map runs {row['arn']}", runs, "mapRuns")

    def describe_map_run(self, context: RequestContext, params: Params) -> Params:
        run = self._map_run(params["mapRunArn"])
        executions = dict.fromkeys(("pending", "running", "succeeded", "failed", "timedOut", "aborted"), 0)
        items = dict(executions)
        names = {
            RUNNING: "running",
            SUCCEEDED: "succeeded",
            FAILED: "failed",
            TIMED_OUT: "timedOut",
            ABORTED: "aborted",
        }
        for child in self._journal.all(
            "SELECT status, COUNT(*) AS n, SUM(item_count) AS items FROM executions WHERE map_run_arn = ?"
            " AND item_index IS NOT NULL GROUP BY status",
            run["arn"],
        ):
            executions[names[child["status"]]] = child["n"]
            items[names[child["status"]]] = child["items"]
        planned = self._journal.one(
            "SELECT COUNT(*) AS n, COALESCE(SUM(items), 0) AS items FROM map_items WHERE map_run = ?",
            run["arn"],
        )
        assert planned is not None
        executions["pending"] = planned["n"] - sum(executions.values())
        items["pending"] = planned["items"] - sum(items.values())
        written = run["results_written"] or 0
        more = {"failuresNotRedrivable": 0, "pendingRedrive": 0}
        answer: Params = {
            "mapRunArn": run["arn"],
            "executionArn": run["execution_arn"],
            "status": run["status"],
            "startDate": moment(run["start"]),
            "maxConcurrency": run["max_concurrency"],
            "toleratedFailurePercentage": run["tolerated_percentage"] or 0.0,
            "toleratedFailureCount": run["tolerated_count"] or 0,
            "itemCounts": {
                **items, "total": planned["items"], "resultsWritten": items["succeeded"] * written, **more,
            },
            "executionCounts": {
                **executions, "total": planned["n"], "resultsWritten": executions["succeeded"] * written,
                **more,
            },
            "redriveCount": run["redrive_count"],
        }  # fmt: skip
        if run["stop"] is not None:
            answer["stopDate"] = moment(run["stop"])
        if run["redrive_time"] is not None:
            answer["redriveDate"] = moment(run["redrive_time"])
        return answer

    def update_map_run(self, context: RequestContext, params: Params) -> Params:
        run = self._map_run(params["mapRunArn"])
        limits = {
            "max_concurrency": params.get("maxConcurrency"),
            "tolerated_count": params.get("toleratedFailureCount"),
            "tolerated_percentage": params.get("toleratedFailurePercentage"),
        }
        given = {name: value for name, value in limits.items() if value is not None}
        if any(value < 0 for value in given.values()):
            raise ServiceError("ValidationException", "Limits of a map run must not be negative")
        self._engine.call(lambda: self._engine.change_map_run(run["arn"], given))
        return {}

    def _map_run(self, arn: Any) -> sqlite3.Row:
        parse_arn(arn, "mapRun")
        row = self._journal.one("SELECT * FROM map_runs WHERE arn = ?", arn)
        if row is None:
            raise ServiceError("ResourceNotFound", f"Resource not found: '{arn}'", resourceName=arn)
        return row


def _started_before(known: sqlite3.Row, new: NewExecution) -> Params:
    """The name is taken: the same running execution, or a refusal."""
    if known["status"] == RUNNING and known["input"] == new.input:
        return {"executionArn": known["arn"], "startDate": moment(known["start"])}
    raise ServiceError("ExecutionAlreadyExists", f"Execution Already Exists: '{new.arn}'")


def _listed(row: sqlite3.Row) -> Params:
    answer: Params = {
        "executionArn": row["arn"],
        "stateMachineArn": row["machine_arn"],
        "name": row["name"],
        "status": row["status"],
        "startDate": moment(row["start"]),
        "redriveCount": row["redrive_count"],
    }
    optional = {
        "stopDate": moment(row["stop"]),
        "mapRunArn": row["map_run_arn"],
        "itemCount": row["item_count"] if row["map_run_arn"] else None,
        "stateMachineVersionArn": row["version_arn"],
        "stateMachineAliasArn": row["alias_arn"],
        "redriveDate": moment(row["redrive_time"]),
    }
    return answer | {name: value for name, value in optional.items() if value is not None}
