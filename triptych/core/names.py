"""Names and places: what AWS services accept as names, and S3 URIs."""

from __future__ import annotations

import hashlib
import re

_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9-]+")


def job_prefix(use_case: str, execution_name: str, longest: int = 44) -> str:
    """What the names of an execution's SageMaker jobs begin with: ``<use case>-<execution name>``.

    SageMaker allows letters, digits and hyphens, 63 in all; what is longer is cut and told apart by a hash,
    and so is a name that had to be changed. ``longest`` leaves room for ``-evaluate-99-99``.
    """
    wanted = f"{use_case}-{execution_name}"
    cleaned = re.sub("-{2,}", "-", _NOT_ALLOWED.sub("-", wanted)).strip("-")
    if cleaned == wanted and len(cleaned) <= longest:
        return cleaned
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return f"{cleaned[: longest - 9].rstrip('-')}-{digest}"


def client_token(text: str) -> str:
    """An idempotency token for ``text``: 32 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` as bucket and key; raises ValueError for anything else."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"'{uri}' is not an S3 URI (s3://bucket/key)")
    return bucket, key


def join_uri(uri: str, *parts: str) -> str:
    """``uri`` with ``parts`` after it, one slash between any two."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def folder_uri(uri: str) -> str:
    """``uri`` with exactly one slash at its end, so that a prefix does not match its namesakes."""
    return uri.rstrip("/") + "/"


def last_part(uri: str) -> str:
    """The part after the last slash."""
    return uri.rstrip("/").rsplit("/", 1)[-1]
