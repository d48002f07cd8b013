"""Bucket names S3 accepts, and the file names that object keys get."""

from __future__ import annotations

import hashlib
import re

from triptych.localcloud.service import ServiceError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_LONGEST_SEGMENT_BYTES = 255
_LONGEST_PATH_BYTES = 3000  # below every system's PATH_MAX, the home folder's own path included
LONGEST_KEY_BYTES = 1024


def check_bucket_name(name: str) -> None:
    """Raises InvalidBucketName for a name that S3's naming rules refuse."""
    if (
        not _BUCKET.fullmatch(name)
        or ".." in name
        or _ADDRESS.fullmatch(name)
        or name.startswith("xn--")
        or name.endswith(("-s3alias", "--ol-s3"))
    ):
        raise ServiceError("InvalidBucketName", "The specified bucket is not valid.", 400, BucketName=name)


def check_key(key: str) -> None:
    """Raises KeyTooLongError for a key of more than 1024 bytes."""
    if len(key.encode()) > LONGEST_KEY_BYTES:
        raise ServiceError(
            "KeyTooLongError", "Your key is too long", 400, Size=len(key.encode()), MaxSizeAllowed=1024
        )


def natural_path(key: str) -> str | None:
    """The key as a path relative to its bucket's folder; None where no file system could name it so."""
    segments = key.split("/")
    if any(
        segment in ("", ".", "..") or "\0" in segment or len(segment.encode()) > _LONGEST_SEGMENT_BYTES
        for segment in segments
    ):
        return None
    return key if len(key.encode()) <= _LONGEST_PATH_BYTES else None


def odd_name(key: str) -> str:
    """The file name of an object whose key cannot be a path."""
    return hashlib.sha256(key.encode()).hexdigest()


def after_all(prefix: str) -> str | None:
    """The least string that sorts after everything that begins with ``prefix``; None when there is none.

    Code point order is UTF-8's byte order, which is S3's listing order.
    """
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            following = 0xE000 if last + 1 == 0xD800 else last + 1  # surrogates are not characters
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` as bucket and key; raises ValueError for anything else."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "s3a", "s3n") or not separator or not bucket:
        raise ValueError(f"'{uri}' is not an S3 URI; expected s3://bucket/key")
    return bucket, key
