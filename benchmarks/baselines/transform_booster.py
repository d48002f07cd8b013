"""Batch predictions as a bare script: read a chunk, predict, write; one process.

python transform_booster.py csv|parquet INPUT_FOLDER OUTPUT_FOLDER XGBOOST_MODEL
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import xgboost
from pyarrow import csv, parquet

CSV_BLOCK_BYTES = 16 << 20
PARQUET_ROWS = 65_536


def csv_batches(path: Path, width: int) -> Iterator[pyarrow.RecordBatch]:
    """Blocks of a file without a header, read ahead by pyarrow's own threads."""
    names = [str(index) for index in range(width)]
    yield from csv.open_csv(
        path,
        read_options=csv.ReadOptions(column_names=names, block_size=CSV_BLOCK_BYTES),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.float32()), null_values=[""]
        ),
    )


def parquet_batches(path: Path) -> Iterator[pyarrow.RecordBatch]:
    """A file's rows in batches, its columns decoded by several threads."""
    yield from parquet.ParquetFile(path).iter_batches(PARQUET_ROWS)


def dense(batch: pyarrow.RecordBatch) -> np.ndarray:
    """float32, (rows, columns), NaN where missing."""
    rows = np.empty((batch.num_rows, batch.num_columns), dtype=np.float32)
    for index, column in enumerate(batch.columns):
        rows[:, index] = column.to_numpy(zero_copy_only=False)
    return rows


def main(kind: str, source: Path, output: Path, model: Path) -> None:
    """Write ``<name>.out`` for every file, a score a line, and print the number of rows."""
    booster = xgboost.Booster()
    booster.load_model(bytearray(model.read_bytes()))
    output.mkdir(parents=True)
    schema = pyarrow.schema([("score", pyarrow.float32())])
    count = 0
    for path in sorted(source.iterdir()):
        batches = csv_batches(path, booster.num_features()) if kind == "csv" else parquet_batches(path)
        with csv.CSVWriter(
            output / f"{path.name}.out", schema, write_options=csv.WriteOptions(include_header=False)
        ) as writer:
            for batch in batches:
                scores = booster.inplace_predict(dense(batch), validate_features=False)
                writer.write_batch(pyarrow.record_batch([pyarrow.array(scores)], schema=schema))
                count += len(scores)
    print(json.dumps({"rows": count}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
