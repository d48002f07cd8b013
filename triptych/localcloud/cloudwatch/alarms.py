"""Alarms, their history and the actions still to be taken, in one SQLite database."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from triptych.localcloud.cloudwatch.evaluation import INSUFFICIENT_DATA
from triptych.localcloud.cloudwatch.store import milliseconds
from triptych.localcloud.home import Home

METRIC, COMPOSITE = "MetricAlarm", "CompositeAlarm"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alarms (
    name TEXT PRIMARY KEY, arn TEXT NOT NULL, kind TEXT NOT NULL, config TEXT NOT NULL, tags TEXT NOT NULL,
    configured_ms INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, reason_data TEXT NOT NULL,
    updated_ms INTEGER NOT NULL, transitioned_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, alarm TEXT NOT NULL, kind TEXT NOT NULL, time_ms INTEGER NOT NULL,
    type TEXT NOT NULL, summary TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS history_by_alarm ON history (alarm, time_ms);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, alarm TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
    message TEXT NOT NULL, event_id TEXT NOT NULL)
"""
_HISTORY_KEPT = timedelta(days=30)


@dataclass(frozen=True)
class Alarm:
    """A metric or composite alarm: what was configured, and the state it is in."""

    name: str
    arn: str
    kind: str
    config: dict[str, Any]
    """the request that made it, defaults filled in, without name and tags"""
    configured_at: datetime
    updated_at: datetime
    """when state or reason were last set"""
    transitioned_at: datetime
    """when the state last became another one"""
    state: str = INSUFFICIENT_DATA
    reason: str = "Unchecked: Initial alarm creation"
    reason_data: str = ""
    """JSON"""

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def account_id(self) -> str:
        return self.arn.split(":")[4]

    @property
    def actions_enabled(self) -> bool:
        return bool(self.config.get("ActionsEnabled", True))

    def actions(self, state: str) -> tuple[str, ...]:
        """The ARNs of the actions for a state."""
        return tuple(self.config.get(ACTIONS_OF[state]) or ())


ACTIONS_OF = {"OK": "OKActions", "ALARM": "AlarmActions", INSUFFICIENT_DATA: "InsufficientDataActions"}


@dataclass(frozen=True)
class HistoryItem:
    """One line of an alarm's history; ``data`` is JSON."""

    alarm: str
    kind: str
    at: datetime
    type: str
    """``ConfigurationUpdate``, ``StateUpdate`` or ``Action``"""
    summary: str
    data: str
    id: int = 0


@dataclass(frozen=True)
class Delivery:
    """A message that is still to be sent: to an action's ``target`` (an ARN), or to EventBridge (none)."""

    alarm: str
    kind: str
    target: str
    message: str
    """JSON"""
    event_id: str = ""
    id: int = 0


class AlarmStore:
    """Alarms are read from memory and written to the disk first. Change them under ``lock``."""

    def __init__(self, home: Home) -> None:
        self._database = home.database("cloudwatch", _SCHEMA)
        self.lock = threading.RLock()
        self._alarms: dict[str, Alarm] = {}
        self._tags: dict[str, dict[str, str]] = {}
        for row in self._database.connection.execute("SELECT * FROM alarms"):
            self._alarms[row["name"]] = Alarm(
                name=row["name"],
                arn=row["arn"],
                kind=row["kind"],
                config=json.loads(row["config"]),
                configured_at=_moment(row["configured_ms"]),
                state=row["state"],
                reason=row["reason"],
                reason_data=row["reason_data"],
                updated_at=_moment(row["updated_ms"]),
                transitioned_at=_moment(row["transitioned_ms"]),
            )
            self._tags[row["name"]] = json.loads(row["tags"])

    def get(self, name: str) -> Alarm | None:
        return self._alarms.get(name)

    def all(self) -> list[Alarm]:
        """Every alarm, by name."""
        with self.lock:
            return [self._alarms[name] for name in sorted(self._alarms)]

    def save(
        self,
        alarm: Alarm,
        history: Sequence[HistoryItem] = (),
        deliveries: Sequence[Delivery] = (),
        tags: dict[str, str] | None = None,
    ) -> None:
        """Keep the alarm as it is now, with what is to be told about the change, in one transaction."""
        with self.lock:
            kept = self._tags.get(alarm.name, {}) if tags is None else tags
            with self._database.write() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO alarms (name, arn, kind, config, tags, configured_ms, state,"
                    " reason, reason_data, updated_ms, transitioned_ms)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        alarm.name,
                        alarm.arn,
                        alarm.kind,
                        json.dumps(alarm.config),
                        json.dumps(kept),
                        milliseconds(alarm.configured_at),
                        alarm.state,
                        alarm.reason,
                        alarm.reason_data,
                        milliseconds(alarm.updated_at),
                        milliseconds(alarm.transitioned_at),
                    ),
                )
                self._write(connection, history, deliveries)
            self._alarms[alarm.name] = alarm
            self._tags[alarm.name] = kept

    def delete(
        self, name: str, history: Sequence[HistoryItem] = (), deliveries: Sequence[Delivery] = ()
    ) -> None:
        """Its history stays, as on AWS."""
        with self.lock:
            with self._database.write() as connection:
                connection.execute("DELETE FROM alarms WHERE name = ?", (name,))
                self._write(connection, history, deliveries)
            self._alarms.pop(name, None)
            self._tags.pop(name, None)

    def tags(self, name: str) -> dict[str, str]:
        return dict(self._tags.get(name, {}))

    def set_tags(self, alarm: Alarm, tags: dict[str, str]) -> None:
        self.save(alarm, tags=tags)

    # -- history

    def history(
        self,
        alarm: str | None,
        kinds: Sequence[str],
        item_type: str | None,
        start: datetime | None,
        end: datetime | None,
        newest_first: bool,
        after_id: int | None,
        limit: int,
    ) -> list[HistoryItem]:
        """Items of the given kinds of alarms in order of time; ``after_id`` continues an earlier answer."""
        conditions = [f"kind IN ({', '.join('?' * len(kinds))})"]
        parameters: list[Any] = list(kinds)
        for condition, value in (
            ("alarm = ?", alarm),
            ("type = ?", item_type),
            ("time_ms >= ?", milliseconds(start) if start else None),
            ("time_ms <= ?", milliseconds(end) if end else None),
            ("id < ?" if newest_first else "id > ?", after_id),
        ):
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        order = "DESC" if newest_first else "ASC"
        # Items are written as they happen, so that their ids are in order of time.
        rows = self._database.connection.execute(
            f"SELECT * FROM history WHERE {' AND '.join(conditions)} ORDER BY id {order} LIMIT ?",
            [*parameters, limit],
        )
        return [
            HistoryItem(
                row["alarm"],
                row["kind"],
                _moment(row["time_ms"]),
                row["type"],
                row["summary"],
                row["data"],
                row["id"],
            )
            for row in rows
        ]

    def forget_old_history(self, now: datetime) -> None:
        """CloudWatch keeps it for 30 days."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM history WHERE time_ms < ?", (milliseconds(now - _HISTORY_KEPT),))

    # -- what is still to be sent

    def pending(self) -> list[Delivery]:
        """What has not been sent yet, in order."""
        rows = self._database.connection.execute("SELECT * FROM deliveries ORDER BY id")
        return [
            Delivery(row["alarm"], row["kind"], row["target"], row["message"], row["event_id"], row["id"])
            for row in rows
        ]

    def settle(self, delivery: Delivery, history: Sequence[HistoryItem] = ()) -> None:
        """It was sent, or has failed for good."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM deliveries WHERE id = ?", (delivery.id,))
            self._write(connection, history, [])

    @staticmethod
    def _write(connection: Any, history: Iterable[HistoryItem], deliveries: Iterable[Delivery]) -> None:
        connection.executemany(
            "INSERT INTO history (alarm, kind, time_ms, type, summary, data) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (item.alarm, item.kind, milliseconds(item.at), item.type, item.summary, item.data)
                for item in history
            ],
        )
        connection.executemany(
            "INSERT INTO deliveries (alarm, kind, target, message, event_id) VALUES (?, ?, ?, ?, ?)",
            [
                (one.alarm, one.kind, one.target, one.message, one.event_id or str(uuid4()))
                for one in deliveries
            ],
        )


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
