"""The one place that knows which engine a job runs on: Spark (AWS Glue, or local) or DuckDB behind SQLFrame.

Jobs say what they want in Spark SQL over named views. Spark runs the text as it is; on DuckDB it is transpiled by
sqlglot (which SQLFrame brings) and run on the session's own connection, since building a plan through DataFrame
calls costs SQLFrame more than the query. Reading CSV, numbering lines and writing files differ and live here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from glue_lib.placed_csv import FileLines, Places, bytes_of, survey

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

    def open_values(
        self, view: str, numbers: Sequence[str], null_values: Sequence[str]
    ) -> frozenset[str] | None:
        """View ``<view>_values`` of an opened CSV whose rows' places lead back to their lines; None where an
        engine knows no places. Answers which of ``numbers`` come as doubles: lines with others give no row."""

    def pick_lines(self, view: str, picked: str, rows: Sequence[int], *, with_unread: bool) -> bool:
        """Views ``<picked>_numbered`` and ``<picked>_malformed``, as ``number_lines`` makes them, of some lines
        only: of the rows with these places (from 0, ascending) in ``<view>_values``, and if asked for of the lines
        that gave it no row. False if lines cannot be told apart."""

    def places_known(self, view: str, rows: int) -> bool:
        """Whether places lead to lines, ``rows`` being how many rows ``<view>_values`` has given."""

    def open_parquet(self, view: str, uri: str) -> None:
        """View of a Parquet folder."""

    def run(self, steps: Sequence[Step]) -> None:
        """Define the steps' views, in order."""

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """A small result, as dictionaries."""

    def write_parquet(self, sql: str, uri: str) -> None:
        """Write a query's rows below ``uri``, replacing what is there."""

    def row_numbers(
        self, where: str, uri: str, keys: str | None = None, key: Sequence[str] = ()
    ) -> list[int]:
        """Places (from 0, ascending) of the rows of the Parquet at ``uri`` for which ``where`` holds; with ``keys``,
        only those whose ``key`` is in that view."""

    def replace_parquet(self, sql: str, uri: str) -> None:
        """``write_parquet`` of a query that may read what it replaces."""

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

    def open_values(
        self, view: str, numbers: Sequence[str], null_values: Sequence[str]
    ) -> frozenset[str] | None:
        return None

    def places_known(self, view: str, rows: int) -> bool:
        return False

    def pick_lines(self, view: str, picked: str, rows: Sequence[int], *, with_unread: bool) -> bool:
        raise EngineError(f"Spark knows no places of {view}'s rows; use number_lines")

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

    def row_numbers(
        self, where: str, uri: str, keys: str | None = None, key: Sequence[str] = ()
    ) -> list[int]:
        raise EngineError(f"Spark knows no places of the rows of {uri}; use number_lines")

    def replace_parquet(self, sql: str, uri: str) -> None:
        raise EngineError(f"Spark cannot replace {uri} by a query on it; use write_parquet on its source")

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
        self._csv: dict[str, tuple[Mapping[str, SourceFile], str, Sequence[str]]] = {}
        self._delimiters: dict[str, str] = {}
        self._files: dict[str, FileLines] = {}
        self._connection.execute("CREATE OR REPLACE MACRO unix_seconds(t) AS CAST(epoch(t) AS BIGINT)")
        self._parsing = {"computed_once"}
        self._places: dict[str, Places] = {}

    def open_csv(
        self, view: str, files: Sequence[SourceFile], columns: Sequence[str], delimiter: str
    ) -> None:
        by_path = {str(path): file for file in files for path in self._paths.read(file.uri)}
        if not by_path:
            raise EngineError(f"no files to read for {view}; were all of them rejected?")
        self._open_paths(view, by_path, columns, delimiter)

    def _open_paths(
        self, view: str, by_path: Mapping[str, SourceFile], columns: Sequence[str], delimiter: str
    ) -> None:
        scan = _scan(by_path, dict.fromkeys(columns, "VARCHAR"), delimiter, [""])
        self._csv[view] = (by_path, scan, columns)
        self._delimiters[view] = delimiter
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
        self._forget_rejects()
        names = ", ".join(f'"{name}"' for name in columns)
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE {view}_ordinals AS
                SELECT *, row_number() OVER () AS ordinal FROM {scan}, store_rejects=true)"""
        )
        rejects = connection.execute(_REJECTS).fetchall()
        # A line that gave no row shifts the numbers of those after it: for each, how many rows stood before.
        skipped: list[tuple[str, int]] = []
        for path in by_path:
            lines = {line for file, line, _ in rejects if file == path} | self._lines(path).blank
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
                  trim(text, chr(13) || chr(10)) AS row FROM {view}_rejected"""
        )

    def count_rows(self, view: str) -> dict[str, int]:
        self._files.clear()
        return {file.key: self._lines(path).data for path, file in self._csv[view][0].items()}

    def _lines(self, path: str) -> FileLines:
        if path not in self._files:
            self._files[path] = survey(Path(path))
        return self._files[path]

    def _forget_rejects(self) -> None:
        for table in ("reject_errors", "reject_scans"):
            self._connection.execute(f"DROP TABLE IF EXISTS {table}")

    def open_values(
        self, view: str, numbers: Sequence[str], null_values: Sequence[str]
    ) -> frozenset[str] | None:
        by_path, _, columns = self._csv[view]
        # What DuckDB's reader would take for a number, and a contract does not, is left to the tests of its text.
        odd = any(self._lines(path).underscores for path in by_path) or any(
            character.isdigit() for value in null_values for character in value
        )
        doubles = frozenset() if odd else frozenset(numbers)
        types = {name: "DOUBLE" if name in doubles else "VARCHAR" for name in columns}
        scan = _scan(by_path, types, self._delimiters[view], ["", *null_values] if doubles else [""])
        names = ", ".join(f'"{name}"' for name in columns)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {view}_values AS SELECT {names} FROM {scan}, store_rejects=true)"
        )
        self._forget_rejects()
        self._places.pop(view, None)
        return doubles

    def places_known(self, view: str, rows: int) -> bool:
        by_path = self._csv[view][0]
        unread: dict[str, set[int]] = {}
        for path, line, _ in self._connection.execute(_REJECTS).fetchall():
            unread.setdefault(path, set()).add(line)
        self._places[view] = Places(
            {path: self._lines(path) for path in by_path},
            {path: frozenset(lines) for path, lines in unread.items()},
        )
        return self._places[view].add_up_to(rows)

    def pick_lines(self, view: str, picked: str, rows: Sequence[int], *, with_unread: bool) -> bool:
        by_path, _, columns = self._csv[view]
        delimiter = self._delimiters[view]
        places = self._places[view]
        lines = places.lines(rows)
        with tempfile.TemporaryDirectory(prefix="triptych-lines-") as folder:
            text, table = Path(folder) / "lines.csv", Path(folder) / "places.csv"
            number = 1
            with text.open("wb") as copy, table.open("w") as index:
                copy.write((delimiter.join(columns) + "\n").encode())
                for file_number, path in enumerate(by_path):
                    unread = places.unread.get(path, frozenset()) if with_unread else frozenset()
                    wanted = sorted(unread.union(lines.get(path, ())))
                    for line, data in zip(wanted, bytes_of(Path(path), wanted), strict=True):
                        number += 1
                        copy.write(data + b"\n")
                        index.write(f"{number},{file_number},{line}\n")
            self._open_paths(picked, {str(text): SourceFile(str(text), "")}, columns, delimiter)
            self.number_lines(picked)
            self._connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE {picked}_places AS SELECT * FROM read_csv({_literal(str(table))},
                    header=false, auto_detect=false,
                    columns={{'number': 'BIGINT', 'file': 'BIGINT', 'line': 'BIGINT'}})"""
            )
        keys = ", ".join(_literal(file.key) for file in by_path.values())
        for kind in ("numbered", "malformed"):
            self._connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE {picked}_{kind}_here AS
                    SELECT [{keys}][p.file + 1] AS source_file, p.line AS line, r.* EXCLUDE (source_file, line)
                    FROM {picked}_{kind} r JOIN {picked}_places p ON p.number = r.line"""
            )
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {picked}_{kind} AS SELECT * FROM {picked}_{kind}_here"
            )
        found = self._connection.execute(
            f"SELECT (SELECT count(*) FROM {picked}_numbered) + (SELECT count(*) FROM {picked}_malformed)"
        ).fetchone()
        return bool(found[0] == number - 1)

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

    def row_numbers(
        self, where: str, uri: str, keys: str | None = None, key: Sequence[str] = ()
    ) -> list[int]:
        (path,) = self._paths.read(uri)
        join = ""
        if keys:
            on = " AND ".join(f'p."{name}" IS NOT DISTINCT FROM k."{name}"' for name in key)
            join = f"SEMI JOIN {keys} k ON {on}"
        found = self._connection.execute(
            f"SELECT p.file_row_number FROM read_parquet({_literal(str(path))}, file_row_number=true) p {join} "
            f"WHERE {where.replace('`', chr(34))} ORDER BY 1"
        )
        return [row for (row,) in found.fetchall()]

    def replace_parquet(self, sql: str, uri: str) -> None:
        old = self._paths.read(uri)
        staged = old[0].with_name(f"replacing-{uuid4().hex}")
        self._execute(f"COPY ({_duckdb(sql)}) TO {_literal(str(staged))} (FORMAT parquet)")
        staged.replace(self._paths.begin_write(uri, "overwrite") / f"part-00000-{uuid4().hex}.parquet")
        for path in old:
            path.unlink(missing_ok=True)

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


_REJECTS = """SELECT s.file_path, e.line, any_value(e.csv_line) FROM reject_errors e
              JOIN reject_scans s USING (scan_id, file_id) GROUP BY ALL ORDER BY 1, 2"""


def _scan(paths: Iterable[str], types: Mapping[str, str], delimiter: str, nulls: Sequence[str]) -> str:
    """A reading of CSV files by DuckDB; more settings may follow, and a closing parenthesis must."""
    columns = ", ".join(f"{_literal(name)}: '{kind}'" for name, kind in types.items())
    return (
        f"read_csv([{', '.join(map(_literal, paths))}], header=true, auto_detect=false, columns={{{columns}}}, "
        f"delim={_literal(delimiter)}, quote='\"', escape='\"', nullstr=[{', '.join(map(_literal, nulls))}], "
        "filename='source_path', ignore_errors=true"
    )


def _duckdb(sql: str) -> str:
    import sqlglot

    return sqlglot.transpile(sql, read="spark", write="duckdb")[0]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
