"""``statistics.json`` and the CloudWatch metrics, as Model Monitor writes them.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-contract-outputs.html; the key ``triptych`` holds the
profiles that later data is compared with, and the drift report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from measured import Dataset, Measured
from sources import CannotMonitor

from triptych.core.drift import DriftReport
from triptych.core.profiles import (
    CategoryProfile,
    NumberProfile,
    ProfileMismatch,
    column_profile,
    profile_from,
)
from triptych.core.statistics import StatisticsError, parse_statistics

_BUCKETS = 20
_CATEGORIES_SHOWN = 100


def statistics_document(dataset: Dataset, report: DriftReport | None) -> dict[str, Any]:
    """The whole file."""
    return {
        "version": 0.0,
        "dataset": {"item_count": dataset.rows},
        "features": [_feature(name, one) for name, one in dataset.columns.items()],
        "triptych": {
            "columns": {name: _column(one) for name, one in dataset.columns.items()},
            "skipped": vars(dataset.skipped),
            "drift": report.document() if report else None,
        },
    }


def baseline_columns(document: Mapping[str, Any], source: str) -> dict[str, Measured]:
    """A baseline's columns: this job's, or those of the primary table of the exploration job's file."""
    extra = document.get("triptych", {})
    if "tables" in extra:
        return _explored(document, source)
    if "columns" not in extra:
        raise CannotMonitor(
            f"{source} has no profiles to compare with (key 'triptych'); make the baseline with 'monitor.pyz baseline'"
        )
    try:
        return {
            name: Measured(
                **{key: value for key, value in one.items() if key not in ("profile", "min", "max")},
                profile=profile_from(one["profile"]),
                min=float("inf") if one["min"] is None else one["min"],
                max=float("-inf") if one["max"] is None else one["max"],
            )
            for name, one in extra["columns"].items()
        }
    except (KeyError, TypeError, ProfileMismatch) as error:
        raise CannotMonitor(f"{source} cannot be read as a baseline ({error}); make it anew") from error


def _explored(document: Mapping[str, Any], source: str) -> dict[str, Measured]:
    try:
        primary = parse_statistics(json.dumps(document), source).primary
    except StatisticsError as error:
        raise CannotMonitor(str(error)) from error
    columns = {}
    for name, column in primary.columns.items():
        profile = column_profile(column)
        if profile is not None:
            kind = {"integer": "Integral", "number": "Fractional"}.get(column.type, "String")
            columns[name] = Measured(
                kind,  # type: ignore[arg-type]
                profile,
                negative=int((column.min or 0) < 0),
                finite=column.present,
            )
    return columns


def metrics(
    dataset: Dataset, report: DriftReport, violations: int, at: str, dimensions: Sequence[Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    """One CloudWatch datum each; ``at`` is ISO 8601 UTC."""

    def datum(name: str, **values: Any) -> dict[str, Any]:
        return {"MetricName": name, "Timestamp": at, "Dimensions": list(dimensions), **values}

    if not dataset.rows:
        yield datum("rows", Value=0.0, Unit="Count")
        return
    distances = {
        one.feature: {finding.statistic: finding.value for finding in one.findings} for one in report.features
    }
    for name, one in dataset.columns.items():
        if one.finite:
            numbers = {
                "SampleCount": float(one.finite),
                "Sum": one.mean * one.finite,
                "Minimum": one.min,
                "Maximum": one.max,
            }
            yield datum(f"feature_data_{name}", StatisticValues=numbers)
        yield datum(f"feature_non_null_{name}", Value=one.completeness)
        found = distances.get(name, {})
        distance = found.get("ks", found.get("js"))
        if distance is not None:
            yield datum(f"feature_baseline_drift_{name}", Value=distance)
    yield datum("rows", Value=float(dataset.rows), Unit="Count")
    yield datum("features_drifted", Value=float(len(report.drifted)), Unit="Count")
    yield datum("constraint_violations", Value=float(violations), Unit="Count")


def _column(measured: Measured) -> dict[str, Any]:
    found = {**vars(measured), "profile": measured.profile.document()}
    if not measured.finite:
        found["min"] = found["max"] = None
    return found


def _feature(name: str, measured: Measured) -> dict[str, Any]:
    common = {
        "num_present": measured.profile.rows - measured.missing,
        "num_missing": measured.missing,
    }
    entry: dict[str, Any] = {"name": name, "inferred_type": measured.inferred_type}
    if isinstance(measured.profile, CategoryProfile):
        counts = measured.profile.counts
        shown = sorted(counts, key=lambda value: (-counts[value], value))[:_CATEGORIES_SHOWN]
        entry["string_statistics"] = {
            "common": common,
            "distinct_count": float(sum(count > 0 for count in counts.values())),
            "distribution": {
                "categorical": {"buckets": [{"value": value, "count": counts[value]} for value in shown]}
            },
        }
        return entry
    known = measured.finite > 0
    entry["numerical_statistics"] = {
        "common": common,
        "mean": measured.mean if known else None,
        "sum": measured.mean * measured.finite if known else None,
        "std_dev": measured.std_dev if known else None,
        "min": measured.min if known else None,
        "max": measured.max if known else None,
        "distribution": {"kll": {"buckets": buckets(measured) if known else []}},
    }
    return entry


def buckets(measured: Measured) -> list[dict[str, float]]:
    """About twenty buckets of equal width, from the bins of the profile (each counted where it ends)."""
    profile = measured.profile
    if not isinstance(profile, NumberProfile) or not measured.finite:
        return []
    low, high = measured.min, measured.max
    limits = np.linspace(low, high, _BUCKETS + 1) if high > low else np.array([low, high])
    ends = np.clip(np.append(profile.edges, high), low, high)
    counts = np.histogram(ends, limits, weights=profile.counts)[0] if high > low else [profile.present]
    return [
        {"lower_bound": float(start), "upper_bound": float(end), "count": float(count)}
        for start, end, count in zip(limits[:-1], limits[1:], counts, strict=True)
    ]
