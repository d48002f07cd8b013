"""Step scaling's configurations, checked as Application Auto Scaling checks them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from triptych.localcloud.autoscaling.errors import invalid

DEFAULT_COOLDOWN_SECONDS = 300
"""of SageMaker's variants, for step scaling and target tracking alike"""
_MOST_STEPS = 20


def check_steps(configuration: dict[str, Any]) -> None:
    """Raises ValidationException where a StepScalingPolicyConfiguration cannot be followed."""
    kind = configuration.get("AdjustmentType")
    if not kind:
        raise invalid("AdjustmentType must be given for a step scaling policy.")
    steps = configuration.get("StepAdjustments") or []
    if not steps:
        raise invalid("At least one StepAdjustment must be specified.")
    if len(steps) > _MOST_STEPS:
        raise invalid(f"At most {_MOST_STEPS} StepAdjustments may be specified, not {len(steps)}.")
    if configuration.get("MinAdjustmentMagnitude") is not None and kind != "PercentChangeInCapacity":
        raise invalid("MinAdjustmentMagnitude goes with AdjustmentType PercentChangeInCapacity only.")
    if (configuration.get("Cooldown") or 0) < 0:
        raise invalid("Cooldown must not be negative.")
    if kind == "ExactCapacity" and any(step["ScalingAdjustment"] < 0 for step in steps):
        raise invalid("ScalingAdjustment must not be negative with AdjustmentType ExactCapacity.")
    _check_intervals(steps)


def _check_intervals(steps: list[dict[str, Any]]) -> None:
    intervals = sorted(map(_interval, steps))
    for low, high in intervals:
        if math.isinf(low) and math.isinf(high):
            raise invalid("A StepAdjustment must have a lower bound or an upper bound.")
        if high <= low:
            raise invalid(f"A StepAdjustment's upper bound {high:g} must be above its lower bound {low:g}.")
    for (_, high), (low, _) in pairwise(intervals):
        if low < high:
            raise invalid("The intervals of StepAdjustments must not overlap.")
        if low > high:
            raise invalid(f"StepAdjustments leave a gap between {high:g} and {low:g}.")
    if intervals[0][0] < 0 and not math.isinf(intervals[0][0]):
        raise invalid("With a negative lower bound one StepAdjustment must have no lower bound.")
    if intervals[-1][1] > 0 and not math.isinf(intervals[-1][1]):
        raise invalid("With a positive upper bound one StepAdjustment must have no upper bound.")


def _interval(step: dict[str, Any]) -> tuple[float, float]:
    low, high = step.get("MetricIntervalLowerBound"), step.get("MetricIntervalUpperBound")
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))
