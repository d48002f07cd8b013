"""From an alarm's data points to its state: M of N, and missing data as documented.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

OK, ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"
STATES = (OK, ALARM, INSUFFICIENT_DATA)
MISSING_DATA = ("missing", "ignore", "breaching", "notBreaching")

SPARE_PERIODS = 2
"""The evaluation range is so much longer than the evaluation periods: where data is missing, older data is
taken in its place. AWS documents the range by an example (five for three)."""

COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


@dataclass(frozen=True)
class Point:
    """One period of the evaluation range; ``value`` is None where data is missing."""

    start: datetime
    value: float | None
    samples: float | None = None


@dataclass(frozen=True)
class Criteria:
    """When an alarm goes off: ``datapoints_to_alarm`` of the last ``evaluation_periods`` breach."""

    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    missing_data: str = "missing"

    @property
    def range_periods(self) -> int:
        return self.evaluation_periods + SPARE_PERIODS

    def breaches(self, value: float) -> bool:
        return COMPARISONS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True)
class Verdict:
    """``state`` None: the alarm stays as it is. ``judged`` are the points that the state rests on."""

    state: str | None
    reason: str
    judged: tuple[Point, ...]


def judge(criteria: Criteria, points: Sequence[Point]) -> Verdict:
    """The verdict on the points of the evaluation range, oldest first."""
    wanted, needed = criteria.evaluation_periods, criteria.datapoints_to_alarm
    present = [point for point in points if point.value is not None]
    if len(present) >= wanted:
        judged = present[-wanted:]
        state = ALARM if _breaching(criteria, judged) >= needed else OK
        return Verdict(state, _crossed(criteria, state, judged, 0), tuple(judged))
    missing = wanted - len(present)
    shown = tuple(present) or tuple(points[-wanted:])
    breaching = _breaching(criteria, present)
    if criteria.missing_data == "breaching":
        state = ALARM if breaching + missing >= needed else OK
        return Verdict(state, _crossed(criteria, state, present, missing), shown)
    if criteria.missing_data == "notBreaching" or breaching >= needed or breaching < len(present):
        state = ALARM if breaching >= needed else OK
        return Verdict(state, _crossed(criteria, state, present, missing), shown)
    # All there is breaches, but it is too little: with "ignore" the state stays.
    if criteria.missing_data == "ignore":
        return Verdict(None, "", shown)
    if not present:
        return Verdict(INSUFFICIENT_DATA, f"Insufficient Data: {_were(wanted)} unknown.", shown)
    oldest = next(index for index, point in enumerate(points) if point.value is not None)
    # A breach as old as the data points to alarm, and nothing good since: as documented, that is enough.
    state = ALARM if len(points) - oldest >= needed else OK
    return Verdict(state, _crossed(criteria, state, present, missing), shown)


def too_few_samples(percent: float, points: Sequence[Point]) -> bool:
    """Whether a percentile of these points is not significant, by CloudWatch's documented rule:
    it wants 10 / (1 - p) samples above the median, 10 / p below.
    """
    rarer = min(percent, 100.0 - percent) / 100.0
    # A little less will do: 1 - 0.9 is not quite 0.1.
    return any(point.samples is not None and 0 < point.samples * rarer < 10 - 1e-6 for point in points)


def reason_data(
    criteria: Criteria,
    verdict: Verdict,
    now: datetime,
    period_seconds: int,
    statistic: str | None,
    unit: str | None = None,
) -> dict[str, Any]:
    """StateReasonData in AWS's shape; ``statistic`` None for metric math."""
    with_value = [point for point in verdict.judged if point.value is not None]
    data: dict[str, Any] = {"version": "1.0", "queryDate": timestamp(now)}
    if with_value:
        data["startDate"] = timestamp(with_value[0].start)
    if unit:
        data["unit"] = unit
    if statistic:
        data["statistic"] = statistic
    data["period"] = period_seconds
    data["recentDatapoints"] = [point.value for point in with_value]
    data["threshold"] = criteria.threshold
    data["evaluatedDatapoints"] = [_evaluated(point) for point in reversed(verdict.judged)]
    return data


def timestamp(moment: datetime) -> str:
    """As CloudWatch writes times within its JSON: ``2026-03-01T12:00:00.000+0000``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def _evaluated(point: Point) -> dict[str, Any]:
    shown: dict[str, Any] = {"timestamp": timestamp(point.start)}
    if point.samples is not None:
        shown["sampleCount"] = point.samples
    if point.value is not None:
        shown["value"] = point.value
    return shown


def _breaching(criteria: Criteria, points: Sequence[Point]) -> int:
    return sum(point.value is not None and criteria.breaches(point.value) for point in points)


def _crossed(criteria: Criteria, state: str, present: Sequence[Point], missing: int) -> str:
    """The reason in AWS's words: which data points were on the side that decided."""
    _, words = COMPARISONS[criteria.comparison]
    treated = "Breaching" if criteria.missing_data == "breaching" else "NonBreaching"
    filled = f"{missing} missing datapoint{'s were' if missing != 1 else ' was'} treated as [{treated}]"
    if not present:
        return f"Threshold Crossed: no datapoints were received for {_periods(missing)} and {filled}."
    alarming = state == ALARM
    deciding = [
        point for point in present if point.value is not None and criteria.breaches(point.value) == alarming
    ] or list(present)
    listed = ", ".join(f"{point.value} ({point.start:%d/%m/%y %H:%M:%S})" for point in reversed(deciding))
    count = len(deciding)
    side = f"{'was' if count == 1 else 'were'} {'' if alarming else 'not '}{words}"
    if missing and criteria.missing_data in ("breaching", "notBreaching"):
        return (
            f"Threshold Crossed: {count} datapoint{'s' if count != 1 else ''} [{listed}] {side} the threshold "
            f"({criteria.threshold}) and {filled}."
        )
    needed = criteria.datapoints_to_alarm
    least = needed if alarming else criteria.evaluation_periods - needed + 1
    change = "OK -> ALARM" if alarming else "ALARM -> OK"
    return (
        f"Threshold Crossed: {count} out of the last {len(present)} datapoints [{listed}] {side} the "
        f"threshold ({criteria.threshold}) (minimum {least} datapoint{'s' if least != 1 else ''} for "
        f"{change} transition)."
    )


def _were(count: int) -> str:
    return f"{count} datapoint{'s were' if count != 1 else ' was'}"


def _periods(count: int) -> str:
    return f"{count} period{'s' if count != 1 else ''}"
