"""Splits as the data engineering machine writes them, small: two files a split, keys beside them, features.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

FEATURES = ["wind", "delay", "noise"]
ROWS = {"train": 4000, "validation": 1000, "test": 1000}


def write_data(root: Path) -> None:
    """``splits/<name>``, ``keys/<name>`` and ``features/features.json`` below ``root``."""
    for seed, (name, rows) in enumerate(ROWS.items()):
        write_split(root, name, rows, seed)
    described = {
        "use_case": "flights",
        "label": {"name": "late", "description": "Arrived late"},
        "keys": ["month", "origin"],
        "features": [{"name": name, "type": "number", "description": f"the {name}"} for name in FEATURES],
    }
    (root / "features").mkdir()
    (root / "features" / "features.json").write_text(json.dumps(described))


def write_split(root: Path, name: str, rows: int, seed: int, constant: bool = False) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 3))
    labels = (rng.random(rows) < 1 / (1 + np.exp(-2 * values[:, 1]))).astype(float)
    if constant:
        labels[:] = 0
    values[rng.random(values.shape) < 0.1] = np.nan
    half = rows // 2
    for part, chosen in enumerate([slice(0, half), slice(half, rows)]):
        columns = {"late": labels[chosen], **{key: values[chosen, i] for i, key in enumerate(FEATURES)}}
        write_table(root / "splits" / name / f"part-{part}.parquet", columns)
        keys = {
            "month": rng.integers(11, 13, len(labels[chosen])),
            "origin": np.where(values[chosen, 2] > 0, "EWR", "<b>"),
        }
        write_table(root / "keys" / name / f"part-{part}.parquet", keys)


def write_table(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)
