"""Judge model: the contract's gates on an evaluation, against the champion; and what its package will say."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from gates import Evaluation, judge, properties

from triptych.core.contract import parse_contract
from triptych.core.names import split_uri

logger = Logger()
metrics = Metrics()


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def _read(uri: str) -> str:
    bucket, key = split_uri(uri)
    return str(_s3().get_object(Bucket=bucket, Key=key)["Body"].read().decode())


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    contract_uri = os.environ["CONTRACT_URI"]
    contract = parse_contract(_read(contract_uri), contract_uri, check=False)
    evaluation = Evaluation.from_document(json.loads(_read(event["evaluation_uri"])))
    champion = event.get("champion") or {}
    verdict = judge(contract.gates, evaluation, champion.get("metrics") or {})
    metrics.add_metric("GatesFailed", MetricUnit.Count, len(verdict.reasons))
    logger.info("judged", verdict=verdict.verdict, reasons=verdict.reasons)
    return {
        "verdict": verdict.verdict,
        "reasons": verdict.reasons,
        "checks": verdict.checks,
        "metrics": evaluation.splits["test"],
        "properties": properties(
            event, evaluation, os.environ.get("GIT_COMMIT", "unknown"), contract.use_case
        ),
    }
