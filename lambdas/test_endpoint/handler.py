"""Test an endpoint with rows of the test split: the answers must equal the batch predictions, in time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import cycle, islice
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from probe import Answer, Asked, Plan, bad_requests, compare, first_lines

from triptych.core.names import last_part, split_uri

logger = Logger()
metrics = Metrics()
_BYTES_READ = 1_000_000
_MOST_CONNECTIONS = 64


@cache
def _client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    # a request that the client sent twice would hide the answer that was lost
    once = Config(retries={"total_max_attempts": 1}, max_pool_connections=_MOST_CONNECTIONS, read_timeout=60)
    return boto3.client(service, config=once if service == "sagemaker-runtime" else None)


def _head(uri: str) -> str:
    """The first megabyte of an object: a few rows need no more."""
    bucket, key = split_uri(uri)
    body = _client("s3").get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_BYTES_READ - 1}")["Body"]
    return str(body.read().decode("utf-8", "ignore"))


def _ask(endpoint: str, body: str, content_type: str = "text/csv") -> Answer:
    runtime = _client("sagemaker-runtime")
    started = time.perf_counter()
    try:
        response = runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType=content_type, Accept="text/csv", Body=body.encode()
        )
        status, text = 200, response["Body"].read().decode()
    except runtime.exceptions.ModelError as error:
        status, text = error.response.get("OriginalStatusCode", 500), str(error)
    except runtime.exceptions.ClientError as error:
        # SageMaker refuses by itself what is too large or names no endpoint; throttled is not answered either
        status, text = error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)
    return Answer(status, text, (time.perf_counter() - started) * 1000)


def _ask_all(endpoint: str, plan: Plan, rows: list[str]) -> list[Asked]:
    _ask(endpoint, rows[0])  # the first request opens the connection, which is not what is timed
    asked = [Asked((index,), _ask(endpoint, row)) for index, row in enumerate(rows)]
    if not plan.thorough:
        return asked
    asked.append(Asked(tuple(range(len(rows))), _ask(endpoint, "\n".join(rows))))
    indexes = list(islice(cycle(range(len(rows))), plan.requests))
    with ThreadPoolExecutor(plan.concurrency) as pool:
        answers = list(pool.map(lambda index: _ask(endpoint, rows[index]), indexes))
    return asked + [Asked((index,), answer) for index, answer in zip(indexes, answers, strict=True)]


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    plan = Plan.from_event(event)
    rows = first_lines(_head(plan.batch_uri), plan.rows)
    expected = first_lines(_head(f"{plan.transform_uri}/{last_part(plan.batch_uri)}.out"), plan.rows)
    endpoint = event["endpoint_name"]
    asked = _ask_all(endpoint, plan, rows)
    refused = [
        (request, _ask(endpoint, request.body, request.content_type))
        for request in (bad_requests(rows[0]) if plan.malformed else ())
    ]
    result = compare(plan, rows, [float(line.split(",")[0]) for line in expected], asked, refused)
    metrics.add_dimension("stage", event["stage"])
    metrics.add_metric("EndpointLatency", MetricUnit.Milliseconds, result["latency_ms"]["p50"])
    logger.info("tested", verdict=result["verdict"], reasons=result["reasons"])
    return result
