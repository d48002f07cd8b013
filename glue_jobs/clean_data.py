"""Glue job: raw CSV to typed, deduplicated Parquet; every bad row to quarantine with its place and reasons.

Rows in = rows out + quarantined for each table, where rows in are the lines of the files themselves; the job fails
when they differ. A table that is clean costs one pass; only what looks bad is looked at again, with line numbers.

Arguments: ``--contract_uri --accepted_uri --run_uri``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glue_lib.engine_io import Engine, SourceFile, open_engine
from glue_lib.job import accepted_files, arguments, put_json, read_contract
from glue_lib.place_cleaning import clean_by_places
from glue_lib.row_rules import good_rows, judge, no_bad_rows, repeated, transform

from triptych.core.contract import Table
from triptych.core.features import Step


class RowsLost(Exception):
    """A table's rows in are not its rows out plus those quarantined."""


@dataclass(frozen=True)
class TableCounts:
    """What became of one table's rows."""

    rows_in: int
    rows_out: int
    quarantined: int
    by_reason: dict[str, int]


def clean_table(engine: Engine, table: Table, files: Sequence[SourceFile], clean_uri: str) -> TableCounts:
    """Write ``table``'s good rows below ``clean_uri`` and leave the others in view ``<table>_bad``."""
    raw, name = f"{table.name}_raw", table.name
    engine.open_csv(raw, files, table.header, table.files.delimiter)
    rows_in = clean_by_places(engine, table, raw, clean_uri)
    if rows_in is None:
        rows_in = sum(engine.count_rows(raw).values())
        _clean_by_lines(engine, table, raw, clean_uri, rows_in)
    engine.open_parquet(f"{name}_good", clean_uri)
    rows_good = _count(engine, f"SELECT count(*) AS n FROM {name}_good")
    by_reason: Counter[str] = Counter()
    quarantined = 0
    for row in engine.rows(f"SELECT reasons, count(*) AS n FROM {name}_bad GROUP BY reasons"):
        quarantined += row["n"]
        for reason in row["reasons"].split("; "):
            by_reason[reason] += row["n"]
    counts = TableCounts(rows_in, rows_good, quarantined, dict(sorted(by_reason.items())))
    if counts.rows_in != counts.rows_out + counts.quarantined:
        raise RowsLost(
            f"table {table.name!r}: {counts.rows_in} rows in, but {counts.rows_out} out and {counts.quarantined} "
            f"quarantined; a field that holds a line break, or a file that changed meanwhile, would explain it: "
            f"{', '.join(file.key for file in files[:5])}"
        )
    return counts


def _clean_by_lines(engine: Engine, table: Table, raw: str, clean_uri: str, rows_in: int) -> None:
    """Clean with a line number for every row, if any row is bad: for files of any shape, on any engine."""
    engine.write_parquet(good_rows(table, engine, raw), clean_uri)
    engine.open_parquet(f"{table.name}_good", clean_uri)
    key = ", ".join(f"`{name}`" for name in table.key)
    rows_good = _count(engine, f"SELECT count(*) AS n FROM {table.name}_good")
    engine.run([Step(f"{table.name}_twice", repeated(key, f"{table.name}_good"), keep=True)])
    twice = _count(engine, f"SELECT count(*) AS n FROM {table.name}_twice")
    if rows_good == rows_in and not twice:
        engine.run([Step(f"{table.name}_bad", no_bad_rows(table), keep=True)])
        return
    if twice:
        # From the source, no longer from the files: what is derived from them goes when they are replaced below.
        source = f"({good_rows(table, engine, raw)})"
        engine.run([Step(f"{table.name}_twice", repeated(key, source), keep=True)])
    engine.number_lines(raw)
    suspects = transform(table, engine, f"{raw}_numbered", with_lines=True)
    same_key = " AND ".join(f"s.`{name}` <=> t.`{name}`" for name in table.key)
    every = ", ".join(f"`{name}`" for name in table.header)
    engine.run(
        [
            Step(f"{table.name}_typed", suspects),
            # Only rows that are bad by themselves, or whose key is not unique: a small share of the table.
            Step(
                f"{table.name}_suspects",
                f"SELECT s.* FROM {table.name}_typed s LEFT SEMI JOIN {table.name}_twice t ON {same_key} "
                f"WHERE s.reasons = '' UNION ALL SELECT * FROM {table.name}_typed WHERE reasons <> ''",
                keep=True,
            ),
        ]
    )
    judge(engine, table, f"{raw}_malformed", f"{table.name}_bad")
    if twice:
        good_key = same_key.replace("s.", "g.")
        # From the source again: a folder cannot be replaced by what is being read from it.
        engine.write_parquet(
            f"SELECT g.* FROM ({good_rows(table, engine, raw)}) g LEFT ANTI JOIN {table.name}_twice t ON {good_key} "
            f"UNION ALL SELECT {every} FROM {table.name}_judged WHERE verdict = ''",
            clean_uri,
        )


def _count(engine: Engine, sql: str) -> int:
    return int(engine.rows(sql)[0]["n"])


def main() -> None:
    """Clean every table of the contract."""
    options = arguments(["contract_uri", "accepted_uri", "run_uri"])
    contract = read_contract(options["contract_uri"])
    files = accepted_files(contract, options["accepted_uri"])
    run_uri = options["run_uri"].rstrip("/")
    engine = open_engine("clean_data")
    counts: dict[str, TableCounts] = {}
    for name, table in contract.tables.items():
        counts[name] = clean_table(engine, table, files[name], f"{run_uri}/clean/{name}")
        print(
            f"{name}: {counts[name].rows_in} in, {counts[name].rows_out} out, {counts[name].quarantined} quarantined"
        )
    quarantine = " UNION ALL ".join(f"SELECT * FROM {name}_bad" for name in counts)
    engine.write_parquet(f"SELECT * FROM ({quarantine}) ORDER BY source_file, line", f"{run_uri}/quarantine")
    document: dict[str, Any] = {
        "rows_in": sum(count.rows_in for count in counts.values()),
        "rows_out": sum(count.rows_out for count in counts.values()),
        "quarantined": sum(count.quarantined for count in counts.values()),
        "tables": {name: vars(count) for name, count in counts.items()},
    }
    put_json(f"{run_uri}/cleaning.json", document)


if __name__ == "__main__":
    main()
