"""Judge experiment: is the challenger better than the champion, by the outcomes known so far?"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from evidence import gather
from pydantic import AwareDatetime

from triptych.core.captures import Skipped, captured, labels
from triptych.core.experiment import Look, Plan, judge
from triptych.core.traffic import variants_traffic

logger = Logger()
metrics = Metrics()


class Request(BaseModel):
    execution_id: str
    endpoint_name: str
    started_at: AwareDatetime
    look: int
    experiment: dict[str, Any]
    champion_variant: str
    challenger_variant: str
    capture_uri: str
    ground_truth_uri: str
    tested: list[dict[str, Any]] = []


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
    plan = Plan.from_event(event.experiment)
    tested = [Look.from_document(item) for item in event.tested]
    now = _now()
    s3 = _client("s3")
    bad_labels, bad_captures = Skipped(), Skipped()
    variants = (event.champion_variant, event.challenger_variant)
    evidence = gather(
        plan.metric,
        event.started_at,
        labels(s3, event.ground_truth_uri, event.started_at, bad_labels),
        {
            variant: captured(
                s3, event.capture_uri, event.endpoint_name, variant, event.started_at, now, bad_captures
            )
            for variant in variants
        },
    )
    evidence.labels.malformed += bad_labels.lines
    samples = [evidence.losses[variant].sample for variant in variants]
    decision = judge(plan, event.look, samples[0], samples[1], tested)
    traffic = variants_traffic(_client("cloudwatch"), event.endpoint_name, variants, event.started_at, now)
    for skipped in (bad_labels, bad_captures):
        if skipped.lines:
            logger.warning("lines skipped", lines=skipped.lines, first=skipped.first)
    metrics.add_metric("LabelledRequests", MetricUnit.Count, sum(sample.count for sample in samples))
    logger.info("judged", verdict=decision.verdict, reason=decision.reason, execution=event.execution_id)
    return {
        "kind": "experiment",
        "verdict": decision.verdict,
        "final": decision.final,
        "look": decision.look,
        "reason": decision.reason,
        "metric": plan.metric,
        "difference": decision.difference,
        "interval": list(decision.interval),
        "p_value": decision.p_value,
        "threshold": decision.threshold,
        "min_effect": plan.min_effect,
        "tested": [look.document() for look in decision.tested],
        "labels": asdict(evidence.labels),
        "unusable": evidence.unusable + bad_captures.lines,
        "variants": {
            variant: {
                "requests": evidence.requests[variant],
                "labelled": sample.count,
                "mean_loss": sample.mean if sample.count else None,
                "error_rate": traffic[variant].error_rate,
                "latency_ms": traffic[variant].latency_ms,
            }
            for variant, sample in zip(variants, samples, strict=True)
        },
    }
