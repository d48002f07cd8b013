"""SHAP values: how far each feature moves each row's score, by XGBoost's own exact algorithm for trees.

The values are log-odds (the model's margin) and add up: a row's values and the base value make its margin. They are
those of ``shap.TreeExplainer`` (tree path dependent), at XGBoost's own cost, so a sample of the rows is explained
and what is said of all rows carries bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost
from analysed_rows import CannotExplain

RESAMPLES = 200
_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Attributions:
    """SHAP values of shape (rows, features), float32, and the base value that they start from; log-odds."""

    values: np.ndarray
    base: float


@dataclass(frozen=True)
class Strength:
    """A feature's global SHAP value and its rank (1 is the strongest), with 95 % bounds of both."""

    value: float
    low: float
    high: float
    rank: int
    rank_low: int
    rank_high: int


def sample_rows(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Indexes of ``wanted`` rows without repetition, in order; all rows where there are fewer."""
    if rows <= wanted:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))


def shap_values(booster: xgboost.Booster, matrix: np.ndarray) -> Attributions:
    """Explain every row of ``matrix`` (rows, features); raises CannotExplain for models of several classes."""
    told = booster.predict(xgboost.DMatrix(matrix), pred_contribs=True, validate_features=False)
    if told.ndim != 2:
        raise CannotExplain("the model has several classes; only models of one score are explained")
    return Attributions(told[:, :-1], float(told[0, -1]))


def global_strengths(values: np.ndarray, aggregation: str, seed: int) -> list[Strength]:
    """One a column, in the columns' order: bounds are percentiles of ``RESAMPLES`` bootstrap samples of the rows.

    ``aggregation`` is Clarify's ``agg_method``: mean_abs, median (of the absolute values) or mean_sq.
    """
    sizes = np.abs(values, dtype=np.float64)
    if aggregation == "mean_sq":
        sizes = sizes**2
    rows = len(sizes)
    chance = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, sizes.shape[1]))
    for index in range(RESAMPLES):
        chosen = chance.integers(0, rows, rows)
        if aggregation == "median":
            drawn[index] = np.median(sizes[chosen], axis=0)
        else:
            drawn[index] = np.bincount(chosen, minlength=rows) @ sizes / rows
    value = np.median(sizes, axis=0) if aggregation == "median" else sizes.mean(axis=0)
    low, high = np.percentile(drawn, (_LOW, _HIGH), axis=0)
    ranks = _ranks(value[None])[0]
    rank_low, rank_high = np.percentile(_ranks(drawn), (_LOW, _HIGH), axis=0, method="nearest")
    return [
        Strength(
            float(value[column]),
            float(low[column]),
            float(high[column]),
            int(ranks[column]),
            int(rank_low[column]),
            int(rank_high[column]),
        )
        for column in range(sizes.shape[1])
    ]


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the largest of each row; ties in the columns' order."""
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, values.shape[1] + 1)[None], axis=1)
    return ranks
