"""How good a binary classifier's scores are: pure numpy, one function a question.

``labels`` are 0 and 1, ``scores`` probabilities in 0..1, both of shape (rows,). Metrics that need both labels
are NaN where only one is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

METRICS = ("auc", "pr_auc", "accuracy", "precision", "recall", "f1", "log_loss", "brier", "calibration_error")
"""The names that a contract's gates may use"""

CALIBRATION_BINS = 10
_CURVE_POINTS = 200


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold: score >= threshold is predicted positive."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def rows(self) -> int:
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def accuracy(self) -> float:
        return _ratio(self.true_positive + self.true_negative, self.rows)

    @property
    def precision(self) -> float:
        """0 where nothing is predicted positive."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def false_positive_rate(self) -> float:
        return _ratio(self.false_positive, self.false_positive + self.true_negative)

    def f_score(self, beta: float = 1.0) -> float:
        """The weighted harmonic mean of precision and recall; 0 where both are."""
        weight = beta * beta
        return _ratio((1 + weight) * self.precision * self.recall, weight * self.precision + self.recall)


@dataclass(frozen=True)
class Curve:
    """Points of a curve, (x, y) in the order of falling thresholds; thinned to at most 200."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class CalibrationBin:
    """Rows whose score lies in ``[low, high)``: how many, their mean score, their positive share."""

    low: float
    high: float
    rows: int
    mean_score: float
    positive_rate: float


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The probability that a positive row scores above a negative one; ties count half."""
    positives, negatives = _counts(labels)
    if not positives or not negatives:
        return float("nan")
    ranks = _mean_ranks(scores)
    rank_sum = float(ranks[labels > 0.5].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def auc_standard_error(auc: float, positives: int, negatives: int) -> float:
    """Hanley and McNeil (1982), https://doi.org/10.1148/radiology.143.1.7063747."""
    if not positives or not negatives:
        return float("nan")
    one = auc / (2 - auc)
    two = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (one - auc * auc) + (negatives - 1) * (two - auc * auc)
    return float(np.sqrt(max(variance, 0.0) / (positives * negatives)))


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """False positive rates (x) against true positive rates (y), from (0, 0) to (1, 1)."""
    true_positives, false_positives = _cumulative(labels, scores)
    x = np.concatenate([[0.0], false_positives / max(false_positives[-1], 1)])
    y = np.concatenate([[0.0], true_positives / max(true_positives[-1], 1)])
    return _thinned(x, y)


def precision_recall_curve(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """Recalls (x) against precisions (y), by falling threshold."""
    true_positives, false_positives = _cumulative(labels, scores)
    return _thinned(
        true_positives / max(true_positives[-1], 1), true_positives / (true_positives + false_positives)
    )


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the precision-recall steps: the sum of precision times the gain in recall."""
    if not _counts(labels)[0]:
        return float("nan")
    true_positives, false_positives = _cumulative(labels, scores)
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / true_positives[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean negative log likelihood; scores are kept 1e-7 away from 0 and 1."""
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels > 0.5, np.log(clipped), np.log1p(-clipped))))


def brier(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean squared difference of score and label."""
    return float(np.mean((scores.astype(np.float64) - labels) ** 2))


def calibration(labels: np.ndarray, scores: np.ndarray, bins: int = CALIBRATION_BINS) -> list[CalibrationBin]:
    """Equally wide bins of the score that hold any rows."""
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    rows = np.bincount(index, minlength=bins)
    score_sums = np.bincount(index, weights=scores, minlength=bins)
    label_sums = np.bincount(index, weights=labels, minlength=bins)
    return [
        CalibrationBin(
            low=number / bins,
            high=(number + 1) / bins,
            rows=int(rows[number]),
            mean_score=float(score_sums[number] / rows[number]),
            positive_rate=float(label_sums[number] / rows[number]),
        )
        for number in range(bins)
        if rows[number]
    ]


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """The expected calibration error: the bins' gaps of score and positive rate, weighted by rows."""
    total = sum(part.rows for part in bins)
    return (
        sum(part.rows * abs(part.mean_score - part.positive_rate) for part in bins) / total
        if total
        else float("nan")
    )


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> Confusion:
    """Counts of right and wrong predictions at ``threshold``."""
    positive, predicted = labels > 0.5, scores >= threshold
    true_positive = int(np.count_nonzero(positive & predicted))
    positives, predicteds = int(np.count_nonzero(positive)), int(np.count_nonzero(predicted))
    return Confusion(
        true_positive=true_positive,
        false_positive=predicteds - true_positive,
        true_negative=len(labels) - positives - predicteds + true_positive,
        false_negative=positives - true_positive,
    )


def all_metrics(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Every metric of ``METRICS``, with ``rows`` and ``positives``."""
    counts = confusion(labels, scores, threshold)
    return {
        "rows": len(labels),
        "positives": counts.true_positive + counts.false_negative,
        "auc": roc_auc(labels, scores),
        "pr_auc": average_precision(labels, scores),
        "accuracy": counts.accuracy,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f_score(),
        "log_loss": log_loss(labels, scores),
        "brier": brier(labels, scores),
        "calibration_error": calibration_error(calibration(labels, scores)),
    }


def by_slice(
    values: np.ndarray, labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5
) -> list[dict[str, Any]]:
    """``all_metrics`` for each distinct value, the largest slice first, with a 95 % interval of the AUC."""
    found, inverse = np.unique(values, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(found) + 1))
    slices = []
    for index, value in enumerate(found):
        rows = order[bounds[index] : bounds[index + 1]]
        measured: Mapping[str, float] = all_metrics(labels[rows], scores[rows], threshold)
        positives = int(measured["positives"])
        error = auc_standard_error(measured["auc"], positives, len(rows) - positives)
        slices.append(
            {
                "value": str(value),
                **measured,
                "auc_low": max(0.0, measured["auc"] - 1.96 * error),
                "auc_high": min(1.0, measured["auc"] + 1.96 * error),
            }
        )
    return sorted(slices, key=lambda entry: -int(str(entry["rows"])))


def _counts(labels: np.ndarray) -> tuple[int, int]:
    positives = int(np.count_nonzero(labels > 0.5))
    return positives, len(labels) - positives


def _mean_ranks(scores: np.ndarray) -> np.ndarray:
    """1-based ranks; equal scores share the mean of theirs."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.concatenate([starts[1:], [len(scores)]])
    ranks = np.empty(len(scores), dtype=np.float64)
    ranks[order] = np.repeat((starts + 1 + ends) / 2, ends - starts)
    return ranks


def _cumulative(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives for each distinct threshold, from the highest score down."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_each = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
    true_positives = np.cumsum(labels[order] > 0.5)[last_of_each]
    return true_positives.astype(np.float64), (last_of_each + 1 - true_positives).astype(np.float64)


def _thinned(x: np.ndarray, y: np.ndarray) -> Curve:
    if len(x) > _CURVE_POINTS:
        keep = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).astype(np.int64))
        x, y = x[keep], y[keep]
    return Curve(x, y)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
