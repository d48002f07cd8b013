"""What SageMaker remembers: one JSON record a resource, in SQLite, with AWS's way of listing them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.home import Database, Home
from triptych.localcloud.sagemaker.errors import invalid
from triptych.localcloud.service import Params

Record = dict[str, Any]
"""A resource as Describe answers it (botocore's shape, datetimes); keys that begin with ``_`` are ours."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    kind TEXT NOT NULL, name TEXT NOT NULL, status TEXT, created REAL NOT NULL, modified REAL NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resources_by_time ON resources (kind, created);
CREATE TABLE IF NOT EXISTS tags (
    arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (arn, key)) WITHOUT ROWID
"""
_TIME = "$time"


class RecordExists(Exception):
    """A resource of that kind and name is there already."""


def now() -> datetime:
    """The time to the millisecond, as AWS's timestamps have it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_TIME: value.timestamp()}
    raise TypeError(f"{type(value).__name__} cannot be kept in a record")


def _decode(value: dict[str, Any]) -> Any:
    if len(value) == 1 and _TIME in value:
        return datetime.fromtimestamp(value[_TIME], UTC)
    return value


def public(record: Mapping[str, Any]) -> Record:
    """The record without our own keys and without members that are not set."""
    return {key: value for key, value in record.items() if not key.startswith("_") and value is not None}


class Records:
    """The resources of one account and region, by kind and name. Every method is one transaction."""

    def __init__(self, home: Home) -> None:
        self._database: Database = home.database("sagemaker", _SCHEMA)

    def insert(self, kind: str, name: str, record: Record, status: str | None = None) -> None:
        """Keep a new record; raises RecordExists."""
        moment = now().timestamp()
        with self._database.write() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO resources VALUES (?, ?, ?, ?, ?, ?)",
                (kind, name, status, moment, moment, json.dumps(record, default=_encode)),
            ).rowcount
        if not added:
            raise RecordExists(name)

    def get(self, kind: str, name: str) -> Record | None:
        row = self._database.connection.execute(
            "SELECT body FROM resources WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return None if row is None else json.loads(row["body"], object_hook=_decode)

    def change(
        self, kind: str, name: str, mutate: Callable[[Record], None], status_member: str | None = None
    ) -> Record | None:
        """Read, ``mutate`` in place and write back; None when the record is gone. Sets LastModifiedTime."""
        with self._database.write() as connection:
            row = connection.execute(
                "SELECT body, status FROM resources WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            if row is None:
                return None
            record: Record = json.loads(row["body"], object_hook=_decode)
            mutate(record)
            moment = now()
            if "LastModifiedTime" in record:
                record["LastModifiedTime"] = moment
            status = record.get(status_member) if status_member else row["status"]
            connection.execute(
                "UPDATE resources SET status = ?, modified = ?, body = ? WHERE kind = ? AND name = ?",
                (status, moment.timestamp(), json.dumps(record, default=_encode), kind, name),
            )
        return record

    def delete(self, kind: str, name: str) -> bool:
        with self._database.write() as connection:
            return bool(
                connection.execute("DELETE FROM resources WHERE kind = ? AND name = ?", (kind, name)).rowcount
            )

    def with_status(self, kind: str, *statuses: str) -> list[Record]:
        """The records in one of ``statuses`` (all when none is given), oldest first."""
        marks = ", ".join("?" for _ in statuses)
        condition = f" AND status IN ({marks})" if statuses else ""
        rows = self._database.connection.execute(
            f"SELECT body FROM resources WHERE kind = ?{condition} ORDER BY created", (kind, *statuses)
        )
        return [json.loads(row["body"], object_hook=_decode) for row in rows]

    def named_like(self, kind: str, prefix: str) -> list[Record]:
        """The records whose names begin with ``prefix``, oldest first."""
        rows = self._database.connection.execute(
            "SELECT body FROM resources WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY created",
            (kind, len(prefix), prefix),
        )
        return [json.loads(row["body"], object_hook=_decode) for row in rows]

    def page(
        self, kind: str, params: Params, default_sort: str = "CreationTime"
    ) -> tuple[list[Record], str | None]:
        """One page of a List operation by its common filters, and the token of the next page."""
        clauses = ["kind = ?"]
        values: list[Any] = [kind]
        if params.get("NameContains"):
            clauses.append("instr(lower(name), lower(?)) > 0")
            values.append(params["NameContains"])
        if params.get("StatusEquals"):
            clauses.append("status = ?")
            values.append(params["StatusEquals"])
        for member, column, sign in (
            ("CreationTimeAfter", "created", ">"),
            ("CreationTimeBefore", "created", "<"),
            ("LastModifiedTimeAfter", "modified", ">"),
            ("LastModifiedTimeBefore", "modified", "<"),
        ):
            if params.get(member) is not None:
                moment = params[member]
                clauses.append(f"{column} {sign} ?")
                values.append(moment.timestamp() if isinstance(moment, datetime) else moment)
        column = {"Name": "name", "Status": "status"}.get(params.get("SortBy") or default_sort, "created")
        order = "ASC" if params.get("SortOrder") == "Ascending" else "DESC"
        size = min(int(params.get("MaxResults") or 10), 100)
        offset = _read_token(params.get("NextToken"))
        rows = self._database.connection.execute(
            f"SELECT body FROM resources WHERE {' AND '.join(clauses)} "
            f"ORDER BY {column} {order}, name {order} LIMIT ? OFFSET ?",
            (*values, size + 1, offset),
        ).fetchall()
        token = base64.b64encode(str(offset + size).encode()).decode() if len(rows) > size else None
        return [json.loads(row["body"], object_hook=_decode) for row in rows[:size]], token

    def tag(self, arn: str, tags: list[dict[str, str]]) -> None:
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)",
                [(arn, tag["Key"], tag.get("Value", "")) for tag in tags],
            )

    def untag(self, arn: str, keys: list[str] | None = None) -> None:
        """Remove the named tags, or all."""
        with self._database.write() as connection:
            if keys is None:
                connection.execute("DELETE FROM tags WHERE arn = ?", (arn,))
            else:
                connection.executemany(
                    "DELETE FROM tags WHERE arn = ? AND key = ?", [(arn, key) for key in keys]
                )

    def tags(self, arn: str) -> list[dict[str, str]]:
        rows = self._database.connection.execute(
            "SELECT key, value FROM tags WHERE arn = ? ORDER BY key", (arn,)
        )
        return [{"Key": row["key"], "Value": row["value"]} for row in rows]


def _read_token(token: str | None) -> int:
    if not token:
        return 0
    try:
        return int(base64.b64decode(token, validate=True))
    except ValueError as error:
        raise invalid("The NextToken is not valid; take it from the last answer.") from error
