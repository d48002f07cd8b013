"""Glue job: feature rows to train, validation and test splits by time, in a stable order, ready for training.

``splits/<split>/`` holds the label and the features only; ``keys/<split>/`` who each row is, in the same order;
``batch/test.csv`` the test features for batch transform. Rows without a label are left out and counted.

Arguments: ``--contract_uri --run_uri``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from glue_lib.engine_io import open_engine
from glue_lib.job import arguments, get_bytes, put_json, read_contract

from triptych.core.contract import SPLIT_NAMES, Contract
from triptych.core.features import KEY_PREFIX, Step

ROWS = "labelled_rows"


class SplitEmpty(Exception):
    """No row fell into any split."""


def transform(contract: Contract, keys: Sequence[str], features: str = "features") -> list[Step]:
    """The queries from the view ``features`` to ``labelled_rows`` (with ``split`` and ``place``) and ``counts``."""
    time = f"{KEY_PREFIX}{contract.splits.column}"
    cases = " ".join(
        f"WHEN {time} >= DATE '{window.start}' AND {time} < DATE '{window.before}' THEN '{name}'"
        for name, window in contract.splits.windows.items()
    )
    label = contract.label.name
    order = ", ".join([time, *(f"{KEY_PREFIX}{name}" for name in keys if name != contract.splits.column)])
    return [
        Step("all_rows", f"SELECT *, CASE {cases} ELSE 'outside' END AS split FROM {features}"),
        # Sorted once, numbered, and written by that number: every file of a split has the same order.
        Step(
            ROWS,
            f"SELECT *, row_number() OVER (ORDER BY {order}) AS place FROM all_rows "
            f"WHERE split <> 'outside' AND {label} IS NOT NULL",
            keep=True,
        ),
        Step(
            "counts",
            f"SELECT split, count(*) AS n, count({label}) AS labelled, sum({label}) AS positive, "
            f"min(CASE WHEN {label} IS NOT NULL THEN {time} END) AS first_time, "
            f"max(CASE WHEN {label} IS NOT NULL THEN {time} END) AS last_time FROM all_rows GROUP BY split",
            keep=True,
        ),
    ]


def splits_document(contract: Contract, counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON form of ``splits.json``; raises SplitEmpty when there is nothing in any of them."""
    by_split = {str(row["split"]): row for row in counts}
    splits: dict[str, Any] = {}
    for name in SPLIT_NAMES:
        row = by_split.get(name)
        rows = int(row["labelled"]) if row else 0
        positive = int(row["positive"] or 0) if row else 0
        splits[name] = {
            "rows": rows,
            "positive": positive,
            "label_rate": positive / rows if rows else None,
            "first": str(row["first_time"]) if row and rows else None,
            "last": str(row["last_time"]) if row and rows else None,
        }
    if not any(split["rows"] for split in splits.values()):
        outside = by_split.get("outside", {}).get("n", 0)
        raise SplitEmpty(
            f"no labelled row has its {contract.splits.column} in any split; "
            f"do the windows of the contract (splits) fit the data? Rows outside: {outside}"
        )
    return {
        "splits": splits,
        "unlabelled": sum(
            int(row["n"]) - int(row["labelled"]) for name, row in by_split.items() if name != "outside"
        ),
        "outside": int(by_split["outside"]["n"]) if "outside" in by_split else 0,
    }


def main() -> None:
    """Write the splits, their keys, the batch file and ``splits.json``."""
    options = arguments(["contract_uri", "run_uri"])
    contract = read_contract(options["contract_uri"])
    run_uri = options["run_uri"].rstrip("/")
    described = json.loads(get_bytes(f"{run_uri}/features.json"))
    keys: list[str] = described["keys"]
    names = [feature["name"] for feature in described["features"]]
    engine = open_engine("split_dataset")
    engine.open_parquet("features", f"{run_uri}/features")
    engine.run(transform(contract, keys))
    document = splits_document(contract, engine.rows("SELECT * FROM counts"))
    columns = ", ".join(names)
    key_columns = ", ".join(f"{KEY_PREFIX}{name} AS {name}" for name in keys)
    for split in SPLIT_NAMES:
        rows = f"FROM {ROWS} WHERE split = '{split}' ORDER BY place"
        engine.write_parquet(f"SELECT {contract.label.name}, {columns} {rows}", f"{run_uri}/splits/{split}")
        engine.write_parquet(f"SELECT {key_columns} {rows}", f"{run_uri}/keys/{split}")
    engine.write_csv(
        f"SELECT {columns} FROM {ROWS} WHERE split = 'test' ORDER BY place", f"{run_uri}/batch/test.csv"
    )
    put_json(f"{run_uri}/splits.json", document)
    for split, counts in document["splits"].items():
        print(
            f"{split}: {counts['rows']} rows, label rate {counts['label_rate']}, {counts['first']} to {counts['last']}"
        )


if __name__ == "__main__":
    main()
