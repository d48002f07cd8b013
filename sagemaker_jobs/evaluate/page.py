"""``evaluation.html``: what a person looks at before a model is trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from triptych.core.charts import Series, bar_chart, histogram, line_chart, number, share_bar
from triptych.core.report import Tile, escape, figure, figures, page, section, table, tiles

_GRID = np.linspace(0, 1, 51)
_GRID_LABELS = [f"{value:.2f}" for value in _GRID]
_SLICES_SHOWN = 40
_FEATURES_SHOWN = 25


def render(document: Mapping[str, Any]) -> str:
    """The whole page for an evaluation document."""
    extra, quality = document["triptych"], document["binary_classification_metrics"]
    test = extra["splits"]["test"]
    body = [
        tiles(_tiles(test, quality)),
        section(
            "How well it separates",
            figures([_roc(quality, test), _precision_recall(quality, test), _scores(extra)]),
            "All figures are of the test split, which neither training nor early stopping has seen.",
        ),
        section("How far its probabilities can be trusted", figures([_calibration(extra)]) + _bins(extra)),
        section(
            f"Right and wrong at {extra['threshold']:g}",
            _confusion(quality["confusion_matrix"], extra["label"]["name"]),
        ),
        section("By split", _splits(extra["splits"])),
        *(_slice_section(column, entries) for column, entries in extra["slices"].items()),
        section(
            "What it looks at",
            _importance(extra["importance"]),
            "Each feature's share of the gain: what the model uses, not what causes the label.",
        ),
    ]
    return page(
        f"Evaluation: {extra['use_case']}",
        extra["label"].get("description") or extra["label"]["name"],
        "".join(body),
        f"Evaluated {document['dataset']['evaluation_time']} on {number(test['rows'])} rows.",
    )


def _tiles(test: Mapping[str, Any], quality: Mapping[str, Any]) -> list[Tile]:
    error = quality["auc"]["standard_deviation"]
    return [
        Tile("AUC", _three(test["auc"]), f"± {1.96 * error:.3f} (95 %)" if error is not None else ""),
        Tile(
            "Average precision",
            _three(test["pr_auc"]),
            f"positive rate {test['positives'] / test['rows']:.3f}",
        ),
        Tile("Calibration error", _three(test["calibration_error"]), "mean gap of score and truth"),
        Tile("Log loss", _three(test["log_loss"])),
        Tile("Brier score", _three(test["brier"])),
        Tile("Rows", number(test["rows"]), f"{number(test['positives'])} positive"),
    ]


def _roc(quality: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    curve = quality["receiver_operating_characteristic_curve"]
    rates = np.interp(_GRID, curve["false_positive_rates"], curve["true_positive_rates"])
    lines = [
        Series(f"model, area {_three(test['auc'])}", rates.tolist(), 1),
        Series("chance", _GRID.tolist(), 2, dashed=True),
    ]
    return figure(
        line_chart("ROC", _GRID_LABELS, lines),
        "ROC",
        "found positives (up) against false alarms (right)",
    )


def _precision_recall(quality: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    curve = quality["precision_recall_curve"]
    precisions = np.interp(_GRID, curve["recalls"], curve["precisions"])
    base = test["positives"] / test["rows"]
    lines = [
        Series(f"model, area {_three(test['pr_auc'])}", precisions.tolist(), 1),
        Series("chance", [base] * len(_GRID), 2, dashed=True),
    ]
    return figure(
        line_chart("Precision and recall", _GRID_LABELS, lines),
        "Precision and recall",
        "right alarms (up) against found positives (right)",
    )


def _scores(extra: Mapping[str, Any]) -> str:
    found = extra["score_histogram"]
    counts = [sum(both) for both in zip(found["positive"], found["negative"], strict=True)]
    return figure(histogram("Scores", found["edges"], counts), "Scores", "how many rows get which score")


def _calibration(extra: Mapping[str, Any]) -> str:
    bins = extra["calibration"]
    labels = [f"{part['low']:.1f}-{part['high']:.1f}" for part in bins]
    lines = [
        Series("positive rate", [part["positive_rate"] for part in bins], 1),
        Series("mean score", [part["mean_score"] for part in bins], 2, dashed=True),
    ]
    return figure(line_chart("Calibration", labels, lines), "Calibration", "the two lines should be one")


def _bins(extra: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{part['low']:.1f} to {part['high']:.1f}",
            number(part["rows"]),
            _three(part["mean_score"]),
            _three(part["positive_rate"]),
            f"{part['positive_rate'] - part['mean_score']:+.3f}",
        ]
        for part in extra["calibration"]
    ]
    return table(["Score", "Rows", "Mean score", "Positive rate", "Gap"], rows, numeric=(1, 2, 3, 4))


def _confusion(matrix: Mapping[str, Mapping[str, int]], label: str) -> str:
    rows = [
        [f"not {escape(label)}", number(matrix["0"]["0"]), number(matrix["0"]["1"])],
        [escape(label), number(matrix["1"]["0"]), number(matrix["1"]["1"])],
    ]
    return table(["Truth", f"predicted not {label}", f"predicted {label}"], rows, numeric=(1, 2))


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> str:
    names = (
        "auc",
        "pr_auc",
        "log_loss",
        "brier",
        "calibration_error",
        "accuracy",
        "precision",
        "recall",
        "f1",
    )
    rows = [
        [escape(split), number(found["rows"]), *(_three(found[name]) for name in names)]
        for split, found in splits.items()
    ]
    return table(["Split", "Rows", *names], rows, numeric=range(1, len(names) + 2))


def _slice_section(column: str, entries: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(entries, key=lambda entry: _natural(entry["value"]))[:_SLICES_SHOWN]
    labels = [entry["value"] for entry in ordered]
    rows = [
        [
            escape(entry["value"]),
            number(entry["rows"]),
            _three(entry["positives"] / entry["rows"]),
            _three(entry["auc"]),
            f"{_three(entry['auc_low'])} to {_three(entry['auc_high'])}",
            _three(entry["calibration_error"]),
        ]
        for entry in ordered
    ]
    plots = [
        figure(bar_chart(f"AUC by {column}", labels, [entry["auc"] or 0.0 for entry in ordered]), "AUC"),
        figure(
            bar_chart(
                f"Positive rate by {column}",
                labels,
                [entry["positives"] / entry["rows"] for entry in ordered],
                colour=2,
            ),
            "Positive rate",
        ),
    ]
    header = [column, "Rows", "Positive rate", "AUC", "95 % interval", "Calibration error"]
    return section(f"By {column}", figures(plots) + table(header, rows, numeric=range(1, 6)))


def _importance(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(entry["feature"]),
            escape(entry["description"]),
            f"{100 * entry['share']:.1f} %",
            share_bar(entry["feature"], entry["share"]),
        ]
        for entry in entries[:_FEATURES_SHOWN]
    ]
    return table(["Feature", "What it is", "Gain", ""], rows, numeric=(2,))


def _three(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


def _natural(text: str) -> Any:
    """Numbers by value, before text."""
    return (0, float(text), "") if text.replace(".", "", 1).lstrip("-").isdigit() else (1, 0.0, text)
