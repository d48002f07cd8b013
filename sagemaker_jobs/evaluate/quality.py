"""The model-quality format of SageMaker Model Monitor, for a binary classifier."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from triptych.core import metrics

# https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html


def model_quality(labels: np.ndarray, scores: np.ndarray, threshold: float, at: datetime) -> dict[str, Any]:
    """The document's standard part, with curves."""
    counts = metrics.confusion(labels, scores, threshold)
    roc = metrics.roc_curve(labels, scores)
    recalls = metrics.precision_recall_curve(labels, scores)
    auc = metrics.roc_auc(labels, scores)
    positives = counts.true_positive + counts.false_negative
    return {
        "version": 0.0,
        "dataset": {
            "item_count": len(labels),
            "evaluation_time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
        "binary_classification_metrics": {
            "confusion_matrix": {
                "0": {"0": counts.true_negative, "1": counts.false_positive},
                "1": {"0": counts.false_negative, "1": counts.true_positive},
            },
            "recall": _value(counts.recall, positives),
            "precision": _value(counts.precision, counts.true_positive + counts.false_positive),
            "accuracy": _value(counts.accuracy, counts.rows),
            "true_positive_rate": _value(counts.recall, positives),
            "true_negative_rate": _value(1 - counts.false_positive_rate, counts.rows - positives),
            "false_positive_rate": _value(counts.false_positive_rate, counts.rows - positives),
            "false_negative_rate": _value(1 - counts.recall, positives),
            "receiver_operating_characteristic_curve": {
                "false_positive_rates": roc.x.tolist(),
                "true_positive_rates": roc.y.tolist(),
            },
            "precision_recall_curve": {"precisions": recalls.y.tolist(), "recalls": recalls.x.tolist()},
            "auc": {
                "value": auc,
                "standard_deviation": metrics.auc_standard_error(auc, positives, counts.rows - positives),
            },
            "f0_5": {"value": counts.f_score(0.5)},
            "f1": {"value": counts.f_score(1.0)},
            "f2": {"value": counts.f_score(2.0)},
        },
    }


def _value(share: float, rows: int) -> dict[str, float]:
    """A share with its binomial standard deviation."""
    return {"value": share, "standard_deviation": float(np.sqrt(share * (1 - share) / rows)) if rows else 0.0}
