"""Pages of keys and versions, in S3's order, with common prefixes rolled up.

Each page costs a few index seeks beyond its own rows: whatever lies below a common prefix is jumped over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from triptych.localcloud.s3.index import to_object
from triptych.localcloud.s3.names import after_all
from triptych.localcloud.s3.records import ObjectRecord


@dataclass(frozen=True)
class Page:
    """``objects`` and ``prefixes`` in key order; ``last`` is the last key or prefix of a truncated page."""

    objects: tuple[ObjectRecord, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    last: str | None
    last_version: str | None = None


def rolled_up(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that ``key`` disappears in, if any."""
    if not delimiter:
        return None
    end = key.find(delimiter, len(prefix))
    return key[: end + len(delimiter)] if end >= 0 else None


def iterate_current(
    connection: sqlite3.Connection, bucket: str, prefix: str, start: str, *, inclusive: bool
) -> Iterator[sqlite3.Row]:
    """Current objects with ``prefix``, from key ``start`` on."""
    end = after_all(prefix)
    start, inclusive = max((start, inclusive), (prefix, True), key=lambda bound: (bound[0], not bound[1]))
    sql = (
        "SELECT * FROM version INDEXED BY current_version WHERE bucket = ? AND is_latest = 1"
        f" AND is_delete_marker = 0 AND key {'>=' if inclusive else '>'} ?"
    )
    arguments = [bucket, start]
    if end is not None:
        sql += " AND key < ?"
        arguments.append(end)
    yield from connection.execute(sql + " ORDER BY key", arguments)


def list_current(
    connection: sqlite3.Connection,
    root: Path,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    after: str = "",
    limit: int = 1000,
) -> Page:
    """A page of at most ``limit`` keys and common prefixes that sort after ``after``."""
    objects: list[ObjectRecord] = []
    prefixes: list[str] = []
    last: str | None = None
    start, inclusive = after, not after
    if after and rolled_up(after, prefix, delimiter) == after and after.startswith(prefix):
        beyond = after_all(after)
        if beyond is None:
            return Page((), (), False, None)
        start, inclusive = beyond, True
    if limit == 0:
        return Page((), (), False, None)
    while True:
        for row in iterate_current(connection, bucket, prefix, start, inclusive=inclusive):
            common = rolled_up(row["key"], prefix, delimiter)
            if len(objects) + len(prefixes) == limit:
                return Page(tuple(objects), tuple(prefixes), True, last)
            if common is None:
                objects.append(to_object(row, root))
                last = row["key"]
                continue
            prefixes.append(common)
            last = common
            beyond = after_all(common)
            if beyond is None:
                return Page(tuple(objects), tuple(prefixes), False, None)
            start, inclusive = beyond, True
            break
        else:
            return Page(tuple(objects), tuple(prefixes), False, None)


def list_versions(
    connection: sqlite3.Connection,
    root: Path,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    key_marker: str = "",
    version_marker: str = "",
    limit: int = 1000,
) -> Page:
    """A page of versions and delete markers, newest first within a key."""
    objects: list[ObjectRecord] = []
    prefixes: list[str] = []
    last: tuple[str, str | None] = ("", None)
    skipping = version_marker
    for row in _versions(connection, bucket, prefix, key_marker, skipping):
        if row["key"] == key_marker and skipping:
            if row["version_id"] == skipping:
                skipping = ""
            continue
        common = rolled_up(row["key"], prefix, delimiter)
        if common is not None and (common == key_marker or (prefixes and prefixes[-1] == common)):
            continue
        if len(objects) + len(prefixes) == limit:
            return Page(tuple(objects), tuple(prefixes), limit > 0, last[0], last[1])
        if common is None:
            objects.append(to_object(row, root))
            last = (row["key"], row["version_id"])
        else:
            prefixes.append(common)
            last = (common, None)
    return Page(tuple(objects), tuple(prefixes), False, None)


def _versions(
    connection: sqlite3.Connection, bucket: str, prefix: str, key_marker: str, version_marker: str
) -> Iterator[sqlite3.Row]:
    # A key marker alone means: go on behind that key; with a version marker: behind that version of it.
    comparison = ">=" if version_marker or not key_marker else ">"
    sql = f"SELECT * FROM version WHERE bucket = ? AND key >= ? AND key {comparison} ?"
    arguments = [bucket, prefix, key_marker]
    end = after_all(prefix)
    if end is not None:
        sql += " AND key < ?"
        arguments.append(end)
    return connection.execute(sql + " ORDER BY key, sequence DESC", arguments)
