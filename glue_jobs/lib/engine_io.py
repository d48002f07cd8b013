"""The one place that knows which engine a job runs on: Spark (AWS Glue, or local) or DuckDB behind SQLFrame.

Jobs say what they want in Spark SQL over named views. Spark runs the text as it is; on DuckDB it is transpiled by
sqlglot (which SQLFrame brings) and run on the session's own connection, since building a plan through DataFrame
calls costs SQLFrame more than the query. Reading CSV, numbering lines and writing files differ and live here.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from triptych.core.features import Step

NUMBER_PATTERN = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$"


class EngineError(Exception):
    """The engine cannot do what a job asked for."""


@dataclass(frozen=True)
class SourceFile:
    """One raw CSV file: its ``s3://`` (or local) path and its object key."""

    uri: str
    key: str


class Engine(Protocol):
    """What both engines offer. Views are session-wide names; SQL is Spark's."""

    computed_once: str
    """A column named ``computed_once`` to select beside parsed values, and to test with ``computed_once IS NOT
    NULL``: without it an engine pushes each test below the projection and parses a value again for every test;
    Spark's code for that outgrows the JVM's 64 KB"""

    def open_csv(
        self, view: str, files: Sequence[SourceFile], columns: Sequence[str], delimiter: str
    ) -> None:
        """View of the rows with the right number of fields, as strings (empty is null), and ``source_file``."""

    def number_lines(self, view: str) -> None:
        """Views ``<view>_numbered`` (with ``line``) and ``<view>_malformed`` (source_file, line, row)."""

    def count_rows(self, view: str) -> dict[str, int]:
        """Non-blank lines after the header of an opened CSV, by object key."""

    def open_parquet(self, view: str, uri: str) -> None:
        """View of a Parquet folder."""

    def run(self, steps: Sequence[Step]) -> None:
        """Define the steps' views, in order."""

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """A small result, as dictionaries."""

    def write_parquet(self, sql: str, uri: str) -> None:
        """Write a query's rows below ``uri``, replacing what is there."""

    def write_csv(self, sql: str, uri: str) -> None:
        """Write a query's rows as one CSV object at ``uri``: no header, nulls empty."""

    def number(self, text: str) -> str:
        """SQL for the double in a string expression; null where it is none. ``1_000``, ``1d``, ``NaN`` are none."""

    def timestamp(self, text: str) -> str:
        """SQL for the UTC timestamp in a string expression of an ISO 8601 shape; null where it is none."""


def open_engine(app: str) -> Engine:
    """The engine that the runtime has prepared for this process."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    if builder.__module__.startswith("sqlframe"):
        return DuckDbEngine(builder.getOrCreate())
    return SparkEngine(builder.appName(app).getOrCreate())


def quoted(text: str) -> str:
    """A Spark SQL string literal (DuckDB's after transpiling)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_ISO_SHAPES = ("____-__-__T__:__:__Z", "____-__-__ __:__:__")


def _has_iso_shape(text: str) -> str:
    return "(" + " OR ".join(f"{text} LIKE '{shape}'" for shape in _ISO_SHAPES) + ")"


class SparkEngine:
    """Real Spark: AWS Glue, or PySpark on the laptop."""

    # Nothing is pushed below a projection that is not deterministic.
    computed_once = "monotonically_increasing_id()"

    def __init__(self, spark: Any) -> None:
        self._spark = spark
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        # A bad value is a row for the quarantine, never the end of the job.
        spark.conf.set("spark.sql.ansi.enabled", "false")
        # The JVM never compiles a method above 8,000 bytes: Spark had better cut it up than run it interpreted.
        spark.conf.set("spark.sql.codegen.hugeMethodLimit", "8000")
        # Inferring constraints from many aliased CASE expressions takes the optimizer minutes, for nothing.
        spark.conf.set("spark.sql.constraintPropagation.enabled", "false")
        # Whether a row has the right number of fields must not depend on which of them a query asks for.
        spark.conf.set("spark.sql.csv.parser.columnPruning.enabled", "false")
        self._csv: dict[str, tuple[Sequence[SourceFile], Sequence[str]]] = {}

    def open_csv(
        self, view: str, files: Sequence[SourceFile], columns: Sequence[str], delimiter: str
    ) -> None:
        from pyspark.sql import functions as f

        schema = ", ".join(f"`{name}` STRING" for name in (*columns, "_malformed"))
        rows = (
            self._spark.read.schema(schema)
            .options(header="true", sep=delimiter, quote='"', escape='"', mode="PERMISSIVE")
            .option("columnNameOfCorruptRecord", "_malformed")
            .csv([file.uri for file in files])
        )
        located = rows.select(
            *(f.when(f.col(name) != "", f.col(name)).alias(name) for name in columns),
            f.col("_malformed"),
            f.monotonically_increasing_id().alias("_id"),
            f.col("_metadata.file_path").alias("_path"),
            f.col("_metadata.file_block_start").alias("_block"),
        )
        located.createOrReplaceTempView(f"{view}_located")
        self._csv[view] = (list(files), columns)
        names = ", ".join(f"`{name}`" for name in columns)
        self._spark.sql(
            f"SELECT {self._key(files)} AS source_file, {names} FROM {view}_located WHERE _malformed IS NULL"
        ).createOrReplaceTempView(view)

    @staticmethod
    def _key(files: Sequence[SourceFile]) -> str:
        cases = " ".join(
            f"WHEN endswith(_path, {quoted(file.key)}) THEN {quoted(file.key)}" for file in files
        )
        return f"CASE {cases} END"

    def _lines(self, view: str) -> Any:
        """The files as text: value, and the place of each line by partition."""
        from pyspark.sql import functions as f

        return self._spark.read.text([file.uri for file in self._csv[view][0]]).select(
            f.col("value"),
            f.monotonically_increasing_id().alias("_id"),
            f.col("_metadata.file_path").alias("_path"),
            f.col("_metadata.file_block_start").alias("_block"),
        )

    @staticmethod
    def _placed(source: str, columns: str) -> str:
        """SQL that numbers the rows of each file from 1, in file order, from their ids inside partitions."""
        return f"""
            SELECT {columns}, r._path, r._id - b.first_id + b.before + 1 AS place FROM {source} r JOIN (
              SELECT _path, _block, first_id, coalesce(sum(n) OVER (PARTITION BY _path ORDER BY _block
                  ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
              FROM (SELECT _path, _block, min(_id) AS first_id, count(*) AS n
                    FROM {source} GROUP BY _path, _block)) b
            ON r._path = b._path AND r._block = b._block"""

    def number_lines(self, view: str) -> None:
        files, columns = self._csv[view]
        self._lines(view).createOrReplaceTempView(f"{view}_lines")
        lines = self._placed(f"{view}_lines", "value")
        blank = self.rows(f"SELECT _path, place FROM ({lines}) WHERE value = '' ORDER BY _path, place")
        # A blank line gives no row, and so shifts the numbers after it: how many rows stood before each.
        before: dict[str, list[int]] = {}
        for row in blank:
            found = before.setdefault(row["_path"], [])
            found.append(row["place"] - 2 - len(found))
        shifts = " ".join(
            f"WHEN _path = {quoted(path)} "
            f"THEN size(filter(array({', '.join(map(str, counts))}), skipped -> skipped < place))"
            for path, counts in before.items()
        )
        line = f"place + 1 + CASE {shifts} ELSE 0 END" if shifts else "place + 1"
        names = ", ".join(f"`{name}`" for name in columns)
        placed = self._placed(f"{view}_located", f"{names}, _malformed")
        self._spark.sql(
            f"SELECT {self._key(files)} AS source_file, {line} AS line, {names}, _malformed FROM ({placed})"
        ).createOrReplaceTempView(f"{view}_placed")
        self._spark.sql(
            f"SELECT source_file, line, {names} FROM {view}_placed WHERE _malformed IS NULL"
        ).createOrReplaceTempView(f"{view}_numbered")
        self._spark.sql(
            f"SELECT source_file, line, _malformed AS row FROM {view}_placed WHERE _malformed IS NOT NULL"
        ).createOrReplaceTempView(f"{view}_malformed")

    def count_rows(self, view: str) -> dict[str, int]:
        files = self._csv[view][0]
        self._lines(view).createOrReplaceTempView(f"{view}_lines")
        counted = self.rows(
            f"SELECT {self._key(files)} AS source_file, count(*) - 1 AS n FROM {view}_lines "
            f"WHERE value <> '' GROUP BY {self._key(files)}"
        )
        return {file.key: 0 for file in files} | {row["source_file"]: row["n"] for row in counted}

    def open_parquet(self, view: str, uri: str) -> None:
        self._spark.read.parquet(uri).createOrReplaceTempView(view)

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            frame = self._spark.sql(step.sql)
            if step.keep:
                frame = frame.cache()
                frame.count()  # a cache is filled by its first use, and the source may have been replaced by then
            frame.createOrReplaceTempView(step.name)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return [row.asDict(recursive=True) for row in self._spark.sql(sql).collect()]

    def write_parquet(self, sql: str, uri: str) -> None:
        self._spark.sql(sql).write.mode("overwrite").parquet(uri)

    def write_csv(self, sql: str, uri: str) -> None:
        # Spark names its files itself, and the next step wants one object at a known key.
        from glue_lib.job import put_text

        lines = [
            ",".join("" if value is None else str(value) for value in row)
            for row in self._spark.sql(sql).toLocalIterator()
        ]
        put_text(uri, "\n".join(lines) + "\n" if lines else "", "text/csv")

    def number(self, text: str) -> str:
        return f"CASE WHEN trim({text}) RLIKE '{NUMBER_PATTERN}' THEN CAST(trim({text}) AS DOUBLE) END"

    def timestamp(self, text: str) -> str:
        return f"CASE WHEN {_has_iso_shape(f'trim({text})')} THEN CAST(trim({text}) AS TIMESTAMP) END"


class _LocalPaths:
    """Paths as they are: for a session whose runtime maps none."""

    def read(self, uri: str) -> list[Path]:
        path = Path(uri)
        return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]

    def begin_write(self, uri: str, mode: str | None) -> Path:
        folder = Path(uri)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("part-*"):
            old.unlink()
        return folder


class DuckDbEngine:
    """DuckDB, on the connection of the SQLFrame session that stands in for Spark's."""

    computed_once = "1"

    def __init__(self, session: Any) -> None:
        self._connection = session._conn
        self._connection.execute("SET TimeZone = 'UTC'")
        self._paths = getattr(session, "job_paths", None) or _LocalPaths()
        self._csv: dict[str, tuple[dict[str, SourceFile], str, Sequence[str]]] = {}
        self._connection.execute("CREATE OR REPLACE MACRO unix_seconds(t) AS CAST(epoch(t) AS BIGINT)")
        self._parsing = {"computed_once"}

    def open_csv(
        self, view: str, files: Sequence[SourceFile], columns: Sequence[str], delimiter: str
    ) -> None:
        by_path = {str(path): file for file in files for path in self._paths.read(file.uri)}
        if not by_path:
            raise EngineError(f"no files to read for {view}; were all of them rejected?")
        types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)
        scan = (
            f"read_csv([{', '.join(map(_literal, by_path))}], header=true, auto_detect=false, columns={{{types}}}, "
            f"delim={_literal(delimiter)}, quote='\"', escape='\"', nullstr='', "
            "filename='source_path', ignore_errors=true"
        )
        self._csv[view] = (by_path, scan, columns)
        names = ", ".join(f'"{name}"' for name in columns)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT {self._key(by_path)} AS source_file, {names} FROM {scan})"
        )

    @staticmethod
    def _key(by_path: Mapping[str, SourceFile]) -> str:
        cases = " ".join(f"WHEN {_literal(path)} THEN {_literal(file.key)}" for path, file in by_path.items())
        return f"CASE source_path {cases} END"

    def number_lines(self, view: str) -> None:
        by_path, scan, columns = self._csv[view]
        connection = self._connection
        for table in ("reject_errors", "reject_scans"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        names = ", ".join(f'"{name}"' for name in columns)
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE {view}_ordinals AS
                SELECT *, row_number() OVER () AS ordinal FROM {scan}, store_rejects=true)"""
        )
        rejects = connection.execute(
            """SELECT s.file_path, e.line, any_value(e.csv_line) FROM reject_errors e
               JOIN reject_scans s USING (scan_id, file_id) GROUP BY ALL ORDER BY 1, 2"""
        ).fetchall()
        # A line that gave no row shifts the numbers of those after it: for each, how many rows stood before.
        skipped: list[tuple[str, int]] = []
        for path in by_path:
            lines = {line for file, line, _ in rejects if file == path} | _blank_lines(Path(path))
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
                SELECT {self._key(by_path)} AS source_file,
                  place + 1 + (SELECT count(*) FROM {view}_skipped s
                               WHERE s.source_path = o.source_path AND s.before < place)
                    AS line, {names}
                FROM (SELECT *, ordinal - min(ordinal) OVER (PARTITION BY source_path) + 1 AS place
                      FROM {view}_ordinals) o"""
        )
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW {view}_malformed AS
                SELECT {self._key(by_path)} AS source_file, line,
                  rtrim(text, chr(13) || chr(10)) AS row FROM {view}_rejected"""
        )

    def count_rows(self, view: str) -> dict[str, int]:
        by_path = self._csv[view][0]
        return {file.key: _count_data_lines(Path(path)) for path, file in by_path.items()}

    def open_parquet(self, view: str, uri: str) -> None:
        files = ", ".join(_literal(str(path)) for path in self._paths.read(uri))
        if not files:
            raise EngineError(f"no Parquet files below {uri}; did the job before this one succeed?")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT * FROM read_parquet([{files}])"
        )

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            kind = "TABLE" if step.keep else "VIEW"
            self._execute(f"CREATE OR REPLACE TEMP {kind} {step.name} AS {_duckdb(step.sql)}")
            if kind == "VIEW" and self._parses(step.sql):
                self._parsing.add(step.name)

    def _parses(self, sql: str) -> bool:
        return any(name in sql for name in self._parsing)

    def _execute(self, sql: str) -> None:
        """Run a statement; one that tests parsed values must not have its tests pushed below the parsing: DuckDB
        would parse each value again for every test."""
        if not self._parses(sql):
            self._connection.execute(sql)
            return
        self._connection.execute("SET disabled_optimizers = 'filter_pushdown'")
        try:
            self._connection.execute(sql)
        finally:
            self._connection.execute("SET disabled_optimizers = ''")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        cursor = self._connection.execute(_duckdb(sql))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def write_parquet(self, sql: str, uri: str) -> None:
        target = self._paths.begin_write(uri, "overwrite") / f"part-00000-{uuid4().hex}.parquet"
        self._execute(f"COPY ({_duckdb(sql)}) TO {_literal(str(target))} (FORMAT parquet)")

    def write_csv(self, sql: str, uri: str) -> None:
        parent, _, name = uri.rpartition("/")
        target = self._paths.begin_write(parent, "append") / name
        self._connection.execute(
            f"COPY ({_duckdb(sql)}) TO {_literal(str(target))} (FORMAT csv, HEADER false, NULLSTR '')"
        )

    def number(self, text: str) -> str:
        # DuckDB reads 1_000 as a number; infinity and NaN are no measurements.
        value = f"TRY_CAST({text} AS DOUBLE)"
        return f"CASE WHEN contains({text}, '_') OR NOT isfinite({value}) THEN NULL ELSE {value} END"

    def timestamp(self, text: str) -> str:
        return f"CASE WHEN {_has_iso_shape(f'trim({text})')} THEN TRY_CAST(trim({text}) AS TIMESTAMP_NTZ) END"


def _duckdb(sql: str) -> str:
    import sqlglot

    return sqlglot.transpile(sql, read="spark", write="duckdb")[0]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _count_data_lines(path: Path) -> int:
    """Lines that are neither the header nor empty, counted in the bytes: independent of any CSV reader."""
    if path.stat().st_size == 0:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        lines = sum(data[start : start + _CHUNK].count(b"\n") for start in range(0, len(data), _CHUNK))
        if data[-1:] != b"\n":
            lines += 1
        return lines - 1 - len(_empty_lines(data))


def _blank_lines(path: Path) -> set[int]:
    """Numbers (1-based) of the empty lines."""
    if path.stat().st_size == 0:
        return set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _empty_lines(data)


def _empty_lines(data: mmap.mmap) -> set[int]:
    starts: list[int] = []
    for mark in (b"\n\n", b"\n\r\n"):
        position = data.find(mark)
        while position >= 0:
            starts.append(position + 1)
            position = data.find(mark, position + 1)
    found: set[int] = set()
    counted_to, line = 0, 1
    for start in sorted(starts):
        line += data[counted_to:start].count(b"\n")
        counted_to = start
        found.add(line)
    return found


_CHUNK = 1 << 24
