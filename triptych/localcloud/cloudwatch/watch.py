"""A metric alarm as it is evaluated: its criteria, its queries, and the window that ends now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.localcloud.cloudwatch.evaluation import (
    SPARE_PERIODS,
    Criteria,
    Point,
    Verdict,
    judge,
    reason_data,
    too_few_samples,
)
from triptych.localcloud.cloudwatch.queries import Query, evaluate, longest_period, parse_queries
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.cloudwatch.timeseries import InvalidExpression, Series

_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)$")


@dataclass
class Watch:
    """``judged(store, now)`` is the whole of a metric alarm's evaluation.

    Once data stops to come, the last windows that held some are judged, as they were, until they have left the
    evaluation range. CloudWatch's windows lie on a grid; ours slide, and old data sliding through them would set an
    alarm off, and off again, for what is over.
    """

    criteria: Criteria
    queries: Sequence[Query]
    returned: str
    """id of the query whose time series is judged"""
    period_seconds: int
    statistic: str | None
    """None for metric math"""
    unit: str | None
    only_significant: bool
    _last_data_at: datetime | None = field(default=None, init=False)

    def judged(self, store: MetricStore, now: datetime) -> tuple[Verdict, dict[str, Any]]:
        """The verdict and StateReasonData. Periods are counted back from ``now``: a sliding window."""
        points = self._settled_points(store, now)
        verdict = judge(self.criteria, points)
        if self.only_significant and too_few_samples(_percent(self.statistic), verdict.judged):
            verdict = Verdict(None, "", verdict.judged)
        data = reason_data(self.criteria, verdict, now, self.period_seconds, self.statistic, self.unit)
        return verdict, data

    def _settled_points(self, store: MetricStore, now: datetime) -> list[Point]:
        points = self.points(store, now)
        if points[-1].value is not None:
            self._last_data_at = now
        elif self._last_data_at is not None:
            if now - self._last_data_at <= timedelta(seconds=self.period_seconds) * SPARE_PERIODS:
                return self.points(store, self._last_data_at)
            self._last_data_at = None
        return points

    def points(self, store: MetricStore, now: datetime) -> list[Point]:
        """The evaluation range, oldest first."""
        length = timedelta(seconds=self.period_seconds)
        start = now - length * self.criteria.range_periods
        series = evaluate(store, self.queries, start, now, align=False)[self.returned]
        if not isinstance(series, Series):
            raise InvalidExpression(f"'{self.returned}' is no time series.")
        grid = range(series.grid.start, series.grid.stop, self.period_seconds * 1000)
        return [
            Point(datetime.fromtimestamp(at / 1000, UTC), series.points.get(at), series.samples.get(at))
            for at in list(grid)[: self.criteria.range_periods]
        ]


def watch(config: Mapping[str, Any]) -> Watch:
    """From PutMetricAlarm's checked parameters."""
    periods = config["EvaluationPeriods"]
    criteria = Criteria(
        config["ComparisonOperator"],
        float(config["Threshold"]),
        periods,
        config.get("DatapointsToAlarm", periods),
        config.get("TreatMissingData", "missing"),
    )
    if "Metrics" in config:
        queries = parse_queries(config["Metrics"])
        [returned] = [entry["Id"] for entry in config["Metrics"] if entry.get("ReturnData", True)]
        return Watch(criteria, queries, returned, longest_period(queries), None, None, False)
    statistic = config.get("Statistic") or config["ExtendedStatistic"]
    stat = {
        "Metric": {
            "Namespace": config["Namespace"],
            "MetricName": config["MetricName"],
            "Dimensions": config.get("Dimensions") or [],
        },
        "Period": config["Period"],
        "Stat": statistic,
        "Unit": config.get("Unit"),
    }
    return Watch(
        criteria,
        parse_queries([{"Id": "m1", "MetricStat": stat}]),
        "m1",
        config["Period"],
        statistic,
        config.get("Unit"),
        config.get("EvaluateLowSampleCountPercentile") == "ignore" and bool(_PERCENTILE.match(statistic)),
    )


def _percent(statistic: str | None) -> float:
    match = _PERCENTILE.match(statistic or "")
    return float(match.group(1)) if match else 50.0
