"""SHAP values are Shapley values by their definition, add up, and carry bounds that hold."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

EXPLAIN = Path(__file__).parents[2] / "sagemaker_jobs" / "explain"


@pytest.fixture(scope="module")
def attribution() -> Iterator[Any]:
    sys.path.insert(0, str(EXPLAIN))
    try:
        yield importlib.import_module("attribution")
    finally:
        sys.path.remove(str(EXPLAIN))


def data(columns: int, rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    matrix = chance.normal(size=(rows, columns)).astype(np.float32)
    matrix[:, 0] = np.round(matrix[:, 0])
    margin = 1.5 * np.nan_to_num(matrix[:, 0]) + matrix[:, 1] * matrix[:, -1]
    labels = (chance.random(rows) < 1 / (1 + np.exp(-margin))).astype(float)
    matrix[chance.random(matrix.shape) < 0.1] = np.nan
    return matrix, labels


def fitted(columns: int, depth: int = 3, rounds: int = 6, seed: int = 0, **more: Any) -> xgboost.Booster:
    matrix, labels = data(columns, seed=seed)
    settings = {
        "max_depth": depth,
        "objective": "binary:logistic",
        "eta": 0.4,
        "nthread": 1,
        "seed": seed,
        **more,
    }
    return xgboost.train(settings, xgboost.DMatrix(matrix, labels), rounds)


def expected(node: dict[str, Any], row: np.ndarray, known: frozenset[int]) -> float:
    """A tree's mean value when only the features in ``known`` are: elsewhere both ways, by the covers."""
    if "leaf" in node:
        return float(node["leaf"])
    children = {child["nodeid"]: child for child in node["children"]}
    feature = int(node["split"].removeprefix("f"))
    if feature in known:
        value = row[feature]
        way = "missing" if np.isnan(value) else "yes" if value < np.float32(node["split_condition"]) else "no"
        return expected(children[node[way]], row, known)
    return sum(child["cover"] / node["cover"] * expected(child, row, known) for child in children.values())


def shapley(booster: xgboost.Booster, row: np.ndarray) -> np.ndarray:
    """By the definition: the mean gain of adding a feature, over all orders."""
    trees = [json.loads(text) for text in booster.get_dump(dump_format="json", with_stats=True)]
    everything = range(len(row))
    worth = {
        frozenset(known): sum(expected(tree, row, frozenset(known)) for tree in trees)
        for size in range(len(row) + 1)
        for known in itertools.combinations(everything, size)
    }
    values = np.zeros(len(row))
    for known, base in worth.items():
        for feature in set(everything) - known:
            weight = math.factorial(len(known)) * math.factorial(len(row) - len(known) - 1)
            values[feature] += weight * (worth[known | {feature}] - base)
    return values / math.factorial(len(row))


@pytest.mark.parametrize(
    ("columns", "depth"),
    [
        pytest.param(3, 1, id="stumps"),
        pytest.param(3, 4, id="features again on one path"),
        pytest.param(5, 3, id="five features"),
    ],
)
def test_values_are_shapley_values(attribution: Any, columns: int, depth: int) -> None:
    booster = fitted(columns, depth)
    rows = data(columns, seed=1)[0][:15]
    told = attribution.shap_values(booster, rows)
    for row, values in zip(rows, told.values, strict=True):
        np.testing.assert_allclose(values, shapley(booster, row), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_values_add_up_to_the_margin(attribution: Any, seed: int) -> None:
    booster = fitted(6, depth=5, rounds=25, seed=seed)
    rows = data(6, seed=seed + 9)[0]
    told = attribution.shap_values(booster, rows)
    margins = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_allclose(told.values.sum(axis=1) + told.base, margins, atol=1e-4)


def test_a_feature_that_no_tree_uses_has_no_part(attribution: Any) -> None:
    matrix, labels = data(4)
    matrix[:, 2] = 7
    booster = xgboost.train(
        {"max_depth": 3, "objective": "binary:logistic"}, xgboost.DMatrix(matrix, labels), 5
    )
    told = attribution.shap_values(booster, matrix)
    assert not told.values[:, 2].any()
    strengths = attribution.global_strengths(told.values, "mean_abs", seed=0)
    assert (strengths[2].value, strengths[2].high, strengths[2].rank) == (0, 0, 4)


def test_several_classes_are_refused(attribution: Any) -> None:
    matrix, labels = data(3)
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3},
        xgboost.DMatrix(matrix, labels + (matrix[:, 1] > 0)),
        2,
    )
    with pytest.raises(Exception, match="several classes"):
        attribution.shap_values(booster, matrix)


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("mean_abs", [2.0, 1.0]), ("median", [2.0, 0.0]), ("mean_sq", [4.0, 3.0])]
)
def test_global_values_are_clarifys_aggregations(
    attribution: Any, aggregation: str, expected: list[float]
) -> None:
    values = np.array([[2.0, 0.0], [-2.0, 0.0], [2.0, -3.0]] * 20)
    strengths = attribution.global_strengths(values, aggregation, seed=0)
    assert [strength.value for strength in strengths] == pytest.approx(expected)
    assert (strengths[0].low, strengths[0].high) == (expected[0], expected[0]), "a constant has no spread"


@pytest.mark.parametrize("aggregation", ["mean_abs", "mean_sq", "median"])
def test_bounds_hold_the_value_of_all_rows(attribution: Any, aggregation: str) -> None:
    """Of 120 bounds from samples of 400 rows, at least 108 must hold the truth, and they must not be wide."""
    chance = np.random.default_rng(0)
    values = chance.normal(size=(40_000, 3)) * [1.0, 0.5, 0.1] + [0.0, 0.3, 0.0]
    sizes = np.abs(values)
    truth = {
        "mean_abs": sizes.mean(axis=0),
        "mean_sq": (sizes**2).mean(axis=0),
        "median": np.median(sizes, axis=0),
    }[aggregation]
    held, widths = 0, []
    for seed in range(40):
        chosen = attribution.sample_rows(len(values), 400, seed)
        for column, one in enumerate(attribution.global_strengths(values[chosen], aggregation, seed)):
            held += one.low <= truth[column] <= one.high
            widths.append((one.high - one.low) / truth[column])
    assert held >= 108
    assert np.median(widths) < 0.35


def test_ranks_say_which_features_cannot_be_told_apart(attribution: Any) -> None:
    values = np.random.default_rng(3).normal(size=(500, 4)) * [5.0, 1.0, 1.01, 0.1]
    first, *alike, last = attribution.global_strengths(values, "mean_abs", seed=0)
    assert (first.rank_low, first.rank, first.rank_high) == (1, 1, 1)
    assert (last.rank_low, last.rank, last.rank_high) == (4, 4, 4)
    assert [(one.rank_low, one.rank_high) for one in alike] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(("rows", "wanted", "size"), [(10, 20, 10), (10, 10, 10), (1000, 50, 50)])
def test_the_sample_is_repeatable_ordered_and_without_repetition(
    attribution: Any, rows: int, wanted: int, size: int
) -> None:
    chosen = attribution.sample_rows(rows, wanted, seed=5)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == size
    assert chosen.tolist() == attribution.sample_rows(rows, wanted, seed=5).tolist()
