"""Events and deliveries that wait, in SQLite: what was accepted is delivered at least once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from triptych.localcloud.home import Home

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, bus TEXT NOT NULL, hops INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS delivery (
    seq INTEGER PRIMARY KEY, body TEXT NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (due);
CREATE TABLE IF NOT EXISTS anchor (
    schedule TEXT PRIMARY KEY, expression TEXT NOT NULL, moment REAL NOT NULL)
"""


@dataclass(frozen=True)
class AcceptedEvent:
    """An event on a bus that still has to find its rules."""

    seq: int
    bus: str
    hops: int
    """how many buses it went through"""
    body: dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """What one target shall get."""

    event_id: str
    origin_arn: str
    """the rule's or the schedule's ARN"""
    target: dict[str, Any]
    """as ListTargetsByRule or GetSchedule has it"""
    payload: str
    created: float = field(default_factory=time.time)
    """seconds since the epoch"""
    hops: int = 0


@dataclass(frozen=True)
class PendingDelivery:
    """A delivery with its place in the queue."""

    seq: int
    attempts: int
    """how many failed so far"""
    delivery: Delivery


class Outbox:
    """The database ``state/<name>.sqlite`` of one delivering service."""

    def __init__(self, home: Home, name: str) -> None:
        self._database = home.database(name, _SCHEMA)

    def accept(self, bus: str, event: dict[str, Any], hops: int = 0) -> None:
        """Keep an event; when this returns it survives the process."""
        body = json.dumps(event, separators=(",", ":"), default=str)
        with self._database.write() as connection:
            connection.execute("INSERT INTO event (bus, hops, body) VALUES (?, ?, ?)", (bus, hops, body))

    def unrouted(self, limit: int) -> list[AcceptedEvent]:
        """The oldest events that wait for their rules."""
        rows = self._database.connection.execute(
            "SELECT seq, bus, hops, body FROM event ORDER BY seq LIMIT ?", (limit,)
        )
        return [AcceptedEvent(row["seq"], row["bus"], row["hops"], json.loads(row["body"])) for row in rows]

    def route(self, events: Iterable[AcceptedEvent], deliveries: Iterable[Delivery]) -> None:
        """In one step the events are gone and their deliveries wait."""
        now = time.time()
        with self._database.write() as connection:
            connection.executemany("DELETE FROM event WHERE seq = ?", [(event.seq,) for event in events])
            connection.executemany(
                "INSERT INTO delivery (body, attempts, due) VALUES (?, 0, ?)",
                [(json.dumps(asdict(delivery), default=str), now) for delivery in deliveries],
            )

    def waiting(self) -> list[tuple[int, float]]:
        """Each delivery's number and when it is due, the earliest first."""
        rows = self._database.connection.execute("SELECT seq, due FROM delivery ORDER BY due, seq")
        return [(row[0], row[1]) for row in rows]

    def pending(self, seq: int) -> PendingDelivery | None:
        """One delivery; None when it is done."""
        row = self._database.connection.execute(
            "SELECT attempts, body FROM delivery WHERE seq = ?", (seq,)
        ).fetchone()
        return row and PendingDelivery(seq, row["attempts"], Delivery(**json.loads(row["body"])))

    def done(self, seq: int) -> None:
        """Delivered, or given up."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM delivery WHERE seq = ?", (seq,))

    def postpone(self, seq: int, due: float) -> None:
        """Failed once more; try again at ``due``."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE delivery SET attempts = attempts + 1, due = ? WHERE seq = ?", (due, seq)
            )

    def anchor(self, schedule: str, expression: str, moment: float) -> tuple[float, bool]:
        """Since when a schedule has had its expression, and whether it is new: ``moment`` if so."""
        with self._database.write() as connection:
            row = connection.execute(
                "SELECT expression, moment FROM anchor WHERE schedule = ?", (schedule,)
            ).fetchone()
            if row is not None and row["expression"] == expression:
                return float(row["moment"]), False
            connection.execute(
                "INSERT OR REPLACE INTO anchor (schedule, expression, moment) VALUES (?, ?, ?)",
                (schedule, expression, moment),
            )
            return moment, True

    def keep_anchors(self, schedules: Iterable[str]) -> None:
        """Forget the anchors of all other schedules."""
        kept = set(schedules)
        with self._database.write() as connection:
            known = [row[0] for row in connection.execute("SELECT schedule FROM anchor")]
            connection.executemany(
                "DELETE FROM anchor WHERE schedule = ?", [(name,) for name in known if name not in kept]
            )
