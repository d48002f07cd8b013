"""Explain a failure or a rejection to the operators: which state, what happened, what to do."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from explanation import explain

logger = Logger()
metrics = Metrics()


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    answer = explain(event)
    metrics.add_dimension("machine", event["machine"])
    metrics.add_metric("Rejections" if "rejection" in event else "Failures", MetricUnit.Count, 1)
    logger.error(answer["cause"], error=answer["error"], execution=event["execution_id"])
    return answer
