"""One contestant of ``benchmarks/shap.py``: explain the rows by XGBoost's bare call, or by the job's function.

python shap_values.py xgboost|triptych INPUTS JOB_SOURCE OUTPUT.npy ROWS
"""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import xgboost


def load(inputs: Path, rows: int) -> tuple[xgboost.Booster, np.ndarray]:
    """The model, and the first rows of the test split in its order of features."""
    booster: Any = xgboost.Booster()
    with tarfile.open(inputs / "model" / "model.tar.gz") as packed:
        member = next(item for item in packed if Path(item.name).name == "xgboost-model")
        content = packed.extractfile(member)
        assert content is not None
        booster.load_model(bytearray(content.read()))
    names = [
        one["name"] for one in json.loads((inputs / "features" / "features.json").read_text())["features"]
    ]
    table = parquet.read_table(inputs / "splits" / "test", columns=names).slice(0, rows)
    matrix = np.column_stack([table[name].to_numpy().astype(np.float32) for name in names])
    return booster, matrix


def main() -> None:
    how, inputs, source, output, rows = sys.argv[1:]
    booster, matrix = load(Path(inputs), int(rows))
    if how == "triptych":
        sys.path.insert(0, source)
        from attribution import shap_values

        started = time.perf_counter()
        values = shap_values(booster, matrix).values
    else:
        started = time.perf_counter()
        told = booster.predict(xgboost.DMatrix(matrix), pred_contribs=True, validate_features=False)
        values = told[:, :-1]
    seconds = time.perf_counter() - started
    np.save(output, values)
    print(json.dumps({"seconds": seconds, "rows": len(values)}))


if __name__ == "__main__":
    main()
