"""Bias metrics by SageMaker Clarify's names and definitions, before training (labels) and after it (predictions).

A facet divides the rows into those that have the value asked about (``d``, what Clarify calls disadvantaged) and all
others (``a``). Every metric but the conditional and the entropy ones is a function of the counts of both sides, so
that a window of any size costs one pass. Each metric's docstring has its formula: n rows, n1 and n0 labelled
positive and negative, n1^ and n0^ predicted so, TP, FP, TN, FN as usual.

Undefined cases are those of ``smclarify`` 0.5, the library inside Clarify's container: 0/0 counts as 0, x/0 is
infinite ("Infinity" in JSON), the difference of two infinite rates is 0, and a metric that cannot be computed has
no value but an error. Two things differ: Clarify ends a whole report when no prediction is positive, where this
one goes on; and the flip test (FT) is not offered, since its nearest neighbours need complete, scaled features.

Formulas: docs.aws.amazon.com/sagemaker/latest/dg, "Pre-training Bias Metrics" (clarify-measure-data-bias) and
"Post-training Data and Model Bias Metrics" (clarify-measure-post-training-bias), one page a metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.core.metrics import Confusion


class Undefined(Exception):
    """A metric has no value for these rows; the message says why."""


@dataclass(frozen=True)
class Result:
    """A metric's value (may be infinite), or None and why there is none."""

    name: str
    description: str
    value: float | None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The entry in ``analysis.json``'s ``metrics``; infinity is a text there, as Clarify writes it."""
        value: float | str | None = self.value
        if self.value is not None and math.isinf(self.value):
            value = "Infinity" if self.value > 0 else "-Infinity"
        entry = {"name": self.name, "description": self.description, "value": value}
        return {**entry, "error": self.error} if self.error else entry


@dataclass(frozen=True)
class Side(Confusion):
    """Counts of one side of a facet, by label and prediction; without predictions all are false."""

    @property
    def positive(self) -> int:
        """Rows labelled positive."""
        return self.true_positive + self.false_negative

    @property
    def negative(self) -> int:
        return self.true_negative + self.false_positive

    @property
    def predicted_positive(self) -> int:
        return self.true_positive + self.false_positive

    @property
    def predicted_negative(self) -> int:
        return self.true_negative + self.false_negative

    @property
    def label_shares(self) -> np.ndarray:
        """The distribution of the label: shares of negative and positive rows, shape (2,)."""
        return np.array([self.negative, self.positive]) / self.rows


@dataclass(frozen=True)
class Observed:
    """What the metrics read: both sides' counts, and the rows for those that need them.

    ``facet``, ``labels`` and ``predictions`` are boolean arrays of shape (rows,), True for the value asked about and
    the positive outcome; ``groups`` are the values of Clarify's group variable, any type, or None.
    """

    facet: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    groups: np.ndarray | None
    a: Side
    d: Side


def class_imbalance(seen: Observed) -> float:
    """CI = (n_a - n_d) / (n_a + n_d)."""
    return (seen.a.rows - seen.d.rows) / (seen.a.rows + seen.d.rows)


def difference_in_labels(seen: Observed) -> float:
    """DPL = n1_a / n_a - n1_d / n_d."""
    return seen.a.positive / seen.a.rows - seen.d.positive / seen.d.rows


def kullback_leibler(seen: Observed) -> float:
    """KL(Pa || Pd) = sum of Pa(y) ln(Pa(y) / Pd(y)), over the outcomes that both sides have."""
    a, d = _common_shares(seen)
    return float(np.sum(a * np.log(a / d)))


def jensen_shannon(seen: Observed) -> float:
    """JS = (KL(Pa || P) + KL(Pd || P)) / 2 with P = (Pa + Pd) / 2, over the outcomes that both sides have."""
    a, d = _common_shares(seen)
    middle = (a + d) / 2
    return float(np.sum(a * np.log(a / middle)) + np.sum(d * np.log(d / middle))) / 2


def lp_norm(seen: Observed) -> float:
    """LP = (sum of |Pa(y) - Pd(y)|^2)^(1/2), over the outcomes that both sides have."""
    a, d = _common_shares(seen)
    return float(np.sqrt(np.sum((a - d) ** 2)))


def total_variation(seen: Observed) -> float:
    """TVD = sum of |Pa(y) - Pd(y)| / 2, over the outcomes that both sides have."""
    a, d = _common_shares(seen)
    return float(np.sum(np.abs(a - d))) / 2


def kolmogorov_smirnov(seen: Observed) -> float:
    """KS = max |Pa(y) - Pd(y)|, over the outcomes that both sides have."""
    a, d = _common_shares(seen)
    return float(np.max(np.abs(a - d)))


def conditional_disparity_in_labels(seen: Observed) -> float:
    """CDDL: the mean over groups, weighted by rows, of (d's share of the rejected - d's share of the accepted)."""
    return _conditional_disparity(seen, seen.labels)


def difference_in_predictions(seen: Observed) -> float:
    """DPPL = n1^_a / n_a - n1^_d / n_d."""
    return seen.a.predicted_positive / seen.a.rows - seen.d.predicted_positive / seen.d.rows


def disparate_impact(seen: Observed) -> float:
    """DI = (n1^_d / n_d) / (n1^_a / n_a)."""
    return _ratio(seen.d.predicted_positive / seen.d.rows, seen.a.predicted_positive / seen.a.rows)


def difference_in_conditional_acceptance(seen: Observed) -> float:
    """DCA, or DCAcc = n1_a / n1^_a - n1_d / n1^_d."""
    return _difference(
        _ratio(seen.a.positive, seen.a.predicted_positive), _ratio(seen.d.positive, seen.d.predicted_positive)
    )


def difference_in_conditional_rejection(seen: Observed) -> float:
    """DCR, or DCRej = n0_d / n0^_d - n0_a / n0^_a."""
    return _difference(
        _ratio(seen.d.negative, seen.d.predicted_negative), _ratio(seen.a.negative, seen.a.predicted_negative)
    )


def recall_difference(seen: Observed) -> float:
    """RD = TP_a / (TP_a + FN_a) - TP_d / (TP_d + FN_d)."""
    return _ratio(seen.a.true_positive, seen.a.positive) - _ratio(seen.d.true_positive, seen.d.positive)


def specificity_difference(seen: Observed) -> float:
    """SD = TN_d / (TN_d + FP_d) - TN_a / (TN_a + FP_a)."""
    return _ratio(seen.d.true_negative, seen.d.negative) - _ratio(seen.a.true_negative, seen.a.negative)


def difference_in_acceptance_rates(seen: Observed) -> float:
    """DAR = TP_a / n1^_a - TP_d / n1^_d: the difference of precisions."""
    return _ratio(seen.a.true_positive, seen.a.predicted_positive) - _ratio(
        seen.d.true_positive, seen.d.predicted_positive
    )


def difference_in_rejection_rates(seen: Observed) -> float:
    """DRR = TN_d / n0^_d - TN_a / n0^_a."""
    return _ratio(seen.d.true_negative, seen.d.predicted_negative) - _ratio(
        seen.a.true_negative, seen.a.predicted_negative
    )


def accuracy_difference(seen: Observed) -> float:
    """AD = (TP_a + TN_a) / n_a - (TP_d + TN_d) / n_d."""
    return (seen.a.true_positive + seen.a.true_negative) / seen.a.rows - (
        seen.d.true_positive + seen.d.true_negative
    ) / seen.d.rows


def treatment_equality(seen: Observed) -> float:
    """TE = FN_d / FP_d - FN_a / FP_a."""
    return _difference(
        _ratio(seen.d.false_negative, seen.d.false_positive),
        _ratio(seen.a.false_negative, seen.a.false_positive),
    )


def conditional_disparity_in_predictions(seen: Observed) -> float:
    """CDDPL: as CDDL, of predictions."""
    return _conditional_disparity(seen, seen.predictions)


def generalized_entropy(seen: Observed) -> float:
    """GE = sum of ((b_i / mean b)^2 - 1) / (2 n) with the benefit b_i = prediction - label + 1, of all rows."""
    benefit = seen.predictions.astype(np.int64) - seen.labels.astype(np.int64) + 1
    mean = float(benefit.mean())
    if mean == 0:
        raise Undefined("All predictions are false negatives; GE needs one that is not")
    return float(np.sum((benefit / mean) ** 2 - 1)) / (2 * len(benefit))


@dataclass(frozen=True)
class _Metric:
    description: str
    compute: Callable[[Observed], float]
    compares_sides: bool = True


PRE_TRAINING: Mapping[str, _Metric] = {
    "CDDL": _Metric(
        "Conditional Demographic Disparity in Labels (CDDL)",
        conditional_disparity_in_labels,
        compares_sides=False,
    ),
    "CI": _Metric("Class Imbalance (CI)", class_imbalance),
    "DPL": _Metric("Difference in Positive Proportions in Labels (DPL)", difference_in_labels),
    "JS": _Metric("Jensen-Shannon Divergence (JS)", jensen_shannon),
    "KL": _Metric("Kullback-Leibler Divergence (KL)", kullback_leibler),
    "KS": _Metric("Kolmogorov-Smirnov Distance (KS)", kolmogorov_smirnov),
    "LP": _Metric("L-p Norm (LP)", lp_norm),
    "TVD": _Metric("Total Variation Distance (TVD)", total_variation),
}
"""By name, in the order of the names, which is Clarify's."""

POST_TRAINING: Mapping[str, _Metric] = {
    "AD": _Metric("Accuracy Difference (AD)", accuracy_difference),
    "CDDPL": _Metric(
        "Conditional Demographic Disparity in Predicted Labels (CDDPL)",
        conditional_disparity_in_predictions,
        compares_sides=False,
    ),
    "DAR": _Metric("Difference in Acceptance Rates (DAR)", difference_in_acceptance_rates),
    "DCA": _Metric("Difference in Conditional Acceptance (DCA)", difference_in_conditional_acceptance),
    "DCR": _Metric("Difference in Conditional Rejection (DCR)", difference_in_conditional_rejection),
    "DI": _Metric("Disparate Impact (DI)", disparate_impact),
    "DPPL": _Metric(
        "Difference in Positive Proportions in Predicted Labels (DPPL)", difference_in_predictions
    ),
    "DRR": _Metric("Difference in Rejection Rates (DRR)", difference_in_rejection_rates),
    "GE": _Metric("Generalized Entropy (GE)", generalized_entropy, compares_sides=False),
    "RD": _Metric("Recall Difference (RD)", recall_difference),
    "SD": _Metric("Specificity Difference (SD)", specificity_difference),
    "TE": _Metric("Treatment Equality (TE)", treatment_equality),
}
"""By name, in the order of the names, which is Clarify's."""


def pre_training(
    facet: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    names: Iterable[str] = tuple(PRE_TRAINING),
) -> list[Result]:
    """The metrics of the labels; arguments as in ``Observed``. Raises KeyError for a name not in PRE_TRAINING."""
    seen = _observe(facet, labels, np.zeros(len(labels), dtype=bool), groups)
    return [_result(name, PRE_TRAINING[name], seen) for name in names]


def post_training(
    facet: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    groups: np.ndarray | None = None,
    names: Iterable[str] = tuple(POST_TRAINING),
) -> list[Result]:
    """The metrics of the predictions; arguments as in ``Observed``. Raises KeyError for a name not in POST_TRAINING."""
    seen = _observe(facet, labels, predictions, groups)
    return [_result(name, POST_TRAINING[name], seen) for name in names]


def _observe(
    facet: np.ndarray, labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray | None
) -> Observed:
    for name, column in (("facet", facet), ("labels", labels), ("predictions", predictions)):
        if column.dtype != np.bool_ or column.shape != facet.shape:
            raise ValueError(
                f"{name} must be booleans of shape {facet.shape}, one a row; got {column.dtype} {column.shape}"
            )
    if groups is not None and len(groups) != len(facet):
        raise ValueError(f"groups must have one value a row: {len(groups)} for {len(facet)} rows")
    codes = (facet.astype(np.int8) << 2) | (labels.astype(np.int8) << 1) | predictions.astype(np.int8)
    counts = [int(count) for count in np.bincount(codes, minlength=8)]
    sides = [
        Side(true_negative=tn, false_positive=fp, false_negative=fn, true_positive=tp)
        for tn, fp, fn, tp in (counts[:4], counts[4:])
    ]
    return Observed(facet, labels, predictions, groups, sides[0], sides[1])


def _result(name: str, metric: _Metric, seen: Observed) -> Result:
    try:
        if not len(seen.facet):
            raise Undefined("There are no rows")
        if metric.compares_sides and not seen.d.rows:
            raise Undefined("Facet set is empty: no row has the value")
        if metric.compares_sides and not seen.a.rows:
            raise Undefined("Negated facet set is empty: every row has the value")
        return Result(name, metric.description, float(metric.compute(seen)))
    except Undefined as error:
        return Result(name, metric.description, None, str(error))


def _common_shares(seen: Observed) -> tuple[np.ndarray, np.ndarray]:
    a, d = seen.a.label_shares, seen.d.label_shares
    both = (a > 0) & (d > 0)
    if not both.any():
        raise Undefined("The two sides have no outcome in common; the dataset may be too small")
    return a[both], d[both]


def _conditional_disparity(seen: Observed, accepted: np.ndarray) -> float:
    if seen.groups is None:
        raise Undefined("Group variable is empty or not provided")
    if not accepted.any():
        raise Undefined("No row is positive")
    if accepted.all():
        raise Undefined("No row is negative")
    found, group = np.unique(seen.groups, return_inverse=True)
    rows, taken = (np.bincount(group, weights, len(found)) for weights in (None, accepted))
    mine = np.bincount(group, seen.facet, len(found))
    mine_taken = np.bincount(group, seen.facet & accepted, len(found))
    left, mine_left = rows - taken, mine - mine_taken
    share_taken = np.divide(mine_taken, taken, out=np.zeros(len(found)), where=taken > 0)
    share_left = np.divide(mine_left, left, out=np.zeros(len(found)), where=left > 0)
    return float(np.sum(rows * (share_left - share_taken)) / np.sum(rows))


def _ratio(part: float, whole: float) -> float:
    """0 for 0/0 and infinite for x/0, as Clarify divides."""
    if whole == 0:
        return math.inf if part else 0.0
    return part / whole


def _difference(left: float, right: float) -> float:
    return 0.0 if left == right == math.inf else left - right
