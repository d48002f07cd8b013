"""The index of buckets, versions and uploads: its tables, and rows as records."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import cast

from triptych.localcloud.s3.records import Attributes, BucketRecord, Notifications, ObjectRecord, Versioning
from triptych.localcloud.service import ServiceError

SCHEMA = """
CREATE TABLE IF NOT EXISTS bucket (
    name TEXT PRIMARY KEY, region TEXT NOT NULL, created REAL NOT NULL, versioning TEXT NOT NULL DEFAULT '',
    notifications TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL, key TEXT NOT NULL, version_id TEXT NOT NULL,
    is_latest INTEGER NOT NULL, is_delete_marker INTEGER NOT NULL,
    etag TEXT NOT NULL, size_bytes INTEGER NOT NULL, modified REAL NOT NULL,
    file TEXT, attributes TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS current_version ON version (bucket, key) WHERE is_latest = 1;
CREATE INDEX IF NOT EXISTS version_by_key ON version (bucket, key, sequence);
CREATE TABLE IF NOT EXISTS upload (
    upload_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, initiated REAL NOT NULL,
    attributes TEXT NOT NULL, checksum_algorithm TEXT NOT NULL, checksum_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    modified REAL NOT NULL, file TEXT NOT NULL, checksums TEXT NOT NULL, PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS redo (
    id INTEGER PRIMARY KEY AUTOINCREMENT, action TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL
)
"""
"""``redo`` holds the file operations of the last committed change, until they are known to be done."""


def when(timestamp: float) -> datetime:
    """Seconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(timestamp, UTC)


def to_bucket(row: sqlite3.Row) -> BucketRecord:
    return BucketRecord(
        row["name"],
        row["region"],
        when(row["created"]),
        cast(Versioning, row["versioning"]),
        Notifications.from_json(row["notifications"]),
    )


@lru_cache(maxsize=4096)
def _attributes(text: str) -> Attributes:
    """Many objects say the same of themselves; what is shared is never changed."""
    return Attributes.from_json(text)


def to_object(row: sqlite3.Row, root: Path) -> ObjectRecord:
    return ObjectRecord(
        bucket=row["bucket"],
        key=row["key"],
        version_id=row["version_id"],
        etag=row["etag"],
        size_bytes=row["size_bytes"],
        last_modified=when(row["modified"]),
        path=root / row["file"] if row["file"] else root,
        attributes=_attributes(row["attributes"]),
        sequence=row["sequence"],
        is_latest=bool(row["is_latest"]),
        is_delete_marker=bool(row["is_delete_marker"]),
    )


def find_bucket(connection: sqlite3.Connection, bucket: str) -> BucketRecord:
    """The bucket; raises NoSuchBucket."""
    row = connection.execute("SELECT * FROM bucket WHERE name = ?", (bucket,)).fetchone()
    if row is None:
        raise ServiceError("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=bucket)
    return to_bucket(row)


def find_current(connection: sqlite3.Connection, bucket: str, key: str) -> sqlite3.Row | None:
    """The latest version's row, be it a delete marker."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM version WHERE bucket = ? AND key = ? AND is_latest = 1", (bucket, key)
    ).fetchone()
    return row


def find_version(
    connection: sqlite3.Connection, bucket: str, key: str, version_id: str
) -> sqlite3.Row | None:
    """The row of one version."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM version WHERE bucket = ? AND key = ? AND version_id = ?", (bucket, key, version_id)
    ).fetchone()
    return row
