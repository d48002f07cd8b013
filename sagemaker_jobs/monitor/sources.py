"""The data to be watched, in chunks: Parquet, CSV with a header, or data capture, found by the files' names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
from captured_rows import Skipped, captured_rows

CHUNK_ROWS = 262_144
_CSV_BLOCK_BYTES = 16 << 20
_FORMATS = {".parquet": "Parquet", ".csv": "CSV", ".jsonl": "data capture"}


class CannotMonitor(Exception):
    """The inputs do not allow a verdict; the message says which, and what to do."""


@dataclass(frozen=True)
class Source:
    """Where the data lies; ``names`` (and the score's) are the columns of captured rows, which carry none."""

    folder: Path
    names: Sequence[str] = ()
    score: str | None = None
    window: tuple[datetime | None, datetime | None] = (None, None)

    def chunks(self, skipped: Skipped) -> Iterator[pa.RecordBatch]:
        """At most CHUNK_ROWS (CSV: 16 MB) at a time. CSV cells and captured values are texts."""
        for path in self._files():
            if path.suffix == ".parquet":
                with parquet.ParquetFile(path) as file:
                    yield from file.iter_batches(batch_size=CHUNK_ROWS)
            elif path.suffix == ".csv":
                yield from _csv_chunks(path)
            else:
                yield from self._captured(path, skipped)

    def _files(self) -> list[Path]:
        if self.folder.is_file():
            return [self.folder]
        if not self.folder.is_dir():
            raise CannotMonitor(f"there is no {self.folder}; give the job the data as an input at that path")
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name[0] not in "._")
        unknown = [path.name for path in files if path.suffix not in _FORMATS]
        if unknown:
            raise CannotMonitor(
                f"{unknown[0]} in {self.folder}: only {', '.join(_FORMATS)} files can be read"
            )
        return [path for path in files if path.stat().st_size]

    def _captured(self, path: Path, skipped: Skipped) -> Iterator[pa.RecordBatch]:
        if not self.names:
            raise CannotMonitor(
                f"{path.name} is data capture, whose rows carry no names; give the features with --features"
            )
        names = [*self.names, self.score] if self.score else list(self.names)
        rows = captured_rows(path, self.names, self.score, self.window, skipped)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            columns = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, names)


def _csv_chunks(path: Path) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig").strip()
    names = next(csv.reader([header]), [])
    try:
        reader = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=True
            ),
        )
        yield from reader
    except pa.ArrowInvalid as error:
        raise CannotMonitor(f"{path.name} is not CSV with a header: {error}") from error
