"""CloudWatch's embedded metric format: JSON lines that a function prints and that become metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

Datum = dict[str, Any]


def embedded_metrics(lines: Iterable[str]) -> Iterator[tuple[str, list[Datum]]]:
    """Namespace and PutMetricData's data for each line in the format; other lines are passed over.

    Format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    for line in lines:
        if not line.startswith("{") or '"_aws"' not in line:
            continue
        try:
            document = json.loads(line)
            header = document["_aws"]
            moment = datetime.fromtimestamp(header["Timestamp"] / 1000, UTC)
            directives = header["CloudWatchMetrics"]
        except (ValueError, KeyError, TypeError):
            continue
        for directive in directives:
            yield directive["Namespace"], list(_data(document, directive, moment))


def _data(document: dict[str, Any], directive: dict[str, Any], moment: datetime) -> Iterator[Datum]:
    for names in directive.get("Dimensions") or [[]]:
        dimensions = [{"Name": name, "Value": str(document[name])} for name in names if name in document]
        for metric in directive.get("Metrics", ()):
            value = document.get(metric["Name"])
            if value is None:
                continue
            yield {
                "MetricName": metric["Name"],
                "Dimensions": dimensions,
                "Timestamp": moment,
                "Unit": metric.get("Unit", "None"),
                "Values": [float(one) for one in (value if isinstance(value, list) else [value])],
            }
