"""A table's rows as its contract has them, in Spark SQL: typed, with what is wrong with them, and judged.

Views of a table hang on its name: ``<table>_suspects`` (what ``judge`` reads) and ``<table>_judged``.
"""

from __future__ import annotations

from glue_lib.column_rules import final_value, good_value_test, original_row, parsed_value, row_tests
from glue_lib.engine_io import Engine, quoted

from triptych.core.contract import Table
from triptych.core.features import Step

MALFORMED = "wrong number of fields"
DUPLICATE_ROW = "duplicate row"
DUPLICATE_KEY = "duplicate key"
IS_GOOD = "row__good"
KEY_HASH = "row__key_hash"
KEPT_BEFORE = "''"
"""The ``source_file`` of suspects that are there only to be compared with: rows that come before all others"""


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


def marked_rows(table: Table, engine: Engine, source: str, doubles: frozenset[str]) -> str:
    """The SQL of all rows, typed, in their order, with ``IS_GOOD`` (never null) and ``KEY_HASH``.

    ``doubles`` are the columns of ``source`` that are numbers already.
    """
    texts: list[str] = []
    values: dict[str, str] = {}
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
        values[column.name] = final_value(column)
    selected = ", ".join(f"{value} AS `{name}`" for name, value in values.items())
    key = ", ".join(values[name] for name in table.key)
    return (
        f"SELECT {selected}, coalesce({' AND '.join(tests) or 'TRUE'}, FALSE) AS {IS_GOOD}, "
        f"hash({key}) AS {KEY_HASH} "
        f"FROM (SELECT {', '.join(texts)}, {engine.computed_once} AS computed_once FROM {source})"
    )


def judge(engine: Engine, table: Table, malformed: str, bad: str) -> None:
    """``<table>_judged``: the suspects with verdicts, empty for the first good row of a key; and view ``bad``."""
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
                      FROM {table.name}_suspects)
                    WHERE source_file <> {KEPT_BEFORE}""",
                keep=True,
            ),
            Step(
                bad,
                f"""SELECT {quoted(table.name)} AS `table`, source_file, CAST(line AS BIGINT) AS line,
                      verdict AS reasons, original AS row FROM {table.name}_judged WHERE verdict <> ''
                    UNION ALL SELECT {quoted(table.name)}, source_file, CAST(line AS BIGINT), '{MALFORMED}', row
                    FROM {malformed}""",
                keep=True,
            ),
        ]
    )


def no_bad_rows(table: Table) -> str:
    """The SQL of a view as ``judge`` makes it, without a row."""
    return (
        f"SELECT {quoted(table.name)} AS `table`, '' AS source_file, CAST(0 AS BIGINT) AS line, '' AS reasons, "
        "'' AS row WHERE 1 = 0"
    )


def repeated(key: str, source: str) -> str:
    """The SQL of the keys that ``source`` has more than once; ``key`` is a list of columns."""
    return f"SELECT {key} FROM {source} GROUP BY {key} HAVING count(*) > 1"
