"""What CloudWatch knows of an endpoint's variants: requests, errors, latency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

NAMESPACE = "AWS/SageMaker"
_LONGEST_SECOND_BY_SECOND = timedelta(minutes=15)
_LONGEST_PERIOD = 86_400
_MOST_QUERIES = 500  # GetMetricData's limit
_ASKED = {
    "requests": ("Invocations", "Sum"),
    "client_errors": ("Invocation4XXErrors", "Sum"),
    "server_errors": ("Invocation5XXErrors", "Sum"),
    "latency": ("ModelLatency", "Sum"),
    "answers": ("ModelLatency", "SampleCount"),
}


@dataclass(frozen=True)
class Point:
    """A metric's value in the period that begins at ``at`` (UTC)."""

    at: datetime
    value: float


@dataclass(frozen=True)
class Traffic:
    """A variant's sums over a time. Errors are the client's (4xx) and the server's (5xx), latency the model's."""

    requests: int
    client_errors: int
    server_errors: int
    latency_mean_ms: float | None
    latency_p99_ms: float | None

    @property
    def error_rate(self) -> float | None:
        """The share of requests that failed on the server, 0..1; None without any request."""
        return self.server_errors / self.requests if self.requests else None

    @property
    def client_error_rate(self) -> float | None:
        """The share of requests refused as the client's mistake, 0..1; None without any request."""
        return self.client_errors / self.requests if self.requests else None

    @property
    def latency_ms(self) -> dict[str, float | None]:
        """Mean and 99th percentile, in milliseconds; None where CloudWatch has nothing."""
        return {"mean": self.latency_mean_ms, "p99": self.latency_p99_ms}


def variant_query(
    identity: str, endpoint: str, variant: str, metric: str, statistic: str, period: int
) -> dict[str, Any]:
    """A query of GetMetricData for a variant's metric; ``period`` in seconds."""
    return {
        "Id": identity,
        "MetricStat": {
            "Metric": {
                "Namespace": NAMESPACE,
                "MetricName": metric,
                "Dimensions": [
                    {"Name": "EndpointName", "Value": endpoint},
                    {"Name": "VariantName", "Value": variant},
                ],
            },
            "Period": period,
            "Stat": statistic,
        },
        "ReturnData": True,
    }


def metric_data(
    cloudwatch: Any, queries: Sequence[Mapping[str, Any]], start: datetime, end: datetime
) -> dict[str, list[Point]]:
    """The points of each query, in order of time; a query without data has none."""
    found: dict[str, list[Point]] = {
        query["Id"]: [] for query in queries if query.get("ReturnData", True) is not False
    }
    for first in range(0, len(queries), _MOST_QUERIES):
        request: dict[str, Any] = {
            "MetricDataQueries": list(queries[first : first + _MOST_QUERIES]),
            "StartTime": start,
            "EndTime": end,
            "ScanBy": "TimestampAscending",
        }
        while True:
            answer = cloudwatch.get_metric_data(**request)
            for result in answer["MetricDataResults"]:
                found.setdefault(result["Id"], []).extend(
                    Point(at.astimezone(UTC), value)
                    for at, value in zip(result["Timestamps"], result["Values"], strict=True)
                )
            if not answer.get("NextToken"):
                break
            request["NextToken"] = answer["NextToken"]
    for points in found.values():
        points.sort(key=lambda point: point.at)
    return found


def by_the_minute(moments: Iterable[datetime]) -> bool:
    """Whether values asked for second by second are only at full minutes, or none: standard resolution."""
    return all(moment.second == 0 for moment in moments)


def variants_traffic(
    cloudwatch: Any, endpoint: str, variants: Sequence[str], start: datetime, end: datetime
) -> dict[str, Traffic]:
    """Each variant's traffic from ``start`` to ``end``.

    Short times are asked second by second, which endpoints with metrics of high resolution have; all others by
    the minute, and then the whole first minute counts.
    """
    if end - start <= _LONGEST_SECOND_BY_SECOND:
        points = _points(cloudwatch, endpoint, variants, start, end, 1)
        counted = [found for name, found in points.items() if not name.startswith("p99")]
        if not by_the_minute(point.at for found in counted for point in found):
            return _traffic(points, variants)
    return _traffic(
        _points(cloudwatch, endpoint, variants, start.replace(second=0, microsecond=0), end, 60), variants
    )


def _points(
    cloudwatch: Any, endpoint: str, variants: Sequence[str], start: datetime, end: datetime, period: int
) -> dict[str, list[Point]]:
    """The points of every metric of ``_ASKED`` and of the 99th percentile, named ``<metric>_<variant's place>``."""
    minute = start.replace(second=0, microsecond=0)
    # one period that covers it all, for percentiles of parts do not add up
    whole = min(60 * max(1, math.ceil((end - minute).total_seconds() / 60)), _LONGEST_PERIOD)
    counted = [
        variant_query(f"{name}_{index}", endpoint, variant, metric, statistic, period)
        for index, variant in enumerate(variants)
        for name, (metric, statistic) in _ASKED.items()
    ]
    percentiles = [
        variant_query(f"p99_{index}", endpoint, variant, "ModelLatency", "p99", whole)
        for index, variant in enumerate(variants)
    ]
    return metric_data(cloudwatch, counted, start, end) | metric_data(cloudwatch, percentiles, minute, end)


def _traffic(points: Mapping[str, Sequence[Point]], variants: Sequence[str]) -> dict[str, Traffic]:
    found = {}
    for index, variant in enumerate(variants):
        total = {name: sum(point.value for point in points[f"{name}_{index}"]) for name in _ASKED}
        highest = max((point.value for point in points[f"p99_{index}"]), default=None)
        found[variant] = Traffic(
            requests=round(total["requests"]),
            client_errors=round(total["client_errors"]),
            server_errors=round(total["server_errors"]),
            # ModelLatency is in microseconds
            latency_mean_ms=total["latency"] / total["answers"] / 1000 if total["answers"] else None,
            latency_p99_ms=None if highest is None else highest / 1000,
        )
    return found
