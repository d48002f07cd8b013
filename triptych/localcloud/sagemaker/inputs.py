"""What S3 data sources mean, and how a job gets them: linked into its folder, never copied."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triptych.localcloud.s3.store import ObjectRecord, ObjectStore, split_uri
from triptych.localcloud.sagemaker.errors import JobRefused, invalid
from triptych.localcloud.service import ServiceError


def require_data(store: ObjectStore, uri: str, region: str, role: str | None) -> None:
    """Raise ValidationException, as CreateTrainingJob does, when nothing stands under an S3 prefix."""
    bucket, prefix = _split(uri)
    if store.has_bucket(bucket) and store.list_page(bucket, prefix=prefix, limit=1).objects:
        return
    raise invalid(
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
        f"exists in the selected region ({region}), that objects exist under that S3 prefix, and that "
        "the role "
        f'"{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
    )


def link_source(store: ObjectStore, source: Mapping[str, Any], folder: Path) -> int:
    """Link an ``S3DataSource``'s objects into ``folder``; how many. Raises JobRefused when there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    uri, kind = source["S3Uri"], source.get("S3DataType", "S3Prefix")
    if kind == "ManifestFile":
        return _link_manifest(store, uri, folder)
    if kind != "S3Prefix":
        raise JobRefused(
            f"ClientError: S3DataType '{kind}' of {uri} is not served locally; use S3Prefix or ManifestFile."
        )
    bucket, prefix = _split(uri)
    try:
        linked = store.materialise(bucket, prefix, folder)
    except ServiceError as error:
        raise JobRefused(f"ClientError: Data download failed: {error.message} ({uri})") from error
    if not linked:
        raise JobRefused(
            f'ClientError: Data download failed: No S3 objects found under S3 URL "{uri}". Write the '
            "data there "
            "first, and mind that prefixes are case-sensitive."
        )
    return len(linked)


def source_objects(store: ObjectStore, source: Mapping[str, Any]) -> list[tuple[str, ObjectRecord]]:
    """An ``S3DataSource``'s objects with their paths relative to the source; raises JobRefused."""
    uri, kind = source["S3Uri"], source.get("S3DataType", "S3Prefix")
    if kind == "ManifestFile":
        prefix, names = _read_manifest(store, uri)
        return [(name, _head(store, prefix + name, uri)) for name in names]
    bucket, prefix = _split(uri)
    try:
        records = store.list(bucket, prefix)
    except ServiceError as error:
        raise JobRefused(f"ClientError: {error.message} ({uri})") from error
    found = []
    for record in records:
        if record.key.endswith("/"):
            continue
        below = record.key[len(prefix) :] if prefix.endswith("/") or not prefix else ""
        if not below:
            start = 0 if record.key == prefix else len(prefix.rstrip("/"))
            rest = record.key[start:]
            if record.key == prefix:
                below = record.key.rsplit("/", 1)[-1]
            elif rest.startswith("/"):
                below = rest[1:]
            else:
                below = record.key[prefix.rfind("/") + 1 :]
        found.append((below, record))
    if not found:
        raise JobRefused(f'ClientError: No S3 objects found under S3 URL "{uri}".')
    return found


def fetch(store: ObjectStore, uri: str, what: str) -> Path:
    """The file of one object; raises JobRefused naming what it should have been."""
    bucket, key = _split(uri)
    try:
        return store.head(bucket, key).path
    except ServiceError as error:
        raise JobRefused(f"ClientError: {what} cannot be read from {uri}: {error.message}") from error


def link(file: Path, path: Path) -> None:
    """A second name for an object's file: what is written to the object later does not change it."""
    path.unlink(missing_ok=True)
    try:
        os.link(file, path)
    except OSError:
        path.symlink_to(file)


def exists(store: ObjectStore, uri: str) -> bool:
    """Whether the object, or anything below the prefix, is there."""
    bucket, key = _split(uri)
    if not store.has_bucket(bucket):
        return False
    return bool(store.list_page(bucket, prefix=key, limit=1).objects)


def _link_manifest(store: ObjectStore, uri: str, folder: Path) -> int:
    prefix, names = _read_manifest(store, uri)
    for name in names:
        record = _head(store, prefix + name, uri)
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise JobRefused(f"ClientError: the manifest {uri} names '{name}', which would leave its folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        link(record.path, path)
    return len(names)


def _read_manifest(store: ObjectStore, uri: str) -> tuple[str, list[str]]:
    """``[{"prefix": "s3://bucket/folder/"}, "relative/path-1", …]``: the prefix and the paths below it."""
    try:
        entries = json.loads(fetch(store, uri, "the manifest").read_bytes())
        prefix = entries[0]["prefix"]
        names = [str(name) for name in entries[1:]]
    except (ValueError, LookupError, TypeError) as error:
        raise JobRefused(
            f'ClientError: {uri} is not a manifest: expected [{{"prefix": "s3://…"}}, "path", …] ({error}).'
        ) from error
    if not names:
        raise JobRefused(f"ClientError: the manifest {uri} names no objects.")
    return prefix, names


def _head(store: ObjectStore, uri: str, manifest: str) -> ObjectRecord:
    bucket, key = _split(uri)
    try:
        return store.head(bucket, key)
    except ServiceError as error:
        raise JobRefused(
            f"ClientError: the manifest {manifest} names {uri}, which cannot be read: {error.message}"
        ) from error


def _split(uri: str) -> tuple[str, str]:
    if not uri.startswith("s3://") or len(uri) <= len("s3://"):
        raise invalid(f"'{uri}' is not an S3 URI; it must look like s3://bucket/key.")
    return split_uri(uri)
