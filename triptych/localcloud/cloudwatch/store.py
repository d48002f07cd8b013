"""Metrics in one SQLite database: data points gather in memory and are written in batches."""

from __future__ import annotations

import json
import sqlite3
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.localcloud.cloudwatch.summaries import (
    SIMPLE_STATISTICS,
    Summary,
    merge,
    reader,
    statistic_set,
    summary,
)
from triptych.localcloud.home import Home

Dimensions = tuple[tuple[str, str], ...]
"""(name, value) pairs, sorted by name"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, dimensions TEXT NOT NULL,
    unit TEXT NOT NULL, last_ms INTEGER NOT NULL, UNIQUE (namespace, name, dimensions, unit));
CREATE TABLE IF NOT EXISTS points (
    series INTEGER NOT NULL, time_ms INTEGER NOT NULL, resolution INTEGER NOT NULL,
    sum REAL NOT NULL, count REAL NOT NULL, minimum REAL NOT NULL, maximum REAL NOT NULL,
    samples BLOB, counts BLOB);
CREATE INDEX IF NOT EXISTS points_by_time ON points (series, time_ms);
CREATE INDEX IF NOT EXISTS points_by_resolution ON points (resolution, time_ms)
"""
_MOST_PENDING = 5_000
_MOST_WAITING = 100_000
_TIERS = ((3 * 3600, 60), (15 * 86_400, 300), (63 * 86_400, 3600))
"""CloudWatch's retention: past this age (seconds) points are kept at this resolution (seconds)"""
_KEPT_SECONDS = 455 * 86_400


@dataclass(frozen=True)
class StatisticSet:
    """Samples that were aggregated before they came: percentiles cannot be told of them."""

    sum: float
    count: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Datum:
    """One data point of a metric: a ``value``, a ``statistics`` set, or ``values`` with their ``counts``
    (once each by default).
    """

    namespace: str
    name: str
    dimensions: Dimensions
    timestamp: datetime
    """aware"""
    value: float | None = None
    statistics: StatisticSet | None = None
    values: Sequence[float] = ()
    counts: Sequence[float] = ()
    unit: str = "None"

    def summary(self) -> Summary:
        if self.statistics is not None:
            given = self.statistics
            return statistic_set(given.sum, given.count, given.minimum, given.maximum)
        if self.value is not None:
            return Summary(self.value, 1.0, self.value, self.value, (self.value,), (1.0,))
        return summary(self.values, self.counts)


@dataclass(frozen=True)
class Series:
    """One metric in one unit; ``last_ms`` is the time of its newest data point."""

    namespace: str
    name: str
    dimensions: Dimensions
    unit: str
    last_ms: int


class MetricStore:
    """Every service's metrics. ``put`` is cheap; what is read has been written first.

    Where the disk is full, what has gathered waits in memory for the next ``flush``, up to a limit.
    """

    def __init__(self, home: Home) -> None:
        self._database = home.database("metrics", _SCHEMA)
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._pending: list[Datum] = []
        self._series: dict[tuple[str, str, Dimensions, str], int] = {}

    def put(self, data: Iterable[Datum]) -> None:
        """Take data points; they are on the disk after the next ``flush`` (the service's, each second)."""
        given = list(data)
        with self._lock:
            self._pending += given
            full = len(self._pending) >= _MOST_PENDING
        if full:
            self.flush()

    def put_now(self, data: Iterable[Datum]) -> None:
        """Take data points and return when they are on the disk; on an error none of them is kept."""
        with self._write_lock:
            self._write(list(data))

    def flush(self) -> None:
        """Write what has gathered, in one transaction."""
        if not self._pending:
            return
        with self._write_lock:
            with self._lock:
                batch, self._pending = self._pending, []
            try:
                self._write(batch)
            except sqlite3.Error:
                with self._lock:
                    self._pending = [*batch, *self._pending][-_MOST_WAITING:]
                raise

    def _write(self, batch: Sequence[Datum]) -> None:
        known: dict[tuple[str, str, Dimensions, str], int] = {}
        newest: dict[int, int] = {}
        rows: list[tuple[Any, ...]] = []
        with self._database.write() as connection:
            for datum in batch:
                key = (datum.namespace, datum.name, datum.dimensions, datum.unit)
                series = self._series.get(key) or known.get(key)
                if series is None:
                    series = known[key] = _series_id(connection, key)
                time_ms = milliseconds(datum.timestamp)
                newest[series] = max(newest.get(series, 0), time_ms)
                rows.append((series, time_ms, 1, *_columns(datum.summary())))
            _insert(connection, rows)
            connection.executemany(
                "UPDATE series SET last_ms = max(last_ms, ?) WHERE id = ?",
                [(last, series) for series, last in newest.items()],
            )
        self._series.update(known)

    def statistics(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        start: datetime,
        end: datetime,
        period_seconds: int,
        statistic: str,
        unit: str | None = None,
    ) -> list[tuple[datetime, float]]:
        """(start of the period, value) of each period from ``start`` on that has data, oldest first.

        Raises UnknownStatistic.
        """
        read = reader(statistic)
        found = self.summaries(
            namespace,
            name,
            dimensions,
            start,
            end,
            period_seconds,
            unit,
            distributions=statistic not in SIMPLE_STATISTICS,
        )
        answer = []
        for index in sorted(found):
            value = read(found[index])
            if value is not None:
                answer.append((start + timedelta(seconds=index * period_seconds), value))
        return answer

    def summaries(
        self,
        namespace: str,
        name: str,
        dimensions: Dimensions,
        start: datetime,
        end: datetime,
        period_seconds: int,
        unit: str | None = None,
        distributions: bool = True,
    ) -> dict[int, Summary]:
        """The summary of each period that has data, by its number from ``start`` on.

        ``unit`` None takes data of every unit; without ``distributions`` percentiles cannot be told.
        """
        self.flush()
        first, last, length = milliseconds(start), milliseconds(end), period_seconds * 1000
        series = [
            row["id"]
            for row in self._database.connection.execute(
                "SELECT id, unit FROM series WHERE namespace = ? AND name = ? AND dimensions = ?",
                (namespace, name, json.dumps(dimensions)),
            )
            if unit is None or row["unit"] == unit
        ]
        if not series:
            return {}
        where = (
            f" FROM points WHERE series IN ({', '.join('?' * len(series))}) AND time_ms >= ? AND time_ms < ?"
        )
        if not distributions:
            rows = self._database.connection.execute(
                "SELECT (time_ms - ?) / ? AS period, sum(sum), sum(count), min(minimum), max(maximum)"
                f"{where} GROUP BY period",
                (first, length, *series, first, last),
            )
            return {row[0]: Summary(row[1], row[2], row[3], row[4]) for row in rows}
        parts: dict[int, list[Summary]] = {}
        for row in self._database.connection.execute(
            f"SELECT (time_ms - ?) / ? AS period, sum, count, minimum, maximum, samples, counts{where}",
            (first, length, *series, first, last),
        ):
            parts.setdefault(row["period"], []).append(_summary(row))
        return {period: merge(found) for period, found in parts.items()}

    def series(
        self, namespace: str | None = None, name: str | None = None, since: datetime | None = None
    ) -> Iterator[Series]:
        """The metrics that have data points at or after ``since``, by namespace, name and dimensions."""
        self.flush()
        rows = self._database.connection.execute(
            "SELECT namespace, name, dimensions, unit, last_ms FROM series"
            " WHERE (?1 IS NULL OR namespace = ?1) AND (?2 IS NULL OR name = ?2) AND last_ms >= ?3"
            " ORDER BY namespace, name, dimensions, unit",
            (namespace, name, milliseconds(since) if since else 0),
        )
        for row in rows.fetchall():
            pairs = tuple((one[0], one[1]) for one in json.loads(row["dimensions"]))
            yield Series(row["namespace"], row["name"], pairs, row["unit"], row["last_ms"])

    def roll_up(self, now: datetime) -> None:
        """Coarser points for what is older, as CloudWatch keeps them; what is past 455 days goes."""
        self.flush()
        now_ms = milliseconds(now)
        for age_seconds, resolution in _TIERS:
            before_ms = now_ms - age_seconds * 1000
            before_ms -= before_ms % (resolution * 1000)
            old = self._database.connection.execute(
                "SELECT DISTINCT series FROM points WHERE resolution < ? AND time_ms < ?",
                (resolution, before_ms),
            )
            for row in old.fetchall():  # one transaction each: nobody waits long to write
                with self._database.write() as connection:
                    _merge_points(connection, row["series"], before_ms, resolution)
        oldest = now_ms - _KEPT_SECONDS * 1000
        with self._write_lock, self._database.write() as connection:
            connection.execute("DELETE FROM points WHERE time_ms < ?", (oldest,))
            if connection.execute("DELETE FROM series WHERE last_ms < ?", (oldest,)).rowcount:
                self._series.clear()


def _merge_points(connection: sqlite3.Connection, series: int, before_ms: int, resolution: int) -> None:
    length = resolution * 1000
    where = " FROM points WHERE series = ? AND resolution < ? AND time_ms < ?"
    periods: dict[int, list[Summary]] = {}
    for row in connection.execute(f"SELECT *{where}", (series, resolution, before_ms)):
        periods.setdefault(row["time_ms"] - row["time_ms"] % length, []).append(_summary(row))
    connection.execute(f"DELETE{where}", (series, resolution, before_ms))
    _insert(
        connection,
        [(series, period, resolution, *_columns(merge(parts))) for period, parts in periods.items()],
    )


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware time (a naive one counts as UTC)."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _series_id(connection: sqlite3.Connection, key: tuple[str, str, Dimensions, str]) -> int:
    namespace, name, dimensions, unit = key
    columns = (namespace, name, json.dumps(dimensions), unit)
    connection.execute(
        "INSERT OR IGNORE INTO series (namespace, name, dimensions, unit, last_ms) VALUES (?, ?, ?, ?, 0)",
        columns,
    )
    row = connection.execute(
        "SELECT id FROM series WHERE namespace = ? AND name = ? AND dimensions = ? AND unit = ?", columns
    ).fetchone()
    return int(row["id"])


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.executemany(
        "INSERT INTO points (series, time_ms, resolution, sum, count, minimum, maximum, samples, counts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _columns(one: Summary) -> tuple[float, float, float, float, bytes | None, bytes | None]:
    samples = counts = None
    # Where all samples are equal, the extremes tell the distribution.
    if one.values is not None and one.counts is not None and one.minimum != one.maximum:
        samples = array("d", one.values).tobytes()
        if any(count != 1.0 for count in one.counts):
            counts = array("d", one.counts).tobytes()
    return one.sum, one.count, one.minimum, one.maximum, samples, counts


def _summary(row: sqlite3.Row) -> Summary:
    if row["samples"] is None:
        return statistic_set(row["sum"], row["count"], row["minimum"], row["maximum"])
    values = tuple(array("d", row["samples"]))
    counts = tuple(array("d", row["counts"])) if row["counts"] is not None else (1.0,) * len(values)
    return Summary(row["sum"], row["count"], row["minimum"], row["maximum"], values, counts)
