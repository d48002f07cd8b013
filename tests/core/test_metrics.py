"""Classifier metrics against their definitions, worked by hand or by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.core import metrics

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40)


def arrays(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, dtype=float), np.array(scores) / 8


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    pairs = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive in scores[labels == 1]
        for negative in scores[labels == 0]
    ]
    if pairs:
        assert metrics.roc_auc(labels, scores) == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert math.isnan(metrics.roc_auc(labels, scores))


@given(ROWS)
def test_auc_is_the_area_under_the_curve(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    curve = metrics.roc_curve(labels, scores)
    assert (curve.x[0], curve.y[0]) == (0, 0)
    if 0 < labels.sum() < len(labels):
        area = float(np.sum(np.diff(curve.x) * (curve.y[1:] + curve.y[:-1]) / 2))
        assert area == pytest.approx(metrics.roc_auc(labels, scores))


@given(ROWS)
def test_average_precision_is_summed_over_thresholds(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    if not labels.sum():
        assert math.isnan(metrics.average_precision(labels, scores))
        return
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        counts = metrics.confusion(labels, scores, threshold)
        total += (counts.recall - recall_before) * counts.precision
        recall_before = counts.recall
    assert metrics.average_precision(labels, scores) == pytest.approx(total)


@given(ROWS)
def test_slices_are_the_metrics_of_their_rows(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    values = np.array(["a", "b", "c"])[np.arange(len(labels)) % 3]
    found = {entry["value"]: entry for entry in metrics.by_slice(values, labels, scores)}
    assert set(found) == set(values)
    for value, entry in found.items():
        alone = metrics.all_metrics(labels[values == value], scores[values == value])
        assert {name: entry[name] for name in alone} == pytest.approx(alone, nan_ok=True)
        if not math.isnan(entry["auc"]):
            assert 0 <= entry["auc_low"] <= entry["auc"] <= entry["auc_high"] <= 1


def test_everything_by_hand() -> None:
    labels, scores = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.4, 0.6, 0.1])
    found = metrics.all_metrics(labels, scores)
    assert found["auc"] == 0.75
    assert found["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"]) == (0.5, 0.5, 0.5, 0.5)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert found["log_loss"] == pytest.approx(-(2 * math.log(0.9) + 2 * math.log(0.4)) / 4)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4)
    assert set(metrics.METRICS) | {"rows", "positives"} == set(found)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.05, 0.95, 1.0], [(0.0, 2), (0.9, 2)]),
        ([0.5, 0.5], [(0.5, 2)]),
    ],
    ids=["edges", "one bin"],
)
def test_calibration_bins(scores: list[float], expected: list[tuple[float, int]]) -> None:
    bins = metrics.calibration(np.ones(len(scores)), np.array(scores))
    assert [(part.low, part.rows) for part in bins] == expected


def test_no_positive_prediction_is_no_division() -> None:
    counts = metrics.confusion(np.array([1.0, 0.0]), np.array([0.1, 0.2]))
    assert (counts.precision, counts.recall, counts.f_score()) == (0.0, 0.0, 0.0)


def test_the_standard_error_shrinks_with_the_rows() -> None:
    # Hanley and McNeil's table: AUC 0.8 with 50 and 50
    assert metrics.auc_standard_error(0.8, 50, 50) == pytest.approx(0.0451, abs=0.001)
    assert metrics.auc_standard_error(0.8, 5000, 5000) < 0.005


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(10_000)
    curve = metrics.roc_curve((rng.random(10_000) < scores).astype(float), scores)
    assert len(curve.x) <= 200
    assert (curve.x[-1], curve.y[-1]) == (1, 1)
