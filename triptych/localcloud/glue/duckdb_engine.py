"""Run a PySpark script on DuckDB: ``pyspark`` imports answered by SQLFrame, ``s3://`` paths mapped."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any
from uuid import uuid4

from triptych.localcloud.glue.paths import JobPaths

_WRITE_OPTIONS = {
    "header": "HEADER",
    "sep": "DELIMITER",
    "delimiter": "DELIMITER",
    "quote": "QUOTE",
    "escape": "ESCAPE",
    "nullvalue": "NULLSTR",
    "compression": "COMPRESSION",
    "row_group_size": "ROW_GROUP_SIZE",
}
"""Spark's writer options (case does not matter) and what DuckDB's COPY calls them"""

_EXTENSIONS = {"parquet": "parquet", "csv": "csv", "json": "json"}


def activate(paths: JobPaths, scratch: Path, threads: int, memory_limit_mb: int) -> None:
    """Make ``import pyspark`` mean SQLFrame on one DuckDB connection, for the rest of this process."""
    import duckdb
    import sqlframe

    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{memory_limit_mb}MB",
            "temp_directory": str(scratch / "duckdb"),
            "autoinstall_known_extensions": False,  # nothing comes from the network unasked
        },
    )
    connection.execute("SET TimeZone = 'UTC'")  # Glue's session time zone
    sqlframe.activate("duckdb", conn=connection)
    _map_paths(paths)
    _stand_in_for_context()


def _map_paths(paths: JobPaths) -> None:
    from sqlframe.duckdb.readwriter import DuckDBDataFrameReader, DuckDBDataFrameWriter
    from sqlframe.duckdb.session import DuckDBSession

    class Reader(DuckDBDataFrameReader):  # type: ignore[misc]
        def load(
            self, path: Any = None, format: str | None = None, schema: Any = None, **options: Any
        ) -> Any:
            given = [path] if isinstance(path, str | Path) else list(path or [])
            # SQLFrame would read a file without a format as whatever its name says; Spark reads Parquet.
            format = format or self.state_format_to_read or "parquet"
            if not any(paths.is_remote(str(one)) for one in given):
                return super().load(path=path, format=format, schema=schema, **options)
            files = [str(file).replace("'", "''") for one in given for file in paths.read(str(one))]
            frame = super().load(path=files, format=format, schema=schema, **options)
            if {**self.state_options, **options}.get("filename"):
                return _with_remote_names(frame, paths)
            return frame

    class Writer(DuckDBDataFrameWriter):  # type: ignore[misc]
        def _write(self, path: str, mode: str | None, **options: Any) -> None:
            format = options.pop("format", None) or "parquet"
            if format not in _EXTENSIONS:
                raise ValueError(
                    f"format {format!r} cannot be written on the duckdb engine; use one of "
                    f"{', '.join(sorted(_EXTENSIONS))}, or run this job with --triptych_engine spark"
                )
            if paths.is_remote(str(path)):
                folder = paths.begin_write(str(path), mode)
                if folder is None:
                    return
            else:
                _, skip = self._validate_mode(str(path), mode)
                if skip:
                    return
                folder = Path(path)
                folder.mkdir(parents=True, exist_ok=mode in ("append", "overwrite"))
            partition_by = options.pop("partitionBy", None)
            copy_options = _copy_options(format, options)
            target = folder / f"part-00000-{uuid4()}.{_EXTENSIONS[format]}"
            if partition_by:
                columns = [partition_by] if isinstance(partition_by, str) else list(partition_by)
                copy_options["PARTITION_BY"] = _Raw(f"({', '.join(_quoted(name) for name in columns)})")
                copy_options["OVERWRITE_OR_IGNORE"] = True
                target = folder
            text = ", ".join(f"{name} {_literal(value)}" for name, value in copy_options.items())
            self._copy(str(target).replace("'", "''"), text)

        def _copy(self, target: str, options: str) -> None:
            session = self._df.session
            *before, last = self._df._get_expressions()
            for expression in before:
                session._collect(expression)
            session._collect(f"COPY ({session._to_sql(last)}) TO '{target}' ({options})")

    DuckDBSession.job_paths = paths  # for scripts that run SQL on the session's own connection
    DuckDBSession._reader = Reader
    DuckDBSession._writer = Writer


def _with_remote_names(frame: Any, paths: JobPaths) -> Any:
    """DuckDB's ``filename`` column as ``s3://bucket/key``, as ``input_file_name()`` has it on Glue."""
    from sqlframe.duckdb import functions as F

    start = len(str(paths.home_s3)) + 2
    name = F.col("filename")
    return frame.withColumn(
        "filename",
        F.when(
            name.startswith(str(paths.home_s3)), F.concat(F.lit("s3://"), F.substring(name, start, 1 << 20))
        ).otherwise(name),
    )


class _Raw(str):
    """A piece of SQL that needs no quotes."""


def _copy_options(format: str, options: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"FORMAT": _Raw(format)}
    if format == "csv":
        known["HEADER"] = False  # Spark's default; DuckDB's is the opposite
    for name, value in options.items():
        if value is None:
            continue
        sql_name = _WRITE_OPTIONS.get(name.lower())
        if sql_name is None:
            raise ValueError(
                f"writer option {name!r} is not known on the duckdb engine; known are "
                f"{', '.join(sorted(_WRITE_OPTIONS))}. Format the column in the script instead."
            )
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if not (sql_name == "COMPRESSION" and value == "none"):
            known[sql_name] = value
    return known


def _literal(value: Any) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _stand_in_for_context() -> None:
    """``pyspark.context.SparkContext`` for scripts that hand one to GlueContext; no cluster is behind it."""

    class SparkContext:
        _active: SparkContext | None = None

        @classmethod
        def getOrCreate(cls, conf: Any = None) -> SparkContext:
            cls._active = cls._active or cls()
            return cls._active

        def setLogLevel(self, level: str) -> None:
            """Nothing here logs below a warning."""

        def stop(self) -> None:
            """The connection closes with the process."""

    module = types.ModuleType("pyspark.context")
    module.SparkContext = SparkContext  # type: ignore[attr-defined]
    sys.modules["pyspark.context"] = module
    sys.modules["pyspark"].SparkContext = SparkContext  # type: ignore[attr-defined]
