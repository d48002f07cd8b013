"""DuckDB under the jobs, on the laptop: Spark SQL is transpiled, files are read and written in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from glue_lib.engine_io import CsvBatch, EngineError, SourceFile, has_iso_shape
from glue_lib.placed_csv import FileSurvey, survey

from triptych.core.features import Step


class _LocalPaths:
    """Paths as they are: for a session whose runtime maps none."""

    def read(self, uri: str) -> list[Path]:
        path = Path(uri)
        return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]

    def begin_write(self, uri: str, mode: str | None) -> Path:
        folder = Path(uri)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("part-*") if mode == "overwrite" else ():
            old.unlink()
        return folder


@dataclass(frozen=True)
class OpenedCsv:
    """CSV files of one shape."""

    files: Mapping[str, SourceFile]
    """By path"""
    columns: Sequence[str]
    delimiter: str

    def scan(self, types: Mapping[str, str], nulls: Sequence[str]) -> str:
        """A reading of the files; more settings may follow, and a closing parenthesis must."""
        columns = ", ".join(f"{literal(name)}: '{kind}'" for name, kind in types.items())
        return (
            f"read_csv([{', '.join(map(literal, self.files))}], header=true, auto_detect=false, "
            f"columns={{{columns}}}, delim={literal(self.delimiter)}, quote='\"', escape='\"', "
            f"nullstr=[{', '.join(map(literal, nulls))}], filename='source_path', ignore_errors=true"
        )


class DuckDbEngine:
    """DuckDB, on the connection of the SQLFrame session that stands in for Spark's."""

    computed_once = "1"

    def __init__(self, session: Any) -> None:
        self.connection = session._conn
        self.connection.execute("SET TimeZone = 'UTC'")
        self._paths = getattr(session, "job_paths", None) or _LocalPaths()
        self._csv: dict[str, OpenedCsv] = {}
        self._surveys: dict[str, FileSurvey] = {}
        self.connection.execute("CREATE OR REPLACE MACRO unix_seconds(t) AS CAST(epoch(t) AS BIGINT)")
        self._parsing = {"computed_once"}

    def open_csv(
        self, view: str, files: Sequence[SourceFile], columns: Sequence[str], delimiter: str
    ) -> None:
        by_path = {str(path): file for file in files for path in self._paths.read(file.uri)}
        if not by_path:
            raise EngineError(f"no files to read for {view}; were all of them rejected?")
        self.open_paths(view, OpenedCsv(by_path, columns, delimiter))

    def open_paths(self, view: str, csv: OpenedCsv) -> None:
        """``open_csv`` of files that are already found."""
        for path in csv.files:
            self._surveys.pop(path, None)
        self._csv[view] = csv
        names = ", ".join(f'"{name}"' for name in csv.columns)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view} AS "
            f"SELECT {_key(csv.files)} AS source_file, {names} FROM {self._texts(csv)})"
        )

    @staticmethod
    def _texts(csv: OpenedCsv) -> str:
        return csv.scan(dict.fromkeys(csv.columns, "VARCHAR"), [""])

    def number_lines(self, view: str) -> None:
        csv = self._csv[view]
        by_path = csv.files
        connection = self.connection
        self.forget_rejects()
        names = ", ".join(f'"{name}"' for name in csv.columns)
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE {view}_ordinals AS
                SELECT *, row_number() OVER () AS ordinal FROM {self._texts(csv)}, store_rejects=true)"""
        )
        rejects = self.rejects()
        # A line that gave no row shifts the numbers of those after it: for each, how many rows stood before.
        skipped: list[tuple[str, int]] = []
        for path in by_path:
            lines = {line for file, line, _ in rejects if file == path} | self.survey(path).file_lines().blank
            skipped += [(path, line - 2 - index) for index, line in enumerate(sorted(lines))]
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {view}_skipped (source_path VARCHAR, before BIGINT)"
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {view}_rejected (source_path VARCHAR, line BIGINT, text VARCHAR)"
        )
        for table, values in ((f"{view}_skipped", skipped), (f"{view}_rejected", rejects)):
            if values:
                connection.executemany(
                    f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})", values
                )
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW {view}_numbered AS
                SELECT {_key(by_path)} AS source_file,
                  place + 1 + (SELECT count(*) FROM {view}_skipped s
                               WHERE s.source_path = o.source_path AND s.before < place)
                    AS line, {names}
                FROM (SELECT *, ordinal - min(ordinal) OVER (PARTITION BY source_path) + 1 AS place
                      FROM {view}_ordinals) o"""
        )
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW {view}_malformed AS
                SELECT {_key(by_path)} AS source_file, line,
                  trim(text, chr(13) || chr(10)) AS row FROM {view}_rejected"""
        )

    def count_rows(self, view: str) -> dict[str, int]:
        return {file.key: self.survey(path).file_lines().data for path, file in self._csv[view].files.items()}

    def survey(self, path: str) -> FileSurvey:
        """What the bytes of a file of an opened CSV say; found once."""
        if path not in self._surveys:
            self._surveys[path] = survey(Path(path))
        return self._surveys[path]

    def rejects(self) -> list[tuple[str, int, str]]:
        """Path, line and text of what the readings since ``forget_rejects`` refused, in order."""
        found: list[tuple[str, int, str]] = self.connection.execute(
            """SELECT s.file_path, e.line, any_value(e.csv_line) FROM reject_errors e
               JOIN reject_scans s USING (scan_id, file_id) GROUP BY ALL ORDER BY 1, 2"""
        ).fetchall()
        return found

    def forget_rejects(self) -> None:
        """Forget what earlier readings refused."""
        for table in ("reject_errors", "reject_scans"):
            self.connection.execute(f"DROP TABLE IF EXISTS {table}")

    def batches(
        self, view: str, numbers: Sequence[str], null_values: Sequence[str]
    ) -> Sequence[CsvBatch] | None:
        from glue_lib.duckdb_batches import batches_of

        return batches_of(self, self._csv[view], numbers, null_values)

    def open_parquet(self, view: str, uri: str) -> None:
        files = ", ".join(literal(str(path)) for path in self._paths.read(uri))
        if not files:
            raise EngineError(f"no Parquet files below {uri}; did the job before this one succeed?")
        self.connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT * FROM read_parquet([{files}])"
        )

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            kind = "TABLE" if step.keep else "VIEW"
            self._execute(f"CREATE OR REPLACE TEMP {kind} {step.name} AS {_transpiled(step.sql)}")
            if kind == "VIEW" and self._parses(step.sql):
                self._parsing.add(step.name)

    def _parses(self, sql: str) -> bool:
        return any(name in sql for name in self._parsing)

    def _execute(self, sql: str) -> None:
        """Run a statement; one that tests parsed values must not have its tests pushed below the parsing: DuckDB
        would parse each value again for every test."""
        if not self._parses(sql):
            self.connection.execute(sql)
            return
        self.connection.execute("SET disabled_optimizers = 'filter_pushdown'")
        try:
            self.connection.execute(sql)
        finally:
            self.connection.execute("SET disabled_optimizers = ''")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        cursor = self.connection.execute(_transpiled(sql))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def integers(self, sql: str) -> list[int]:
        return [value for (value,) in self.connection.execute(_transpiled(sql)).fetchall()]

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.connection.execute(f"DROP TABLE IF EXISTS {name}")

    def write_parquet(self, sql: str, uri: str, part: int = 0) -> None:
        folder = self._paths.begin_write(uri, "append" if part else "overwrite")
        target = folder / f"part-{part:05}-{uuid4().hex}.parquet"
        self._execute(f"COPY ({_transpiled(sql)}) TO {literal(str(target))} (FORMAT parquet)")

    def write_csv(self, sql: str, uri: str) -> None:
        parent, _, name = uri.rpartition("/")
        target = self._paths.begin_write(parent, "append") / name
        self.connection.execute(
            f"COPY ({_transpiled(sql)}) TO {literal(str(target))} (FORMAT csv, HEADER false, NULLSTR '')"
        )

    def trimmed(self, text: str) -> str:
        # Trimming costs more than seeing that there is nothing to trim.
        return f"CASE WHEN {text} LIKE ' %' OR {text} LIKE '% ' THEN trim({text}) ELSE {text} END"

    def number(self, text: str) -> str:
        # DuckDB reads 1_000 and +-1 as numbers; infinity and NaN are no measurements.
        value = f"TRY_CAST({text} AS DOUBLE)"
        return (
            f"CASE WHEN contains({text}, '_') OR contains({text}, '+-') OR NOT isfinite({value}) THEN NULL "
            f"ELSE {value} END"
        )

    def timestamp(self, text: str) -> str:
        # Trimmed only where it must be: that costs twice what reading the timestamp does.
        return (
            f"CASE WHEN {has_iso_shape(text)} THEN TRY_CAST({text} AS TIMESTAMP_NTZ) "
            f"WHEN {has_iso_shape(f'trim({text})')} THEN TRY_CAST(trim({text}) AS TIMESTAMP_NTZ) END"
        )


def literal(text: str) -> str:
    """A DuckDB string literal."""
    return "'" + text.replace("'", "''") + "'"


def _key(by_path: Mapping[str, SourceFile]) -> str:
    cases = " ".join(f"WHEN {literal(path)} THEN {literal(file.key)}" for path, file in by_path.items())
    return f"CASE source_path {cases} END"


@lru_cache(maxsize=256)
def _transpiled(sql: str) -> str:
    import sqlglot

    return sqlglot.transpile(sql, read="spark", write="duckdb")[0]
