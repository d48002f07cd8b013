"""The API of task tokens and activities."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError
from triptych.localcloud.stepfunctions.arns import Arns, check_name, parse_arn
from triptych.localcloud.stepfunctions.engine import Engine
from triptych.localcloud.stepfunctions.journal import Journal
from triptych.localcloud.stepfunctions.jsontext import MAX_PAYLOAD_BYTES, decode, encode, size_bytes
from triptych.localcloud.stepfunctions.machines_api import moment
from triptych.localcloud.stepfunctions.paging import page

POLL_SECONDS = 60.0
"""how long GetActivityTask waits for a task, as on AWS"""


class TasksApi:
    """Operations for those who do tasks, by their AWS names in ``operations``."""

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        arns: Arns,
        clock: Callable[[], float],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._journal = journal
        self._engine = engine
        self._arns = arns
        self._clock = clock
        self._poll_seconds = poll_seconds
        self.operations: dict[str, Operation] = {
            "SendTaskSuccess": self.succeed,
            "SendTaskFailure": self.fail,
            "SendTaskHeartbeat": self.beat,
            "CreateActivity": self.create_activity,
            "DescribeActivity": self.describe_activity,
            "ListActivities": self.list_activities,
            "DeleteActivity": self.delete_activity,
            "GetActivityTask": self.take_task,
        }

    # ------------------------------------------------------------------------------------- tokens

    def succeed(self, context: RequestContext, params: Params) -> Params:
        if size_bytes(params["output"]) > MAX_PAYLOAD_BYTES:
            raise ServiceError("InvalidOutput", f"Invalid Output: 'larger than {MAX_PAYLOAD_BYTES} bytes'")
        try:
            output = decode(params["output"])
        except ValueError as error:
            raise ServiceError("InvalidOutput", f"Invalid Output: '{error}'") from error
        return self._tell(params["taskToken"], "succeeded", {"output": output})

    def fail(self, context: RequestContext, params: Params) -> Params:
        return self._tell(
            params["taskToken"], "failed", {"error": params.get("error"), "cause": params.get("cause")}
        )

    def beat(self, context: RequestContext, params: Params) -> Params:
        return self._tell(params["taskToken"], "heartbeat", {})

    def _tell(self, token: str, kind: str, data: dict[str, Any]) -> Params:
        try:
            task_id, nonce = decode(base64.urlsafe_b64decode(token.encode()).decode())
            arn = task_id.rpartition("#")[0]
            known = isinstance(nonce, str) and self._journal.execution(arn) is not None
        except (ValueError, TypeError, AttributeError, binascii.Error):
            known = False
        if not known:
            raise ServiceError("InvalidToken", "Invalid Token: 'Invalid token'")
        waiting = self._engine.token_of(arn, task_id)
        if waiting is not None and waiting != token:
            raise ServiceError("InvalidToken", "Invalid Token: 'Invalid token'")
        if waiting is None or not self._engine.task_event(arn, task_id, kind, data):
            raise ServiceError("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
        return {}

    # ------------------------------------------------------------------------------------- activities

    def create_activity(self, context: RequestContext, params: Params) -> Params:
        arn = self._arns.of("activity", check_name(params["name"]))
        with self._journal.write():
            row = self._journal.one("SELECT created FROM activities WHERE arn = ?", arn)
            created = row["created"] if row is not None else self._clock()
            if row is None:
                self._journal.run("INSERT INTO activities VALUES (?, ?, ?)", arn, params["name"], created)
                for tag in params.get("tags", []):
                    self._journal.run(
                        "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", arn, tag["key"], tag["value"]
                    )
        return {"activityArn": arn, "creationDate": moment(created)}

    def describe_activity(self, context: RequestContext, params: Params) -> Params:
        row = self._activity(params["activityArn"])
        return {"activityArn": row["arn"], "name": row["name"], "creationDate": moment(row["created"])}

    def list_activities(self, context: RequestContext, params: Params) -> Params:
        rows = self._journal.all("SELECT * FROM activities ORDER BY created, arn")
        activities = [
            {"activityArn": row["arn"], "name": row["name"], "creationDate": moment(row["created"])}
            for row in rows
        ]
        return page(params, "activities", activities, "activities")

    def delete_activity(self, context: RequestContext, params: Params) -> Params:
        parse_arn(params["activityArn"], "activity")
        with self._journal.write():
            for table in ("activities", "tags"):
                self._journal.run(f"DELETE FROM {table} WHERE arn = ?", params["activityArn"])
        return {}

    def take_task(self, context: RequestContext, params: Params) -> Params:
        row = self._activity(params["activityArn"])
        worker = params.get("workerName")
        while True:
            request = self._engine.activities.take(row["arn"], self._poll_seconds)
            if request is None:
                return {}
            data = {"worker": worker} if worker else {}
            if self._engine.task_event(request.execution_arn, request.task_id, "started", data):
                assert request.task_token is not None
                return {"taskToken": request.task_token, "input": encode(request.parameters)}

    def _activity(self, arn: Any) -> Any:
        parse_arn(arn, "activity")
        row = self._journal.one("SELECT * FROM activities WHERE arn = ?", arn)
        if row is None:
            raise ServiceError("ActivityDoesNotExist", f"Activity Does Not Exist: '{arn}'")
        return row
