"""Alarms as CloudWatch describes them, and the data points that they have looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloud import Cloud

_MOST_NAMES = 100
"""DescribeAlarms takes so many"""


@dataclass(frozen=True)
class AlarmView:
    """A metric alarm: what it watches and what it does now."""

    name: str
    state: str
    threshold: float
    period_seconds: int
    evaluation_periods: int
    actions: tuple[str, ...]
    """the ARNs that the alarm's present state calls; none where its actions are disabled"""
    metric: dict[str, Any]
    """the alarm's members that name the metric"""

    @staticmethod
    def of(described: dict[str, Any]) -> AlarmView:
        """From DescribeAlarms' MetricAlarm."""
        member = {"ALARM": "AlarmActions", "OK": "OKActions"}.get(
            described["StateValue"], "InsufficientDataActions"
        )
        actions = described.get(member) or [] if described.get("ActionsEnabled", True) else []
        periods = [
            int(query["MetricStat"]["Period"])
            for query in described.get("Metrics") or []
            if "MetricStat" in query
        ]
        return AlarmView(
            described["AlarmName"],
            described["StateValue"],
            float(described.get("Threshold", math.nan)),
            int(described.get("Period") or max(periods, default=60)),
            int(described["EvaluationPeriods"]),
            tuple(actions),
            described,
        )


def alarms_in_alarm(cloud: Cloud) -> list[AlarmView]:
    """Every metric alarm that is in ALARM."""
    client = cloud.clients.get("cloudwatch")
    pages = client.get_paginator("describe_alarms").paginate(StateValue="ALARM", AlarmTypes=["MetricAlarm"])
    return [AlarmView.of(item) for page in pages for item in page.get("MetricAlarms", [])]


def alarms_named(cloud: Cloud, names: Iterable[str]) -> dict[str, AlarmView]:
    """Those of the metric alarms that are there."""
    found: dict[str, AlarmView] = {}
    wanted = sorted(set(names))
    for first in range(0, len(wanted), _MOST_NAMES):
        answer = cloud.clients.get("cloudwatch").describe_alarms(
            AlarmNames=wanted[first : first + _MOST_NAMES],
            AlarmTypes=["MetricAlarm"],
            MaxRecords=_MOST_NAMES,
        )
        found |= {item["AlarmName"]: AlarmView.of(item) for item in answer.get("MetricAlarms", [])}
    return found


def recent_values(cloud: Cloud, alarm: AlarmView, now: float, since: float) -> list[float]:
    """The data points of the alarm's window that began after ``since``, oldest first.

    Points of before the last change tell of another number of instances.
    """
    length = alarm.period_seconds
    periods = min(alarm.evaluation_periods, max(0, math.floor((now - since) / length)))
    if not periods:
        return []
    start, end = (datetime.fromtimestamp(at, UTC) for at in (now - periods * length, now))
    metric = alarm.metric
    if metric.get("Metrics"):
        return _math_values(cloud, metric["Metrics"], start, end)
    dimensions = tuple(sorted((item["Name"], item["Value"]) for item in metric.get("Dimensions") or []))
    found = cloud.metrics.statistics(
        metric["Namespace"],
        metric["MetricName"],
        dimensions,
        start,
        end,
        length,
        metric.get("Statistic") or metric["ExtendedStatistic"],
        metric.get("Unit"),
    )
    return [value for _, value in found]


def _math_values(
    cloud: Cloud, queries: Sequence[dict[str, Any]], start: datetime, end: datetime
) -> list[float]:
    answer = cloud.clients.get("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
    )
    return [float(value) for result in answer["MetricDataResults"] for value in result["Values"]]
