"""CSV files on DuckDB, some at a time, their rows' places leading back to their lines.

A batch's typed rows fit into memory: what is wrong with them is found and put right before anything is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from glue_lib.duckdb_engine import DuckDbEngine, OpenedCsv, literal
from glue_lib.engine_io import SourceFile
from glue_lib.placed_csv import Places, bytes_of, places_of

BATCH_BYTES = 192_000_000
"""So many bytes of CSV become a few hundred MB of typed rows"""


def batches_of(
    engine: DuckDbEngine, csv: OpenedCsv, numbers: Sequence[str], null_values: Sequence[str]
) -> list[DuckDbBatch]:
    """The files in order, as few batches as ``BATCH_BYTES`` allows; a file is never cut."""
    # What DuckDB's reader would take for a number, and a contract does not, is left to the tests of its text.
    odd = any(engine.survey(path).odd_numbers for path in csv.files) or any(
        character.isdigit() for value in null_values for character in value
    )
    doubles = frozenset() if odd else frozenset(numbers)
    types = {name: "DOUBLE" if name in doubles else "VARCHAR" for name in csv.columns}
    nulls = ["", *null_values] if doubles else [""]
    return [DuckDbBatch(engine, replace(csv, files=files), types, nulls) for files in _portions(csv.files)]


def _portions(files: Mapping[str, SourceFile]) -> Iterator[dict[str, SourceFile]]:
    portion: dict[str, SourceFile] = {}
    size = 0
    for path, file in files.items():
        bytes_here = Path(path).stat().st_size
        if portion and size + bytes_here > BATCH_BYTES:
            yield portion
            portion, size = {}, 0
        portion[path] = file
        size += bytes_here
    yield portion


class DuckDbBatch:
    """A few of the files of an opened CSV; see ``CsvBatch``."""

    def __init__(
        self, engine: DuckDbEngine, csv: OpenedCsv, types: Mapping[str, str], nulls: Sequence[str]
    ) -> None:
        self.doubles = frozenset(name for name, kind in types.items() if kind == "DOUBLE")
        self._engine = engine
        self._csv = csv
        self._types = types
        self._nulls = nulls
        self._places = Places({}, {})

    def open(self, view: str) -> None:
        names = ", ".join(f'"{name}"' for name in self._csv.columns)
        self._engine.connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view} AS "
            f"SELECT {names} FROM {self._csv.scan(self._types, self._nulls)}, store_rejects=true)"
        )
        self._engine.forget_rejects()

    def adds_up(self, rows: int) -> bool:
        unread: dict[str, set[int]] = {}
        for path, line, _ in self._engine.rejects():
            unread.setdefault(path, set()).add(line)
        surveys = {path: self._engine.survey(path) for path in self._csv.files}
        # In a file of one column an empty line is a row to DuckDB.
        found = places_of(surveys, unread, rows, empty_lines_are_missed=len(self._csv.columns) > 1)
        self._places = found or Places({}, {})
        return found is not None

    @property
    def data_lines(self) -> int:
        return sum(file.data for file in self._places.files.values())

    @property
    def has_unread(self) -> bool:
        return any(self._places.unread.values())

    def pick_lines(self, picked: str, rows: Sequence[int], *, with_unread: bool) -> bool:
        connection = self._engine.connection
        lines = self._places.lines(rows)
        with tempfile.TemporaryDirectory(prefix="triptych-lines-") as folder:
            text, table = Path(folder) / "lines.csv", Path(folder) / "places.csv"
            number = 1
            with text.open("wb") as copy, table.open("w") as index:
                copy.write((self._csv.delimiter.join(self._csv.columns) + "\n").encode())
                for file_number, path in enumerate(self._csv.files):
                    unread = self._places.unread.get(path, frozenset()) if with_unread else frozenset()
                    wanted = sorted(unread.union(lines.get(path, ())))
                    found = bytes_of(Path(path), wanted, self._engine.survey(path))
                    for line, data in zip(wanted, found, strict=True):
                        number += 1
                        copy.write(data + b"\n")
                        index.write(f"{number},{file_number},{line}\n")
            picks = {str(text): SourceFile(str(text), "")}
            self._engine.open_paths(picked, replace(self._csv, files=picks))
            self._engine.number_lines(picked)
            connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE {picked}_places AS SELECT * FROM read_csv({literal(str(table))},
                    header=false, auto_detect=false,
                    columns={{'number': 'BIGINT', 'file': 'BIGINT', 'line': 'BIGINT'}})"""
            )
        keys = ", ".join(literal(file.key) for file in self._csv.files.values())
        for kind in ("numbered", "malformed"):
            connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE {picked}_{kind}_here AS
                    SELECT [{keys}][p.file + 1] AS source_file, p.line AS line, r.* EXCLUDE (source_file, line)
                    FROM {picked}_{kind} r JOIN {picked}_places p ON p.number = r.line"""
            )
            connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {picked}_{kind} AS SELECT * FROM {picked}_{kind}_here"
            )
        found_rows = connection.execute(
            f"SELECT (SELECT count(*) FROM {picked}_numbered) + (SELECT count(*) FROM {picked}_malformed)"
        ).fetchone()
        return bool(found_rows[0] == number - 1)
