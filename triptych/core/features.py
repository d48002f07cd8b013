"""What a use case's features module declares: its columns, and the queries that compute them.

A features module offers ``TABLES`` (clean tables it reads), ``FEATURES``, ``KEYS`` and ``steps(contract)``; the last
step is a view ``feature_rows`` with one row for each row of the primary table: each key as ``key_<name>``, the
label's column under the label's name (1, 0 or null), and each feature under its own name (categories as text).
A step ``category_rows`` may offer the categories and ``key_<split column>`` alone, where that is cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from triptych.core.contract import Contract

FEATURE_ROWS = "feature_rows"
CATEGORY_ROWS = "category_rows"
KEY_PREFIX = "key_"


@dataclass(frozen=True)
class Step:
    """One named query (Spark SQL over earlier names); ``keep`` computes it once, since several steps read it."""

    name: str
    sql: str
    keep: bool = False


@dataclass(frozen=True)
class Feature:
    """One input of the model; a category is coded by its place among the train split's values."""

    name: str
    description: str
    type: Literal["number", "category"] = "number"


class FeaturesModule(Protocol):
    """The shape of ``usecases/<name>/features.py``."""

    TABLES: Sequence[str]
    FEATURES: Sequence[Feature]
    KEYS: Sequence[str]

    def steps(self, contract: Contract) -> Sequence[Step]:
        """The queries, in order."""


def features_document(
    contract: Contract, features: Sequence[Feature], keys: Sequence[str], categories: dict[str, list[str]]
) -> dict[str, Any]:
    """The JSON form of ``features.json``: what the model's inputs are, in order, and how categories are coded."""
    entries: list[dict[str, Any]] = []
    for feature in features:
        entry: dict[str, Any] = {
            "name": feature.name,
            "type": feature.type,
            "description": feature.description,
        }
        if feature.type == "category":
            entry["categories"] = categories[feature.name]
        entries.append(entry)
    return {
        "use_case": contract.use_case,
        "label": {"name": contract.label.name, "description": contract.label.description},
        "prediction_time": contract.prediction_time.description,
        "time_column": contract.splits.column,
        "keys": list(keys),
        "features": entries,
    }
