"""CloudWatch's embedded metric format: log events in JSON that become metrics.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloudwatch.store import Datum

_MOST_VALUES = 100
_MOST_METRICS = 100
_MOST_DIMENSIONS = 30


def embedded_metrics(lines: Iterable[str]) -> Iterator[Datum]:
    """The data points of each line in the format; other lines, and malformed parts, are passed over."""
    for line in lines:
        # Most lines are others: this test is all that they cost.
        if '"_aws"' not in line or not line.lstrip().startswith("{"):
            continue
        try:
            document = json.loads(line)
            header = document["_aws"]
            moment = datetime.fromtimestamp(header["Timestamp"] / 1000, UTC)
            directives = list(header["CloudWatchMetrics"])
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            continue
        for directive in directives:
            if isinstance(directive, dict):
                yield from _data(document, directive, moment)


def _data(document: Mapping[str, Any], directive: Mapping[str, Any], moment: datetime) -> Iterator[Datum]:
    namespace, metrics = directive.get("Namespace"), directive.get("Metrics")
    if not isinstance(namespace, str) or not namespace or not isinstance(metrics, list):
        return
    for names in directive.get("Dimensions") or [[]]:
        if not isinstance(names, list) or len(names) > _MOST_DIMENSIONS:
            continue
        dimensions = tuple(sorted((str(name), str(document[name])) for name in names if name in document))
        for metric in metrics[:_MOST_METRICS]:
            if not isinstance(metric, dict):
                continue
            values = _values(document.get(str(metric.get("Name"))))
            if values:
                unit = str(metric.get("Unit") or "None")
                yield Datum(namespace, metric["Name"], dimensions, moment, values=values, unit=unit)


def _values(given: Any) -> list[float]:
    """A number or a list of numbers; nothing where one of them is none."""
    found = given if isinstance(given, list) else [given]
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in found):
        return []
    numbers = [float(one) for one in found[:_MOST_VALUES]]
    return numbers if all(map(math.isfinite, numbers)) else []
