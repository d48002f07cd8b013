"""What every Glue job does around its transform: arguments, the contract, the accepted files, small outputs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glue_lib.engine_io import SourceFile

from triptych.core.contract import Contract, parse_contract


class JobInputError(Exception):
    """Something a job needs is not there; says what, where and what to do."""


def arguments(names: Sequence[str]) -> dict[str, str]:
    """The job's arguments by Glue's own parser; a missing one ends the job by name."""
    from awsglue.utils import getResolvedOptions

    resolved: dict[str, str] = getResolvedOptions(sys.argv, list(names))
    return resolved


def read_contract(uri: str) -> Contract:
    """The contract at ``uri``. The deployment and the pipeline's first step have checked it already."""
    return parse_contract(get_bytes(uri).decode("utf-8"), uri, check=False)


def accepted_files(contract: Contract, accepted_uri: str) -> dict[str, list[SourceFile]]:
    """The objects that file validation let through, by table, in key order; every table must have one."""
    objects: list[dict[str, Any]] = json.loads(get_bytes(accepted_uri))
    files: dict[str, list[SourceFile]] = {name: [] for name in contract.tables}
    for item in sorted(objects, key=lambda item: str(item["key"])):
        if item["table"] in files:
            files[item["table"]].append(SourceFile(f"s3://{item['bucket']}/{item['key']}", item["key"]))
    for name, found in files.items():
        if not found:
            raise JobInputError(
                f"table {name!r}: {accepted_uri} lists no file of it; upload one below "
                f"{contract.tables[name].files.prefix} or see why file validation rejected it"
            )
    return files


def get_bytes(uri: str) -> bytes:
    """A small object: ``s3://bucket/key``, or a local path."""
    if not uri.startswith("s3://"):
        return Path(uri).read_bytes()
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def put_text(uri: str, text: str, content_type: str) -> None:
    """Write a small object: ``s3://bucket/key``, or a local path."""
    if not uri.startswith("s3://"):
        path = Path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    _s3().put_object(Bucket=bucket, Key=key, Body=text.encode("utf-8"), ContentType=content_type)


def put_json(uri: str, document: Any) -> None:
    """Write a JSON object."""
    put_text(uri, json.dumps(document, indent=1) + "\n", "application/json")


def _s3() -> Any:
    import boto3

    # Glue sets the region; the endpoint comes from AWS_ENDPOINT_URL, where there is one.
    return boto3.client(
        "s3", region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    )
