"""Conditional headers and byte ranges, in RFC 9110's order of precedence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from triptych.localcloud.s3.records import ObjectRecord
from triptych.localcloud.service import ServiceError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class NotModified(Exception):
    """The client's copy is still good: 304."""


def check_read(record: ObjectRecord, headers: Mapping[str, str], prefix: str = "if-") -> None:
    """Raises PreconditionFailed, NotModified. ``prefix`` is ``x-amz-copy-source-if-`` for a copy's source."""
    match = headers.get(f"{prefix}match")
    none_match = headers.get(f"{prefix}none-match")
    unmodified = _date(headers.get(f"{prefix}unmodified-since"))
    modified = _date(headers.get(f"{prefix}modified-since"))
    changed = record.last_modified.replace(microsecond=0)
    if match is not None:
        if not _matches(match, record.etag):
            raise precondition_failed("If-Match")
    elif unmodified is not None and changed > unmodified:
        raise precondition_failed("If-Unmodified-Since")
    if none_match is not None:
        if _matches(none_match, record.etag):
            raise NotModified
    elif modified is not None and changed <= modified:
        raise NotModified


def check_write(current: ObjectRecord | None, headers: Mapping[str, str]) -> None:
    """``If-None-Match: *`` and ``If-Match`` of a write: PreconditionFailed, NoSuchKey, NotImplemented."""
    none_match = headers.get("if-none-match")
    match = headers.get("if-match")
    if none_match is not None:
        if none_match.strip() != "*":
            raise ServiceError(
                "NotImplemented", "A header you provided implies functionality that is not implemented", 501
            )
        if current is not None:
            raise precondition_failed("If-None-Match")
    if match is not None:
        if current is None:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", 404)
        if not _matches(match, current.etag):
            raise precondition_failed("If-Match")


def precondition_failed(condition: str) -> ServiceError:
    """S3's 412."""
    return ServiceError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        412,
        Condition=condition,
    )


def byte_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Offset and length that a Range header asks for; None to send everything; raises InvalidRange."""
    if header is None:
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[0] == "bytes=-":
        return None  # several ranges, or no range at all: S3 sends the whole object
    first, last = found.groups()
    if first:
        start = int(first)
        end = min(int(last), size_bytes - 1) if last else size_bytes - 1
        if last and int(last) < start:
            return None
    else:
        start = max(size_bytes - int(last), 0)
        end = size_bytes - 1
        if int(last) == 0:
            start = size_bytes
    if start >= size_bytes:
        raise ServiceError(
            "InvalidRange",
            "The requested range is not satisfiable",
            416,
            RangeRequested=header,
            ActualObjectSize=str(size_bytes),
        )
    return start, end - start + 1


def _matches(header: str, etag: str) -> bool:
    values = [value.strip().removeprefix("W/").strip('"') for value in header.split(",")]
    return "*" in values or etag in values


def _date(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        value = parsedate_to_datetime(header)
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
