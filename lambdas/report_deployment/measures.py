"""What CloudWatch measured while the endpoint changed: each variant's traffic, each alarm's metric and states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.core.traffic import Point, by_the_minute, metric_data, variant_query

_PERIODS = (1, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
_MOST_POINTS = 360
_LEAST_MARGIN = timedelta(seconds=10)
_METRICS = {
    "requests": ("Invocations", "Sum"),
    "client_errors": ("Invocation4XXErrors", "Sum"),
    "server_errors": ("Invocation5XXErrors", "Sum"),
    "p50": ("ModelLatency", "p50"),
    "p99": ("ModelLatency", "p99"),
}


@dataclass(frozen=True)
class Traffic:
    """Points of every metric of ``_METRICS``, by variant; latencies in milliseconds, the others are counts."""

    period_seconds: int
    variants: Mapping[str, Mapping[str, Sequence[Point]]]

    def total(self, metric: str, variants: Sequence[str] | None = None) -> int:
        """The sum of a count over the variants (all by default)."""
        chosen = self.variants if variants is None else variants
        return round(sum(point.value for variant in chosen for point in self.variants[variant][metric]))

    def highest(self, metric: str) -> float | None:
        """The greatest value of any variant; None without a point."""
        values = [point.value for found in self.variants.values() for point in found[metric]]
        return max(values, default=None)


@dataclass(frozen=True)
class StateChange:
    """An alarm went from one state to another."""

    at: datetime
    alarm: str
    before: str
    now: str
    reason: str


_MICROSECONDS = ("ModelLatency", "OverheadLatency")


@dataclass(frozen=True)
class Alarm:
    """An alarm as DescribeAlarms has it, with its changes in the window and the points of its metric.

    Latencies are in milliseconds, as everywhere on the page; then ``unit`` is "ms", else "".
    """

    name: str
    state: str
    reason: str
    threshold: float | None
    description: str
    changes: Sequence[StateChange]
    points: Sequence[Point]
    period_seconds: int
    unit: str


def traffic(
    cloudwatch: Any, endpoint: str, variants: Sequence[str], start: datetime, end: datetime
) -> Traffic:
    """At the finest period that the metrics have and a plot can show."""
    seconds = max((end - start).total_seconds(), 1.0)
    finest = next((period for period in _PERIODS if seconds / period <= _MOST_POINTS), _PERIODS[-1])
    found = _traffic(cloudwatch, endpoint, variants, start, end, finest)
    counted = (point.at for metrics in found.variants.values() for point in metrics["requests"])
    if finest < 60 and by_the_minute(counted):
        found = _traffic(cloudwatch, endpoint, variants, start.replace(second=0, microsecond=0), end, 60)
    return found


def _traffic(
    cloudwatch: Any, endpoint: str, variants: Sequence[str], start: datetime, end: datetime, period: int
) -> Traffic:
    points = metric_data(
        cloudwatch,
        [
            variant_query(f"{name}_{index}", endpoint, variant, metric, statistic, period)
            for index, variant in enumerate(variants)
            for name, (metric, statistic) in _METRICS.items()
        ],
        start,
        end,
    )
    return Traffic(
        period,
        {
            variant: {
                # ModelLatency is in microseconds
                name: [
                    Point(point.at, point.value / 1000 if name.startswith("p") else point.value)
                    for point in points[f"{name}_{index}"]
                ]
                for name in _METRICS
            }
            for index, variant in enumerate(variants)
        },
    )


def alarm(cloudwatch: Any, described: Mapping[str, Any], start: datetime, end: datetime) -> Alarm:
    """Everything about one of DescribeAlarms' answers from ``start`` to ``end``."""
    name = described["AlarmName"]
    points, period = _alarm_points(cloudwatch, described, start, end)
    changes = _state_changes(cloudwatch, name, start, end)
    threshold = described.get("Threshold")
    in_microseconds = described.get("MetricName") in _MICROSECONDS
    if in_microseconds:
        points = [Point(point.at, point.value / 1000) for point in points]
        threshold = threshold / 1000 if threshold is not None else None
    return Alarm(
        name=name,
        # the description is from before the history was read
        state=changes[-1].now if changes else described.get("StateValue", "INSUFFICIENT_DATA"),
        reason=changes[-1].reason if changes else described.get("StateReason") or "",
        threshold=threshold,
        description=described.get("AlarmDescription") or "",
        changes=changes,
        points=points,
        period_seconds=period,
        unit="ms" if in_microseconds else "",
    )


def _alarm_points(
    cloudwatch: Any, described: Mapping[str, Any], start: datetime, end: datetime
) -> tuple[list[Point], int]:
    """The values that the alarm judges, at its own period; a composite alarm has none."""
    queries: list[dict[str, Any]]
    if described.get("Metrics"):
        queries = list(described["Metrics"])
    elif described.get("MetricName"):
        queries = [
            {
                "Id": "judged",
                "MetricStat": {
                    "Metric": {
                        "Namespace": described["Namespace"],
                        "MetricName": described["MetricName"],
                        "Dimensions": described.get("Dimensions") or [],
                    },
                    "Period": described["Period"],
                    "Stat": described.get("Statistic") or described.get("ExtendedStatistic"),
                },
                "ReturnData": True,
            }
        ]
    else:
        return [], 60
    judged = next(query["Id"] for query in queries if query.get("ReturnData", True) is not False)
    periods = [query["MetricStat"]["Period"] for query in queries if "MetricStat" in query]
    period = max([*periods, *(query["Period"] for query in queries if query.get("Period"))], default=60)
    margin = max(timedelta(seconds=period), _LEAST_MARGIN)
    return metric_data(cloudwatch, queries, start - margin, end)[judged], period


def _state_changes(cloudwatch: Any, name: str, start: datetime, end: datetime) -> list[StateChange]:
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        AlarmName=name,
        AlarmTypes=["MetricAlarm", "CompositeAlarm"],
        HistoryItemType="StateUpdate",
        StartDate=start,
        EndDate=end,
    )
    changes = []
    for page in pages:
        for item in page["AlarmHistoryItems"]:
            data = json.loads(item["HistoryData"])
            old, new = data.get("oldState") or {}, data["newState"]
            changes.append(
                StateChange(
                    at=item["Timestamp"].astimezone(UTC),
                    alarm=name,
                    before=old.get("stateValue", "INSUFFICIENT_DATA"),
                    now=new["stateValue"],
                    reason=new.get("stateReason") or "",
                )
            )
    return sorted(changes, key=lambda change: change.at)
