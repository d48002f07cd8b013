"""How many instances there should be: pure functions of counts, metrics and times.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_ROUNDING = 1e-9
"""so that 3 instances at 20 of 60 make one, whatever floating point makes of it"""


@dataclass(frozen=True)
class Bounds:
    """What a scalable target allows."""

    minimum: int
    maximum: int
    in_suspended: bool = False
    out_suspended: bool = False


@dataclass(frozen=True)
class Proposal:
    """What one policy wants; ``wanted`` is another count than the current one."""

    wanted: int
    cause: str
    """which alarm called which policy, in AWS's words"""
    cooldown_seconds: float = 0.0
    """after the change, if it is made"""


@dataclass(frozen=True)
class LastChange:
    """The latest change of the count. ``ended`` in seconds since the epoch."""

    previous: int
    count: int
    ended: float
    cooldown_seconds: float

    def cools(self, direction: Literal["out", "in"], now: float) -> bool:
        """Whether it went in this direction and its cool-down is not over."""
        went = "out" if self.count > self.previous else "in"
        return went == direction and now < self.ended + self.cooldown_seconds


@dataclass(frozen=True)
class Decision:
    """A new count for a proposal, or AWS's code for why there is none (``AlreadyAtMaxCapacity`` …)."""

    proposal: Proposal
    count: int | None = None
    reason: str = ""


def tracked_count(current: int, metric: float, target: float) -> int:
    """The instances that bring a metric per instance to its target; of none, one is reckoned with."""
    return math.ceil(max(1, current) * metric / target - _ROUNDING)


def stepped_count(
    current: int,
    metric: float,
    threshold: float,
    steps: Mapping[str, Any],
    last: LastChange | None = None,
    now: float = 0.0,
) -> int | None:
    """The count by the step that the breach falls into; None where no step holds it, or nothing changes.

    ``steps`` is a StepScalingPolicyConfiguration. While a scale-out cools down, what it added counts as part
    of the next one: only a larger one adds more.
    """
    breach = metric - threshold
    step = next((item for item in steps["StepAdjustments"] if _holds(item, breach)), None)
    if step is None:
        return None
    adjustment = int(step["ScalingAdjustment"])
    wanted = _adjusted(current, adjustment, steps)
    if wanted > current and last is not None and last.cools("out", now):
        wanted = max(current, _adjusted(last.previous, adjustment, steps))
    return None if wanted == current else wanted


def _adjusted(current: int, adjustment: int, steps: Mapping[str, Any]) -> int:
    match steps["AdjustmentType"]:
        case "ExactCapacity":
            return adjustment
        case "PercentChangeInCapacity":
            return current + _percent(current, adjustment, int(steps.get("MinAdjustmentMagnitude") or 0))
        case _:
            return current + adjustment


def _holds(step: Mapping[str, Any], breach: float) -> bool:
    """Above the threshold a step begins with its lower bound, below it ends with its upper bound."""
    low = step.get("MetricIntervalLowerBound")
    high = step.get("MetricIntervalUpperBound")
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    if breach > 0 or (breach == 0 and low >= 0):
        return low <= breach < high
    return low < breach <= high


def _percent(current: int, percent: int, least: int) -> int:
    """Rounded towards zero, but at least one instance, and at least the policy's minimum magnitude."""
    if percent == 0:
        return 0
    size = max(1, math.floor(current * abs(percent) / 100 + _ROUNDING), least)
    return size if percent > 0 else -size


def decide(
    current: int,
    bounds: Bounds,
    proposals: Sequence[Proposal],
    last: LastChange | None,
    now: float,
) -> Decision | None:
    """What to do with the proposals for one target; None for nothing, without anything to be told.

    The largest count wins, out and in alike. A scale-in's cool-down holds back scaling in only.
    """
    if not proposals:
        return None
    chosen = max(proposals, key=lambda item: item.wanted)
    if chosen.wanted > current:
        if bounds.out_suspended:
            return None
        count = min(chosen.wanted, bounds.maximum)
        return Decision(chosen, count) if count > current else Decision(chosen, reason="AlreadyAtMaxCapacity")
    if bounds.in_suspended or (last is not None and last.cools("in", now)):
        return None
    count = max(chosen.wanted, bounds.minimum)
    return Decision(chosen, count) if count < current else Decision(chosen, reason="AlreadyAtMinCapacity")
