"""Evaluate a trained model on the dataset's splits: ``evaluation.json`` and ``evaluation.html``.

The numbers are in the format of SageMaker Model Monitor's model quality, with more under the key ``triptych``
(metrics by split, slices of the test split, calibration, gain importance); what gates judge is read from
there. Runs as a SageMaker Processing job in AWS's XGBoost image (Python 3.10 or later); every path is an
argument.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import xgboost
from page import render
from quality import model_quality

from triptych.core import metrics

MONTH = "month"
THRESHOLD = 0.5


class CannotEvaluate(Exception):
    """The inputs do not allow an evaluation; the message says which, and what to do."""


@dataclass(frozen=True)
class Split:
    """Labels (0, 1) and scores of a split, with the key columns of its rows for slicing."""

    labels: np.ndarray
    scores: np.ndarray
    keys: Mapping[str, np.ndarray]


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        described = json.loads((options.features / "features.json").read_text())
        booster = load_model(options.model)
        names = options.use_splits.split(",")
        splits = {name: score(booster, options, name, described) for name in names}
        document = evaluate(splits, booster, described, options.slices.split(","))
    except CannotEvaluate as error:
        print(f"cannot evaluate: {error}", file=sys.stderr, flush=True)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "evaluation.json").write_text(json.dumps(document, indent=1, allow_nan=False))
    (options.output / "evaluation.html").write_text(render(document), encoding="utf-8")
    test = document["triptych"]["splits"]["test"]
    print(
        f"test: {test['rows']} rows, AUC {test['auc']}, calibration error {test['calibration_error']}; "
        f"{time.monotonic() - started:.2f} s",
        flush=True,
    )
    return 0


def _month(keys: Mapping[str, Any], time_column: str) -> dict[str, Any]:
    """The month (``2013-11``) of the split column's dates, unless a key has that name."""
    if MONTH in keys or time_column not in keys:
        return {}
    return {MONTH: np.array([str(value)[:7] for value in keys[time_column]])}


def evaluate(
    splits: Mapping[str, Split], booster: xgboost.Booster, described: Mapping[str, Any], slices: Sequence[str]
) -> dict[str, Any]:
    """The document; ``splits`` must hold ``test``. NaN becomes None, since JSON has none."""
    test = splits["test"]
    keys = {**test.keys, **_month(test.keys, described.get("time_column", ""))}
    absent = [column for column in slices if column not in keys]
    if absent:
        raise CannotEvaluate(
            f"cannot slice by {', '.join(absent)}: "
            f"the keys of the test split are {', '.join(test.keys) or 'none'}; "
            "see 'keys' in features.json"
        )
    calibrated = metrics.calibration(test.labels, test.scores)
    document = model_quality(test.labels, test.scores, THRESHOLD, datetime.now(timezone.utc))  # noqa: UP017 (Python 3.10)
    document["triptych"] = {
        "use_case": described["use_case"],
        "label": described["label"],
        "threshold": THRESHOLD,
        "splits": {
            name: metrics.all_metrics(split.labels, split.scores, THRESHOLD) for name, split in splits.items()
        },
        "slices": {
            column: metrics.by_slice(keys[column], test.labels, test.scores, THRESHOLD) for column in slices
        },
        "calibration": [
            {
                "low": part.low,
                "high": part.high,
                "rows": part.rows,
                "mean_score": part.mean_score,
                "positive_rate": part.positive_rate,
            }
            for part in calibrated
        ],
        "score_histogram": _histogram(test),
        "importance": _importance(booster, described),
    }
    return _rounded(document)


def load_model(folder: Path) -> xgboost.Booster:
    """The booster in ``folder/model.tar.gz``; raises CannotEvaluate."""
    archive = folder / "model.tar.gz"
    if not archive.is_file():
        raise CannotEvaluate(f"there is no {archive}; the model input must be a training job's artefact")
    with tarfile.open(archive) as packed:
        member = next((item for item in packed if Path(item.name).name == "xgboost-model"), None)
        content = packed.extractfile(member) if member is not None else None
        if content is None:
            raise CannotEvaluate(
                "model.tar.gz has no file 'xgboost-model'; the training script must save one"
            )
        raw = content.read()
    booster = xgboost.Booster()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.ubj" if raw[:1] == b"{" and raw[1:2] != b'"' else "model.json")
        path.write_bytes(raw)
        booster.load_model(str(path))
    return booster


def score(
    booster: xgboost.Booster, options: argparse.Namespace, name: str, described: Mapping[str, Any]
) -> Split:
    """Predict a split; raises CannotEvaluate where its files are missing or do not fit each other."""
    features = [feature["name"] for feature in described["features"]]
    rows = _read(options.splits / name, f"split '{name}'", None)
    labels = np.asarray(rows[described["label"]["name"]], dtype=np.float64)
    matrix = np.empty((len(labels), len(features)), dtype=np.float32)
    for index, feature in enumerate(features):
        if feature not in rows:
            raise CannotEvaluate(f"split '{name}' lacks the feature {feature} that features.json names")
        matrix[:, index] = rows[feature]
    # by position: the managed algorithm's models know no names
    scores = np.asarray(booster.inplace_predict(matrix, validate_features=False), dtype=np.float64)
    keys = _read(options.keys / name, f"keys of split '{name}'", described["keys"]) if name == "test" else {}
    if keys and any(len(column) != len(labels) for column in keys.values()):
        raise CannotEvaluate(
            f"the keys of split '{name}' are not as many as its rows; run the split job again"
        )
    return Split(labels, scores, keys)


def _read(folder: Path, what: str, columns: list[str] | None) -> dict[str, np.ndarray]:
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise CannotEvaluate(
            f"{what} has no Parquet file in {folder}; run the data engineering workflow first"
        )
    tables = [parquet.read_table(file, columns=columns) for file in files]
    return {
        name: np.concatenate([table[name].to_numpy(zero_copy_only=False) for table in tables])
        for name in tables[0].column_names
    }


def _histogram(split: Split, bins: int = 20) -> dict[str, list[float]]:
    edges = np.linspace(0, 1, bins + 1)
    positive = split.labels > 0.5
    return {
        "edges": [float(edge) for edge in edges],
        "positive": [int(count) for count in np.histogram(split.scores[positive], edges)[0]],
        "negative": [int(count) for count in np.histogram(split.scores[~positive], edges)[0]],
    }


def _importance(booster: xgboost.Booster, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Total gain by feature, as shares that sum to 1, the largest first; a feature never split on has 0."""
    gains = booster.get_score(importance_type="total_gain")
    total = sum(gains.values()) or 1.0
    shares = [
        {
            "feature": feature["name"],
            "description": feature.get("description", ""),
            "share": gains.get(feature["name"], gains.get(f"f{index}", 0.0)) / total,
        }
        for index, feature in enumerate(described["features"])
    ]
    return sorted(shares, key=lambda entry: -entry["share"])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "splits", "keys", "features", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--use-splits", required=True, help="comma-separated; 'test' must be among them")
    parser.add_argument("--slices", required=True, help="comma-separated key columns")
    return parser
