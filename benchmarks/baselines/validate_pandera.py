"""The flights contract on pandera over Polars: lazy validation, failure cases to a quarantine with their reasons.

python validate_pandera.py CSV_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandera.polars as pa
import polars as pl
from flights_rules import flights_table
from pandera.errors import SchemaErrors

TYPES = {
    "integer": pl.Int64,
    "number": pl.Float64,
    "string": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
}


def schema(table: dict) -> pa.DataFrameSchema:
    """The contract as a pandera schema."""
    columns = {}
    for name, column in table["columns"].items():
        checks = []
        if "min" in column and "max" in column:
            checks.append(pa.Check.in_range(column["min"], column["max"]))
        if "allowed" in column:
            checks.append(pa.Check.isin(column["allowed"]))
        columns[name] = pa.Column(TYPES[column["type"]], checks, nullable=column.get("nullable", True))
    return pa.DataFrameSchema(columns, unique=table["key"])


def main(source: Path, output: Path) -> None:
    """Read, validate, write good and bad rows, print the counts."""
    table = flights_table()
    rows = pl.read_csv(
        sorted(source.glob("*.csv")),
        schema={name: TYPES[column["type"]] for name, column in table["columns"].items()},
        null_values=table["files"]["null_values"],
    )
    bad = pl.DataFrame(schema={"index": pl.UInt32, "reasons": pl.String})
    try:
        schema(table).validate(rows, lazy=True)
    except SchemaErrors as found:
        reason = pl.concat_str("column", "check", separator=": ", ignore_nulls=True)
        cases = found.failure_cases.select(pl.col("index").cast(pl.UInt32), reason.alias("reason"))
        if cases["index"].null_count():
            raise ValueError(
                f"failure cases without a row: {cases.filter(pl.col('index').is_null())}"
            ) from found
        # It names every row of a key that is not unique; the first of them is good.
        of_key = pl.col("reason") == "multiple_fields_uniqueness"
        places = cases.filter(of_key).sort("index")
        first = places.filter(
            rows[places["index"]].select(pl.struct(table["key"]).is_first_distinct()).to_series()
        )
        cases = cases.join(first, on=["index", "reason"], how="anti")
        bad = (
            cases.unique()
            .group_by("index")
            .agg(pl.col("reason").str.join("; ").alias("reasons"))
            .sort("index")
        )
    numbered = rows.with_row_index("index")
    quarantine = numbered.join(bad, on="index", how="inner")
    good = numbered.join(bad, on="index", how="anti", maintain_order="left").drop("index")
    output.mkdir(parents=True, exist_ok=True)
    quarantine.write_parquet(output / "quarantine.parquet")
    good.write_parquet(output / "good.parquet", compression="snappy")
    print(json.dumps({"rows": rows.height, "good": good.height, "quarantined": quarantine.height}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
