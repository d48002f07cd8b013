"""Glue job: what the raw data look like: ``statistics.json`` for the validators and ``exploration.html`` for people.

Everything is counted on the raw rows, before anything is cleaned away, with the contract's types and limits.

Arguments: ``--contract_uri --accepted_uri --run_uri``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from glue_lib.column_rules import is_marked_missing, is_unparseable, parsed_value, value_tests
from glue_lib.engine_io import Engine, SourceFile, open_engine, quoted
from glue_lib.exploration_page import exploration_page
from glue_lib.job import accepted_files, arguments, put_json, put_text, read_contract

from triptych.core.contract import Column, Contract, Table
from triptych.core.features import Step
from triptych.core.statistics import (
    ColumnStatistics,
    FileCounts,
    Histogram,
    MonthCounts,
    Statistics,
    TableStatistics,
    histogram_width,
    statistics_document,
)

CATEGORIES_KEPT = 50
_COUNT_NAMES = {
    "below": "below_min",
    "above": "above_max",
    "not an allowed value": "not_allowed",
    "not of": "pattern_misses",
}


def transform(table: Table, engine: Engine, source: str) -> list[Step]:
    """The queries from a view of strings to ``<table>_values`` (parsed) and ``<table>_summary`` (one row of counts)."""
    parsed, counts = [], ["count(*) AS rows"]
    for index, column in enumerate(table.columns.values()):
        name = f"`{column.name}`"
        parsed.append(f"{parsed_value(column, table, engine)} AS {name}, {name} AS `{column.name}__text`")
        counts.append(f"count({name}) AS present_{index}")
        odd = is_unparseable(column, table)
        if odd is not None:
            counts.append(f"count(CASE WHEN {odd} THEN 1 END) AS unparseable_{index}")
            # Text that is no number or time at all: there, though it has no value.
            unread = f"{name} IS NULL AND NOT {is_marked_missing(column, table)}"
            counts.append(f"count(CASE WHEN {unread} THEN 1 END) AS unread_{index}")
        for test, reason in value_tests(column):
            counts.append(f"count(CASE WHEN {test} THEN 1 END) AS {_count_name(reason)}_{index}")
        if column.type in ("integer", "number"):
            counts.append(
                f"avg({name}) AS mean_{index}, stddev_pop({name}) AS std_dev_{index}, "
                f"min({name}) AS min_{index}, max({name}) AS max_{index}"
            )
        elif column.type == "timestamp":
            counts.append(f"min({name}) AS first_{index}, max({name}) AS last_{index}")
    return [
        Step(f"{table.name}_values", f"SELECT source_file, {', '.join(parsed)} FROM {source}", keep=True),
        Step(f"{table.name}_summary", f"SELECT {', '.join(counts)} FROM {table.name}_values"),
    ]


def explore_table(engine: Engine, table: Table, files: Sequence[SourceFile]) -> TableStatistics:
    """Count everything the contract asks of one table; the view ``<table>_values`` stays for references."""
    raw = f"{table.name}_raw"
    engine.open_csv(raw, files, table.header, table.files.delimiter)
    lines = engine.count_rows(raw)
    engine.run(transform(table, engine, raw))
    summary = engine.rows(f"SELECT * FROM {table.name}_summary")[0]
    parsed = {
        row["source_file"]: row["n"]
        for row in engine.rows(
            f"SELECT source_file, count(*) AS n FROM {table.name}_values GROUP BY source_file"
        )
    }
    columns = list(table.columns.values())
    histograms = _histograms(engine, table, summary)
    categories = _categories(engine, table)
    duplicate_rows, duplicate_keys = _duplicates(engine, table)
    return TableStatistics(
        name=table.name,
        rows=int(summary["rows"]),
        files=tuple(
            FileCounts(file.key, lines[file.key], lines[file.key] - parsed.get(file.key, 0)) for file in files
        ),
        duplicate_rows=duplicate_rows,
        duplicate_keys=duplicate_keys,
        columns={
            column.name: _column(
                column, summary, index, histograms.get(column.name), categories.get(column.name)
            )
            for index, column in enumerate(columns)
        },
    )


def count_reference_misses(engine: Engine, contract: Contract) -> dict[tuple[str, str], int]:
    """For each referencing column (table, column): present values that the referenced table does not hold."""
    parts = [
        f"""SELECT {quoted(table.name)} AS owner, {quoted(column.name)} AS name, coalesce(sum(n), 0) AS misses
            FROM (SELECT `{column.name}` AS value, count(*) AS n FROM {table.name}_values
                  WHERE `{column.name}` IS NOT NULL GROUP BY `{column.name}`) v
            LEFT ANTI JOIN {column.references.table}_values r ON r.`{column.references.column}` = v.value"""
        for table in contract.tables.values()
        for column in table.columns.values()
        if column.references is not None
    ]
    if not parts:
        return {}
    return {(row["owner"], row["name"]): int(row["misses"]) for row in engine.rows(" UNION ALL ".join(parts))}


def count_months(engine: Engine, contract: Contract) -> tuple[MonthCounts, ...]:
    """The primary table by month: of its ``year`` and ``month`` columns, or else of its freshness column (UTC)."""
    table, label = contract.primary, contract.label
    if {"year", "month"} <= set(table.columns):
        year, month = "CAST(year AS INT)", "CAST(month AS INT)"
    elif table.freshness is not None:
        year, month = f"year({table.freshness.column})", f"month({table.freshness.column})"
    else:
        return ()
    rows = engine.rows(
        f"""SELECT y, m, count(*) AS n, count(value) AS labelled,
              coalesce(sum(CASE WHEN value > {label.above} THEN 1 ELSE 0 END), 0) AS positive
            FROM (SELECT {year} AS y, {month} AS m, `{label.column}` AS value FROM {table.name}_values)
            WHERE y IS NOT NULL AND m IS NOT NULL GROUP BY y, m ORDER BY y, m"""
    )
    return tuple(
        MonthCounts(
            f"{row['y']:04d}-{row['m']:02d}", int(row["n"]), int(row["labelled"]), int(row["positive"])
        )
        for row in rows
    )


def explore(engine: Engine, contract: Contract, files: dict[str, list[SourceFile]]) -> Statistics:
    """The statistics of every table."""
    tables = {name: explore_table(engine, table, files[name]) for name, table in contract.tables.items()}
    for (owner, name), misses in count_reference_misses(engine, contract).items():
        columns = dict(tables[owner].columns)
        columns[name] = ColumnStatistics(**{**vars(columns[name]), "reference_misses": misses})
        tables[owner] = TableStatistics(**{**vars(tables[owner]), "columns": columns})
    return Statistics(contract.use_case, contract.primary_table, tables, count_months(engine, contract))


def _column(
    column: Column,
    summary: dict[str, Any],
    index: int,
    histogram: Histogram | None,
    categories: tuple[dict[str, int], int, int] | None,
) -> ColumnStatistics:
    def count(name: str) -> int:
        return int(summary.get(f"{name}_{index}") or 0)

    present = count("present") + count("unread")
    values, distinct, other = categories or ({}, 0, 0)
    return ColumnStatistics(
        name=column.name,
        type=column.type,
        present=present,
        missing=int(summary["rows"]) - present,
        unparseable=count("unparseable"),
        below_min=count("below_min"),
        above_max=count("above_max"),
        not_allowed=count("not_allowed"),
        pattern_misses=count("pattern_misses"),
        distinct=distinct if categories is not None else None,
        mean=_float(summary.get(f"mean_{index}")),
        std_dev=_float(summary.get(f"std_dev_{index}")),
        min=_float(summary.get(f"min_{index}")),
        max=_float(summary.get(f"max_{index}")),
        first_time=_iso(summary.get(f"first_{index}")),
        last_time=_iso(summary.get(f"last_{index}")),
        categories=values,
        other_categories=other,
        histogram=histogram,
    )


def _histograms(engine: Engine, table: Table, summary: dict[str, Any]) -> dict[str, Histogram]:
    """Of the values within the contract's limits: those beyond are counted apart and will not be trained on."""
    widths: dict[str, float] = {}
    parts: list[str] = []
    for index, column in enumerate(table.columns.values()):
        if column.type not in ("integer", "number"):
            continue
        width = histogram_width(_float(summary.get(f"std_dev_{index}")) or 0.0)
        widths[column.name] = max(width, 1.0) if column.type == "integer" else width
        name = f"`{column.name}`"
        limits = [f"{name} >= {column.min}"] * (column.min is not None)
        limits += [f"{name} <= {column.max}"] * (column.max is not None)
        where = " AND ".join([f"{name} IS NOT NULL", *limits])
        bin_number = f"CAST(floor({name} / {widths[column.name]!r}) AS BIGINT)"
        parts.append(
            f"SELECT {quoted(column.name)} AS name, {bin_number} AS bin, count(*) AS n FROM {table.name}_values "
            f"WHERE {where} GROUP BY {bin_number}"
        )
    counts: dict[str, dict[int, int]] = {name: {} for name in widths}
    for row in engine.rows(" UNION ALL ".join(parts)) if parts else []:
        counts[row["name"]][int(row["bin"])] = int(row["n"])
    return {name: Histogram(width, dict(sorted(counts[name].items()))) for name, width in widths.items()}


def _categories(engine: Engine, table: Table) -> dict[str, tuple[dict[str, int], int, int]]:
    """By string column: the most frequent values, how many different ones there are, rows of the others."""
    parts = [
        f"""SELECT * FROM (SELECT {quoted(column.name)} AS name, value, n,
              count(*) OVER () AS different, sum(n) OVER () AS total,
              row_number() OVER (ORDER BY n DESC, value) AS place
            FROM (SELECT `{column.name}` AS value, count(*) AS n FROM {table.name}_values
                  WHERE `{column.name}` IS NOT NULL GROUP BY `{column.name}`)) WHERE place <= {CATEGORIES_KEPT}"""
        for column in table.columns.values()
        if column.type == "string"
    ]
    found: dict[str, tuple[dict[str, int], int, int]] = {
        column.name: ({}, 0, 0) for column in table.columns.values() if column.type == "string"
    }
    if parts:
        for row in engine.rows(f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY name, place"):
            values = found[row["name"]][0]
            values[row["value"]] = int(row["n"])
            found[row["name"]] = (values, int(row["different"]), int(row["total"]) - sum(values.values()))
    return found


def _duplicates(engine: Engine, table: Table) -> tuple[int, int]:
    """Rows that repeat an earlier row whole, and rows that repeat only its key."""
    key = ", ".join(f"`{name}`" for name in table.key)
    twice = f"SELECT {key}, count(*) AS n FROM {table.name}_values GROUP BY {key} HAVING count(*) > 1"
    extra = int(engine.rows(f"SELECT coalesce(sum(n - 1), 0) AS n FROM ({twice})")[0]["n"])
    if not extra:
        return 0, 0
    every = ", ".join(f"v.`{name}`" for name in table.header)
    same = " AND ".join(f"v.`{name}` <=> t.`{name}`" for name in table.key)
    whole = engine.rows(
        f"SELECT coalesce(sum(n - 1), 0) AS n FROM (SELECT count(*) AS n FROM {table.name}_values v "
        f"LEFT SEMI JOIN ({twice}) t ON {same} GROUP BY {every})"
    )[0]["n"]
    return int(whole), extra - int(whole)


def _count_name(reason: str) -> str:
    detail = reason.partition(": ")[2]
    return next(name for start, name in _COUNT_NAMES.items() if detail.startswith(start))


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Write ``statistics.json`` and ``exploration.html``."""
    options = arguments(["contract_uri", "accepted_uri", "run_uri"])
    contract = read_contract(options["contract_uri"])
    files = accepted_files(contract, options["accepted_uri"])
    run_uri = options["run_uri"].rstrip("/")
    statistics = explore(open_engine("explore_data"), contract, files)
    put_json(f"{run_uri}/statistics.json", statistics_document(statistics))
    put_text(
        f"{run_uri}/exploration.html", exploration_page(contract, statistics), "text/html; charset=utf-8"
    )
    for table in statistics.tables.values():
        print(f"{table.name}: {table.rows} rows in {len(table.files)} files, {len(table.columns)} columns")


if __name__ == "__main__":
    main()
