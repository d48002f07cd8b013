"""Real Spark under the jobs: AWS Glue, or PySpark on the laptop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glue_lib.engine_io import CsvBatch, SourceFile, has_iso_shape, quoted

from triptych.core.features import Step

NUMBER_PATTERN = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$"


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

    def batches(
        self, view: str, numbers: Sequence[str], null_values: Sequence[str]
    ) -> Sequence[CsvBatch] | None:
        return None

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

    def integers(self, sql: str) -> list[int]:
        return [row[0] for row in self._spark.sql(sql).collect()]

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self._spark.catalog.dropTempView(name)  # and what was cached of it

    def write_parquet(self, sql: str, uri: str, part: int = 0) -> None:
        self._spark.sql(sql).write.mode("append" if part else "overwrite").parquet(uri)

    def write_csv(self, sql: str, uri: str) -> None:
        # Spark names its files itself, and the next step wants one object at a known key.
        from glue_lib.job import put_text

        lines = [
            ",".join("" if value is None else str(value) for value in row)
            for row in self._spark.sql(sql).toLocalIterator()
        ]
        put_text(uri, "\n".join(lines) + "\n" if lines else "", "text/csv")

    def trimmed(self, text: str) -> str:
        return f"trim({text})"

    def number(self, text: str) -> str:
        return f"CASE WHEN trim({text}) RLIKE '{NUMBER_PATTERN}' THEN CAST(trim({text}) AS DOUBLE) END"

    def timestamp(self, text: str) -> str:
        return f"CASE WHEN {has_iso_shape(f'trim({text})')} THEN CAST(trim({text}) AS TIMESTAMP) END"
