"""Ingest source objects: snapshot what lies below the raw prefixes, and name the dataset version it makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from manifest import Settings, SourceObject, take_snapshot

from triptych.core.contract import parse_contract
from triptych.core.names import split_uri
from triptych.core.objects import read_bytes, read_json_if_any, write_json

logger = Logger()
metrics = Metrics()
tracer = Tracer()


class Request(BaseModel):
    execution_name: str
    force: bool = False


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def _current_objects(bucket: str, prefix: str) -> Iterator[SourceObject]:
    pages = _s3().get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Versions", []):
            if entry["IsLatest"] and not entry["Key"].endswith("/"):
                yield SourceObject(
                    bucket=bucket,
                    key=entry["Key"],
                    version_id=entry["VersionId"],
                    etag=entry["ETag"].strip('"'),
                    size_bytes=entry["Size"],
                    last_modified=entry["LastModified"].isoformat(),
                )


@tracer.capture_lambda_handler
@metrics.log_metrics
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    settings = Settings.from_environment(os.environ)
    text = read_bytes(_s3(), settings.contract_uri)
    contract = parse_contract(text.decode(), split_uri(settings.contract_uri)[1])
    found = [
        source
        for prefix in dict.fromkeys(table.files.prefix for table in contract.tables.values())
        for source in _current_objects(settings.data_bucket, prefix)
    ]
    snapshot = take_snapshot(contract, text, found, settings.data_bucket)
    latest = read_json_if_any(_s3(), snapshot.latest_uri)
    answer = snapshot.answer(event.execution_name, latest, event.force)
    write_json(_s3(), answer["objects_uri"], snapshot.objects)
    write_json(_s3(), answer["manifest_uri"], snapshot.manifest(event.execution_name))
    metrics.add_metric("SourceObjects", MetricUnit.Count, answer["objects"])
    logger.info("snapshot taken", version=answer["dataset_version"], is_new=answer["is_new"])
    return answer
