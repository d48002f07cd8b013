"""Metric filters: log events that match a pattern become data points of a metric."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloudwatch.store import Datum
from triptych.localcloud.logs.patterns import MISSING, Matcher, compile_pattern, lookup
from triptych.localcloud.service import ServiceError

_MOST_DIMENSIONS = 3


@dataclass(frozen=True)
class MetricFilter:
    """A checked filter of one log group; ``data`` is what a batch of its events comes to."""

    name: str
    matches: Matcher
    transformations: tuple[Mapping[str, Any], ...]

    def data(self, rows: Sequence[tuple[int, str]]) -> Iterator[Datum]:
        """``rows`` are (milliseconds, message) pairs.

        As on AWS: where events come and none matches, the metric gets its default value.
        """
        found = [(time_ms, message) for time_ms, message in rows if self.matches(message)]
        for transformation in self.transformations:
            for time_ms, message in found:
                yield from _datum(transformation, time_ms, message)
            default = transformation.get("defaultValue")
            if not found and rows and default is not None:
                newest = max(time_ms for time_ms, _ in rows)
                yield _point(transformation, newest, float(default), ())


def parse_filter(name: str, pattern: str, transformations: Sequence[Mapping[str, Any]]) -> MetricFilter:
    """Raises InvalidParameterException for what CloudWatch Logs refuses, or this does not serve."""
    for transformation in transformations:
        value = str(transformation["metricValue"])
        dimensions = transformation.get("dimensions") or {}
        for selector in (value, *dimensions.values()):
            if not selector.startswith("$.") and (selector is not value or _number(value) is None):
                raise _invalid(
                    f"'{selector}' in metric filter {name} must be a number or begin with $. (a member)."
                )
        if len(dimensions) > _MOST_DIMENSIONS:
            raise _invalid(
                f"Metric filter {name} has {len(dimensions)} dimensions; {_MOST_DIMENSIONS} is the most."
            )
        if dimensions and transformation.get("defaultValue") is not None:
            raise _invalid(f"Metric filter {name}: a default value and dimensions exclude each other.")
    return MetricFilter(name, compile_pattern(pattern), tuple(transformations))


def _datum(transformation: Mapping[str, Any], time_ms: int, message: str) -> Iterator[Datum]:
    document = _document(message)
    value = _read(str(transformation["metricValue"]), document)
    number = _number(value)
    if number is None:
        return
    dimensions = []
    for name, selector in (transformation.get("dimensions") or {}).items():
        found = _read(selector, document)
        if found is MISSING:
            return
        dimensions.append((name, str(found)))
    yield _point(transformation, time_ms, number, tuple(sorted(dimensions)))


def _point(
    transformation: Mapping[str, Any], time_ms: int, value: float, dimensions: tuple[tuple[str, str], ...]
) -> Datum:
    return Datum(
        transformation["metricNamespace"],
        transformation["metricName"],
        dimensions,
        datetime.fromtimestamp(time_ms / 1000, UTC),
        value=value,
        unit=transformation.get("unit", "None"),
    )


def _document(message: str) -> Any:
    try:
        return json.loads(message)
    except ValueError:
        return None


def _read(selector: str, document: Any) -> Any:
    return lookup(document, selector[2:]) if selector.startswith("$.") else selector


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < float("inf") else None


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)
