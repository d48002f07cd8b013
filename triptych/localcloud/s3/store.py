"""The object store: S3's objects as plain files ``home.s3/<bucket>/<key>`` with an index in SQLite.

What a write acknowledged is there, whole, after ``kill -9`` at any instant; what it did not is not visible.
One process owns a store; within it every method may be called from any thread.
"""

from __future__ import annotations

import builtins
import hashlib
import mimetypes
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from triptych.localcloud.bus import Bus
from triptych.localcloud.home import Home
from triptych.localcloud.s3.changes import Change, Changes
from triptych.localcloud.s3.events import created_event, deleted_event
from triptych.localcloud.s3.files import VERSIONS, FileArea, md5_of, storage_errors
from triptych.localcloud.s3.index import (
    SCHEMA,
    find_bucket,
    find_current,
    find_version,
    to_bucket,
    to_object,
)
from triptych.localcloud.s3.listing import Page, iterate_current, list_current, list_versions
from triptych.localcloud.s3.names import check_bucket_name, check_key, split_uri
from triptych.localcloud.s3.records import (
    DEFAULT_CONTENT_TYPE,
    Attributes,
    BucketRecord,
    Deletion,
    Notifications,
    ObjectRecord,
    Staged,
    Versioning,
)
from triptych.localcloud.s3.uploads import Uploads
from triptych.localcloud.service import ServiceError

__all__ = ["ObjectRecord", "ObjectStore", "split_uri"]

Condition = Callable[[ObjectRecord | None], None]
"""Looks at the key's current object before a write takes effect; raises to refuse it."""

_HASH_IN_PARALLEL_BYTES = 4 << 20


class ObjectStore:
    """Buckets and objects of one home folder.

    Changes of buckets with EventBridge notifications are published on the bus as ``ServiceEvent``;
    ``on_change`` hears of all of them: the kind (``Created``, ``Deleted``), the object, and S3's reason.
    """

    def __init__(self, home: Home, bus: Bus) -> None:
        self.root = home.s3
        self.on_change: Callable[[str, ObjectRecord, str], None] = lambda kind, record, reason: None
        self._bus = bus
        self.database = home.database("s3", SCHEMA)
        self.files = FileArea(home.s3)
        self.changes = Changes(self.database, self.files)
        self.uploads = Uploads(self.database, self.files, self.changes)
        self.changes.recover()
        self._sweep()

    def _sweep(self) -> None:
        connection = self.database.connection
        parts = frozenset(row[0] for row in connection.execute("SELECT file FROM part"))
        self.files.sweep(parts)
        versions = self.root / VERSIONS
        if any(os.scandir(versions)):
            kept = {
                row[0]
                for row in connection.execute(
                    "SELECT file FROM version WHERE is_latest = 0 AND file IS NOT NULL"
                )
            }
            for folder, _, names in os.walk(versions):
                for name in names:
                    relative = os.path.relpath(os.path.join(folder, name), self.root)
                    if relative not in kept:
                        self.files.remove(relative)

    # Buckets

    def create_bucket(self, bucket: str, region: str = "us-east-1") -> BucketRecord:
        """Make the bucket, or find it; raises InvalidBucketName."""
        check_bucket_name(bucket)
        with storage_errors(self.root), self.database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO bucket (name, region, created) VALUES (?, ?, ?)",
                (bucket, region, time.time()),
            )
            (self.root / bucket).mkdir(exist_ok=True)
            return find_bucket(connection, bucket)

    def delete_bucket(self, bucket: str) -> None:
        """Remove an empty bucket and its unfinished uploads; raises NoSuchBucket, BucketNotEmpty."""
        with self.changes.lock:
            with self.database.write() as connection:
                find_bucket(connection, bucket)
                if connection.execute("SELECT 1 FROM version WHERE bucket = ? LIMIT 1", (bucket,)).fetchone():
                    raise ServiceError(
                        "BucketNotEmpty",
                        "The bucket you tried to delete is not empty"
                        + (
                            ". You must delete all versions in the bucket." if self.versioning(bucket) else ""
                        ),
                        409,
                        BucketName=bucket,
                    )
                connection.execute("DELETE FROM bucket WHERE name = ?", (bucket,))
            self.uploads.abort_all(bucket)
            self.files.remove_bucket(bucket)

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        row = self.database.connection.execute("SELECT 1 FROM bucket WHERE name = ?", (bucket,)).fetchone()
        return row is not None

    def bucket(self, bucket: str) -> BucketRecord:
        """The bucket's record; raises NoSuchBucket."""
        return find_bucket(self.database.connection, bucket)

    def buckets(self) -> list[BucketRecord]:
        """All buckets, by name."""
        rows = self.database.connection.execute("SELECT * FROM bucket ORDER BY name")
        return [to_bucket(row) for row in rows]

    def versioning(self, bucket: str) -> Versioning:
        """``Enabled``, ``Suspended``, or empty where it was never set."""
        return self.bucket(bucket).versioning

    def set_versioning(self, bucket: str, status: Versioning) -> None:
        """Turn versioning on, or suspend it; what is stored stays as it is."""
        if status not in ("Enabled", "Suspended"):
            raise ServiceError("IllegalVersioningConfigurationException", f"no such status: {status!r}")
        with self.changes.lock, storage_errors(self.root), self.database.write() as connection:
            find_bucket(connection, bucket)
            connection.execute("UPDATE bucket SET versioning = ? WHERE name = ?", (status, bucket))

    def set_notifications(self, bucket: str, notifications: Notifications) -> None:
        """Whom the bucket's changes are told; takes effect with the next change."""
        with storage_errors(self.root), self.database.write() as connection:
            find_bucket(connection, bucket)
            connection.execute(
                "UPDATE bucket SET notifications = ? WHERE name = ?", (notifications.to_json(), bucket)
            )

    # Reading

    def head(self, bucket: str, key: str, version_id: str | None = None) -> ObjectRecord:
        """The current version, or the one asked for; raises NoSuchBucket, NoSuchKey, NoSuchVersion.

        A delete marker asked for by its id raises MethodNotAllowed, as S3 answers.
        """
        connection = self.database.connection
        if version_id is None:
            row = find_current(connection, bucket, key)
            if row is None or row["is_delete_marker"]:
                find_bucket(connection, bucket)
                fields = {"Key": key}
                if row is not None:
                    fields |= {"x-amz-delete-marker": "true", "x-amz-version-id": row["version_id"]}
                raise ServiceError("NoSuchKey", "The specified key does not exist.", 404, **fields)
            return to_object(row, self.root)
        row = find_version(connection, bucket, key, version_id)
        if row is None:
            find_bucket(connection, bucket)
            raise ServiceError(
                "NoSuchVersion", "The specified version does not exist.", 404, Key=key, VersionId=version_id
            )
        if row["is_delete_marker"]:
            raise ServiceError(
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
                405,
                **{"x-amz-delete-marker": "true", "x-amz-version-id": version_id},
            )
        return to_object(row, self.root)

    def open(self, bucket: str, key: str, version_id: str | None = None) -> tuple[ObjectRecord, BinaryIO]:
        """The record and its open file, which go together whatever is written meanwhile."""
        with self.changes.lock:
            record = self.head(bucket, key, version_id)
            try:
                return record, open(record.path, "rb", buffering=0)
            except FileNotFoundError as error:
                raise ServiceError(
                    "InternalError",
                    f"The file of s3://{bucket}/{key} is missing: {record.path}. It was removed from the "
                    "home folder behind the store's back; upload the object again.",
                    500,
                ) from error

    def get_bytes(self, bucket: str, key: str, version_id: str | None = None) -> bytes:
        """The whole content."""
        _, file = self.open(bucket, key, version_id)
        with file:
            return file.read()

    def list(self, bucket: str, prefix: str = "") -> builtins.list[ObjectRecord]:
        """All current objects with the prefix, by key."""
        self.bucket(bucket)
        rows = iterate_current(self.database.connection, bucket, prefix, prefix, inclusive=True)
        return [to_object(row, self.root) for row in rows]

    def list_page(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        """One page of the current objects; see ``listing.list_current``."""
        self.bucket(bucket)
        return list_current(
            self.database.connection,
            self.root,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            after=after,
            limit=limit,
        )

    def list_versions_page(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> Page:
        """One page of versions and delete markers; see ``listing.list_versions``."""
        self.bucket(bucket)
        return list_versions(
            self.database.connection,
            self.root,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            version_marker=version_marker,
            limit=limit,
        )

    def materialise(self, bucket: str, prefix: str, folder: Path) -> builtins.list[Path]:
        """The objects with the prefix as files below ``folder``, without copying; to be read, never written.

        An object ``<prefix>/a/b`` becomes ``folder/a/b``; an object whose key is the prefix itself becomes
        ``folder/<last segment>``. Keys that cannot be paths are left out, which are S3's folder markers.
        """
        paths: list[Path] = []
        with self.changes.lock:
            for record in self.list(bucket, prefix):
                relative = _below(record.key, prefix)
                if relative is None:
                    continue
                path = folder / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                try:
                    os.link(record.path, path)
                except OSError:
                    path.symlink_to(record.path)
                paths.append(path)
        return paths

    # Writing

    def put_bytes(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectRecord:
        """Write an object, atomically."""
        with storage_errors(self.root):
            path = self.files.new_staging()
            try:
                path.write_bytes(data)
                etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                return self.put_staged(
                    bucket,
                    key,
                    Staged(path, etag, len(data)),
                    Attributes(content_type or _guess_type(key), dict(metadata or {})),
                )
            finally:
                path.unlink(missing_ok=True)

    def put_staged(
        self,
        bucket: str,
        key: str,
        staged: Staged,
        attributes: Attributes,
        *,
        reason: str = "PutObject",
        condition: Condition | None = None,
        also: Callable[[Change], None] | None = None,
    ) -> ObjectRecord:
        """Make a staged file the object's current version; ``also`` adds rows to the same transaction."""
        check_key(key)
        with self.changes.lock:
            with self.changes.change() as change:
                find_bucket(change.connection, bucket)
                if condition is not None:
                    row = find_current(change.connection, bucket, key)
                    found = row is not None and not row["is_delete_marker"]
                    condition(to_object(row, self.root) if row is not None and found else None)
                change.place(bucket, key, staged, attributes)
                if also is not None:
                    also(change)
            record = self.head(bucket, key)
        self._announce_created(record, reason)
        return record

    def put_file(
        self,
        bucket: str,
        key: str,
        path: Path,
        move: bool = True,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectRecord:
        """Adopt a file by rename (``move``), or a copy of it; a failure leaves the file where it was."""
        attributes = Attributes(content_type or _guess_type(key), dict(metadata or {}))
        with storage_errors(self.root):
            self.bucket(bucket)
            check_key(key)
            staged = self._stage([path], move=move)[0]
            try:
                return self.put_staged(bucket, key, staged, attributes)
            except BaseException:
                _give_back([staged])
                raise

    def adopt_tree(
        self, bucket: str, prefix: str, folder: Path, replace: bool = False
    ) -> builtins.list[ObjectRecord]:
        """Every file below ``folder`` becomes ``<prefix>/<relative path>``, all at once, by rename.

        ``replace`` deletes what else stands under the prefix, in the same transaction. A failure leaves the
        files where they were. The records come back by key.
        """
        self.bucket(bucket)
        base = prefix.rstrip("/")
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        keys = ["/".join(filter(None, (base, path.relative_to(folder).as_posix()))) for path in found]
        for key in keys:
            check_key(key)
        records: list[ObjectRecord] = []
        removed: list[tuple[Deletion, ObjectRecord]] = []
        with storage_errors(self.root):
            staged = self._stage(found, move=True)
            try:
                with self.changes.lock:
                    with self.changes.change() as change:
                        if replace:
                            kept = frozenset(keys)
                            below = f"{base}/" if base else ""
                            stale = [record for record in self.list(bucket, below) if record.key not in kept]
                            for old in stale:
                                removed.append((change.delete(bucket, old.key, None), old))
                        for key, item in zip(keys, staged, strict=True):
                            change.place(bucket, key, item, Attributes(_guess_type(key)))
                    records = [self.head(bucket, key) for key in keys]
            except BaseException:
                _give_back(staged)
                raise
        for deletion, old in removed:
            self._announce_deleted(old, deletion)
        for record in records:
            self._announce_created(record, "PutObject")
        return sorted(records, key=lambda record: record.key)

    def set_tags(
        self, bucket: str, key: str, tags: Mapping[str, str], version_id: str | None = None
    ) -> ObjectRecord:
        """Replace an object's tags."""
        with self.changes.lock, storage_errors(self.root), self.database.write() as connection:
            record = self.head(bucket, key, version_id)
            values = {**record.attributes.__dict__, "tags": dict(tags)}
            connection.execute(
                "UPDATE version SET attributes = ? WHERE sequence = ?",
                (Attributes(**values).to_json(), record.sequence),
            )
            return self.head(bucket, key, record.version_id)

    def delete(self, bucket: str, key: str, version_id: str | None = None) -> Deletion:
        """Delete a key, or one version for good; deleting what is not there is no error."""
        return self.delete_many(bucket, [(key, version_id)])[0]

    def delete_many(self, bucket: str, items: Sequence[tuple[str, str | None]]) -> builtins.list[Deletion]:
        """Delete several keys or versions in one transaction."""
        before: list[ObjectRecord | None] = []
        deletions: list[Deletion] = []
        with self.changes.change() as change:
            find_bucket(change.connection, bucket)
            for key, version_id in items:
                row = (
                    find_current(change.connection, bucket, key)
                    if version_id is None
                    else find_version(change.connection, bucket, key, version_id)
                )
                before.append(to_object(row, self.root) if row is not None else None)
                deletions.append(change.delete(bucket, key, version_id))
        for old, deletion in zip(before, deletions, strict=True):
            if old is not None and deletion.existed:
                self._announce_deleted(old, deletion)
        return deletions

    # Inside

    def _stage(self, paths: Sequence[Path], *, move: bool) -> Sequence[Staged]:
        staged: list[Staged] = []
        try:
            for path in paths:
                taken = self.files.take(path, move=move)
                staged.append(Staged(taken, "", taken.stat().st_size, path if move else None))
            total = sum(item.size_bytes for item in staged)
            if len(staged) > 1 and total > _HASH_IN_PARALLEL_BYTES:
                with ThreadPoolExecutor(min(len(staged), os.cpu_count() or 1)) as pool:
                    etags = list(pool.map(lambda item: md5_of(item.path), staged))
            else:
                etags = [md5_of(item.path) for item in staged]
        except BaseException:
            _give_back(staged)
            raise
        return [
            Staged(item.path, etag, item.size_bytes, item.source)
            for item, etag in zip(staged, etags, strict=True)
        ]

    def _announce_created(self, record: ObjectRecord, reason: str) -> None:
        bucket = self.bucket(record.bucket)
        self.on_change("Created", record, reason)
        if bucket.notifications.event_bridge:
            self._bus.publish(created_event(record, reason, versioned=bool(bucket.versioning)))

    def _announce_deleted(self, old: ObjectRecord, deletion: Deletion) -> None:
        self.on_change("Deleted", old, "DeleteMarkerCreated" if deletion.is_delete_marker else "Delete")
        if self.bucket(old.bucket).notifications.event_bridge:
            self._bus.publish(deleted_event(old, deletion))


def _give_back(staged: Sequence[Staged]) -> None:
    for item in staged:
        with suppress(OSError):
            if item.source is not None:
                os.rename(item.path, item.source)
            else:
                item.path.unlink(missing_ok=True)


def _below(key: str, prefix: str) -> str | None:
    if key == prefix:
        relative = key.rpartition("/")[2]
    else:
        relative = key[len(prefix) :]
        if prefix and not prefix.endswith("/") and not relative.startswith("/"):
            relative = prefix.rpartition("/")[2] + relative  # ``part-0`` as a prefix of ``part-00.csv``
        relative = relative.removeprefix("/")
    if any(segment in ("", ".", "..") for segment in relative.split("/")):
        return None
    return relative


def _guess_type(key: str) -> str:
    return mimetypes.guess_type(key, strict=False)[0] or DEFAULT_CONTENT_TYPE
