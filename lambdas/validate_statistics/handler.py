"""Validate statistics: hold what the exploration measured against the contract."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from report import validation_report

from triptych.core.constraints import check_statistics
from triptych.core.contract import parse_contract
from triptych.core.objects import read_bytes, read_json_if_any, write_json
from triptych.core.statistics import Statistics, parse_statistics

logger = Logger()
metrics = Metrics()
tracer = Tracer()


class Request(BaseModel):
    run_uri: str


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def _statistics(run_uri: str) -> Statistics:
    uri = f"{run_uri}/statistics.json"
    return parse_statistics(read_bytes(_s3(), uri), uri)


@tracer.capture_lambda_handler
@metrics.log_metrics
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    uri = os.environ["CONTRACT_URI"]
    contract = parse_contract(read_bytes(_s3(), uri).decode(), uri, check=False)
    latest = read_json_if_any(
        _s3(), f"s3://{os.environ['DATA_BUCKET']}/datasets/{contract.use_case}/latest.json"
    )
    violations = check_statistics(
        contract,
        _statistics(event.run_uri),
        _statistics(latest["run_uri"]) if latest else None,
        datetime.now(UTC),
    )
    report = validation_report(violations, compared_with=latest["dataset_version"] if latest else None)
    validation_uri = write_json(_s3(), f"{event.run_uri}/validation.json", report)
    metrics.add_metric("Violations", MetricUnit.Count, len(violations))
    logger.info("statistics judged", verdict=report["verdict"], violations=len(violations))
    return {
        "verdict": report["verdict"],
        "violations": report["violations"][:20],
        "violations_total": len(violations),
        "validation_uri": validation_uri,
    }
