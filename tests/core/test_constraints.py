"""The contract's constraints on the statistics: each kind violated once, with its verdict and message."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from triptych.core.constraints import check_statistics, worst
from triptych.core.contract import Contract, load_contract
from triptych.core.statistics import (
    ColumnStatistics,
    FileCounts,
    Histogram,
    MonthCounts,
    Statistics,
    TableStatistics,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 10_000


@pytest.fixture(scope="module")
def contract() -> Contract:
    contract = load_contract(Path(__file__).parents[2] / "usecases/flights/contract.yaml")
    flights = contract.tables["flights"]
    columns = {**flights.columns, "dest": replace(flights.columns["dest"], pattern="[A-Z]{3}")}
    return replace(contract, tables={**contract.tables, "flights": replace(flights, columns=columns)})


def healthy(contract: Contract) -> Statistics:
    tables = {
        name: TableStatistics(
            name=name,
            rows=ROWS,
            files=(FileCounts(f"raw/{name}/a.csv", ROWS),),
            duplicate_rows=0,
            duplicate_keys=0,
            columns={
                column.name: ColumnStatistics(
                    column.name,
                    column.type,
                    present=ROWS,
                    missing=0,
                    first_time="2013-01-01T00:00:00Z" if column.type == "timestamp" else None,
                    last_time="2013-12-31T00:00:00Z" if column.type == "timestamp" else None,
                    histogram=Histogram(1.0, {0: 5000, 1: 5000}) if column.type == "number" else None,
                    categories={"A": 5000, "B": 5000} if column.type == "string" else {},
                )
                for column in table.columns.values()
            },
        )
        for name, table in contract.tables.items()
    }
    months = (MonthCounts("2013-01", ROWS, ROWS, 2000),)
    return Statistics(contract.use_case, contract.primary_table, tables, months)


def change_table(statistics: Statistics, table: str, **values: Any) -> Statistics:
    return replace(
        statistics, tables={**statistics.tables, table: replace(statistics.tables[table], **values)}
    )


def change_column(statistics: Statistics, table: str, column: str, **values: Any) -> Statistics:
    columns = statistics.tables[table].columns
    return change_table(statistics, table, columns={**columns, column: replace(columns[column], **values)})


CASES: dict[str, tuple[str, str | None, dict[str, Any], str, str, str]] = {
    "too few rows": (
        "flights",
        None,
        {"rows": 10},
        "volume",
        "stop",
        "10 rows; the contract wants at least 1,000",
    ),
    "incomplete": (
        "flights",
        "tailnum",
        {"present": 9000, "missing": 1000},
        "completeness",
        "stop",
        "90.00% complete (1,000 missing); the contract wants 97.00%",
    ),
    "some of the wrong type": (
        "flights",
        "flight",
        {"unparseable": 5},
        "type",
        "quarantine",
        "5 of 10,000 values are not of type integer; the rows are quarantined",
    ),
    "many of the wrong type": (
        "flights",
        "flight",
        {"unparseable": 500},
        "type",
        "stop",
        "5.00%; the contract allows 2.00% bad rows",
    ),
    "out of range": (
        "flights",
        "month",
        {"above_max": 3},
        "range",
        "quarantine",
        "3 of 10,000 values are outside",
    ),
    "not allowed": (
        "flights",
        "origin",
        {"not_allowed": 1},
        "allowed_values",
        "quarantine",
        "none of EWR, JFK, LGA",
    ),
    "pattern": (
        "flights",
        "dest",
        {"pattern_misses": 1},
        "pattern",
        "quarantine",
        "do not match [A-Z]{3}",
    ),
    "missing where needed": (
        "flights",
        "carrier",
        {"present": ROWS - 2, "missing": 2},
        "not_null",
        "quarantine",
        "2 of 10,000 values are missing",
    ),
    "few duplicates": (
        "flights",
        None,
        {"duplicate_rows": 50},
        "uniqueness",
        "quarantine",
        "50 of 10,000 rows repeat",
    ),
    "many duplicates": (
        "flights",
        None,
        {"duplicate_keys": 500},
        "uniqueness",
        "stop",
        "the contract allows 1.00%",
    ),
    "unknown carriers": (
        "flights",
        "carrier",
        {"reference_misses": 1},
        "reference",
        "stop",
        "in airlines.carrier; the contract wants 100.00%",
    ),
    "old weather": (
        "weather",
        "time_hour",
        {"last_time": "2013-12-20T00:00:00Z"},
        "freshness",
        "stop",
        "264 hours before the newest of flights; the contract allows 72",
    ),
}


def test_healthy_statistics_pass(contract: Contract) -> None:
    statistics = healthy(contract)
    assert check_statistics(contract, statistics, None, NOW) == []
    assert check_statistics(contract, statistics, statistics, NOW) == []
    assert worst([]) == "pass"


@pytest.mark.parametrize("case", CASES)
def test_violation(case: str, contract: Contract) -> None:
    table, column, values, check, severity, message = CASES[case]
    base = healthy(contract)
    changed = change_column(base, table, column, **values) if column else change_table(base, table, **values)
    found = check_statistics(contract, changed, None, NOW)
    assert [(v.check, v.table, v.column, v.severity) for v in found] == [(check, table, column, severity)]
    assert message in found[0].message


@pytest.mark.parametrize(
    ("months", "message"),
    [
        ((MonthCounts("2013-01", ROWS, 0, 0),), "no row of flights has a label"),
        ((MonthCounts("2013-01", ROWS, ROWS, 0),), "the label 'late' is constant"),
        ((MonthCounts("2013-01", ROWS, ROWS, ROWS),), "the label 'late' is constant"),
    ],
    ids=["no label", "never", "always"],
)
def test_labels(months: tuple[MonthCounts, ...], message: str, contract: Contract) -> None:
    found = check_statistics(contract, replace(healthy(contract), months=months), None, NOW)
    assert len(found) == 1
    assert message in found[0].message
    assert found[0].severity == "stop"


def test_drift_and_freshness_against_the_last_version(contract: Contract) -> None:
    before = healthy(contract)
    moved = change_column(before, "flights", "origin", categories={"A": 9500, "B": 500})
    older = change_column(moved, "flights", "time_hour", last_time="2013-11-30T00:00:00Z")
    found = {v.check: v for v in check_statistics(contract, older, before, NOW)}
    assert set(found) == {"drift", "freshness"}
    assert found["drift"].column == "origin"
    assert "stability index" in found["drift"].message
    assert "before the last accepted version's newest" in found["freshness"].message


def test_a_table_that_was_not_measured_stops(contract: Contract) -> None:
    base = healthy(contract)
    tables = {name: table for name, table in base.tables.items() if name != "planes"}
    found = check_statistics(contract, replace(base, tables=tables), None, NOW)
    assert [(v.check, v.table, v.severity) for v in found] == [("presence", "planes", "stop")]
