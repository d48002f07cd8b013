"""The managed XGBoost algorithm: channels ``train`` and ``validation``, hyperparameters, no script.

Reads ``SM_*`` like any training job; data as CSV (label first, no header), LibSVM or Parquet (label first).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

_TRAINER_PARAMETERS = {
    "num_round": int,
    "early_stopping_rounds": int,
    "csv_weights": int,
    "save_model_on_termination": str,
    "_kfold": int,
    "_num_cv_round": int,
    "csv_weight": int,
}
_UNSERVED = ("_kfold", "use_dask_gpu_training", "dsplit")
_CSV_TYPES = ("text/csv", "csv")
_LIBSVM_TYPES = ("text/libsvm", "libsvm", "text/x-libsvm", "")
_PARQUET_TYPES = ("application/x-parquet", "parquet")


class BadInput(Exception):
    """The customer's mistake: data or hyperparameters the algorithm cannot train on."""


def main() -> None:
    config = Path(os.environ["SM_INPUT_CONFIG_DIR"])
    hyperparameters = json.loads((config / "hyperparameters.json").read_text())
    channels = json.loads((config / "inputdataconfig.json").read_text())
    try:
        train(hyperparameters, channels)
    except BadInput as error:
        failure = Path(os.environ["SM_OUTPUT_DIR"]) / "failure"
        failure.write_text(f"ClientError: {error}")
        print(f"ClientError: {error}", file=sys.stderr)
        sys.exit(1)


def train(hyperparameters: dict[str, str], channels: dict[str, Any]) -> None:
    """Train on the channels and write ``xgboost-model``; raises BadInput."""
    rounds, stopping, weights, params = read_hyperparameters(hyperparameters)
    if "train" not in channels:
        raise BadInput("Missing required channel 'train'; give at least a train channel in InputDataConfig.")
    matrices = {
        name: load_channel(name, channels[name].get("ContentType", ""), weights)
        for name in ("train", "validation")
        if name in channels
    }
    if stopping is not None and "validation" not in matrices:
        raise BadInput("early_stopping_rounds needs a 'validation' channel.")
    print(f"[{matrices['train'].num_row()} rows, {matrices['train'].num_col()} columns] training", flush=True)
    callbacks: list[Any] = [_Printer()]
    if stopping is not None:
        callbacks.append(xgboost.callback.EarlyStopping(stopping, data_name="validation", save_best=True))
    try:
        booster = xgboost.train(
            params,
            matrices["train"],
            num_boost_round=rounds,
            evals=[(matrix, name) for name, matrix in matrices.items()],
            callbacks=callbacks,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        raise BadInput(
            f"XGBoost refused to train: {str(error).splitlines()[0]}: {_reason(str(error))}"
        ) from error
    _save(booster, Path(os.environ["SM_MODEL_DIR"]) / "xgboost-model")


def _save(booster: Any, path: Path) -> None:
    """AWS's newer containers save UBJ under this extension-less name; the suffix chooses the format."""
    suffixed = path.with_suffix(".ubj")
    booster.save_model(suffixed)
    suffixed.rename(path)


class _Printer(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    """Prints each round as the container does; CloudWatch shows its tabs as ``#011``."""

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, Any]]) -> bool:
        scores = [
            f"{name}-{metric}:{values[-1][0] if isinstance(values[-1], tuple) else values[-1]:.5f}"
            for name, metrics in evals_log.items()
            for metric, values in metrics.items()
        ]
        print("#011".join([f"[{epoch}]", *scores]), flush=True)
        return False


def read_hyperparameters(raw: dict[str, str]) -> tuple[int, int | None, bool, dict[str, Any]]:
    """Rounds, early stopping rounds, whether CSV holds weights, and XGBoost's own parameters."""
    values = {name: _plain(value) for name, value in raw.items()}
    for name in _UNSERVED:
        if name in values:
            raise BadInput(f"the hyperparameter '{name}' is not served by the local cloud.")
    if "num_round" not in values:
        raise BadInput("Missing required hyperparameter 'num_round'.")
    rounds = _integer(values, "num_round")
    stopping = _integer(values, "early_stopping_rounds") if "early_stopping_rounds" in values else None
    weights = bool(values.get("csv_weights") and _integer(values, "csv_weights"))
    params: dict[str, Any] = {
        name: value
        for name, value in values.items()
        if name not in _TRAINER_PARAMETERS and name != "num_round"
    }
    metric = params.get("eval_metric")
    if isinstance(metric, str) and ("," in metric or metric.startswith("[")):
        params["eval_metric"] = [part.strip(" '\"") for part in metric.strip("[]").split(",")]
    params.setdefault("verbosity", 1)
    return rounds, stopping, weights, params


def _plain(value: str) -> str:
    """A hyperparameter's text, without the quotes an SDK that encodes as JSON has put around it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _integer(values: dict[str, str], name: str) -> int:
    try:
        number = int(values[name])
    except ValueError:
        raise BadInput(f"Hyperparameter {name}: value '{values[name]}' is not an integer.") from None
    if number < 1:
        raise BadInput(f"Hyperparameter {name}: value {number} must be at least 1.")
    return number


def load_channel(name: str, content_type: str, weights: bool) -> Any:
    """A channel's files as one DMatrix; raises BadInput."""
    folder = Path(os.environ[f"SM_CHANNEL_{name.upper()}"])
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] not in "._")
    kind = content_type.lower().split(";", 1)[0].strip()
    readers: list[tuple[Sequence[str], Callable[[Sequence[Path]], Any]]] = [
        (_CSV_TYPES, lambda found: _dense(_read_csv(found), name, weights)),
        (_PARQUET_TYPES, lambda found: _dense(_read_parquet(found), name, weights)),
        (_LIBSVM_TYPES, lambda found: _read_libsvm(found)),
    ]
    for types, read in readers:
        if kind in types:
            if not files:
                raise BadInput(f"the channel '{name}' holds no files.")
            return read(files)
    raise BadInput(
        f"the channel '{name}' has content type '{content_type}'; use text/csv, text/libsvm or "
        "application/x-parquet."
    )


def _dense(table: np.ndarray, name: str, weights: bool) -> Any:
    """Label first, then (with ``weights``) the weight, then the features."""
    first = 2 if weights else 1
    if table.shape[1] <= first:
        raise BadInput(
            f"the channel '{name}' has {table.shape[1]} columns: a label and at least one feature are needed."
        )
    label = table[:, 0]
    if np.isnan(label).any():
        row = int(np.flatnonzero(np.isnan(label))[0]) + 1
        raise BadInput(f"the channel '{name}' has no label in row {row}; the label is the first column.")
    return xgboost.DMatrix(table[:, first:], label=label, weight=table[:, 1] if weights else None)


def _read_csv(files: Sequence[Path]) -> np.ndarray:
    from pyarrow import ArrowInvalid, csv

    tables = []
    for path in files:
        try:
            table = csv.read_csv(
                path,
                read_options=csv.ReadOptions(autogenerate_column_names=True),
                convert_options=csv.ConvertOptions(null_values=["", "NA", "NaN", "nan", "null"]),
            )
        except ArrowInvalid as error:
            raise BadInput(f"{path.name} is not a CSV file that can be read: {error}") from error
        tables.append(_to_array(table, path))
    return _stack(tables, files)


def _read_parquet(files: Sequence[Path]) -> np.ndarray:
    from pyarrow import ArrowException, parquet

    tables = []
    for path in files:
        try:
            table = parquet.read_table(path, partitioning=None)
        except (ArrowException, OSError) as error:
            raise BadInput(f"{path.name} is not a Parquet file that can be read: {error}") from error
        tables.append(_to_array(table, path))
    return _stack(tables, files)


def _to_array(table: Any, path: Path) -> np.ndarray:
    """float32, (rows, columns); a missing value is NaN."""
    import pyarrow

    result = np.empty((table.num_rows, table.num_columns), dtype=np.float32)
    for index, column in enumerate(table.columns):
        try:
            if pyarrow.types.is_null(column.type):
                result[:, index] = np.nan
                continue
            values = column.cast(pyarrow.float32(), safe=False)
        except pyarrow.ArrowException:
            text = next(str(v) for v in column.to_pylist() if v is not None and not _is_number(v))
            raise BadInput(
                f"{path.name}, column {index + 1}: '{text[:40]}' is not a number. The first column is "
                "the label, "
                "there must be no header, and categories must be encoded."
            ) from None
        result[:, index] = values.to_numpy()
    return result


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _stack(tables: Sequence[np.ndarray], files: Sequence[Path]) -> np.ndarray:
    width = tables[0].shape[1]
    for table, path in zip(tables, files, strict=True):
        if table.shape[1] != width:
            raise BadInput(f"{path.name} has {table.shape[1]} columns, {files[0].name} has {width}.")
    return tables[0] if len(tables) == 1 else np.concatenate(tables)


def _read_libsvm(files: Sequence[Path]) -> Any:
    """``label index:value …`` (``label:weight`` allowed) as a sparse DMatrix."""
    from scipy.sparse import csr_matrix

    labels: list[float] = []
    weights: list[float] = []
    columns: list[int] = []
    values: list[float] = []
    starts = [0]
    for path in files:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            parts = line.split("#", 1)[0].split()
            if not parts:
                continue
            try:
                label, _, weight = parts[0].partition(":")
                labels.append(float(label))
                weights.append(float(weight or 1))
                for part in parts[1:]:
                    column, _, value = part.partition(":")
                    columns.append(int(column))
                    values.append(float(value))
            except ValueError:
                raise BadInput(
                    f"{path.name}, line {number} is not LibSVM (label index:value …). Set the "
                    "channel's ContentType "
                    "to text/csv or application/x-parquet for other data."
                ) from None
            starts.append(len(values))
    matrix = csr_matrix((np.array(values, dtype=np.float32), np.array(columns), np.array(starts)))
    return xgboost.DMatrix(matrix, label=np.array(labels), weight=np.array(weights))


def _reason(text: str) -> str:
    for line in text.splitlines():
        if "Check failed" in line or ":" in line:
            return line.split("] ", 1)[-1].strip()[:300]
    return text[:300]


if __name__ == "__main__":
    main()
