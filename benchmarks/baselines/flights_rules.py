"""The flights contract's checks, read from the contract itself, as plain values for the other validators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CONTRACT = Path(__file__).resolve().parents[2] / "usecases" / "flights" / "contract.yaml"


def flights_table() -> dict[str, Any]:
    """Columns by name (type, nullable, min, max, allowed), ``key``, and the markers of a missing value."""
    contract: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())
    table: dict[str, Any] = contract["tables"]["flights"]
    return table


def count_checks() -> int:
    """Not-null, lowest, highest, allowed values, and one for the key."""
    columns = flights_table()["columns"].values()
    return 1 + sum(
        (column.get("nullable") is False) + ("min" in column) + ("max" in column) + ("allowed" in column)
        for column in columns
    )
