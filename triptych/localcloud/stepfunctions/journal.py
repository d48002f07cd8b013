"""Everything the engine keeps, in one SQLite database.

An execution is its start and the inputs that followed: timers that fired, what tasks answered, stop, redrive.
Running them again through the interpreter gives its state. History events are kept beside them, for reading.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.home import Home
from triptych.localcloud.stepfunctions.definition import Pointer
from triptych.localcloud.stepfunctions.history import Event
from triptych.localcloud.stepfunctions.jsontext import decode, encode

EVENTS_PER_ROW = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS machines (
    arn TEXT PRIMARY KEY, name TEXT, type TEXT, revision INTEGER, created REAL, updated REAL, settings TEXT
);
CREATE TABLE IF NOT EXISTS revisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, machine_arn TEXT, revision_id TEXT, definition TEXT, role_arn TEXT,
    created REAL
);
CREATE TABLE IF NOT EXISTS versions (
    arn TEXT PRIMARY KEY, machine_arn TEXT, number INTEGER, revision INTEGER, description TEXT, created REAL
);
CREATE TABLE IF NOT EXISTS version_numbers (machine_arn TEXT PRIMARY KEY, last INTEGER);
CREATE TABLE IF NOT EXISTS aliases (
    arn TEXT PRIMARY KEY, machine_arn TEXT, name TEXT, description TEXT, routing TEXT, created REAL,
    updated REAL
);
CREATE TABLE IF NOT EXISTS activities (arn TEXT PRIMARY KEY, name TEXT, created REAL);
CREATE TABLE IF NOT EXISTS tags (arn TEXT, key TEXT, value TEXT, PRIMARY KEY (arn, key));
CREATE TABLE IF NOT EXISTS executions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, arn TEXT UNIQUE, name TEXT, machine_arn TEXT, machine_name TEXT,
    type TEXT, revision INTEGER, pointer TEXT, role_arn TEXT, status TEXT, input TEXT, output TEXT,
    error TEXT,
    cause TEXT, start REAL, stop REAL, seed TEXT, redrive_count INTEGER DEFAULT 0, redrive_time REAL,
    version_arn TEXT, alias_arn TEXT, trace_header TEXT, map_run_arn TEXT, item_index INTEGER,
    item_count INTEGER, last_event INTEGER DEFAULT 0
);
CREATE INDEX IF NOT EXISTS executions_by_machine ON executions (machine_arn, seq);
CREATE INDEX IF NOT EXISTS executions_by_map_run ON executions (map_run_arn, item_index);
CREATE INDEX IF NOT EXISTS executions_running ON executions (status) WHERE status = 'RUNNING';
CREATE TABLE IF NOT EXISTS inputs (
    execution INTEGER, n INTEGER, time REAL, kind TEXT, data TEXT, PRIMARY KEY (execution, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (
    execution INTEGER, first INTEGER, last INTEGER, events TEXT, PRIMARY KEY (execution, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS map_runs (
    arn TEXT PRIMARY KEY, execution INTEGER, execution_arn TEXT, join_key INTEGER, label TEXT, pointer TEXT,
    express INTEGER, status TEXT, start REAL, stop REAL, max_concurrency INTEGER, tolerated_count INTEGER,
    tolerated_percentage REAL, writer TEXT, redrive_count INTEGER DEFAULT 0, redrive_time REAL,
    results_written INTEGER
);
CREATE TABLE IF NOT EXISTS map_items (
    map_run TEXT, item_index INTEGER, input TEXT, items INTEGER, PRIMARY KEY (map_run, item_index)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Input:
    """Something that happened to an execution from outside."""

    time: float
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class NewExecution:
    """A row of ``executions`` as it is first written."""

    arn: str
    name: str
    machine_arn: str
    machine_name: str
    type: str
    revision: int
    pointer: Pointer
    role_arn: str
    input: str
    start: float
    seed: int
    version_arn: str | None = None
    alias_arn: str | None = None
    trace_header: str | None = None
    map_run_arn: str | None = None
    item_index: int | None = None
    item_count: int | None = None


class Journal:
    """Reads and writes of the engine's database. Writes belong inside ``write()``."""

    def __init__(self, home: Home) -> None:
        self.database = home.database("stepfunctions", _SCHEMA)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction; all or nothing of it survives a crash."""
        with self.database.write() as connection:
            yield connection

    def all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self.database.connection.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.database.connection.execute(query, values).fetchone()
        return row

    def run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self.database.connection.execute(statement, values)

    # executions

    def add_execution(self, new: NewExecution) -> int:
        """Insert a running execution; returns its sequence number."""
        cursor = self.run(
            "INSERT INTO executions (arn, name, machine_arn, machine_name, type, revision, pointer, "
            "role_arn, status,"
            " input, start, seed, version_arn, alias_arn, trace_header, map_run_arn, item_index, item_count)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'RUNNING', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            new.arn, new.name, new.machine_arn, new.machine_name, new.type, new.revision,
            encode(list(new.pointer)),
            new.role_arn, new.input, new.start, str(new.seed), new.version_arn, new.alias_arn,
            new.trace_header,
            new.map_run_arn, new.item_index, new.item_count,
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def execution(self, arn: str) -> sqlite3.Row | None:
        return self.one("SELECT * FROM executions WHERE arn = ?", arn)

    def running(self) -> list[sqlite3.Row]:
        return self.all("SELECT * FROM executions WHERE status = 'RUNNING' ORDER BY seq")

    def add_input(self, execution: int, number: int, happened: Input) -> None:
        self.run(
            "INSERT INTO inputs (execution, n, time, kind, data) VALUES (?, ?, ?, ?, ?)",
            execution, number, happened.time, happened.kind, encode(happened.data),
        )  # fmt: skip

    def inputs(self, execution: int) -> list[Input]:
        rows = self.all("SELECT time, kind, data FROM inputs WHERE execution = ? ORDER BY n", execution)
        return [Input(row["time"], row["kind"], decode(row["data"])) for row in rows]

    def add_events(self, execution: int, events: list[Event]) -> None:
        # In pieces, so that a page of a long history is read without the rest of it.
        for start in range(0, len(events), EVENTS_PER_ROW):
            part = events[start : start + EVENTS_PER_ROW]
            self.run(
                "INSERT INTO history VALUES (?, ?, ?, ?)",
                execution,
                part[0]["id"],
                part[-1]["id"],
                encode(part),
            )

    def events(self, execution: int, first: int, last: int) -> list[Event]:
        """History events by their ids, both ends included."""
        rows = self.all(
            "SELECT events FROM history WHERE execution = ? AND last >= ? AND first <= ? ORDER BY first",
            execution, first, last,
        )  # fmt: skip
        return [event for row in rows for event in decode(row["events"]) if first <= event["id"] <= last]
