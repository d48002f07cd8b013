"""Target tracking's metrics, and the two alarms that tell when they are off target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from triptych.localcloud.autoscaling.errors import invalid
from triptych.localcloud.autoscaling.records import Policy
from triptych.localcloud.autoscaling.timing import Timing
from triptych.localcloud.autoscaling.variants import VariantId

INVOCATIONS = "SageMakerVariantInvocationsPerInstance"
_LOW_SHARE = 0.9
"""of the target: below it there is room for scaling in"""
_SUMS = ("Sum", "SampleCount")


def alarm_metric(policy: Policy, timing: Timing) -> dict[str, Any]:
    """The members of PutMetricAlarm that say what is watched."""
    predefined = policy.configuration.get("PredefinedMetricSpecification")
    period = timing.period_seconds
    if predefined is not None:
        variant = VariantId.parse(policy.resource_id)
        return {
            "Namespace": "AWS/SageMaker",
            "MetricName": "InvocationsPerInstance",
            "Dimensions": [
                {"Name": "EndpointName", "Value": variant.endpoint},
                {"Name": "VariantName", "Value": variant.variant},
            ],
            "Statistic": "Sum",
            "Period": period,
        }
    custom = policy.configuration["CustomizedMetricSpecification"]
    if custom.get("Metrics"):
        return {"Metrics": [_with_period(query, period) for query in custom["Metrics"]]}
    members = ("Namespace", "MetricName", "Dimensions", "Statistic", "Unit")
    return {name: custom[name] for name in members if custom.get(name)} | {"Period": period}


def _with_period(query: dict[str, Any], period: int) -> dict[str, Any]:
    if "MetricStat" not in query:
        return {"ReturnData": True, **query}
    return {"ReturnData": True, **query, "MetricStat": {**query["MetricStat"], "Period": period}}


def scaled_target(policy: Policy, timing: Timing) -> float:
    """The target value for one period: sums are per minute, whatever the alarms' period."""
    target = float(policy.configuration["TargetValue"])
    custom = policy.configuration.get("CustomizedMetricSpecification")
    if custom is None:
        statistics = ["Sum"]
    elif custom.get("Metrics"):
        statistics = [item["MetricStat"]["Stat"] for item in custom["Metrics"] if "MetricStat" in item]
    else:
        statistics = [custom["Statistic"]]
    if all(statistic in _SUMS for statistic in statistics):
        return target * timing.period_seconds / 60
    return target


def alarms(policy: Policy, timing: Timing) -> Iterable[dict[str, Any]]:
    """PutMetricAlarm's input for each of the policy's alarms; a step scaling policy has none of its own."""
    if not policy.alarms:
        return
    target = scaled_target(policy, timing)
    sides: dict[str, dict[str, Any]] = {
        "high": {
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": target,
            "EvaluationPeriods": timing.high_periods,
        },
        "low": {
            "ComparisonOperator": "LessThanThreshold",
            "Threshold": target * _LOW_SHARE,
            "EvaluationPeriods": timing.low_periods,
        },
    }
    for side, name in policy.alarms.items():
        yield {
            **alarm_metric(policy, timing),
            **sides[side],
            "AlarmName": name,
            "AlarmDescription": "DO NOT EDIT OR DELETE. "
            f"For TargetTrackingScaling policy {policy.action_arn}.",
            "AlarmActions": [policy.action_arn],
        }


def check_tracking(configuration: dict[str, Any]) -> None:
    """Raises ValidationException where a TargetTrackingScalingPolicyConfiguration cannot be followed."""
    predefined = configuration.get("PredefinedMetricSpecification")
    custom = configuration.get("CustomizedMetricSpecification")
    if (predefined is None) == (custom is None):
        raise invalid(
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be given."
        )
    if configuration.get("TargetValue") is None or float(configuration["TargetValue"]) <= 0:
        raise invalid("TargetValue must be greater than 0.")
    for member in ("ScaleOutCooldown", "ScaleInCooldown"):
        if (configuration.get(member) or 0) < 0:
            raise invalid(f"{member} must not be negative.")
    if predefined is not None:
        kind = predefined.get("PredefinedMetricType")
        if kind != INVOCATIONS:
            raise invalid(
                f"PredefinedMetricType {kind} is not one that the local cloud measures; it measures "
                f"{INVOCATIONS}. Track another metric by CustomizedMetricSpecification."
            )
    if custom is not None:
        _check_custom(custom)


def _check_custom(custom: dict[str, Any]) -> None:
    if custom.get("Metrics"):
        if any(custom.get(name) for name in ("MetricName", "Namespace", "Statistic", "Dimensions", "Unit")):
            raise invalid("CustomizedMetricSpecification takes Metrics or a single metric, not both.")
        given = [query for query in custom["Metrics"] if query.get("ReturnData", True)]
        if len(given) != 1:
            raise invalid(
                f"Exactly one of CustomizedMetricSpecification.Metrics must return data, not {len(given)}."
            )
        for query in custom["Metrics"]:
            if ("MetricStat" in query) == ("Expression" in query):
                raise invalid(f"Metrics item {query.get('Id')} needs either MetricStat or Expression.")
        return
    missing = [name for name in ("MetricName", "Namespace", "Statistic") if not custom.get(name)]
    if missing:
        raise invalid(f"CustomizedMetricSpecification lacks {', '.join(missing)}.")
