"""The contract's constraints on ``statistics.json``: what is wrong, how bad it is, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from triptych.core.contract import Column, Contract, Table
from triptych.core.statistics import (
    ColumnStatistics,
    Statistics,
    TableStatistics,
    population_stability_index,
)

Verdict = Literal["pass", "quarantine", "stop"]
_ORDER: dict[Verdict, int] = {"pass": 0, "quarantine": 1, "stop": 2}


@dataclass(frozen=True)
class Violation:
    """One constraint that does not hold; ``severity`` is the verdict that it alone would give."""

    check: str
    table: str
    column: str | None
    severity: Verdict
    limit: float | int | str
    value: float | int | str
    message: str

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; ``pass`` where there are none."""
    return max(verdicts, key=_ORDER.__getitem__, default="pass")


def check_statistics(
    contract: Contract, statistics: Statistics, previous: Statistics | None, now: datetime
) -> list[Violation]:
    """Every violated constraint, worst first.

    ``previous`` are the last accepted version's statistics (for drift and freshness), ``now`` is UTC.
    """
    found: list[Violation] = []
    for name, table in contract.tables.items():
        measured = statistics.tables.get(name)
        if measured is None:
            text = f"table {name} has no statistics: none of its files were read"
            found.append(Violation("presence", name, None, "stop", "present", "missing", text))
            continue
        found += _volume(table, measured)
        found += _duplicates(table, measured)
        for column in table.columns.values():
            counts = measured.columns.get(column.name)
            if counts is None:
                text = f"{name}.{column.name} is in the contract but was not measured"
                found.append(Violation("presence", name, column.name, "stop", "present", "missing", text))
            else:
                found += _column(table, column, counts, measured.rows)
        found += _freshness(contract, table, statistics, previous, now)
    found += _labels(contract, statistics)
    if previous is not None:
        found += _drift(contract, statistics, previous)
    return sorted(found, key=lambda violation: -_ORDER[violation.severity])


def _volume(table: Table, measured: TableStatistics) -> Iterator[Violation]:
    low, high, rows = table.rows.min, table.rows.max, measured.rows
    if low is not None and rows < low:
        text = f"{table.name} has {rows:,} rows; the contract wants at least {low:,.0f}"
        yield Violation("volume", table.name, None, "stop", low, rows, text)
    if high is not None and rows > high:
        text = f"{table.name} has {rows:,} rows; the contract allows {high:,.0f}"
        yield Violation("volume", table.name, None, "stop", high, rows, text)


def _duplicates(table: Table, measured: TableStatistics) -> Iterator[Violation]:
    repeated = measured.duplicate_rows + measured.duplicate_keys
    if not repeated:
        return
    share = repeated / measured.rows
    text = f"{table.name}: {repeated:,} of {measured.rows:,} rows repeat an earlier key {table.key}"
    if share > table.max_duplicate_rows:
        text += f", {share:.2%}; the contract allows {table.max_duplicate_rows:.2%}"
        yield Violation("uniqueness", table.name, None, "stop", table.max_duplicate_rows, share, text)
    else:
        yield Violation(
            "uniqueness", table.name, None, "quarantine", table.max_duplicate_rows, share, f"{text}; left out"
        )


def _column(table: Table, column: Column, counts: ColumnStatistics, rows: int) -> Iterator[Violation]:
    name = f"{table.name}.{column.name}"
    if counts.completeness < column.completeness:
        text = (
            f"{name} is {counts.completeness:.2%} complete ({counts.missing:,} missing); "
            f"the contract wants {column.completeness:.2%}"
        )
        yield Violation(
            "completeness",
            table.name,
            column.name,
            "stop",
            column.completeness,
            counts.completeness,
            text,
        )
    kinds = {
        "type": (counts.unparseable, f"are not of type {column.type}"),
        "range": (counts.below_min + counts.above_max, f"are outside {column.min} to {column.max}"),
        "allowed_values": (counts.not_allowed, f"are none of {', '.join(column.allowed)}"),
        "pattern": (counts.pattern_misses, f"do not match {column.pattern}"),
        "not_null": (0 if column.nullable else counts.missing, "are missing"),
    }
    for check, (bad, what) in kinds.items():
        if bad:
            yield _bad_values(table, column, check, bad, rows, f"{name}: {bad:,} of {rows:,} values {what}")
    reference = column.references
    if reference is not None and counts.reference_match < reference.min_match:
        text = (
            f"{name}: {counts.reference_match:.2%} of the values are in {reference.table}."
            f"{reference.column}; the contract wants {reference.min_match:.2%}"
        )
        yield Violation(
            "reference",
            table.name,
            column.name,
            "stop",
            reference.min_match,
            counts.reference_match,
            text,
        )


def _bad_values(table: Table, column: Column, check: str, bad: int, rows: int, text: str) -> Violation:
    share, limit = bad / rows, table.max_bad_rows
    if share > limit:
        text += f", {share:.2%}; the contract allows {limit:.2%} bad rows"
        severity: Verdict = "stop"
    elif column.on_bad == "make_null" and check != "not_null":
        text, severity = f"{text}; made null", "pass"
    else:
        text, severity = f"{text}; the rows are quarantined", "quarantine"
    return Violation(check, table.name, column.name, severity, limit, share, text)


def _freshness(
    contract: Contract, table: Table, statistics: Statistics, previous: Statistics | None, now: datetime
) -> Iterator[Violation]:
    rule = table.freshness
    if rule is None:
        return
    newest = _last_time(statistics, table.name, rule.column)
    if rule.relative_to == "now":
        base: datetime | None = now
        what = "now"
    elif rule.relative_to == "primary":
        primary = contract.primary
        column = primary.freshness.column if primary.freshness else rule.column
        base = _last_time(statistics, primary.name, column)
        what = f"the newest of {primary.name}"
    else:
        base = _last_time(previous, table.name, rule.column) if previous else None
        what = "the last accepted version's newest"
    if newest is None or base is None:
        return
    age_hours = (base - newest).total_seconds() / 3600
    if age_hours > rule.max_age_hours:
        text = (
            f"{table.name}: the newest {rule.column} is {newest:%Y-%m-%d %H:%M} UTC, {age_hours:.0f} hours "
            f"before {what}; the contract allows {rule.max_age_hours:g}"
        )
        yield Violation("freshness", table.name, rule.column, "stop", rule.max_age_hours, age_hours, text)


def _last_time(statistics: Statistics | None, table: str, column: str) -> datetime | None:
    measured = statistics.tables.get(table) if statistics else None
    counts = measured.columns.get(column) if measured else None
    if counts is None or counts.last_time is None:
        return None
    moment = datetime.fromisoformat(counts.last_time)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _labels(contract: Contract, statistics: Statistics) -> Iterator[Violation]:
    labelled = sum(month.labelled for month in statistics.months)
    positive = sum(month.positive for month in statistics.months)
    name, column = contract.primary_table, contract.label.column
    if not labelled:
        text = f"no row of {name} has a label ({column} is always missing)"
        yield Violation("label", name, column, "stop", 1, 0, text)
    elif positive in (0, labelled):
        text = f"the label '{contract.label.name}' is constant over {labelled:,} rows: nothing to learn"
        yield Violation("label", name, column, "stop", "two classes", "one class", text)


def _drift(contract: Contract, statistics: Statistics, previous: Statistics) -> Iterator[Violation]:
    name = contract.primary_table
    before, after = previous.tables.get(name), statistics.tables.get(name)
    if before is None or after is None:
        return
    for column, limit in contract.drift.columns.items():
        if column not in before.columns or column not in after.columns:
            continue
        index = population_stability_index(before.columns[column], after.columns[column])
        if index is not None and index > limit:
            text = (
                f"{name}.{column} has moved from the last accepted version: stability index {index:.3f}; "
                f"the contract allows {limit:g}"
            )
            yield Violation("drift", name, column, "stop", limit, index, text)
