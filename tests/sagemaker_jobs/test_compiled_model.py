"""The ONNX form of a booster gives XGBoost's own scores, for every kind of model that is covered."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

PROJECT = Path(__file__).parents[2]
TRAIN = PROJECT / "sagemaker_jobs" / "train"
COLUMNS = 5


@pytest.fixture(scope="module")
def compiling() -> Iterator[Any]:
    sys.path.insert(0, str(TRAIN))
    try:
        yield importlib.import_module("compiled_model")
    finally:
        sys.path.remove(str(TRAIN))


def samples(rows: int = 600, seed: int = 0) -> np.ndarray:
    """Values on a coarse grid, so that rows lie on thresholds; a fifth of them is missing."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(rows, COLUMNS)) * 3).astype(np.float32) / 2
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def labels(kind: str, rows: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(rows)
    signal = known[:, 0] - known[:, 1] * known[:, 2] / 2 + np.isnan(rows[:, 3])
    rng = np.random.default_rng(1)
    noisy = signal + rng.normal(size=len(rows))
    if kind == "binary":
        return (noisy > 0).astype(np.float32)
    if kind == "classes":
        return np.digitize(noisy, [-1, 1]).astype(np.float32)
    if kind == "counts":
        return np.floor(np.abs(noisy)).astype(np.float32)
    if kind == "two":
        return np.stack([noisy, -noisy * 2], axis=1).astype(np.float32)
    return noisy.astype(np.float32)


def boosted(kind: str, rounds: int = 30, rows: np.ndarray | None = None, **parameters: Any) -> Any:
    rows = samples() if rows is None else rows
    settings = {"eta": 0.3, "seed": 3, "nthread": 1, **parameters}
    return xgboost.train(settings, xgboost.DMatrix(rows, labels(kind, rows)), rounds)


COVERED = [
    pytest.param("binary", {"objective": "binary:logistic"}, id="logistic"),
    pytest.param("binary", {"objective": "binary:logistic", "base_score": 0.01}, id="logistic-rare"),
    pytest.param("binary", {"objective": "binary:logistic", "scale_pos_weight": 50}, id="logistic-weighted"),
    pytest.param("binary", {"objective": "binary:logitraw"}, id="logit-raw"),
    pytest.param("binary", {"objective": "reg:logistic"}, id="regression-logistic"),
    pytest.param("numbers", {"objective": "reg:squarederror"}, id="squared-error"),
    pytest.param("numbers", {"objective": "reg:squarederror", "base_score": -123.25}, id="base-score"),
    pytest.param("numbers", {"objective": "reg:absoluteerror"}, id="absolute-error"),
    pytest.param("numbers", {"objective": "reg:pseudohubererror"}, id="pseudo-huber"),
    pytest.param("numbers", {"objective": "reg:quantileerror", "quantile_alpha": 0.9}, id="quantile"),
    pytest.param("counts", {"objective": "count:poisson"}, id="poisson"),
    pytest.param("counts", {"objective": "count:poisson", "base_score": 4.0}, id="poisson-base-score"),
    pytest.param("counts", {"objective": "reg:tweedie"}, id="tweedie"),
    pytest.param("classes", {"objective": "multi:softprob", "num_class": 3}, id="softprob"),
    pytest.param(
        "classes", {"objective": "multi:softprob", "num_class": 3, "base_score": 0.3}, id="softprob-base"
    ),
    pytest.param("two", {"objective": "reg:squarederror"}, id="two-targets"),
    pytest.param("binary", {"objective": "binary:logistic", "max_depth": 1}, id="depth-1"),
    pytest.param("binary", {"objective": "binary:logistic", "rounds": 1}, id="one-tree"),
    pytest.param("binary", {"objective": "binary:logistic", "gamma": 1e6}, id="leaves-only"),
    pytest.param(
        "binary",
        {"objective": "binary:logistic", "tree_method": "exact", "gamma": 4, "max_depth": 8},
        id="pruned-nodes",
    ),
    pytest.param(
        "binary",
        {"objective": "binary:logistic", "grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
        id="lossguide",
    ),
    pytest.param(
        "binary",
        {"objective": "binary:logistic", "num_parallel_tree": 4, "subsample": 0.5, "rounds": 3},
        id="forest",
    ),
    pytest.param("binary", {"objective": "binary:logistic", "rounds": 400, "max_depth": 9}, id="large"),
]


@pytest.mark.parametrize(("kind", "parameters"), COVERED)
def test_scores_agree(compiling: Any, kind: str, parameters: dict[str, Any]) -> None:
    booster = boosted(kind, **parameters)
    content, parity = compiling.compile_checked(booster, b"file", samples(500, seed=9))
    assert parity.rows == parity.edge_rows + 500
    assert parity.edge_rows > 8
    # and on rows that the compilation has not seen
    rows = np.concatenate([samples(300, seed=5), np.random.default_rng(2).normal(size=(300, COLUMNS))])
    rows = rows.astype(np.float32)
    expected = booster.inplace_predict(rows, missing=np.nan)
    run = compiling.runner(content)
    np.testing.assert_allclose(run(rows), expected, rtol=2e-6, atol=1e-7)
    alone = np.concatenate([run(rows[i : i + 1]) for i in range(len(rows))])
    np.testing.assert_allclose(alone, expected, rtol=2e-6, atol=1e-7)


def test_margins_are_the_same_to_the_last_bit(compiling: Any) -> None:
    booster = boosted("numbers", objective="reg:squarederror", base_score=0.1, rounds=200)
    rows = samples(2000, seed=4)
    content, parity = compiling.compile_checked(booster, b"file", rows)
    assert parity.max_difference == 0
    np.testing.assert_array_equal(compiling.runner(content)(rows), booster.inplace_predict(rows))


@pytest.mark.parametrize("direction", ["left", "right"])
def test_thresholds_themselves_and_missing_values(compiling: Any, direction: str) -> None:
    """One split at 0.5: what lies on it goes right, what misses goes the way it was learnt."""
    side = 0.0 if direction == "left" else 1.0
    rows = np.array([[0.0]] * 50 + [[1.0]] * 50 + [[np.nan]] * 50, dtype=np.float32)
    target = np.array([0.0] * 50 + [1.0] * 50 + [side] * 50, dtype=np.float32)
    settings = {"objective": "reg:squarederror", "max_depth": 1, "eta": 1, "lambda": 0}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, target), 1)
    forest = compiling.read_forest(booster)
    (threshold,) = forest.thresholds()[0]
    edges = compiling.edge_rows(forest)
    assert {float(threshold), float(np.nextafter(threshold, np.float32(-np.inf)))} <= set(
        edges[:, 0].tolist()
    )
    content, _ = compiling.compile_checked(booster, b"file", rows)
    tried = np.array([[np.nextafter(threshold, np.float32(-9))], [threshold], [np.nan]], dtype=np.float32)
    tried = np.concatenate([tried, [[np.inf], [-np.inf], [-0.0]]]).astype(np.float32)
    found = compiling.runner(content)(tried)
    np.testing.assert_array_equal(found, booster.inplace_predict(tried))
    np.testing.assert_allclose(found[:3], [0, 1, side], atol=1e-6)


def test_the_best_iteration_is_the_last(compiling: Any) -> None:
    booster = boosted("binary", objective="binary:logistic")
    booster.set_attr(best_iteration="7")
    content, _ = compiling.compile_checked(booster, b"file", samples())
    rows = samples(seed=8)
    expected = booster.inplace_predict(rows, iteration_range=(0, 8))
    np.testing.assert_allclose(compiling.runner(content)(rows), expected, rtol=2e-6)
    assert np.abs(expected - booster.inplace_predict(rows)).max() > 0.01


def test_early_stopping_as_xgboost_leaves_it(compiling: Any) -> None:
    rows, more = samples(), samples(seed=6)
    booster = xgboost.train(
        {"objective": "binary:logistic", "eta": 0.9, "max_depth": 9, "nthread": 1},
        xgboost.DMatrix(rows, labels("binary", rows)),
        200,
        evals=[(xgboost.DMatrix(more, labels("binary", more)), "validation")],
        early_stopping_rounds=3,
        verbose_eval=False,
    )
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    content, _ = compiling.compile_checked(booster, b"file", rows)
    expected = booster.inplace_predict(more, iteration_range=(0, booster.best_iteration + 1))
    np.testing.assert_allclose(compiling.runner(content)(more), expected, rtol=2e-6)


def test_wide_models_are_tried_on_fewer_rows(compiling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a model of many thousand columns does not need gigabytes for its comparison."""
    monkeypatch.setattr(compiling, "_MOST_CELLS", 10 * COLUMNS)
    _, parity = compiling.compile_checked(boosted("binary", objective="binary:logistic"), b"file", samples())
    assert 10 < parity.edge_rows <= 8 + 3 * 10
    assert parity.rows - parity.edge_rows == 10


def _categorical() -> Any:
    rows = np.random.default_rng(0).integers(0, 6, size=(300, 1)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, rows[:, 0] % 2, feature_types=["c"], enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic", "max_cat_to_onehot": 1}, matrix, 3)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(_categorical, "categorical splits", id="categories"),
        pytest.param(
            lambda: boosted("binary", objective="binary:logistic", booster="dart", rate_drop=0.2),
            "kind 'dart'",
            id="dart",
        ),
        pytest.param(
            lambda: boosted("numbers", rows=np.nan_to_num(samples()), booster="gblinear"),
            "kind 'gblinear'",
            id="linear",
        ),
        pytest.param(
            lambda: boosted("classes", objective="multi:softmax", num_class=3),
            "objective 'multi:softmax' is not covered",
            id="softmax",
        ),
        pytest.param(
            lambda: boosted("binary", objective="binary:hinge"), "objective 'binary:hinge'", id="hinge"
        ),
        pytest.param(
            lambda: boosted("two", objective="reg:squarederror", multi_strategy="multi_output_tree"),
            "vector leaves",
            id="vector-leaves",
        ),
        pytest.param(
            lambda: boosted("binary", objective="binary:logistic", rounds=0), "no trees", id="empty"
        ),
    ],
)
def test_what_is_not_covered_is_refused_by_name(compiling: Any, make: Any, reason: str) -> None:
    with pytest.raises(compiling.NotCompiled, match=reason):
        compiling.compile_checked(make(), b"file", samples())


@pytest.mark.parametrize(
    ("expected", "found", "reason"),
    [
        pytest.param([0.1, 0.2, 0.3], [0.1, 0.2001, 0.3], "1 of 3 rows differ", id="one-row"),
        pytest.param([0.1, 0.2, np.inf], [0.1, 0.2, 3e38], "1 of 3 rows differ", id="infinity"),
        pytest.param([0.1, 0.2, 0.3], [0.1, np.nan, 0.3], "1 of 3 rows differ", id="not-a-number"),
        pytest.param([1e-9, 0.2, 0.3], [2e-9, 0.2, 0.3], None, id="far-below-rounding"),
        pytest.param([np.inf, np.nan, 5e6], [np.inf, np.nan, 5e6 + 1], None, id="same-infinity"),
        pytest.param([[0.1, 0.9]] * 3, [0.1] * 3, r"answers \(3, 2\)", id="other-shape"),
    ],
)
def test_differences_beyond_rounding_are_refused(
    compiling: Any, expected: list[float], found: list[float], reason: str | None
) -> None:
    arguments = (np.array(expected, np.float32), np.array(found, np.float32), samples(3))
    if reason is None:
        assert compiling.compare(*arguments) >= 0
    else:
        with pytest.raises(compiling.NotCompiled, match=reason):
            compiling.compare(*arguments)


def test_training_serves_with_xgboost_where_onnx_is_not_installed(tmp_path: Path) -> None:
    """As in AWS's XGBoost container."""
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError('not here', name='onnx')")
    code = (
        "import json, sys, numpy, xgboost\n"
        "from pathlib import Path\n"
        "from train import compile_model\n"
        "rows = numpy.random.default_rng(0).normal(size=(50, 2)).astype('f4')\n"
        "booster = xgboost.train({}, xgboost.DMatrix(rows, rows[:, 0]), 2)\n"
        "folder = Path(sys.argv[1])\n"
        "(folder / 'xgboost-model').write_bytes(booster.save_raw('ubj'))\n"
        "print(json.dumps(compile_model(booster, folder, rows)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(TRAIN)])},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"file": None, "reason": "the package 'onnx' is not installed here (not here)"}
    assert not (tmp_path / "compiled").exists()
