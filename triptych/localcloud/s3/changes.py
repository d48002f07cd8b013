"""One change of the store: index rows and file operations that take effect together, or not at all.

The rows are committed first, and with them (table ``redo``) the file operations they need; then those are
done. After a crash in between, ``recover`` does them again: each one may be done twice.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from triptych.localcloud.home import Database
from triptych.localcloud.s3.files import FileArea, storage_errors
from triptych.localcloud.s3.index import find_bucket, find_current, find_version
from triptych.localcloud.s3.records import NULL_VERSION, Attributes, Deletion, Staged

_log = logging.getLogger(__name__)
_INSERT = (
    "INSERT INTO version (bucket, key, version_id, is_latest, is_delete_marker, etag, size_bytes, modified,"
    " file, attributes) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?)"
)


class Change:
    """The rows and file operations of one transaction, in the order in which they must take effect."""

    def __init__(self, connection: sqlite3.Connection, files: FileArea) -> None:
        self.connection = connection
        self.operations: list[tuple[str, str, str]] = []
        self._files = files
        self._made: list[str] = []

    def place(self, bucket: str, key: str, staged: Staged, attributes: Attributes) -> str:
        """Make the staged file the key's current version; the version's id."""
        target, version_id = self._make_room(bucket, key)
        assert target is not None
        source = os.path.relpath(staged.path, self._files.root)
        self.operations.append(("move", source, target))
        self.connection.execute(
            _INSERT,
            (
                bucket,
                key,
                version_id,
                0,
                staged.etag,
                staged.size_bytes,
                time.time(),
                target,
                attributes.to_json(),
            ),
        )
        return version_id

    def delete(self, bucket: str, key: str, version_id: str | None) -> Deletion:
        """Delete one version for good, or without ``version_id`` the key, as the bucket's versioning says."""
        if version_id is not None:
            return self._delete_version(bucket, key, version_id)
        versioning = find_bucket(self.connection, bucket).versioning
        current = find_current(self.connection, bucket, key)
        if versioning:
            _, marker_id = self._make_room(bucket, key, marker=True)
            self.connection.execute(
                _INSERT, (bucket, key, marker_id, 1, "", 0, time.time(), None, Attributes().to_json())
            )
            return Deletion(key, marker_id, True, current is not None and not current["is_delete_marker"])
        if current is None:
            return Deletion(key, None, False, False)
        self._forget(current)
        return Deletion(key, None, False, True)

    def _delete_version(self, bucket: str, key: str, version_id: str) -> Deletion:
        row = find_version(self.connection, bucket, key, version_id)
        if row is None:
            return Deletion(key, version_id, False, False)
        self._forget(row)
        if row["is_latest"]:
            self._promote_newest(bucket, key, row["file"])
        return Deletion(key, version_id, bool(row["is_delete_marker"]), True)

    def _promote_newest(self, bucket: str, key: str, freed: str | None) -> None:
        row = self.connection.execute(
            "SELECT * FROM version WHERE bucket = ? AND key = ? ORDER BY sequence DESC LIMIT 1", (bucket, key)
        ).fetchone()
        if row is None:
            return
        file = row["file"]
        if file is not None:
            target = self._files.target(bucket, key, freed)
            if ("remove", freed or "", "") in self.operations and target == freed:
                self.operations.remove(("remove", freed, ""))
            staged = self._second_name(file)
            self.operations += [("move", staged, target), ("remove", file, "")]
            file = target
        self.connection.execute(
            "UPDATE version SET is_latest = 1, file = ? WHERE sequence = ?", (file, row["sequence"])
        )

    def _make_room(self, bucket: str, key: str, *, marker: bool = False) -> tuple[str | None, str]:
        """Retire the current version as versioning says: the successor's path (none for a marker) and id."""
        versioning = find_bucket(self.connection, bucket).versioning
        current = find_current(self.connection, bucket, key)
        version_id = uuid4().hex if versioning == "Enabled" else NULL_VERSION
        owned = current["file"] if current is not None else None
        kept = current is not None and (versioning == "Enabled" or current["version_id"] != NULL_VERSION)
        if versioning == "Suspended":
            null = find_version(self.connection, bucket, key, NULL_VERSION)
            if null is not None and not null["is_latest"]:
                self._forget(null)
        if current is not None and kept:
            archived = None
            if owned is not None:
                archived = self._files.new_version(bucket)
                self._link(owned, archived)
            self.connection.execute(
                "UPDATE version SET is_latest = 0, file = ? WHERE sequence = ?",
                (archived, current["sequence"]),
            )
        elif current is not None:
            self.connection.execute("DELETE FROM version WHERE sequence = ?", (current["sequence"],))
        target = None if marker else self._files.target(bucket, key, owned)
        if owned is not None and owned != target:
            self.operations.append(("remove", owned, ""))
        return target, version_id

    def _forget(self, row: sqlite3.Row) -> None:
        self.connection.execute("DELETE FROM version WHERE sequence = ?", (row["sequence"],))
        if row["file"] is not None:
            self.operations.append(("remove", row["file"], ""))

    def _second_name(self, file: str) -> str:
        staged = os.path.relpath(self._files.new_staging(), self._files.root)
        self._link(file, staged)
        return staged

    def _link(self, source: str, target: str) -> None:
        self._files.link(source, target)
        self._made.append(target)

    def undo(self) -> None:
        """Remove the names that were made for a transaction that did not commit."""
        for file in self._made:
            with suppress(OSError):
                self._files.remove(file)


class Changes:
    """Runs changes one after another; ``lock`` is held while index and files may differ."""

    def __init__(self, database: Database, files: FileArea) -> None:
        self.lock = threading.RLock()
        self._database = database
        self._files = files
        self._done = 0

    @contextmanager
    def change(self) -> Iterator[Change]:
        """One atomic change; an exception inside leaves everything as it was."""
        with self.lock, storage_errors(self._files.root):
            change: Change | None = None
            try:
                with self._database.write() as connection:
                    if self._done:
                        connection.execute("DELETE FROM redo WHERE id <= ?", (self._done,))
                    change = Change(connection, self._files)
                    yield change
                    connection.executemany(
                        "INSERT INTO redo (action, source, target) VALUES (?, ?, ?)", change.operations
                    )
                    last = connection.execute("SELECT max(id) FROM redo").fetchone()[0]
            except BaseException:
                if change is not None:
                    change.undo()
                raise
            for action, source, target in change.operations:
                self._apply(action, source, target)
            self._done = last or 0

    def recover(self) -> None:
        """Do again what the last change may have left undone."""
        with self.lock:
            rows = self._database.connection.execute("SELECT * FROM redo ORDER BY id").fetchall()
            for row in rows:
                _log.info("redo %s %s %s", row["action"], row["source"], row["target"])
                self._apply(row["action"], row["source"], row["target"])
            if rows:
                with self._database.write() as connection:
                    connection.execute("DELETE FROM redo")

    def _apply(self, action: str, source: str, target: str) -> None:
        if action == "move":
            os.makedirs(os.path.dirname(self._files.absolute(target)), exist_ok=True)
            self._files.move(source, target)
        else:
            self._files.remove(source)
