"""The API of tags on state machines and activities."""

from __future__ import annotations

from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError
from triptych.localcloud.stepfunctions.arns import parse_arn
from triptych.localcloud.stepfunctions.journal import Journal
from triptych.localcloud.stepfunctions.machines_api import MachinesApi


class TagsApi:
    """Operations on tags, by their AWS names in ``operations``."""

    def __init__(self, journal: Journal, machines: MachinesApi) -> None:
        self._journal = journal
        self._machines = machines
        self.operations: dict[str, Operation] = {
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTagsForResource": self.list_tags,
        }

    def tag(self, context: RequestContext, params: Params) -> Params:
        arn = self._taggable(params["resourceArn"])
        with self._journal.write():
            self._machines.put_tags(arn, params["tags"])
        return {}

    def untag(self, context: RequestContext, params: Params) -> Params:
        arn = self._taggable(params["resourceArn"])
        with self._journal.write():
            for key in params["tagKeys"]:
                self._journal.run("DELETE FROM tags WHERE arn = ? AND key = ?", arn, key)
        return {}

    def list_tags(self, context: RequestContext, params: Params) -> Params:
        arn = self._taggable(params["resourceArn"])
        rows = self._journal.all("SELECT key, value FROM tags WHERE arn = ? ORDER BY key", arn)
        return {"tags": [{"key": row["key"], "value": row["value"]} for row in rows]}

    def _taggable(self, arn: str) -> str:
        kind, _ = parse_arn(arn, "stateMachine", "activity")
        table = "machines" if kind == "stateMachine" else "activities"
        if self._journal.one(f"SELECT 1 FROM {table} WHERE arn = ?", arn) is None:
            raise ServiceError("ResourceNotFound", f"Resource not found: '{arn}'", resourceName=arn)
        return arn
