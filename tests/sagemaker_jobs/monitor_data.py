"""Windows of data for the monitor: as Parquet, as CSV, and as an endpoint's data capture."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

NAMES = ["delay", "hour", "carrier"]
FEATURES = {
    "use_case": "flights",
    "features": [
        {"name": "delay", "type": "number"},
        {"name": "hour", "type": "number"},
        {"name": "carrier", "type": "category"},
    ],
}
Columns = dict[str, list[Any]]


def rows_of(seed: int, rows: int) -> Columns:
    """A number with nulls, a whole number, a category; without drift between seeds."""
    rng = np.random.default_rng(seed)
    delay = [
        None if lost else round(value, 2)
        for value, lost in zip(rng.gamma(2, 10, rows), rng.random(rows) < 0.03, strict=True)
    ]
    carriers = rng.choice(["UA", "DL", "B6"], rows, p=[0.5, 0.3, 0.2])
    return {"delay": delay, "hour": rng.integers(5, 24, rows).tolist(), "carrier": carriers.tolist()}


def write_parquet(folder: Path, columns: Mapping[str, Any], files: int = 2) -> Path:
    table = pa.table(dict(columns))
    folder.mkdir(parents=True)
    size = -(-table.num_rows // files) or 1
    for index in range(files):
        parquet.write_table(table.slice(index * size, size), folder / f"part-{index}.parquet")
    return folder


def write_csv(folder: Path, columns: Columns) -> Path:
    folder.mkdir(parents=True)
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return folder


def capture_line(rows: list[list[Any]], kind: str = "csv", at: str = "2026-01-05T10:00:00Z") -> str:
    """One captured request of some rows, and their scores."""
    text = "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in rows)
    scores = ",".join("0.5" for _ in rows)
    asked: dict[str, Any] = {
        "observedContentType": "text/csv",
        "mode": "INPUT",
        "data": text,
        "encoding": "CSV",
    }
    told: dict[str, Any] = {
        "observedContentType": "text/csv",
        "mode": "OUTPUT",
        "data": scores,
        "encoding": "CSV",
    }
    if kind == "base64":
        asked.update(data=base64.b64encode(text.encode()).decode(), encoding="BASE64")
    elif kind == "json":
        asked.update(
            observedContentType="application/json", encoding="JSON", data=json.dumps({"instances": rows})
        )
        answers = {"predictions": [{"score": 0.5} for _ in rows]}
        told.update(observedContentType="application/json", encoding="JSON", data=json.dumps(answers))
    elif kind == "lines":
        named = "\n".join(json.dumps({"features": dict(zip(NAMES, row, strict=True))}) for row in rows)
        asked.update(
            observedContentType="application/jsonlines",
            encoding="BASE64",
            data=base64.b64encode(named.encode()).decode(),
        )
    return json.dumps(
        {
            "captureData": {"endpointInput": asked, "endpointOutput": told},
            "eventMetadata": {"eventId": "1", "inferenceTime": at},
            "eventVersion": "0",
        }
    )


def write_captures(folder: Path, columns: Columns, kind: str = "csv", lines: tuple[str, ...] = ()) -> Path:
    """Five rows a request below ``<endpoint>/<variant>/yyyy/mm/dd/hh``, and ``lines`` as they are."""
    hour = folder / "flights" / "AllTraffic" / "2026" / "01" / "05" / "10"
    hour.mkdir(parents=True)
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    texts = [capture_line(rows[start : start + 5], kind) for start in range(0, len(rows), 5)]
    (hour / "00-00-000.jsonl").write_text("\n".join([*texts, *lines]) + "\n")
    return folder
