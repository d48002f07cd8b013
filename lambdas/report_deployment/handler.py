"""Report deployment: one page about what happened to the endpoint, and the same as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from document import Facts, document
from history import History, read
from measures import alarm, traffic
from page import render
from pydantic import AwareDatetime
from story import Outcome, Subject, tell, window

from triptych.core.names import join_uri, split_uri
from triptych.core.objects import write_json

logger = Logger()
metrics = Metrics()


class Request(BaseModel):
    execution_id: str
    execution_name: str
    endpoint_name: str
    variant_names: list[str]
    outcome: Outcome
    strategy: str
    model_package_arn: str
    started_at: AwareDatetime
    failure: dict[str, Any] | None = None
    alarms: list[dict[str, Any]] = []
    decision: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    report_prefix_uri: str


@cache
def _client(service: str) -> Any:
    import boto3

    return boto3.client(service)


def _now() -> datetime:
    return datetime.now(UTC)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _wait_for_aftermath(outcome: Outcome, history: History, endpoint: str) -> None:
    """Wait after a rollback until the metrics of the requests that followed it are there."""
    touched = any(change.endpoint == endpoint for change in history.changes)
    if outcome == "rolled_back" and touched:
        rested = max((look.at for look in history.looks if look.endpoint == endpoint), default=_now())
        missing = float(os.environ.get("AFTERMATH_SECONDS", "0")) - (_now() - rested).total_seconds()
        _sleep(max(missing, 0.0))


def _events(execution_id: str) -> Iterator[dict[str, Any]]:
    pages = _client("stepfunctions").get_paginator("get_execution_history")
    for page in pages.paginate(executionArn=execution_id, includeExecutionData=True):
        yield from page["events"]


@metrics.log_metrics
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    history = read(_events(event.execution_id))
    _wait_for_aftermath(event.outcome, history, event.endpoint_name)
    now = _now()
    subject = Subject(
        endpoint=event.endpoint_name,
        outcome=event.outcome,
        strategy=event.strategy,
        variant_names=tuple(event.variant_names),
        started=event.started_at,
        failure=event.failure,
        decision=event.decision,
    )
    start, end = window(subject, history, now)
    cloudwatch = _client("cloudwatch")
    alarms = [alarm(cloudwatch, described, start, end) for described in event.alarms]
    facts = Facts(
        subject=subject,
        story=tell(subject, history, [change for one in alarms for change in one.changes], now),
        traffic=traffic(cloudwatch, event.endpoint_name, event.variant_names, start, end),
        alarms=alarms,
        # the machine keeps the last test only; the history has that of the staging endpoint too
        tests=history.tests or ({"endpoint": event.test} if event.test else {}),
        model_package_arn=event.model_package_arn,
        execution_id=event.execution_id,
        execution_name=event.execution_name,
        written=now,
    )
    write_json(_client("s3"), join_uri(event.report_prefix_uri, "deployment.json"), document(facts))
    report_uri = join_uri(event.report_prefix_uri, "deployment.html")
    bucket, key = split_uri(report_uri)
    _client("s3").put_object(
        Bucket=bucket, Key=key, Body=render(facts).encode(), ContentType="text/html; charset=utf-8"
    )
    metrics.add_dimension("outcome", event.outcome)
    metrics.add_metric("Deployments", MetricUnit.Count, 1)
    logger.info("reported", outcome=event.outcome, uri=report_uri)
    return {"report_uri": report_uri}
