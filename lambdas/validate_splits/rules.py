"""The contract's constraints on ``splits.json`` and ``features.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from triptych.core.constraints import Violation
from triptych.core.contract import Contract


def check_splits(
    contract: Contract, splits: Mapping[str, Any], features: Mapping[str, Any]
) -> list[Violation]:
    """Every violated constraint; each stops the run: such a model would be worthless."""
    return [*_leakage(contract, features), *_sizes_and_labels(contract, splits), *_order(contract, splits)]


def _violation(check: str, split: str, limit: Any, value: Any, message: str) -> Violation:
    return Violation(check, split, None, "stop", limit, value, message)


def _leakage(contract: Contract, features: Mapping[str, Any]) -> Iterator[Violation]:
    names = [feature["name"] for feature in features["features"]]
    forbidden = {*contract.label.leakage, contract.label.column, contract.label.name}
    for name in names:
        if name in forbidden:
            text = f"feature {name} is not known {contract.prediction_time.hours_before:g} hours before"
            yield _violation("leakage", "features", "known at prediction time", name, text)


def _sizes_and_labels(contract: Contract, splits: Mapping[str, Any]) -> Iterator[Violation]:
    label = contract.label
    for name in contract.splits.windows:
        split = splits["splits"].get(name)
        rows = split["rows"] if split else 0
        least = max(contract.splits.min_rows.get(name, 1), 1)
        if rows < least:
            window = contract.splits.windows[name]
            text = (
                f"split {name} has {rows:,} rows from {window.start} to before {window.before}; "
                f"the contract wants at least {least:,}"
            )
            yield _violation("split_rows", name, least, rows, text)
            continue
        positive, rate = split["positive"], split["label_rate"]
        if positive in (0, rows):
            text = (
                f"label {label.name} is constant in split {name} ({rows:,} rows): nothing to learn or measure"
            )
            yield _violation("constant_label", name, "two classes", "one class", text)
        elif not (label.rate.min or 0.0) <= rate <= (1.0 if label.rate.max is None else label.rate.max):
            limit = f"{label.rate.min} to {label.rate.max}"
            text = f"split {name}: {rate:.2%} of the rows have label {label.name}; the contract wants {limit}"
            yield _violation("label_rate", name, limit, rate, text)


def _order(contract: Contract, splits: Mapping[str, Any]) -> Iterator[Violation]:
    """No split may hold a row from outside its window: a later row in training would be leakage."""
    for name, window in contract.splits.windows.items():
        split = splits["splits"].get(name)
        if not split or not split["rows"]:
            continue
        first, last = date.fromisoformat(split["first"]), date.fromisoformat(split["last"])
        if first < window.start or last >= window.before:
            text = (
                f"split {name} holds rows from {first} to {last}; its window is from {window.start} to "
                f"before {window.before}"
            )
            yield _violation(
                "split_window", name, f"{window.start}..{window.before}", f"{first}..{last}", text
            )
