"""Validate file: check one source object as bytes, before any job reads it as rows."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from checks import FileCheck

from triptych.core.contract import Contract, parse_contract
from triptych.core.objects import read_bytes

CHUNK_BYTES = 1 << 20

logger = Logger()
tracer = Tracer()


class Source(BaseModel):
    table: str
    bucket: str
    key: str
    version_id: str
    size_bytes: int


class Request(BaseModel):
    object: Source
    run_uri: str


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


@cache
def _contract(uri: str) -> Contract:
    return parse_contract(read_bytes(_s3(), uri).decode(), uri, check=False)


@tracer.capture_lambda_handler
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    source = event.object
    check = FileCheck(_contract(os.environ["CONTRACT_URI"]).tables[source.table], source.key)
    version = {} if source.version_id == "null" else {"VersionId": source.version_id}
    try:
        body = _s3().get_object(Bucket=source.bucket, Key=source.key, **version)["Body"]
        for chunk in body.iter_chunks(CHUNK_BYTES):
            check.feed(chunk)
    except _s3().exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "NoSuchVersion"):
            raise
        check.missing(source.version_id)
    result = check.finish()
    logger.info("file checked", key=source.key, verdict=result["verdict"], rows=result["rows"])
    return result
