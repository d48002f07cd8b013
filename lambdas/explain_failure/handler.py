"""Explain a failure, a rejection or a rollback to the operators: which state, what happened, what to do."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from explanation import explain

logger = Logger()
metrics = Metrics()
_KINDS = {"rejection": "Rejections", "rollback": "Rollbacks"}


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    answer = explain(event)
    metrics.add_dimension("machine", event["machine"])
    kind = next((name for key, name in _KINDS.items() if key in event), "Failures")
    metrics.add_metric(kind, MetricUnit.Count, 1)
    logger.error(answer["cause"], error=answer["error"], execution=event["execution_id"])
    return answer
