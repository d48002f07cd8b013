"""Test an endpoint with rows of the test split: the answers must equal the batch predictions, in time."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from probe import Answer, Plan, compare, first_lines

from triptych.core.names import last_part, split_uri

logger = Logger()
metrics = Metrics()
_BYTES_READ = 1_000_000


@cache
def _client(service: str) -> Any:
    import boto3

    return boto3.client(service)


def _head(uri: str) -> str:
    """The first megabyte of an object: a few rows need no more."""
    bucket, key = split_uri(uri)
    body = _client("s3").get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_BYTES_READ - 1}")["Body"]
    return str(body.read().decode("utf-8", "ignore"))


def _ask(endpoint: str, row: str) -> Answer:
    started = time.perf_counter()
    response = _client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="text/csv", Accept="text/csv", Body=row.encode()
    )
    body = response["Body"].read().decode()
    return Answer(float(body.strip()), (time.perf_counter() - started) * 1000)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    plan = Plan.from_event(event["test"])
    rows = first_lines(_head(plan.batch_uri), plan.rows)
    expected = first_lines(_head(f"{plan.transform_uri}/{last_part(plan.batch_uri)}.out"), plan.rows)
    _ask(
        event["endpoint_name"], rows[0]
    )  # the first request opens the connection, which is not what is timed
    answers = [_ask(event["endpoint_name"], row) for row in rows]
    result = compare(plan, rows, [float(line.split(",")[0]) for line in expected], answers)
    metrics.add_metric("EndpointLatency", MetricUnit.Milliseconds, result["latency_ms"]["median"])
    logger.info("tested", verdict=result["verdict"], reasons=result["reasons"])
    return result
