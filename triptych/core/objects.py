"""JSON objects in S3, for whoever has a client."""

from __future__ import annotations

import json
from typing import Any

from triptych.core.names import split_uri


def read_bytes(s3: Any, uri: str) -> bytes:
    """An object's bytes; ``s3`` is a boto3 client, whose errors pass through."""
    bucket, key = split_uri(uri)
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def read_json(s3: Any, uri: str) -> Any:
    """A JSON object's value; raises ValueError naming the object when it is not JSON."""
    content = read_bytes(s3, uri)
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{uri} is not JSON: {error}") from error


def read_json_if_any(s3: Any, uri: str) -> Any:
    """The value, or None where there is no such object."""
    try:
        return read_json(s3, uri)
    except s3.exceptions.NoSuchKey:
        return None


def write_json(s3: Any, uri: str, value: Any) -> str:
    """Write ``value`` as JSON; returns the URI."""
    bucket, key = split_uri(uri)
    body = json.dumps(value, indent=1, sort_keys=True).encode()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")
    return uri
