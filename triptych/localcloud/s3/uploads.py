"""Unfinished multipart uploads: their parts as files in the staging area, kept over restarts."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from triptych.localcloud.home import Database
from triptych.localcloud.s3.changes import Change, Changes
from triptych.localcloud.s3.files import STAGING, FileArea, storage_errors
from triptych.localcloud.s3.index import find_bucket, when
from triptych.localcloud.s3.records import Attributes, Part, Staged, Upload
from triptych.localcloud.service import ServiceError

LEAST_PART_BYTES = 5 << 20
MOST_PARTS = 10_000
_COPY_BYTES = 16 << 20


class Uploads:
    """Multipart uploads of one store."""

    def __init__(self, database: Database, files: FileArea, changes: Changes) -> None:
        self._database = database
        self._files = files
        self._changes = changes

    def create(
        self, bucket: str, key: str, attributes: Attributes, checksum_algorithm: str, checksum_type: str
    ) -> Upload:
        """Begin an upload; raises NoSuchBucket."""
        upload_id = uuid4().hex
        with storage_errors(self._files.root), self._database.write() as connection:
            find_bucket(connection, bucket)
            connection.execute(
                "INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    upload_id,
                    bucket,
                    key,
                    time.time(),
                    attributes.to_json(),
                    checksum_algorithm,
                    checksum_type,
                ),
            )
        return self.find(bucket, key, upload_id)

    def find(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The upload; raises NoSuchBucket, NoSuchUpload."""
        connection = self._database.connection
        find_bucket(connection, bucket)
        row = connection.execute("SELECT * FROM upload WHERE upload_id = ?", (upload_id,)).fetchone()
        if row is None or row["bucket"] != bucket or row["key"] != key:
            raise ServiceError(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have "
                "been aborted or completed.",
                404,
                UploadId=upload_id,
            )
        return _to_upload(row)

    def all(self, bucket: str, prefix: str = "") -> list[Upload]:
        """The bucket's unfinished uploads, by key and start."""
        rows = self._database.connection.execute(
            "SELECT * FROM upload WHERE bucket = ? AND substr(key, 1, ?) = ? ORDER BY key, initiated",
            (bucket, len(prefix), prefix),
        )
        return [_to_upload(row) for row in rows]

    def add_part(self, upload: Upload, number: int, staged: Staged, checksums: Mapping[str, str]) -> Part:
        """Take a staged body as part ``number``, in place of an earlier one."""
        folder = f"{STAGING}/{upload.upload_id}"
        file = f"{folder}/{number}-{uuid4().hex}"
        root = self._files.root
        with storage_errors(root), self._changes.lock:
            self.find(upload.bucket, upload.key, upload.upload_id)
            os.makedirs(root / folder, exist_ok=True)
            os.replace(staged.path, root / file)
            with self._database.write() as connection:
                old = connection.execute(
                    "SELECT file FROM part WHERE upload_id = ? AND number = ?", (upload.upload_id, number)
                ).fetchone()
                now = time.time()
                connection.execute(
                    "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        upload.upload_id,
                        number,
                        staged.etag,
                        staged.size_bytes,
                        now,
                        file,
                        json.dumps(dict(checksums)),
                    ),
                )
            if old is not None:
                with suppress(OSError):
                    os.unlink(root / old["file"])
        return Part(number, staged.etag, staged.size_bytes, when(now), root / file, dict(checksums))

    def parts(self, upload: Upload) -> list[Part]:
        """The parts that have arrived, by number."""
        rows = self._database.connection.execute(
            "SELECT * FROM part WHERE upload_id = ? ORDER BY number", (upload.upload_id,)
        )
        return [
            Part(
                row["number"],
                row["etag"],
                row["size_bytes"],
                when(row["modified"]),
                self._files.root / row["file"],
                json.loads(row["checksums"]),
            )
            for row in rows
        ]

    def choose(self, upload: Upload, wanted: Sequence[tuple[int, str]]) -> list[Part]:
        """The parts of a completion, checked: InvalidPartOrder, InvalidPart, EntityTooSmall, MalformedXML."""
        if not wanted:
            raise ServiceError("MalformedXML", "The XML you provided did not list any part.")
        numbers = [number for number, _ in wanted]
        if numbers != sorted(set(numbers)):
            raise ServiceError(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. The parts list must be specified in order by "
                "part number.",
            )
        have = {part.number: part for part in self.parts(upload)}
        chosen = []
        for number, etag in wanted:
            part = have.get(number)
            if part is None or part.etag != etag.strip('"'):
                raise ServiceError(
                    "InvalidPart",
                    "One or more of the specified parts could not be found. The part may not have been "
                    "uploaded, or the specified entity tag may not match the part's entity tag.",
                    UploadId=upload.upload_id,
                    PartNumber=str(number),
                    ETag=etag,
                )
            chosen.append(part)
        for part in chosen[:-1]:
            if part.size_bytes < LEAST_PART_BYTES:
                raise ServiceError(
                    "EntityTooSmall",
                    "Your proposed upload is smaller than the minimum allowed size",
                    ProposedSize=str(part.size_bytes),
                    MinSizeAllowed=str(LEAST_PART_BYTES),
                    PartNumber=str(part.number),
                    ETag=part.etag,
                )
        return chosen

    def join(self, parts: Sequence[Part], etag: str) -> Staged:
        """The parts one after another in one staged file; the parts stay until the upload is forgotten."""
        path = self._files.new_staging()
        with storage_errors(self._files.root):
            try:
                if len(parts) == 1:
                    self._files.link(
                        os.path.relpath(parts[0].path, self._files.root),
                        os.path.relpath(path, self._files.root),
                    )
                else:
                    with open(path, "wb") as target:
                        for part in parts:
                            with open(part.path, "rb") as source:
                                shutil.copyfileobj(source, target, _COPY_BYTES)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return Staged(path, etag, sum(part.size_bytes for part in parts))

    def forget(self, change: Change, upload: Upload) -> None:
        """Remove the upload's rows within a change."""
        change.connection.execute("DELETE FROM upload WHERE upload_id = ?", (upload.upload_id,))
        change.connection.execute("DELETE FROM part WHERE upload_id = ?", (upload.upload_id,))

    def discard_files(self, upload: Upload) -> None:
        """Remove the parts' files; the rows are gone already."""
        shutil.rmtree(self._files.root / STAGING / upload.upload_id, ignore_errors=True)

    def abort(self, upload: Upload) -> None:
        """Forget the upload and its parts."""
        with self._changes.change() as change:
            self.forget(change, upload)
        self.discard_files(upload)

    def abort_all(self, bucket: str) -> None:
        """Forget the uploads of a bucket that goes."""
        for upload in self.all(bucket):
            self.abort(upload)


def _to_upload(row: sqlite3.Row) -> Upload:
    return Upload(
        upload_id=row["upload_id"],
        bucket=row["bucket"],
        key=row["key"],
        initiated=when(row["initiated"]),
        attributes=Attributes.from_json(row["attributes"]),
        checksum_algorithm=row["checksum_algorithm"],
        checksum_type=row["checksum_type"],
    )
