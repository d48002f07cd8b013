"""The journal of the requests that changed moto's state: what a restart replays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from triptych.localcloud.home import Home
from triptych.localcloud.moto_s3_objects import ObjectName

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    seed INTEGER NOT NULL,
    service TEXT NOT NULL,
    operation TEXT NOT NULL,
    method TEXT NOT NULL,
    uri TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_operation ON requests (service, operation);
CREATE TABLE IF NOT EXISTS reads (
    request INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    version TEXT,
    sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS reads_request ON reads (request);
CREATE TABLE IF NOT EXISTS blobs (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL)
"""


@dataclass(frozen=True)
class JournalledRequest:
    """One request as it came over the wire, with what made its outcome."""

    time: float
    """seconds since the epoch"""
    seed: int
    service: str
    operation: str
    method: str
    uri: str
    headers: dict[str, str]
    """WSGI environ names (``HTTP_AUTHORIZATION``, ``CONTENT_TYPE`` …)"""
    body: bytes
    reads: dict[ObjectName, bytes] = field(default_factory=dict)
    id: int = 0


class RequestJournal:
    """Appends and reads journalled requests; one row is one request, committed before it is acknowledged."""

    def __init__(self, home: Home) -> None:
        self._database = home.database("requests", _SCHEMA)

    def append(self, request: JournalledRequest) -> None:
        with self._database.write() as connection:
            cursor = connection.execute(
                "INSERT INTO requests (time, seed, service, operation, method, uri, headers, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    request.time,
                    request.seed,
                    request.service,
                    request.operation,
                    request.method,
                    request.uri,
                    json.dumps(request.headers),
                    request.body,
                ),
            )
            for (bucket, key, version), data in request.reads.items():
                sha256 = hashlib.sha256(data).hexdigest()
                connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (sha256, data))
                connection.execute(
                    "INSERT INTO reads VALUES (?, ?, ?, ?, ?)",
                    (cursor.lastrowid, bucket, key, version, sha256),
                )

    def entries(self) -> Iterator[JournalledRequest]:
        """All entries, oldest first."""
        connection = self._database.connection
        with_reads = {row["request"] for row in connection.execute("SELECT DISTINCT request FROM reads")}
        for row in connection.execute("SELECT * FROM requests ORDER BY id").fetchall():
            reads: dict[ObjectName, bytes] = {}
            if row["id"] in with_reads:
                for read in connection.execute(
                    "SELECT bucket, key, version, data FROM reads JOIN blobs USING (sha256)"
                    " WHERE request = ?",
                    (row["id"],),
                ):
                    reads[(read["bucket"], read["key"], read["version"])] = read["data"]
            yield JournalledRequest(
                time=row["time"],
                seed=row["seed"],
                service=row["service"],
                operation=row["operation"],
                method=row["method"],
                uri=row["uri"],
                headers=json.loads(row["headers"]),
                body=row["body"],
                reads=reads,
                id=row["id"],
            )

    def count(self) -> int:
        row = self._database.connection.execute("SELECT COUNT(*) FROM requests").fetchone()
        return int(row[0])

    def close(self) -> None:
        self._database.close()
