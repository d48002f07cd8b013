"""Asynchronous requests that wait, in SQLite: what was accepted is answered, also after a kill."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from triptych.localcloud.home import Home

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (
    seq INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, expires REAL NOT NULL, attempts INTEGER NOT NULL,
    fields TEXT NOT NULL, body BLOB);
CREATE INDEX IF NOT EXISTS request_by_expiry ON request (expires)
"""


@dataclass(frozen=True)
class AsyncRequest:
    """One accepted request. Times are seconds since the epoch."""

    endpoint: str
    inference_id: str
    received: float
    expires: float
    """until then it must have reached a model server"""
    timeout_seconds: float
    """the model server's time for it"""
    input_location: str | None = None
    """an S3 URI; None where the body came with the request"""
    output_location: str | None = None
    failure_location: str | None = None
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = None
    notifications: dict[str, Any] = field(default_factory=dict)
    """the endpoint's NotificationConfig"""


@dataclass(frozen=True)
class Queued:
    """A request and its place in the queue."""

    seq: int
    attempts: int
    """how many model servers were lost with it"""
    request: AsyncRequest


class AsyncQueue:
    """The database ``state/async-inference.sqlite``."""

    def __init__(self, home: Home) -> None:
        self._database = home.database("async-inference", _SCHEMA)

    def put(self, request: AsyncRequest, body: bytes | None) -> None:
        """Keep a request; when this returns it survives the process."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO request (endpoint, expires, attempts, fields, body) VALUES (?, ?, 0, ?, ?)",
                (request.endpoint, request.expires, json.dumps(asdict(request)), body),
            )

    def endpoints(self) -> list[str]:
        """The endpoints that have requests."""
        rows = self._database.connection.execute("SELECT DISTINCT endpoint FROM request ORDER BY endpoint")
        return [str(row["endpoint"]) for row in rows]

    def waiting(self, endpoint: str, limit: int) -> list[Queued]:
        """An endpoint's oldest requests, those under way among them."""
        rows = self._database.connection.execute(
            "SELECT seq, attempts, fields FROM request WHERE endpoint = ? ORDER BY seq LIMIT ?",
            (endpoint, limit),
        )
        return [Queued(row["seq"], row["attempts"], _request(row["fields"])) for row in rows]

    def expired(self, now: float) -> list[Queued]:
        rows = self._database.connection.execute(
            "SELECT seq, attempts, fields FROM request WHERE expires < ? ORDER BY seq", (now,)
        )
        return [Queued(row["seq"], row["attempts"], _request(row["fields"])) for row in rows]

    def body(self, seq: int) -> bytes | None:
        """What came with the request."""
        row = self._database.connection.execute("SELECT body FROM request WHERE seq = ?", (seq,)).fetchone()
        body: bytes | None = row["body"] if row else None
        return body

    def backlog(self, endpoint: str) -> tuple[int, float | None]:
        """How many requests an endpoint has, and when the oldest one came."""
        row = self._database.connection.execute(
            "SELECT count(*) AS many, min(json_extract(fields, '$.received')) AS oldest FROM request "
            "WHERE endpoint = ?",
            (endpoint,),
        ).fetchone()
        return int(row["many"]), row["oldest"]

    def lost(self, seq: int) -> None:
        """A model server was lost with the request, which waits again."""
        with self._database.write() as connection:
            connection.execute("UPDATE request SET attempts = attempts + 1 WHERE seq = ?", (seq,))

    def done(self, seq: int) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM request WHERE seq = ?", (seq,))

    def drop(self, endpoint: str) -> int:
        """Forget the requests of an endpoint that is gone; how many there were."""
        with self._database.write() as connection:
            return connection.execute("DELETE FROM request WHERE endpoint = ?", (endpoint,)).rowcount


def _request(fields: str) -> AsyncRequest:
    return AsyncRequest(**json.loads(fields))
