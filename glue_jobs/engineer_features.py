"""Glue job: clean tables to one feature row a row of the primary table, as numbers, by the use case's own module.

Categories become integer codes by the values that the train split holds; ``features.json`` keeps the mapping.
Rows out are the clean rows of the primary table, or the job fails: a join must neither lose nor multiply them.

Arguments: ``--contract_uri --run_uri``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from glue_lib.engine_io import open_engine
from glue_lib.job import arguments, put_json, read_contract

from triptych.core.contract import Contract
from triptych.core.features import (
    CATEGORY_ROWS,
    FEATURE_ROWS,
    KEY_PREFIX,
    FeaturesModule,
    Step,
    features_document,
)

CODED_ROWS = "coded_rows"


class FeaturesWrong(Exception):
    """The features module does not keep its promises."""


def transform(module: FeaturesModule, contract: Contract) -> list[Step]:
    """The queries from the clean tables to ``coded_rows``: keys, label, then the features as floats, in order.

    Code tables are ``code_<feature>`` (value, code). Raises FeaturesWrong when a feature is a leakage column.
    """
    leaking = sorted({feature.name for feature in module.FEATURES} & set(contract.label.leakage))
    if leaking:
        raise FeaturesWrong(
            f"{contract.features.module}: {', '.join(leaking)} is not known at the prediction time "
            "(label.leakage in the contract); take it out of FEATURES"
        )
    train = contract.splits.windows["train"]
    time = f"{KEY_PREFIX}{contract.splits.column}"
    categories = [feature.name for feature in module.FEATURES if feature.type == "category"]
    steps = list(module.steps(contract))
    source = CATEGORY_ROWS if any(step.name == CATEGORY_ROWS for step in steps) else FEATURE_ROWS
    if categories:
        steps.append(
            Step(
                "category_values",
                f"SELECT DISTINCT {', '.join(categories)} FROM {source} "
                f"WHERE {time} >= DATE '{train.start}' AND {time} < DATE '{train.before}'",
                keep=True,
            )
        )
    for name in categories:
        steps.append(
            Step(
                f"code_{name}",
                f"SELECT value, CAST(row_number() OVER (ORDER BY value) - 1 AS INT) AS code "
                f"FROM (SELECT DISTINCT {name} AS value FROM category_values WHERE {name} IS NOT NULL)",
                keep=True,
            )
        )
    keys = [f"r.{KEY_PREFIX}{name}" for name in module.KEYS]
    columns = [
        f"CAST({f'code_{feature.name}.code' if feature.type == 'category' else f'r.{feature.name}'} AS FLOAT) "
        f"AS {feature.name}"
        for feature in module.FEATURES
    ]
    joins = [f"LEFT JOIN code_{name} ON code_{name}.value = r.{name}" for name in categories]
    label = contract.label.name
    select = ", ".join([*keys, f"CAST(r.{label} AS FLOAT) AS {label}", *columns])
    steps.append(Step(CODED_ROWS, f"SELECT {select} FROM {FEATURE_ROWS} r {' '.join(joins)}"))
    return steps


def features_module(contract: Contract) -> FeaturesModule:
    """The use case's module; raises FeaturesWrong when it is not in the libraries or not complete."""
    try:
        module = importlib.import_module(contract.features.module)
    except ModuleNotFoundError as error:
        raise FeaturesWrong(
            f"features.module {contract.features.module!r} of the contract cannot be imported: {error}; "
            "it must be packed into the Glue libraries"
        ) from error
    missing = [name for name in ("TABLES", "FEATURES", "KEYS", "steps") if not hasattr(module, name)]
    if missing:
        raise FeaturesWrong(f"{contract.features.module} lacks {', '.join(missing)}")
    found: FeaturesModule = module  # type: ignore[assignment]
    return found


def check_rows(rows_in: int, rows_out: int) -> None:
    """Raises FeaturesWrong unless every clean row gave one feature row."""
    if rows_in != rows_out:
        raise FeaturesWrong(
            f"{rows_in} clean rows became {rows_out} feature rows; a join in the features module "
            f"{'multiplies' if rows_out > rows_in else 'loses'} rows: are its keys unique?"
        )


def read_categories(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The values of a code table, in the order of their codes."""
    return [str(row["value"]) for row in rows]


def main() -> None:
    """Compute the features and write ``features/`` and ``features.json``."""
    options = arguments(["contract_uri", "run_uri"])
    contract = read_contract(options["contract_uri"])
    run_uri = options["run_uri"].rstrip("/")
    module = features_module(contract)
    engine = open_engine("engineer_features")
    for table in module.TABLES:
        engine.open_parquet(table, f"{run_uri}/clean/{table}")
    engine.run(transform(module, contract))
    engine.write_parquet(f"SELECT * FROM {CODED_ROWS}", f"{run_uri}/features")
    engine.open_parquet("written", f"{run_uri}/features")
    rows_in = engine.rows(f"SELECT count(*) AS n FROM {contract.primary_table}")[0]["n"]
    rows_out = engine.rows("SELECT count(*) AS n FROM written")[0]["n"]
    check_rows(rows_in, rows_out)
    categories = {
        feature.name: read_categories(engine.rows(f"SELECT value FROM code_{feature.name} ORDER BY code"))
        for feature in module.FEATURES
        if feature.type == "category"
    }
    put_json(
        f"{run_uri}/features.json", features_document(contract, module.FEATURES, module.KEYS, categories)
    )
    print(f"{rows_out} rows with {len(module.FEATURES)} features")


if __name__ == "__main__":
    main()
