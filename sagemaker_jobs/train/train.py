"""Train an XGBoost classifier on the dataset's Parquet splits (SageMaker script mode).

Channels: ``train`` and ``validation`` (Parquet: the label first, then the features, all numeric) and
``features`` (``features.json``, which names them). Hyperparameters are XGBoost's own, and ``num_round``,
``log_every`` (rounds between two evaluations) and ``early_stopping_rounds``. The model folder gets
``xgboost-model`` (UBJ), ``about/features.json`` and ``about/training.json``, and ``compiled/model.onnx`` where
ONNX and ONNX Runtime are installed and the compiled model agrees with the booster. AWS's XGBoost container
takes every file beside ``xgboost-model`` for one more model, so nothing else may lie there. Paths come from
SageMaker's environment variables only.

Runs in AWS's XGBoost image (Python 3.10 or later, XGBoost 1.7 or later) and needs nothing that is not in it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import xgboost
from compiled_model import COMPILED_FILE, NotCompiled, compile_checked

OWN_HYPERPARAMETERS = ("num_round", "log_every", "early_stopping_rounds")


class CannotTrain(Exception):
    """The inputs do not allow training; the message says which, and what to do."""


@dataclass(frozen=True)
class Places:
    """Where the container contract puts things."""

    train: Path
    validation: Path
    features: Path
    model: Path
    cpus: int

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Places:
        """Raises CannotTrain naming the first variable or channel that is missing."""

        def path(name: str) -> Path:
            if name not in environment:
                raise CannotTrain(
                    f"the environment variable {name} is missing: is this a SageMaker training job?"
                )
            return Path(environment[name])

        return Places(
            train=path("SM_CHANNEL_TRAIN"),
            validation=path("SM_CHANNEL_VALIDATION"),
            features=path("SM_CHANNEL_FEATURES") / "features.json",
            model=path("SM_MODEL_DIR"),
            cpus=int(environment.get("SM_NUM_CPUS") or os.cpu_count() or 1),
        )


@dataclass(frozen=True)
class Table:
    """A split: ``rows`` float32 (rows, features) with NaN for missing, ``labels`` float32 of 0 and 1."""

    rows: np.ndarray
    labels: np.ndarray


def main() -> int:
    started = time.monotonic()
    try:
        places = Places.from_environment(os.environ)
        settings = json.loads(os.environ.get("SM_HPS") or "{}")
        train(places, settings, started)
    except CannotTrain as error:
        print(f"cannot train: {error}", file=sys.stderr, flush=True)
        if "SM_OUTPUT_DIR" in os.environ:
            output = Path(os.environ["SM_OUTPUT_DIR"])
            output.mkdir(parents=True, exist_ok=True)
            (output / "failure").write_text(str(error))
        return 1
    return 0


def train(places: Places, settings: Mapping[str, Any], started: float) -> None:
    """Read, train, save. Raises CannotTrain."""
    described = json.loads(places.features.read_text())
    names = [feature["name"] for feature in described["features"]]
    label = described["label"]["name"]
    training = read_split("train", places.train, label, names)
    validation = read_split("validation", places.validation, label, names)
    print(
        f"{len(training.labels)} rows to train on, {len(validation.labels)} to validate on, "
        f"{len(names)} features",
        flush=True,
    )
    parameters = {
        "objective": "binary:logistic",
        "eval_metric": "auc",
        "tree_method": "hist",
        "nthread": places.cpus,
        **{name: value for name, value in settings.items() if name not in OWN_HYPERPARAMETERS},
    }
    booster, history = boost(
        parameters,
        training,
        validation,
        names,
        rounds=int(settings.get("num_round", 100)),
        log_every=int(settings.get("log_every", 20)),
        patience=int(settings.get("early_stopping_rounds", 0)),
    )
    about = places.model / "about"
    about.mkdir(parents=True, exist_ok=True)
    (places.model / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    compiled = compile_model(booster, places.model, validation.rows)
    shutil.copyfile(places.features, about / "features.json")
    report = {
        "rows": {"train": len(training.labels), "validation": len(validation.labels)},
        "rounds": booster.num_boosted_rounds(),
        "history": history,
        "compiled": compiled,
        "hyperparameters": dict(settings),
        "xgboost": xgboost.__version__,
        "seconds": round(time.monotonic() - started, 3),
    }
    (about / "training.json").write_text(json.dumps(report, indent=1))
    print(f"trained {report['rounds']} rounds in {report['seconds']} s", flush=True)


def compile_model(booster: xgboost.Booster, folder: Path, samples: np.ndarray) -> dict[str, Any]:
    """Write the compiled model beside ``xgboost-model`` if it agrees on the rows; what was found, for the report."""
    started = time.perf_counter()
    try:
        content, parity = compile_checked(booster, (folder / "xgboost-model").read_bytes(), samples)
    except NotCompiled as error:
        print(f"no compiled model, XGBoost will serve: {error}", flush=True)
        return {"file": None, "reason": str(error)}
    path = folder / COMPILED_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    seconds = round(time.perf_counter() - started, 3)
    print(
        f"compiled in {seconds} s; differs from XGBoost by at most {parity.max_difference:.2g} on "
        f"{parity.rows} rows",
        flush=True,
    )
    return {
        "file": COMPILED_FILE,
        "parity": {
            "rows": parity.rows,
            "edge_rows": parity.edge_rows,
            "max_difference": parity.max_difference,
        },
        "seconds": seconds,
    }


def read_split(split: str, folder: Path, label: str, names: list[str]) -> Table:
    """A split's Parquet files; raises CannotTrain where it is empty, incomplete or has one label only."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise CannotTrain(f"channel '{split}' holds no Parquet file; run the data engineering workflow first")
    tables = [parquet.read_table(file) for file in files]
    missing = [name for name in (label, *names) if name not in tables[0].column_names]
    if missing:
        raise CannotTrain(
            f"channel '{split}' lacks the columns {', '.join(missing)} that features.json names"
        )
    labels = np.concatenate([table[label].to_numpy() for table in tables]).astype(np.float32)
    if len(np.unique(labels)) < 2:
        raise CannotTrain(
            f"all {len(labels)} labels of channel '{split}' are the same; there is nothing to learn"
        )
    rows = np.empty((len(labels), len(names)), dtype=np.float32)
    start = 0
    for table in tables:
        for index, name in enumerate(names):
            rows[start : start + table.num_rows, index] = table[name].to_numpy()
        start += table.num_rows
    return Table(rows, labels)


def boost(
    parameters: Mapping[str, Any],
    training: Table,
    validation: Table,
    names: list[str],
    rounds: int,
    log_every: int,
    patience: int,
) -> tuple[xgboost.Booster, list[dict[str, float]]]:
    """The booster and what was logged. With ``patience`` it stops, and goes back to the best round.

    Evaluating costs about as much as a round, so it is done every ``log_every`` rounds and after the last.
    """
    bins = {"max_bin": int(parameters["max_bin"])} if "max_bin" in parameters else {}
    threads = int(parameters["nthread"])
    train_matrix = xgboost.QuantileDMatrix(
        training.rows, training.labels, feature_names=names, nthread=threads, **bins
    )
    validation_matrix = xgboost.QuantileDMatrix(
        validation.rows, validation.labels, feature_names=names, nthread=threads, ref=train_matrix, **bins
    )
    booster = xgboost.Booster(dict(parameters), [train_matrix, validation_matrix])
    history: list[dict[str, float]] = []
    best_round, best_value = 0, float("-inf")
    for number in range(rounds):
        booster.update(train_matrix, number)
        if (number + 1) % log_every and number + 1 < rounds:
            continue
        line = booster.eval_set([(train_matrix, "train"), (validation_matrix, "validation")], number)
        print(line, flush=True)
        values = {
            name: float(value) for name, value in (part.rsplit(":", 1) for part in line.split("\t")[1:])
        }
        history.append({"round": float(number), **values})
        metric, value = [item for item in values.items() if item[0].startswith("validation-")][-1]
        better = value if _is_higher_better(metric) else -value
        if better > best_value:
            best_round, best_value = number, better
        elif patience and number - best_round >= patience:
            print(f"no better since round {best_round}: stopped", flush=True)
            booster = booster[: best_round + 1]
            break
    return booster, history


def _is_higher_better(metric: str) -> bool:
    return any(name in metric for name in ("auc", "aucpr", "map", "ndcg"))


if __name__ == "__main__":
    sys.exit(main())
