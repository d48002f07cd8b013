"""The one place that knows which engine a job runs on: Spark (AWS Glue, or local) or DuckDB behind SQLFrame.

Jobs say what they want in Spark SQL over named views. Spark runs the text as it is; on DuckDB it is transpiled by
sqlglot (which SQLFrame brings) and run on the session's own connection, since building a plan through DataFrame
calls costs SQLFrame more than the query. Reading CSV, numbering lines and writing files differ: ``spark_engine`` and
``duckdb_engine`` do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from triptych.core.features import Step


class EngineError(Exception):
    """The engine cannot do what a job asked for."""


@dataclass(frozen=True)
class SourceFile:
    """One raw CSV file: its ``s3://`` (or local) path and its object key."""

    uri: str
    key: str


class CsvBatch(Protocol):
    """Some files of an opened CSV, small enough to keep their typed rows at hand."""

    doubles: frozenset[str]
    """The columns that come as doubles. A line with anything else in them gives no row, as one with a wrong number
    of fields"""

    def open(self, view: str) -> None:
        """View of the batch's rows, in the order of its lines."""

    def adds_up(self, rows: int) -> bool:
        """Whether each line gave one of the ``rows`` or is known to have given none. Ask when all have been read."""

    @property
    def data_lines(self) -> int:
        """Lines that are neither headers nor empty."""

    @property
    def has_unread(self) -> bool:
        """Whether a line gave no row."""

    def pick_lines(self, picked: str, rows: Sequence[int], *, with_unread: bool) -> bool:
        """Views ``<picked>_numbered`` and ``<picked>_malformed``, as ``Engine.number_lines`` makes them, of some lines:
        of these rows (places in the batch from 0, ascending), and if asked for of the lines that gave no row. False
        if lines cannot be told apart."""


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

    def batches(
        self, view: str, numbers: Sequence[str], null_values: Sequence[str]
    ) -> Sequence[CsvBatch] | None:
        """An opened CSV in parts whose rows' places lead back to their lines; None where an engine knows no places.

        ``numbers`` are to come as doubles where that is safe, and ``null_values`` as null then.
        """

    def open_parquet(self, view: str, uri: str) -> None:
        """View of a Parquet folder."""

    def run(self, steps: Sequence[Step]) -> None:
        """Define the steps' views, in order."""

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """A small result, as dictionaries."""

    def integers(self, sql: str) -> list[int]:
        """A result of one column of integers, of any size."""

    def forget(self, names: Sequence[str]) -> None:
        """Free what steps kept under these names; unknown ones do not matter."""

    def write_parquet(self, sql: str, uri: str, part: int = 0) -> None:
        """Write a query's rows below ``uri``: part 0 replaces what is there, others come after it."""

    def write_csv(self, sql: str, uri: str) -> None:
        """Write a query's rows as one CSV object at ``uri``: no header, nulls empty."""

    def trimmed(self, text: str) -> str:
        """SQL for a string expression without the spaces around it."""

    def number(self, text: str) -> str:
        """SQL for the double in a string expression; null where it is none. ``1_000``, ``1d``, ``NaN`` are none."""

    def timestamp(self, text: str) -> str:
        """SQL for the UTC timestamp in a string expression of an ISO 8601 shape; null where it is none."""


def open_engine(app: str) -> Engine:
    """The engine that the runtime has prepared for this process."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    if builder.__module__.startswith("sqlframe"):
        from glue_lib.duckdb_engine import DuckDbEngine

        return DuckDbEngine(builder.getOrCreate())
    from glue_lib.spark_engine import SparkEngine

    return SparkEngine(builder.appName(app).getOrCreate())


def quoted(text: str) -> str:
    """A Spark SQL string literal (DuckDB's after transpiling)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def has_iso_shape(text: str) -> str:
    """SQL that tests whether a string expression is shaped as a UTC timestamp of ISO 8601."""
    return f"({text} LIKE '____-__-__T__:__:__Z' OR {text} LIKE '____-__-__ __:__:__')"
