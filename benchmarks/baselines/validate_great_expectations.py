"""The flights contract on Great Expectations over pandas: unexpected rows to a quarantine with their reasons.

python validate_great_expectations.py CSV_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import numpy as np
import pandas as pd
from flights_rules import flights_table
from great_expectations import expectations as gxe


def expectations(table: dict) -> list:
    """The contract as a suite's expectations."""
    found = []
    for name, column in table["columns"].items():
        if column.get("nullable") is False:
            found.append(gxe.ExpectColumnValuesToNotBeNull(column=name))
        if "min" in column:
            found.append(
                gxe.ExpectColumnValuesToBeBetween(
                    column=name, min_value=column["min"], max_value=column["max"]
                )
            )
        if "allowed" in column:
            found.append(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=column["allowed"]))
    found.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=table["key"]))
    return found


def main(source: Path, output: Path) -> None:
    """Read, validate, write good and bad rows, print the counts."""
    table = flights_table()
    files = sorted(source.glob("*.csv"))
    rows = pd.concat(
        [
            pd.read_csv(
                path, engine="pyarrow", na_values=table["files"]["null_values"], keep_default_na=False
            )
            for path in files
        ],
        ignore_index=True,
    )
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("flights").add_dataframe_asset("flights")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    suite = gx.ExpectationSuite("contract", expectations=expectations(table))
    result = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "include_unexpected_rows": False}
    )
    places, reasons = [], []
    for check in result.results:
        if check.success:
            continue
        given = check.expectation_config
        index = np.asarray(check.result["unexpected_index_list"], dtype=np.int64)
        if given.type == "expect_compound_columns_to_be_unique":
            # It names every row of a key; the first of them is good.
            index = index[rows.loc[index].duplicated(table["key"]).to_numpy()]
        places.append(index)
        column = given.kwargs.get("column", "key")
        reasons.append(np.full(len(index), f"{column}: {given.type.removeprefix('expect_')}", dtype=object))
    bad = (
        pd.DataFrame({"index": np.concatenate(places), "reasons": np.concatenate(reasons)})
        .groupby("index")["reasons"]
        .agg("; ".join)
    )
    quarantine = rows.loc[bad.index].assign(reasons=bad)
    good = rows.drop(index=bad.index)
    output.mkdir(parents=True, exist_ok=True)
    quarantine.to_parquet(output / "quarantine.parquet")
    good.to_parquet(output / "good.parquet", index=False)
    print(json.dumps({"rows": len(rows), "good": len(good), "quarantined": len(quarantine)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
