"""The API of state machines: create, update, describe, list, delete, validate."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError
from triptych.localcloud.stepfunctions.arns import Arns, check_name, machine_part
from triptych.localcloud.stepfunctions.intrinsics import uuid_text
from triptych.localcloud.stepfunctions.journal import Journal
from triptych.localcloud.stepfunctions.jsontext import decode, encode, size_bytes
from triptych.localcloud.stepfunctions.paging import page
from triptych.localcloud.stepfunctions.resources import is_resource
from triptych.localcloud.stepfunctions.tasks import TaskRunner, UnknownResource
from triptych.localcloud.stepfunctions.validation import MAX_DEFINITION_BYTES, validate
from triptych.localcloud.stepfunctions.validation_fields import Diagnostic

MAX_TAGS = 50
_DEFAULTS: dict[str, Any] = {
    "loggingConfiguration": {"level": "OFF", "includeExecutionData": False},
    "tracingConfiguration": {"enabled": False},
}


def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as botocore wants times."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class MachinesApi:
    """Operations on state machines, by their AWS names in ``operations``."""

    def __init__(
        self,
        journal: Journal,
        tasks: TaskRunner,
        arns: Arns,
        clock: Callable[[], float],
        entropy: random.Random,
    ) -> None:
        self._journal = journal
        self._tasks = tasks
        self._arns = arns
        self._clock = clock
        self._entropy = entropy
        self.operations: dict[str, Operation] = {
            "CreateStateMachine": self.create,
            "UpdateStateMachine": self.update,
            "DescribeStateMachine": self.describe,
            "ListStateMachines": self.list_machines,
            "DeleteStateMachine": self.delete,
            "ValidateStateMachineDefinition": self.validate,
        }

    # ------------------------------------------------------------------------------------- machines

    def create(self, context: RequestContext, params: Params) -> Params:
        name = check_name(params["name"])
        kind = params.get("type") or "STANDARD"
        if kind not in ("STANDARD", "EXPRESS"):
            raise ServiceError("StateMachineTypeNotSupported", f"State Machine Type Not Supported: '{kind}'")
        role_arn = _role(params["roleArn"])
        definition = params["definition"]
        self._refuse_invalid(definition, kind)
        arn = self._arns.of("stateMachine", name)
        settings = {key: params[key] for key in (*_DEFAULTS, "encryptionConfiguration") if key in params}
        with self._journal.write():
            found = self.row(arn)
            if found is not None:
                return self._created_before(found, definition, role_arn, kind, settings)
            now = self._clock()
            revision = self._add_revision(arn, definition, role_arn, now, "INITIAL")
            self._journal.run(
                "INSERT INTO machines VALUES (?, ?, ?, ?, ?, ?, ?)",
                arn, name, kind, revision, now, now, encode(settings),
            )  # fmt: skip
            self.put_tags(arn, params.get("tags", []))
            answer: Params = {"stateMachineArn": arn, "creationDate": moment(now)}
            if params.get("publish"):
                answer["stateMachineVersionArn"] = self.publish_revision(
                    arn, revision, params.get("versionDescription", "")
                )
        return answer

    def _created_before(
        self, found: sqlite3.Row, definition: str, role_arn: str, kind: str, settings: Params
    ) -> Params:
        revision = self.revision(found["revision"])
        same = (revision["definition"], revision["role_arn"], found["type"]) == (definition, role_arn, kind)
        if not same or decode(found["settings"]) != settings:
            raise ServiceError("StateMachineAlreadyExists", f"State Machine Already Exists: '{found['arn']}'")
        return {"stateMachineArn": found["arn"], "creationDate": moment(found["created"])}

    def update(self, context: RequestContext, params: Params) -> Params:
        arn, qualifier = machine_part(params["stateMachineArn"])
        if qualifier is not None:
            raise ServiceError(
                "ValidationException", "An update needs the ARN of a state machine, not of a version"
            )
        changes = ("definition", "roleArn", *_DEFAULTS, "encryptionConfiguration")
        if not any(name in params for name in changes):
            raise ServiceError(
                "MissingRequiredParameter",
                "Either the definition, the role ARN, the LoggingConfiguration, or the "
                "TracingConfiguration must be "
                "specified",
            )
        row = self.machine(arn)
        if "definition" in params:
            self._refuse_invalid(params["definition"], row["type"])
        with self._journal.write():
            row = self.machine(arn)
            old, now = self.revision(row["revision"]), self._clock()
            revision, revision_id = row["revision"], old["revision_id"]
            definition = params.get("definition", old["definition"])
            role_arn = _role(params["roleArn"]) if "roleArn" in params else old["role_arn"]
            if (definition, role_arn) != (old["definition"], old["role_arn"]):
                revision_id = uuid_text(self._entropy)
                revision = self._add_revision(arn, definition, role_arn, now, revision_id)
            settings = decode(row["settings"]) | {key: params[key] for key in changes[2:] if key in params}
            self._journal.run(
                "UPDATE machines SET revision = ?, updated = ?, settings = ? WHERE arn = ?",
                revision, now, encode(settings), arn,
            )  # fmt: skip
            answer: Params = {"updateDate": moment(now), "revisionId": revision_id}
            if params.get("publish"):
                answer["stateMachineVersionArn"] = self.publish_revision(
                    arn, revision, params.get("versionDescription", "")
                )
        return answer

    def describe(self, context: RequestContext, params: Params) -> Params:
        arn, qualifier = machine_part(params["stateMachineArn"])
        row = self.machine(arn)
        revision, created = row["revision"], row["created"]
        version = None
        if qualifier is not None:
            version = self._journal.one("SELECT * FROM versions WHERE arn = ?", params["stateMachineArn"])
            if version is None:
                raise no_machine(params["stateMachineArn"])
            revision, created = version["revision"], version["created"]
        found = self.revision(revision)
        answer = {
            "stateMachineArn": params["stateMachineArn"],
            "name": row["name"],
            "status": "ACTIVE",
            "definition": found["definition"],
            "roleArn": found["role_arn"],
            "type": row["type"],
            "creationDate": moment(created),
            **_DEFAULTS,
            **decode(row["settings"]),
        }
        if found["revision_id"] != "INITIAL":
            answer["revisionId"] = found["revision_id"]
        if version is not None and version["description"]:
            answer["description"] = version["description"]
        return answer

    def list_machines(self, context: RequestContext, params: Params) -> Params:
        rows = self._journal.all("SELECT * FROM machines ORDER BY created DESC, name")
        machines = [
            {
                "stateMachineArn": row["arn"],
                "name": row["name"],
                "type": row["type"],
                "creationDate": moment(row["created"]),
            }
            for row in rows
        ]
        return page(params, "machines", machines, "stateMachines")

    def delete(self, context: RequestContext, params: Params) -> Params:
        arn, _ = machine_part(params["stateMachineArn"])
        with self._journal.write():
            for table in ("machines", "tags"):
                self._journal.run(f"DELETE FROM {table} WHERE arn = ?", arn)
            for table in ("versions", "aliases", "version_numbers"):
                self._journal.run(f"DELETE FROM {table} WHERE machine_arn = ?", arn)
            ended = "SELECT seq FROM executions WHERE machine_arn = ? AND status != 'RUNNING'"
            for table in ("history", "inputs"):
                self._journal.run(f"DELETE FROM {table} WHERE execution IN ({ended})", arn)
            self._journal.run("DELETE FROM executions WHERE machine_arn = ? AND status != 'RUNNING'", arn)
        return {}

    def validate(self, context: RequestContext, params: Params) -> Params:
        found = self._diagnose(params["definition"], params.get("type") or "STANDARD")
        least = params.get("severity", "ERROR")
        shown = [item for item in found if least == "WARNING" or item.severity == "ERROR"]
        limit = params.get("maxResults") or 100
        return {
            "result": "FAIL" if any(item.severity == "ERROR" for item in found) else "OK",
            "diagnostics": [
                {
                    "severity": item.severity,
                    "code": item.code,
                    "message": item.message,
                    "location": item.location,
                }
                for item in shown[:limit]
            ],
            "truncated": len(shown) > limit,
        }

    def _diagnose(self, definition: str, kind: str) -> list[Diagnostic]:
        return validate(definition, kind, self._resource_problem)

    def _resource_problem(self, resource: str) -> str | None:
        unknown = (
            f"The resource provided {resource} is not recognized. The value is not a valid resource "
            "ARN, or the "
            "resource is not available in this region."
        )
        if not is_resource(resource):
            return unknown
        if ":activity:" in resource:
            return None
        try:
            self._tasks.check(resource)
        except UnknownResource as error:
            return str(error) or unknown
        return None

    def _refuse_invalid(self, definition: str, kind: str) -> None:
        if size_bytes(definition) > MAX_DEFINITION_BYTES:
            raise ServiceError(
                "InvalidDefinition",
                "Invalid State Machine Definition: 'The definition is larger than 1048576 bytes'",
            )
        errors = [item for item in self._diagnose(definition, kind) if item.severity == "ERROR"]
        if errors:
            texts = ", ".join(f"{item.code}: {item.message} at {item.location}" for item in errors)
            raise ServiceError("InvalidDefinition", f"Invalid State Machine Definition: '{texts}'")

    def row(self, arn: str) -> sqlite3.Row | None:
        return self._journal.one("SELECT * FROM machines WHERE arn = ?", arn)

    def machine(self, arn: str) -> sqlite3.Row:
        """A machine's row; raises ServiceError (StateMachineDoesNotExist)."""
        row = self.row(arn)
        if row is None:
            raise no_machine(arn)
        return row

    def revision(self, number: int) -> sqlite3.Row:
        row = self._journal.one("SELECT * FROM revisions WHERE id = ?", number)
        assert row is not None
        return row

    def _add_revision(self, arn: str, definition: str, role_arn: str, now: float, revision_id: str) -> int:
        cursor = self._journal.run(
            "INSERT INTO revisions (machine_arn, revision_id, definition, role_arn, created) VALUES "
            "(?, ?, ?, ?, ?)",
            arn, revision_id, definition, role_arn, now,
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def publish_revision(self, arn: str, revision: int, description: str) -> str:
        """The ARN of the version of a revision; made when there is none yet."""
        found = self._journal.one(
            "SELECT arn FROM versions WHERE machine_arn = ? AND revision = ? ORDER BY number DESC",
            arn,
            revision,
        )
        if found is not None:
            return str(found["arn"])
        last = self._journal.one("SELECT last FROM version_numbers WHERE machine_arn = ?", arn)
        number = (last["last"] if last is not None else 0) + 1
        self._journal.run("INSERT OR REPLACE INTO version_numbers VALUES (?, ?)", arn, number)
        self._journal.run(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)",
            f"{arn}:{number}", arn, number, revision, description, self._clock(),
        )  # fmt: skip
        return f"{arn}:{number}"

    def put_tags(self, arn: str, tags: Any) -> None:
        """Add or change tags, inside a transaction; raises ServiceError (TooManyTags)."""
        for tag in tags:
            self._journal.run("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", arn, tag["key"], tag["value"])
        count = self._journal.one("SELECT COUNT(*) AS n FROM tags WHERE arn = ?", arn)
        if count is not None and count["n"] > MAX_TAGS:
            raise ServiceError("TooManyTags", f"The resource has more than {MAX_TAGS} tags", resourceName=arn)


def _role(arn: Any) -> str:
    if not isinstance(arn, str) or not arn.startswith("arn:"):
        raise ServiceError("InvalidArn", f"Invalid Role Arn: '{arn}'")
    return arn


def no_machine(arn: str) -> ServiceError:
    return ServiceError("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'")
