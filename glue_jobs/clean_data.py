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

from glue_lib.column_rules import final_value, good_value_test, original_row, parsed_value, row_tests
from glue_lib.engine_io import Engine, SourceFile, open_engine, quoted
from glue_lib.job import accepted_files, arguments, put_json, read_contract

from triptych.core.contract import Table
from triptych.core.features import Step

MALFORMED = "wrong number of fields"
DUPLICATE_ROW = "duplicate row"
DUPLICATE_KEY = "duplicate key"


class RowsLost(Exception):
    """A table's rows in are not its rows out plus those quarantined."""


@dataclass(frozen=True)
class TableCounts:
    """What became of one table's rows."""

    rows_in: int
    rows_out: int
    quarantined: int
    by_reason: dict[str, int]


def transform(table: Table, engine: Engine, source: str, *, with_lines: bool = False) -> str:
    """The SQL that types a table's strings: the contract's columns, then ``reasons`` (empty when good).

    ``source`` is a view of strings with ``source_file`` (and ``line`` and the ``original`` text, asked for
    with ``with_lines``).
    """
    place = "source_file, line, original, " if with_lines else ""
    texts, values, reasons = [], [], []
    for column in table.columns.values():
        name, text = f"`{column.name}`", f"`{column.name}__text`"
        texts.append(f"`{column.name}` AS {text}")
        texts.append(f"{parsed_value(column, table, engine)} AS {name}")
        values.append(f"{final_value(column)} AS {name}")
        reasons += [
            f"CASE WHEN {test} THEN {quoted(reason)} END" for test, reason in row_tests(column, table)
        ]
    original = original_row(table)
    if with_lines:
        texts.append(f"line, {original} AS original")
    return (
        f"SELECT {place}{', '.join(values)}, concat_ws('; ', {', '.join(reasons)}) AS reasons "
        f"FROM (SELECT source_file, {', '.join(texts)}, {engine.computed_once} AS computed_once FROM {source}) "
        f"WHERE computed_once IS NOT NULL"
    )


def good_rows(table: Table, engine: Engine, source: str) -> str:
    """The SQL of the rows that nothing is wrong with, typed, without building their reasons."""
    texts: list[str] = []
    values: list[str] = []
    tests: list[str | None] = []
    for column in table.columns.values():
        texts.append(f"`{column.name}` AS `{column.name}__text`")
        texts.append(f"{parsed_value(column, table, engine)} AS `{column.name}`")
        values.append(f"{final_value(column)} AS `{column.name}`")
        tests.append(good_value_test(column, table))
    texts.append(f"{engine.computed_once} AS computed_once")
    where = " AND ".join(["computed_once IS NOT NULL", *filter(None, tests)])
    return f"SELECT {', '.join(values)} FROM (SELECT {', '.join(texts)} FROM {source}) WHERE {where}"


def marked_rows(table: Table, engine: Engine, source: str, mark: str, doubles: frozenset[str]) -> str:
    """The SQL of all rows, typed, in their order; column ``mark``, null in no good row, is null in all others.

    ``doubles`` are the columns of ``source`` that are numbers already.
    """
    texts: list[str] = []
    values: list[str] = []
    tests: list[str] = []
    for column in table.columns.values():
        name = f"`{column.name}`"
        is_double = column.name in doubles
        if is_double:
            texts.append(name)
        else:
            texts += [
                f"{name} AS `{column.name}__text`",
                f"{parsed_value(column, table, engine)} AS {name}",
            ]
        test = good_value_test(column, table, is_double=is_double)
        tests += [test] if test else []
    for column in table.columns.values():
        value = final_value(column)
        if column.name == mark:
            value = f"CASE WHEN {' AND '.join(tests)} THEN {value} END"
        values.append(f"{value} AS `{column.name}`")
    return (
        f"SELECT {', '.join(values)} FROM (SELECT {', '.join(texts)}, {engine.computed_once} AS computed_once "
        f"FROM {source})"
    )


def clean_table(engine: Engine, table: Table, files: Sequence[SourceFile], clean_uri: str) -> TableCounts:
    """Write ``table``'s good rows below ``clean_uri`` and leave the others in view ``<table>_bad``."""
    raw, name = f"{table.name}_raw", table.name
    engine.open_csv(raw, files, table.header, table.files.delimiter)
    rows_in = sum(engine.count_rows(raw).values())
    done = _clean_by_places(engine, table, raw, clean_uri, rows_in)
    if done is None:
        done = _clean_by_lines(engine, table, raw, clean_uri, rows_in)
    if not done:
        return TableCounts(rows_in, rows_in, 0, {})
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


MOST_PLACES = 1_000_000
"""Above so many suspect rows a pass over all rows with their lines costs less than picking them."""


def _clean_by_places(engine: Engine, table: Table, raw: str, clean_uri: str, rows_in: int) -> bool | None:
    """Clean in one pass over the files; what is suspect is found by its place in the Parquet and read again.

    True when ``<table>_bad`` holds rows, False when every row is good; None when places are of no use here.
    """
    name = table.name
    marks = [
        column.name
        for column in table.columns.values()
        if not column.nullable and column.on_bad != "make_null"
    ]
    numbers = [column.name for column in table.columns.values() if column.type in ("integer", "number")]
    doubles = engine.open_values(raw, numbers, table.files.null_values) if marks else None
    if doubles is None:
        return None
    mark = f"`{marks[0]}`"
    engine.write_parquet(marked_rows(table, engine, f"{raw}_values", marks[0], doubles), clean_uri)
    engine.open_parquet(f"{name}_all", clean_uri)
    found = engine.rows(f"SELECT count(*) AS n, count({mark}) AS good FROM {name}_all")[0]
    key = ", ".join(f"`{column}`" for column in table.key)
    good = f"SELECT * FROM {name}_all WHERE {mark} IS NOT NULL"
    if found["good"] == rows_in:
        engine.run([Step(f"{name}_twice", _repeated(key, f"({good})"), keep=True)])
        if not _count(engine, f"SELECT count(*) AS n FROM {name}_twice"):
            return False
    if not engine.places_known(raw, found["n"]) or rows_in - found["good"] > MOST_PLACES:
        return None
    # Also lines that only the reader of numbers refused: their text may be good, and of a key that is known.
    rows = engine.row_numbers(f"{mark} IS NULL", clean_uri)
    if not engine.pick_lines(raw, f"{name}_odd", rows, with_unread=True):
        return None
    engine.run(
        [
            Step(
                f"{name}_odd_typed",
                transform(table, engine, f"{name}_odd_numbered", with_lines=True),
                keep=True,
            ),
            Step(
                f"{name}_twice",
                _repeated(
                    key,
                    f"(SELECT {key} FROM {name}_all WHERE {mark} IS NOT NULL "
                    f"UNION ALL SELECT {key} FROM {name}_odd_typed WHERE reasons = '')",
                ),
                keep=True,
            ),
        ]
    )
    same_key = " AND ".join(f"t.`{column}` <=> g.`{column}`" for column in table.key)
    suspects = f"SELECT * FROM {name}_odd_typed"
    if _count(engine, f"SELECT count(*) AS n FROM {name}_twice"):
        rows = engine.row_numbers(f"{mark} IS NOT NULL", clean_uri, f"{name}_twice", table.key)
        if len(rows) > MOST_PLACES or not engine.pick_lines(raw, f"{name}_same", rows, with_unread=False):
            return None
        same = transform(table, engine, f"{name}_same_numbered", with_lines=True)
        engine.run([Step(f"{name}_same_typed", same, keep=True)])
        suspects += f" UNION ALL SELECT * FROM {name}_same_typed"
    engine.run([Step(f"{name}_suspects", suspects, keep=True)])
    _judge(engine, table, f"{name}_odd_malformed")
    every = ", ".join(f"`{column}`" for column in table.header)
    engine.replace_parquet(
        f"SELECT g.* FROM ({good}) g LEFT ANTI JOIN {name}_twice t ON {same_key} "
        f"UNION ALL SELECT {every} FROM {name}_judged WHERE verdict = ''",
        clean_uri,
    )
    return True


def _clean_by_lines(engine: Engine, table: Table, raw: str, clean_uri: str, rows_in: int) -> bool:
    """Clean with a line number for every row, if any row is bad: for files of any shape, on any engine.

    True when ``<table>_bad`` holds rows, False when every row is good.
    """
    engine.write_parquet(good_rows(table, engine, raw), clean_uri)
    engine.open_parquet(f"{table.name}_good", clean_uri)
    key = ", ".join(f"`{name}`" for name in table.key)
    rows_good = _count(engine, f"SELECT count(*) AS n FROM {table.name}_good")
    engine.run([Step(f"{table.name}_twice", _repeated(key, f"{table.name}_good"), keep=True)])
    twice = _count(engine, f"SELECT count(*) AS n FROM {table.name}_twice")
    if rows_good == rows_in and not twice:
        return False
    if twice:
        # From the source, no longer from the files: what is derived from them goes when they are replaced below.
        source = f"({good_rows(table, engine, raw)})"
        engine.run([Step(f"{table.name}_twice", _repeated(key, source), keep=True)])
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
    _judge(engine, table, f"{raw}_malformed")
    if twice:
        good_key = same_key.replace("s.", "g.")
        # From the source again: a folder cannot be replaced by what is being read from it.
        engine.write_parquet(
            f"SELECT g.* FROM ({good_rows(table, engine, raw)}) g LEFT ANTI JOIN {table.name}_twice t ON {good_key} "
            f"UNION ALL SELECT {every} FROM {table.name}_judged WHERE verdict = ''",
            clean_uri,
        )
    return True


def _judge(engine: Engine, table: Table, malformed: str) -> None:
    """``<table>_judged``: the suspects with verdicts, empty for the first good row of a key; and ``<table>_bad``."""
    key = ", ".join(f"`{name}`" for name in table.key)
    every = ", ".join(f"`{name}`" for name in table.header)
    engine.run(
        [
            Step(
                f"{table.name}_judged",
                f"""SELECT *, CASE WHEN reasons <> '' THEN reasons
                      WHEN same_row > 1 THEN '{DUPLICATE_ROW}'
                      WHEN same_key > 1 THEN '{DUPLICATE_KEY}' ELSE '' END AS verdict
                    FROM (SELECT *,
                      row_number() OVER (PARTITION BY reasons, {every} ORDER BY source_file, line) AS same_row,
                      row_number() OVER (PARTITION BY reasons, {key} ORDER BY source_file, line) AS same_key
                      FROM {table.name}_suspects)""",
                keep=True,
            ),
            Step(
                f"{table.name}_bad",
                f"""SELECT {quoted(table.name)} AS `table`, source_file, CAST(line AS BIGINT) AS line,
                      verdict AS reasons, original AS row FROM {table.name}_judged WHERE verdict <> ''
                    UNION ALL SELECT {quoted(table.name)}, source_file, CAST(line AS BIGINT), '{MALFORMED}', row
                    FROM {malformed}""",
                keep=True,
            ),
        ]
    )


def _repeated(key: str, source: str) -> str:
    return f"SELECT {key} FROM {source} GROUP BY {key} HAVING count(*) > 1"


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
    dirty = [f"SELECT * FROM {name}_bad" for name, count in counts.items() if count.quarantined]
    empty = "SELECT '' AS `table`, '' AS source_file, CAST(0 AS BIGINT) AS line, '' AS reasons, '' AS row WHERE 1 = 0"
    quarantine = " UNION ALL ".join(dirty or [empty])
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
