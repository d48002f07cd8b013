"""Partial dependence: the mean score when one feature is set to a value in every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from analysed_rows import Feature

ROWS = 1000
_CENTRAL = (1, 99)


@dataclass(frozen=True)
class Dependence:
    """Mean scores at values of a feature, and the share of the known values near each; or why there are none."""

    feature: Feature
    values: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    error: str = ""

    def to_json(self) -> Mapping[str, Any]:
        """The entry in ``analysis.json``'s ``explanations.pdp``."""
        told: dict[str, Any] = {
            "feature_name": self.feature.name,
            "data_type": "categorical" if self.feature.categories else "numerical",
        }
        if self.error:
            return {**told, "error": self.error}
        categories = self.feature.categories
        return {
            **told,
            "feature_values": [categories[int(code)] for code in self.values]
            if categories
            else list(self.values),
            "model_predictions": [list(self.scores)],
            "data_distribution": list(self.shares),
            "label_headers": ["label0"],
        }


def partial_dependence(
    booster: xgboost.Booster, matrix: np.ndarray, column: int, feature: Feature, resolution: int
) -> Dependence:
    """Over the rows of ``matrix``: at each category, or at the middle of ``resolution`` equal buckets.

    The buckets span the first to the 99th percentile, so that a few outliers do not make one bucket of all the
    rest; what lies outside counts to the first and the last. ``matrix`` should have at most ``ROWS`` rows: each is
    predicted once a value.
    """
    known = matrix[:, column][np.isfinite(matrix[:, column])]
    if not len(known):
        return Dependence(feature, error="The feature is missing in every row of the sample")
    if feature.categories:
        counts = np.bincount(known.astype(np.int64), minlength=len(feature.categories))[
            : len(feature.categories)
        ]
        values = np.flatnonzero(counts).astype(np.float64)
        shares = counts[counts > 0] / counts.sum()
    else:
        values, shares = _buckets(known.astype(np.float64), resolution)
    rows = matrix.copy()
    scores = []
    for value in values:
        rows[:, column] = value
        scores.append(float(booster.inplace_predict(rows, validate_features=False).mean()))
    return Dependence(feature, tuple(values.tolist()), tuple(scores), tuple(shares.tolist()))


def _buckets(known: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    distinct = np.unique(known)
    if len(distinct) <= resolution:
        return distinct, np.unique(known, return_counts=True)[1] / len(known)
    low, high = np.percentile(known, _CENTRAL)
    if low == high:
        low, high = distinct[0], distinct[-1]
    edges = np.linspace(low, high, resolution + 1)
    counts = np.histogram(np.clip(known, low, high), edges)[0]
    return (edges[:-1] + edges[1:]) / 2, counts / len(known)
