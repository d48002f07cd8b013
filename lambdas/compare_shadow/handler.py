"""Compare shadow: does the new model answer the same requests nearly as the one in production?"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from comparison import DIFFERENCE_EDGES, Limits, compare, judge
from pydantic import AwareDatetime

from triptych.core.captures import Skipped, captured
from triptych.core.traffic import variants_traffic

logger = Logger()
metrics = Metrics()


class Request(BaseModel):
    execution_id: str
    endpoint_name: str
    started_at: AwareDatetime
    shadow: dict[str, Any]
    production_variant: str
    shadow_variant: str
    capture_uri: str
    look: int
    looks: int


@cache
def _client(service: str) -> Any:
    import boto3

    return boto3.client(service)


def _now() -> datetime:
    return datetime.now(UTC)


@metrics.log_metrics
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    limits = Limits.from_event(event.shadow)
    now = _now()
    skipped = Skipped()
    production, shadow = (
        captured(
            _client("s3"), event.capture_uri, event.endpoint_name, variant, event.started_at, now, skipped
        )
        for variant in (event.production_variant, event.shadow_variant)
    )
    comparison = compare(event.started_at, production, shadow)
    traffic = variants_traffic(
        _client("cloudwatch"),
        event.endpoint_name,
        (event.production_variant, event.shadow_variant),
        event.started_at,
        now,
    )
    served, shadowed = traffic[event.production_variant], traffic[event.shadow_variant]
    verdict, reasons = judge(limits, comparison, served, shadowed, event.look, event.looks)
    if skipped.lines:
        logger.warning("lines skipped", lines=skipped.lines, first=skipped.first)
    metrics.add_metric("ShadowPairs", MetricUnit.Count, comparison.pairs)
    logger.info("compared", verdict=verdict, reasons=reasons, execution=event.execution_id)
    return {
        "kind": "shadow",
        "verdict": verdict,
        "final": verdict != "continue",
        "look": event.look,
        "reasons": reasons,
        "limits": event.shadow,
        "requests": comparison.requests,
        "pairs": comparison.pairs,
        "unpaired": comparison.unpaired,
        "left_out": comparison.left_out,
        "unreadable": skipped.lines,
        "mean_difference": comparison.mean,
        "max_difference": comparison.largest if comparison.pairs else None,
        "agreement": comparison.agreement,
        "psi": comparison.psi,
        "differences": {"edges": list(DIFFERENCE_EDGES), "pairs": comparison.differences},
        "latency_ms": {"production": served.latency_ms, "shadow": shadowed.latency_ms},
        "errors": {
            name: {
                "requests": one.requests,
                "client_errors": one.client_errors,
                "server_errors": one.server_errors,
            }
            for name, one in (("production", served), ("shadow", shadowed))
        },
    }
