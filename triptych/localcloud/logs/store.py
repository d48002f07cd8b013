"""Log groups, streams and events in one SQLite database; appending a batch is one transaction."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloudwatch.embedded import embedded_metrics
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.logs.metric_filters import MetricFilter, parse_filter
from triptych.localcloud.service import ServiceError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log_groups (
    name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, retention_days INTEGER);
CREATE TABLE IF NOT EXISTS streams (
    log_group TEXT NOT NULL, name TEXT NOT NULL, created_ms INTEGER NOT NULL,
    first_ms INTEGER, last_ms INTEGER, ingested_ms INTEGER,
    PRIMARY KEY (log_group, name));
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, log_group TEXT NOT NULL, stream TEXT NOT NULL,
    timestamp_ms INTEGER NOT NULL, ingested_ms INTEGER NOT NULL, message TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_time ON events (log_group, timestamp_ms, id);
CREATE INDEX IF NOT EXISTS events_by_stream ON events (log_group, stream, timestamp_ms, id);
CREATE TABLE IF NOT EXISTS metric_filters (
    log_group TEXT NOT NULL, name TEXT NOT NULL, pattern TEXT NOT NULL, transformations TEXT NOT NULL,
    created_ms INTEGER NOT NULL, PRIMARY KEY (log_group, name))
"""
MAX_MESSAGE_BYTES = 1_048_576
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class LogEvent:
    """One line; times are milliseconds since 1970, ``id`` grows with the order of arrival."""

    id: int
    stream: str
    timestamp_ms: int
    ingested_ms: int
    message: str


class LogStore:
    """Groups and streams come into being with their first event, as the services' own logs do.

    Events in the embedded metric format, and those that match a metric filter, become metrics in ``metrics``.
    """

    def __init__(
        self,
        home: Home,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        metrics: MetricStore | None = None,
    ) -> None:
        self._database = home.database("logs", _SCHEMA)
        self._now_ms = now_ms
        self._metrics = metrics
        self._filters: dict[str, tuple[MetricFilter, ...]] = {}
        for row in self._database.connection.execute("SELECT * FROM metric_filters ORDER BY name"):
            made = parse_filter(row["name"], row["pattern"], json.loads(row["transformations"]))
            self._filters[row["log_group"]] = (*self._filters.get(row["log_group"], ()), made)

    def append(self, group: str, stream: str, lines: Iterable[tuple[datetime, str]]) -> None:
        """Add lines with their times (aware, or UTC); a line over 1 MiB is cut, as CloudWatch Logs does."""
        now = self._now_ms()
        rows = [(_milliseconds(moment), _cut(message)) for moment, message in lines]
        if rows:
            with self._database.write() as connection:
                self._insert(connection, group, stream, rows, now)
            self._extract_metrics(group, rows)

    def put(self, group: str, stream: str, events: Sequence[tuple[int, str]]) -> None:
        """Add (milliseconds, message) pairs to a stream that exists; raises ResourceNotFoundException."""
        self.require_stream(group, stream)
        with self._database.write() as connection:
            self._insert(connection, group, stream, events, self._now_ms())
        self._extract_metrics(group, events)

    def _extract_metrics(self, group: str, rows: Sequence[tuple[int, str]]) -> None:
        if self._metrics is not None:
            self._metrics.put(embedded_metrics(message for _, message in rows))
            for one in self._filters.get(group, ()):
                self._metrics.put(one.data(rows))

    def put_metric_filter(
        self, group: str, name: str, pattern: str, transformations: Sequence[Mapping[str, Any]]
    ) -> None:
        """From now on, events of the group that match are counted. Raises InvalidParameterException."""
        self.require_group(group)
        made = parse_filter(name, pattern, transformations)
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO metric_filters VALUES (?, ?, ?, ?, ?)",
                (group, name, pattern, json.dumps(transformations), self._now_ms()),
            )
            self._filters[group] = (*self._other_filters(group, name), made)

    def metric_filters(self) -> list[sqlite3.Row]:
        """Rows ``log_group, name, pattern, transformations, created_ms``, by group and name."""
        return self._database.connection.execute(
            "SELECT * FROM metric_filters ORDER BY log_group, name"
        ).fetchall()

    def delete_metric_filter(self, group: str, name: str) -> None:
        """Raises ResourceNotFoundException."""
        with self._database.write() as connection:
            done = connection.execute(
                "DELETE FROM metric_filters WHERE log_group = ? AND name = ?", (group, name)
            )
            if not done.rowcount:
                raise ServiceError("ResourceNotFoundException", "The specified metric filter does not exist.")
            self._filters[group] = self._other_filters(group, name)

    def _other_filters(self, group: str, name: str) -> tuple[MetricFilter, ...]:
        return tuple(one for one in self._filters.get(group, ()) if one.name != name)

    def _insert(
        self,
        connection: sqlite3.Connection,
        group: str,
        stream: str,
        rows: Sequence[tuple[int, str]],
        now: int,
    ) -> None:
        connection.execute("INSERT OR IGNORE INTO log_groups (name, created_ms) VALUES (?, ?)", (group, now))
        first, last = min(row[0] for row in rows), max(row[0] for row in rows)
        connection.execute(
            "INSERT INTO streams (log_group, name, created_ms, first_ms, last_ms, ingested_ms)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (log_group, name) DO UPDATE SET"
            " first_ms = min(coalesce(first_ms, excluded.first_ms), excluded.first_ms),"
            " last_ms = max(coalesce(last_ms, excluded.last_ms), excluded.last_ms),"
            " ingested_ms = excluded.ingested_ms",
            (group, stream, now, first, last, now),
        )
        connection.executemany(
            "INSERT INTO events (log_group, stream, timestamp_ms, ingested_ms, message)"
            " VALUES (?, ?, ?, ?, ?)",
            [(group, stream, timestamp, now, message) for timestamp, message in rows],
        )

    def tail(self, group: str, stream: str | None = None, since: datetime | None = None) -> list[str]:
        """The messages of a group (or one stream), in order of time."""
        start = _milliseconds(since) if since else None
        streams = None if stream is None else [stream]
        return [event.message for event in self.events(group, streams=streams, start_ms=start)]

    def events(
        self,
        group: str,
        streams: Sequence[str] | None = None,
        stream_prefix: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        after: tuple[int, int] | None = None,
        before: tuple[int, int] | None = None,
        newest_first: bool = False,
        limit: int = -1,
    ) -> list[LogEvent]:
        """Events with ``start_ms <= time < end_ms`` in order of (time, id), of some or all streams.

        ``after`` and ``before`` are exclusive (time, id) positions to page from.
        """
        conditions = ["log_group = ?"]
        parameters: list[object] = [group]
        if streams is not None:
            conditions.append(f"stream IN ({', '.join('?' * len(streams))})")
            parameters += streams
        if stream_prefix is not None:
            conditions.append("substr(stream, 1, ?) = ?")
            parameters += [len(stream_prefix), stream_prefix]
        for condition, value in (("timestamp_ms >= ?", start_ms), ("timestamp_ms < ?", end_ms)):
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        for condition, position in (
            ("(timestamp_ms, id) > (?, ?)", after),
            ("(timestamp_ms, id) < (?, ?)", before),
        ):
            if position is not None:
                conditions.append(condition)
                parameters += position
        order = "DESC" if newest_first else "ASC"
        rows = self._database.connection.execute(
            "SELECT id, stream, timestamp_ms, ingested_ms, message FROM events"
            f" WHERE {' AND '.join(conditions)}"
            f" ORDER BY timestamp_ms {order}, id {order} LIMIT ?",
            [*parameters, limit],
        )
        return [LogEvent(*row) for row in rows]

    def create_group(self, name: str) -> None:
        """Raises ResourceAlreadyExistsException."""
        with self._database.write() as connection:
            done = connection.execute(
                "INSERT OR IGNORE INTO log_groups (name, created_ms) VALUES (?, ?)", (name, self._now_ms())
            )
            if not done.rowcount:
                raise ServiceError("ResourceAlreadyExistsException", "The specified log group already exists")

    def delete_group(self, name: str) -> None:
        """With its streams and events; raises ResourceNotFoundException."""
        self.require_group(name)
        with self._database.write() as connection:
            connection.execute("DELETE FROM events WHERE log_group = ?", (name,))
            connection.execute("DELETE FROM streams WHERE log_group = ?", (name,))
            connection.execute("DELETE FROM log_groups WHERE name = ?", (name,))
            connection.execute("DELETE FROM metric_filters WHERE log_group = ?", (name,))
            self._filters.pop(name, None)

    def create_stream(self, group: str, name: str) -> None:
        """Raises ResourceNotFoundException or ResourceAlreadyExistsException."""
        self.require_group(group)
        with self._database.write() as connection:
            done = connection.execute(
                "INSERT OR IGNORE INTO streams (log_group, name, created_ms) VALUES (?, ?, ?)",
                (group, name, self._now_ms()),
            )
            if not done.rowcount:
                raise ServiceError(
                    "ResourceAlreadyExistsException", "The specified log stream already exists"
                )

    def delete_stream(self, group: str, name: str) -> None:
        """With its events; raises ResourceNotFoundException."""
        self.require_stream(group, name)
        with self._database.write() as connection:
            connection.execute("DELETE FROM events WHERE log_group = ? AND stream = ?", (group, name))
            connection.execute("DELETE FROM streams WHERE log_group = ? AND name = ?", (group, name))

    def set_retention(self, group: str, days: int | None) -> None:
        """Days that events are kept; None keeps them. Raises ResourceNotFoundException."""
        self.require_group(group)
        with self._database.write() as connection:
            connection.execute("UPDATE log_groups SET retention_days = ? WHERE name = ?", (days, group))

    def expire(self) -> int:
        """Delete what is older than its group's retention; returns how many events went."""
        with self._database.write() as connection:
            done = connection.execute(
                "DELETE FROM events WHERE id IN"
                " (SELECT e.id FROM events e JOIN log_groups g ON g.name = e.log_group"
                " WHERE g.retention_days IS NOT NULL AND e.timestamp_ms < ? - g.retention_days * ?)",
                (self._now_ms(), _DAY_MS),
            )
            return done.rowcount

    def groups(self, prefix: str = "", pattern: str = "") -> list[sqlite3.Row]:
        """Rows ``name, created_ms, retention_days, stored_bytes``, by name."""
        return self._database.connection.execute(
            "SELECT name, created_ms, retention_days,"
            " (SELECT coalesce(sum(length(message) + 26), 0) FROM events WHERE log_group = g.name)"
            " AS stored_bytes FROM log_groups g"
            " WHERE substr(name, 1, ?) = ? AND instr(name, ?) > 0 ORDER BY name",
            (len(prefix), prefix, pattern),
        ).fetchall()

    def streams(self, group: str, prefix: str = "") -> list[sqlite3.Row]:
        """Rows ``name, created_ms, first_ms, last_ms, ingested_ms``, by name."""
        self.require_group(group)
        return self._database.connection.execute(
            "SELECT name, created_ms, first_ms, last_ms, ingested_ms FROM streams"
            " WHERE log_group = ? AND substr(name, 1, ?) = ? ORDER BY name",
            (group, len(prefix), prefix),
        ).fetchall()

    def require_group(self, name: str) -> None:
        if not self._database.connection.execute(
            "SELECT 1 FROM log_groups WHERE name = ?", (name,)
        ).fetchone():
            raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")

    def require_stream(self, group: str, name: str) -> None:
        self.require_group(group)
        query = "SELECT 1 FROM streams WHERE log_group = ? AND name = ?"
        if not self._database.connection.execute(query, (group, name)).fetchone():
            raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")


def _milliseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def _cut(message: str) -> str:
    if len(message) * 4 <= MAX_MESSAGE_BYTES:
        return message
    return message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
