"""Register dataset version: from here on others may train on it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from record import dataset_record, supersedes

from triptych.core.objects import read_json, read_json_if_any, write_json

logger = Logger()
metrics = Metrics()
tracer = Tracer()


class Request(BaseModel):
    run_uri: str
    dataset_version: str
    manifest_uri: str
    execution_name: str


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


@tracer.capture_lambda_handler
@metrics.log_metrics
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    folder = f"s3://{os.environ['DATA_BUCKET']}/datasets/{os.environ['USE_CASE']}"
    version_uri = f"{folder}/{event.dataset_version}.json"
    known = read_json_if_any(_s3(), version_uri)
    record = dataset_record(
        event.model_dump(),
        splits=read_json(_s3(), f"{event.run_uri}/splits.json"),
        cleaning=read_json(_s3(), f"{event.run_uri}/cleaning.json"),
        registered=datetime.now(UTC),
        known=known,
    )
    if record != known:
        write_json(_s3(), version_uri, record)
    if supersedes(record, read_json_if_any(_s3(), f"{folder}/latest.json")):
        write_json(_s3(), f"{folder}/latest.json", record)
    metrics.add_metric("TrainingRows", MetricUnit.Count, record["rows"]["train"])
    logger.info("dataset registered", version=event.dataset_version, uri=version_uri)
    return record
