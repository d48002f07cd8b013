"""Metrics that a job prints: found by the regular expressions of its MetricDefinitions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from triptych.localcloud.sagemaker.errors import invalid
from triptych.localcloud.sagemaker.records import now

_NUMBER = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
_XGBOOST_METRICS = (
    "auc",
    "aucpr",
    "error",
    "logloss",
    "rmse",
    "mae",
    "mape",
    "merror",
    "mlogloss",
    "map",
    "ndcg",
)

XGBOOST_DEFINITIONS = [
    {"Name": f"{part}:{metric}", "Regex": rf".*\[[0-9]+\].*#011{part}-{metric}:{_NUMBER}.*"}
    for part in ("train", "validation")
    for metric in _XGBOOST_METRICS
]
"""What AWS's managed XGBoost publishes; tabs are ``#011`` in CloudWatch"""


class MetricScan:
    """Reads a job's lines, keeps each metric's values. Raises ValidationException for a broken expression."""

    def __init__(self, definitions: Sequence[dict[str, str]]) -> None:
        self.values: list[tuple[str, float, datetime]] = []
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        for definition in definitions:
            try:
                self._patterns.append((definition["Name"], re.compile(definition["Regex"])))
            except re.error as error:
                raise invalid(
                    f"The regular expression of metric '{definition['Name']}' is not valid: {error}: "
                    f"{definition['Regex']}"
                ) from error

    def __call__(self, lines: Sequence[str]) -> None:
        for line in lines:
            for name, pattern in self._patterns:
                match = pattern.search(line)
                if match is None:
                    continue
                try:
                    value = float(match[1] if pattern.groups else match[0])
                except ValueError:
                    continue
                self.values.append((name, value, now()))

    def final(self) -> list[dict[str, Any]]:
        """Each metric's last value, as ``FinalMetricDataList`` has it."""
        last = {
            name: {"MetricName": name, "Value": value, "Timestamp": at} for name, value, at in self.values
        }
        return list(last.values())

    def data_points(self, dimensions: list[dict[str, str]]) -> list[dict[str, Any]]:
        """All values in CloudWatch's ``PutMetricData`` shape."""
        return [
            {"MetricName": name, "Value": value, "Timestamp": at, "Dimensions": dimensions}
            for name, value, at in self.values
        ]
