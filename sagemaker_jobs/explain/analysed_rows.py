"""What is analysed: the model, and a split's rows with their labels, scores and keys."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import xgboost

MONTH = "month"


class CannotExplain(Exception):
    """The inputs do not allow an explanation; the message says which, and what to do."""


@dataclass(frozen=True)
class Feature:
    """One input of the model; a category's codes are the places in ``categories``."""

    name: str
    description: str
    categories: tuple[str, ...] = ()

    def say(self, value: float) -> str:
        """A value as a person knows it."""
        if np.isnan(value):
            return "missing"
        code = int(value)
        if self.categories:
            return self.categories[code] if 0 <= code < len(self.categories) else "another"
        return f"{value:.4g}"


@dataclass(frozen=True)
class Rows:
    """A split: ``matrix`` of shape (rows, features) in the model's order, 0/1 labels, scores, columns by name."""

    features: Sequence[Feature]
    matrix: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    columns: Mapping[str, np.ndarray]

    def column(self, name: str, what: str) -> np.ndarray:
        """A key, the month, or a feature (its categories by name); raises CannotExplain."""
        if name in self.columns:
            return self.columns[name]
        for index, feature in enumerate(self.features):
            if feature.name == name:
                if feature.categories:
                    return np.array([feature.say(value) for value in self.matrix[:, index]])
                return self.matrix[:, index]
        known = [*self.columns, *(feature.name for feature in self.features)]
        raise CannotExplain(f"{what} '{name}' is no column of the split; there are {', '.join(known)}")


def load_model(folder: Path) -> xgboost.Booster:
    """The booster in ``folder/model.tar.gz``; raises CannotExplain."""
    archive = folder / "model.tar.gz"
    if not archive.is_file():
        raise CannotExplain(f"there is no {archive}; the model input must be a training job's artefact")
    with tarfile.open(archive) as packed:
        member = next((item for item in packed if Path(item.name).name == "xgboost-model"), None)
        content = packed.extractfile(member) if member is not None else None
        if content is None:
            raise CannotExplain("model.tar.gz has no file 'xgboost-model'; the training script must save one")
        raw = content.read()
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(raw))
    except xgboost.core.XGBoostError as error:
        raise CannotExplain(
            f"'xgboost-model' is no model that XGBoost can read: {str(error)[:300]}"
        ) from error
    return booster


def read_rows(booster: xgboost.Booster, split: Path, keys: Path, described: Mapping[str, Any]) -> Rows:
    """A split scored by the model; raises CannotExplain where its files are missing or do not fit each other."""
    features = [
        Feature(entry["name"], entry.get("description", ""), tuple(entry.get("categories", ())))
        for entry in described["features"]
    ]
    if booster.num_features() != len(features):
        raise CannotExplain(
            f"the model takes {booster.num_features()} features and features.json names {len(features)}; "
            "they are of different runs"
        )
    label = described["label"]["name"]
    found = _read(split, f"split '{split.name}'", [label, *(feature.name for feature in features)])
    labels = np.asarray(found[label], dtype=np.float64)
    if not len(labels) or not np.isin(labels, (0, 1)).all():
        raise CannotExplain(
            f"the label {label} of split '{split.name}' must be 0 or 1 in every row, of at least one"
        )
    matrix = np.empty((len(labels), len(features)), dtype=np.float32)
    for index, feature in enumerate(features):
        matrix[:, index] = found[feature.name]
    # by position: the managed algorithm's models know no names
    scores = np.asarray(booster.inplace_predict(matrix, validate_features=False), dtype=np.float64)
    if scores.shape != labels.shape or scores.min() < 0 or scores.max() > 1:
        raise CannotExplain("the model must give one probability a row (objective binary:logistic)")
    columns = _read(keys, f"keys of split '{split.name}'", list(described["keys"]))
    if any(len(column) != len(labels) for column in columns.values()):
        raise CannotExplain(
            f"the keys of split '{split.name}' are not as many as its rows; run the split job again"
        )
    time_column = described.get("time_column", "")
    if MONTH not in columns and time_column in columns:
        columns[MONTH] = np.array([str(value)[:7] for value in columns[time_column]])
    return Rows(features, matrix, labels, scores, columns)


def _read(folder: Path, what: str, columns: list[str]) -> dict[str, np.ndarray]:
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise CannotExplain(
            f"{what} has no Parquet file in {folder}; run the data engineering workflow first"
        )
    tables = []
    for file in files:
        absent = sorted(set(columns) - set(parquet.read_schema(file).names))
        if absent:
            raise CannotExplain(f"{what} lacks {', '.join(absent)} that features.json names, in {file.name}")
        tables.append(parquet.read_table(file, columns=columns))
    return {
        name: np.concatenate([table[name].to_numpy(zero_copy_only=False) for table in tables])
        for name in columns
    }
