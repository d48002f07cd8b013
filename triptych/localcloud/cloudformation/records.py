"""What CloudFormation keeps: stacks, their resources, events and change sets, in one SQLite database."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloudformation.template import validation_error
from triptych.localcloud.home import Home

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stacks (stack_id TEXT PRIMARY KEY, name TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS stacks_name ON stacks (name);
CREATE TABLE IF NOT EXISTS resources (
    stack_id TEXT NOT NULL, logical_id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (stack_id, logical_id)
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stack_id TEXT NOT NULL, document TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_stack ON events (stack_id);
CREATE TABLE IF NOT EXISTS change_sets (
    change_set_id TEXT PRIMARY KEY, stack_id TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
)
"""


def now() -> str:
    """The time as the records keep it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()


@dataclass
class Stack:
    """A stack. ``snapshot`` holds what an update in progress would go back to."""

    stack_id: str
    name: str
    region: str
    status: str
    created: str
    template: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """name -> value, description, export"""
    reason: str = ""
    updated: str | None = None
    deleted: str | None = None
    capabilities: list[str] = field(default_factory=list)
    role_arn: str | None = None
    notification_arns: list[str] = field(default_factory=list)
    parent_id: str | None = None
    root_id: str | None = None
    on_failure: str = "ROLLBACK"
    termination_protection: bool = False
    change_set_id: str | None = None
    snapshot: dict[str, Any] | None = None
    cleanup: list[dict[str, Any]] = field(default_factory=list)
    """resources that are no longer part of the stack and still to be deleted"""

    @property
    def in_progress(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass
class Resource:
    """One resource of a stack as it last was; ``physical_id`` is set as soon as anything exists."""

    logical_id: str
    type: str
    status: str
    updated: str
    physical_id: str | None = None
    reason: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    """resolved"""
    attributes: dict[str, Any] = field(default_factory=dict)
    generation: int = 0
    deletion_policy: str = "Delete"
    replace_policy: str = "Delete"
    dependencies: list[str] = field(default_factory=list)


@dataclass
class ChangeSet:
    """A planned change of a stack."""

    change_set_id: str
    name: str
    stack_id: str
    stack_name: str
    kind: str
    """CREATE or UPDATE"""
    template: str
    parameters: dict[str, str]
    tags: dict[str, str]
    capabilities: list[str]
    created: str
    description: str | None = None
    status: str = "CREATE_COMPLETE"
    execution_status: str = "AVAILABLE"
    reason: str | None = None
    role_arn: str | None = None
    notification_arns: list[str] = field(default_factory=list)
    on_failure: str = "ROLLBACK"
    changes: list[dict[str, Any]] = field(default_factory=list)


class StackStore:
    """Reads and writes the records; every write is committed when the method returns."""

    def __init__(self, home: Home) -> None:
        self._database = home.database("cloudformation", _SCHEMA)

    # -- stacks

    def save(self, stack: Stack) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO stacks VALUES (?, ?, ?)",
                (stack.stack_id, stack.name, json.dumps(asdict(stack))),
            )

    def find(self, name_or_id: str) -> Stack | None:
        """By id (deleted ones too) or by name (not deleted)."""
        rows = self._database.connection.execute(
            "SELECT document FROM stacks WHERE stack_id = ? OR name = ?", (name_or_id, name_or_id)
        ).fetchall()
        for row in rows:
            stack = Stack(**json.loads(row["document"]))
            if stack.stack_id == name_or_id or stack.status != "DELETE_COMPLETE":
                return stack
        return None

    def stack(self, name_or_id: str) -> Stack:
        """Like ``find``; raises CloudFormation's ValidationError where there is none."""
        found = self.find(name_or_id)
        if found is None:
            raise validation_error(f"Stack with id {name_or_id} does not exist")
        return found

    def stacks(self) -> list[Stack]:
        """All, newest first."""
        rows = self._database.connection.execute("SELECT document FROM stacks").fetchall()
        stacks = [Stack(**json.loads(row["document"])) for row in rows]
        return sorted(stacks, key=lambda stack: stack.created, reverse=True)

    def forget(self, stack: Stack) -> None:
        """Removes a stack that never came to be (a change set was all it had)."""
        with self._database.write() as connection:
            for table in ("stacks", "resources", "events", "change_sets"):
                connection.execute(f"DELETE FROM {table} WHERE stack_id = ?", (stack.stack_id,))

    # -- resources

    def resources(self, stack_id: str) -> dict[str, Resource]:
        rows = self._database.connection.execute(
            "SELECT document FROM resources WHERE stack_id = ? ORDER BY rowid", (stack_id,)
        ).fetchall()
        found = (Resource(**json.loads(row["document"])) for row in rows)
        return {resource.logical_id: resource for resource in found}

    def save_resource(self, stack_id: str, resource: Resource) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO resources VALUES (?, ?, ?)"
                " ON CONFLICT (stack_id, logical_id) DO UPDATE SET document = excluded.document",
                (stack_id, resource.logical_id, json.dumps(asdict(resource))),
            )

    def drop_resource(self, stack_id: str, logical_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM resources WHERE stack_id = ? AND logical_id = ?", (stack_id, logical_id)
            )

    # -- events

    def add_event(
        self,
        stack: Stack,
        logical_id: str,
        physical_id: str | None,
        kind: str,
        status: str,
        reason: str = "",
        properties: dict[str, Any] | None = None,
    ) -> None:
        document = {
            "logical_id": logical_id,
            "physical_id": physical_id,
            "type": kind,
            "status": status,
            "reason": reason,
            "time": now(),
            "properties": json.dumps(properties) if properties is not None else None,
        }
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO events (stack_id, document) VALUES (?, ?)",
                (stack.stack_id, json.dumps(document)),
            )

    def events(self, stack_id: str) -> list[dict[str, Any]]:
        """Newest first; each with its ``id``."""
        rows = self._database.connection.execute(
            "SELECT id, document FROM events WHERE stack_id = ? ORDER BY id DESC", (stack_id,)
        ).fetchall()
        return [{"id": row["id"], **json.loads(row["document"])} for row in rows]

    # -- change sets

    def save_change_set(self, change_set: ChangeSet) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO change_sets VALUES (?, ?, ?, ?)",
                (
                    change_set.change_set_id,
                    change_set.stack_id,
                    change_set.name,
                    json.dumps(asdict(change_set)),
                ),
            )

    def change_sets(self, stack_id: str) -> list[ChangeSet]:
        rows = self._database.connection.execute(
            "SELECT document FROM change_sets WHERE stack_id = ? ORDER BY rowid", (stack_id,)
        ).fetchall()
        return [ChangeSet(**json.loads(row["document"])) for row in rows]

    def change_set(self, name_or_id: str, stack_name: str | None) -> ChangeSet:
        """Raises ChangeSetNotFound."""
        from triptych.localcloud.service import ServiceError

        if name_or_id.startswith("arn:"):
            rows = self._database.connection.execute(
                "SELECT document FROM change_sets WHERE change_set_id = ?", (name_or_id,)
            ).fetchall()
        else:
            if not stack_name:
                raise validation_error(
                    "StackName must be specified if ChangeSetName is not specified as an ARN."
                )
            rows = self._database.connection.execute(
                "SELECT document FROM change_sets WHERE stack_id = ? AND name = ?",
                (self.stack(stack_name).stack_id, name_or_id),
            ).fetchall()
        if not rows:
            raise ServiceError("ChangeSetNotFound", f"ChangeSet [{name_or_id}] does not exist", status=404)
        return ChangeSet(**json.loads(rows[0]["document"]))

    def drop_change_set(self, change_set_id: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM change_sets WHERE change_set_id = ?", (change_set_id,))

    def close(self) -> None:
        self._database.close()
