"""What one period of a metric comes to: sums and extremes, and the distribution that percentiles need."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

SIMPLE_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
"""statistics that need no distribution"""

_BUCKET_BASE = 1.01
_MOST_EXACT_VALUES = 200
_NUMBER = r"\d{1,3}(?:\.\d{1,10})?"
_PERCENTILE = re.compile(rf"(p|tm|wm|tc|ts)({_NUMBER})", re.IGNORECASE)
_RANGE = re.compile(r"(tm|wm|tc|ts|pr)\((-?[\d.]*%?):(-?[\d.]*%?)\)", re.IGNORECASE)


class UnknownStatistic(ValueError):
    """The text is no statistic that CloudWatch knows."""


@dataclass(frozen=True)
class Summary:
    """Samples of one period. ``values`` with ``counts`` are its distribution, sorted by value; None where a
    statistic set has not brought it.
    """

    sum: float
    count: float
    minimum: float
    maximum: float
    values: tuple[float, ...] | None = None
    counts: tuple[float, ...] | None = None


def summary(values: Sequence[float], counts: Sequence[float] | None = None) -> Summary:
    """The summary of values that occurred ``counts`` times each (once by default).

    Past 200 different values the distribution keeps buckets 1 % wide; sum and extremes stay exact.
    """
    weights: Sequence[float] = counts if counts else [1.0] * len(values)
    merged: dict[float, float] = {}
    for value, weight in zip(values, weights, strict=True):
        merged[value] = merged.get(value, 0.0) + weight
    total = math.fsum(value * weight for value, weight in zip(values, weights, strict=True))
    count = math.fsum(weights)
    return _with_distribution(merged, total, count, min(values), max(values))


def statistic_set(total: float, count: float, minimum: float, maximum: float) -> Summary:
    """A summary without the single values; where all of them must be equal, they are known all the same."""
    if minimum == maximum or count == 1:
        return Summary(total, count, minimum, maximum, (minimum,), (count,))
    return Summary(total, count, minimum, maximum)


def merge(parts: Iterable[Summary]) -> Summary:
    """Several summaries as one; at least one."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    total = math.fsum(part.sum for part in found)
    count = math.fsum(part.count for part in found)
    minimum, maximum = min(part.minimum for part in found), max(part.maximum for part in found)
    merged: dict[float, float] = {}
    for part in found:
        if part.values is None or part.counts is None:
            return Summary(total, count, minimum, maximum)
        for value, weight in zip(part.values, part.counts, strict=True):
            merged[value] = merged.get(value, 0.0) + weight
    return _with_distribution(merged, total, count, minimum, maximum)


def _with_distribution(
    merged: dict[float, float], total: float, count: float, minimum: float, maximum: float
) -> Summary:
    if len(merged) > _MOST_EXACT_VALUES:
        merged = _bucketed(merged, minimum, maximum)
    ordered = sorted(merged)
    return Summary(total, count, minimum, maximum, tuple(ordered), tuple(merged[value] for value in ordered))


def _bucketed(merged: dict[float, float], minimum: float, maximum: float) -> dict[float, float]:
    width = math.log(_BUCKET_BASE)
    buckets: dict[float, float] = {}
    for value, weight in merged.items():
        if value != 0 and value not in (minimum, maximum):
            value = math.copysign(math.exp(round(math.log(abs(value)) / width) * width), value)
            value = min(max(value, minimum), maximum)
        buckets[value] = buckets.get(value, 0.0) + weight
    return buckets


Reader = Callable[[Summary], float | None]
"""A statistic of a summary; None where the summary cannot tell"""


def reader(statistic: str) -> Reader:
    """What reads a statistic (``Average``, ``p99.9``, ``TM(5%:95%)``, ``PR(:300)``, ``IQM`` …).

    Raises UnknownStatistic.
    """
    simple: dict[str, Reader] = {
        "SampleCount": lambda one: one.count,
        "Average": lambda one: one.sum / one.count if one.count else None,
        "Sum": lambda one: one.sum,
        "Minimum": lambda one: one.minimum,
        "Maximum": lambda one: one.maximum,
    }
    if statistic in simple:
        return simple[statistic]
    if statistic.upper() == "IQM":
        return _ranged("tm", 25.0, 75.0)
    match = _PERCENTILE.fullmatch(statistic)
    if match:
        kind, percent = match.group(1).lower(), float(match.group(2))
        if percent <= 100:
            return _percentile(percent) if kind == "p" else _ranged(kind, 0.0, percent)
    match = _RANGE.fullmatch(statistic)
    if match:
        return _range_reader(statistic, match.group(1).lower(), match.group(2), match.group(3))
    raise UnknownStatistic(
        f"'{statistic}' is no statistic: use {', '.join(SIMPLE_STATISTICS)}, a percentile such as p99, or "
        "TM, WM, TC, TS, PR or IQM."
    )


def _percentile(percent: float) -> Reader:
    def read(one: Summary) -> float | None:
        if not one.values or not one.counts:
            return None
        # The nearest rank: a value that has really occurred.
        wanted = percent / 100.0 * math.fsum(one.counts)
        seen = 0.0
        for value, weight in zip(one.values, one.counts, strict=True):
            seen += weight
            if seen >= wanted - 1e-9:
                return value
        return one.values[-1]

    return read


def _range_reader(statistic: str, kind: str, low: str, high: str) -> Reader:
    by_share = low.endswith("%") or high.endswith("%")
    try:
        lowest = float(low.rstrip("%")) if low else None
        highest = float(high.rstrip("%")) if high else None
    except ValueError:
        raise UnknownStatistic(f"'{statistic}': its bounds must be numbers or percentages.") from None
    if lowest is None and highest is None:
        raise UnknownStatistic(f"'{statistic}' needs at least one bound.")
    if by_share:
        if kind == "pr":
            raise UnknownStatistic(f"'{statistic}': PR takes values, no percentages.")
        return _ranged(kind, 0.0 if lowest is None else lowest, 100.0 if highest is None else highest)
    return _between(kind, lowest, highest)


def _ranged(kind: str, low: float, high: float) -> Reader:
    """Of the samples between two percentiles: trimmed mean, winsorized mean, trimmed count or sum."""

    def read(one: Summary) -> float | None:
        if not one.values or not one.counts:
            return None
        total = math.fsum(one.counts)
        first, last = low / 100.0 * total, high / 100.0 * total
        seen, kept_sum, kept = 0.0, 0.0, 0.0
        for value, weight in zip(one.values, one.counts, strict=True):
            inside = max(0.0, min(seen + weight, last) - max(seen, first))
            seen += weight
            kept_sum += value * inside
            kept += inside
        if kind == "wm":
            at_low, at_high = _percentile(low)(one), _percentile(high)(one)
            return (kept_sum + (at_low or 0.0) * first + (at_high or 0.0) * (total - last)) / total
        return _read_kept(kind, kept_sum, kept)

    return read


def _between(kind: str, low: float | None, high: float | None) -> Reader:
    """Of the samples between two values: low excluded, high included, as documented."""
    above = -math.inf if low is None else low
    below = math.inf if high is None else high

    def read(one: Summary) -> float | None:
        if not one.values or not one.counts:
            return None
        pairs = list(zip(one.values, one.counts, strict=True))
        total = math.fsum(one.counts)
        if kind == "wm":
            return math.fsum(min(max(value, above), below) * weight for value, weight in pairs) / total
        inside = [(value, weight) for value, weight in pairs if above < value <= below]
        kept = math.fsum(weight for _, weight in inside)
        if kind == "pr":
            return kept / total * 100.0
        return _read_kept(kind, math.fsum(value * weight for value, weight in inside), kept)

    return read


def _read_kept(kind: str, kept_sum: float, kept: float) -> float | None:
    if kind == "tc":
        return kept
    if kind == "ts":
        return kept_sum
    return kept_sum / kept if kept else None
