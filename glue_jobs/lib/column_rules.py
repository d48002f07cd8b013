"""What a contract says of a column, as Spark SQL over its string ``<name>__text`` and its parsed value ``<name>``."""

from __future__ import annotations

from glue_lib.engine_io import Engine, quoted

from triptych.core.contract import Column, Table


def is_marked_missing(column: Column, table: Table) -> str:
    """A test for a field that is empty or holds one of the table's null markers."""
    text = f"`{column.name}__text`"
    return f"({text} IS NULL OR trim({text}) IN ('', {_null_markers(table)}))"


def is_unparseable(column: Column, table: Table) -> str | None:
    """A test for a field that holds something, but not of the column's type; None for strings."""
    if column.type == "string":
        return None
    name = f"`{column.name}`"
    odd = f"{name} IS NULL AND NOT {is_marked_missing(column, table)}"
    if column.type == "integer":
        return f"({odd}) OR ({name} IS NOT NULL AND {name} <> floor({name}))"
    return odd


def _null_markers(table: Table) -> str:
    return ", ".join(quoted(value) for value in table.files.null_values if value) or "''"


def parsed_value(column: Column, table: Table, engine: Engine) -> str:
    """The column's value from its string; null where there is none, or where it does not parse."""
    name = f"`{column.name}`"
    nulls = _null_markers(table)
    if column.type == "string":
        text = engine.trimmed(name)
        return f"CASE WHEN {text} IN ('', {nulls}) THEN NULL ELSE {text} END"
    parsed = engine.timestamp(name) if column.type == "timestamp" else engine.number(name)
    if any(character.isdigit() for value in table.files.null_values for character in value):
        # A marker such as -999 would parse.
        return f"CASE WHEN trim({name}) IN ('', {nulls}) THEN NULL ELSE {parsed} END"
    return parsed


def final_value(column: Column) -> str:
    """The value that cleaning writes, of the contract's type; out of limits it is null where the contract says so."""
    name = f"`{column.name}`"
    if column.type == "integer":
        cast = f"CAST({name} AS BIGINT)"
    else:
        cast = name
    tests = [test for test, _ in value_tests(column)] if column.on_bad == "make_null" else []
    if tests and column.type == "integer":
        tests.append(f"{name} <> floor({name})")
    return f"CASE WHEN {' OR '.join(tests)} THEN NULL ELSE {cast} END" if tests else cast


def row_tests(column: Column, table: Table) -> list[tuple[str, str]]:
    """Tests that a bad row fails (SQL, never null) and their reasons."""
    name = f"`{column.name}`"
    tests: list[tuple[str, str]] = []
    marked = is_marked_missing(column, table)
    if not column.nullable:
        tests.append((f"{name} IS NULL AND {marked}", f"{column.name}: missing"))
    if column.on_bad == "make_null":
        return tests
    odd = is_unparseable(column, table)
    if odd is not None:
        kind = {"integer": "an integer", "number": "a number", "timestamp": "a timestamp"}[column.type]
        tests.append((odd, f"{column.name}: not {kind}"))
    return tests + value_tests(column)


def value_tests(column: Column) -> list[tuple[str, str]]:
    """Tests that a value outside the contract's limits fails (SQL, never null) and their reasons."""
    name = f"`{column.name}`"
    tests: list[tuple[str, str]] = []
    if column.min is not None:
        tests.append((f"{name} IS NOT NULL AND {name} < {column.min}", f"{column.name}: below {column.min}"))
    if column.max is not None:
        tests.append((f"{name} IS NOT NULL AND {name} > {column.max}", f"{column.name}: above {column.max}"))
    if column.allowed:
        allowed = ", ".join(quoted(value) for value in column.allowed)
        tests.append(
            (f"{name} IS NOT NULL AND {name} NOT IN ({allowed})", f"{column.name}: not an allowed value")
        )
    if column.pattern is not None:
        pattern = quoted(f"^(?:{column.pattern})$")
        tests.append(
            (f"{name} IS NOT NULL AND NOT ({name} RLIKE {pattern})", f"{column.name}: not of the pattern")
        )
    return tests


def good_value_test(column: Column, table: Table, *, is_double: bool = False) -> str | None:
    """One test that a good row passes: no test of ``row_tests`` holds. None where any value will do.

    ``is_double``: the field was read as a double, there is no text, and null is a missing value.
    """
    name = f"`{column.name}`"
    tests: list[str] = []
    if column.on_bad != "make_null":
        if column.type == "integer":
            tests.append(f"{name} = floor({name})")
        tests += [f"{name} >= {column.min}"] * (column.min is not None)
        tests += [f"{name} <= {column.max}"] * (column.max is not None)
        if column.allowed:
            tests.append(f"{name} IN ({', '.join(quoted(value) for value in column.allowed)})")
        if column.pattern is not None:
            tests.append(f"{name} RLIKE {quoted(f'^(?:{column.pattern})$')}")
    if is_double and (column.min is None or column.max is None or column.on_bad == "make_null"):
        tests.append(f"isfinite({name})")  # limits on both sides leave no infinity and no NaN
    within = " AND ".join(tests)
    if not column.nullable:
        return f"{name} IS NOT NULL" + (f" AND {within}" if within else "")
    if is_double:
        return f"CASE WHEN {name} IS NULL THEN TRUE ELSE {within} END"
    if column.on_bad == "make_null" or (column.type == "string" and not within):
        return None
    missing = "TRUE" if column.type == "string" else is_marked_missing(column, table)
    return f"CASE WHEN {name} IS NULL THEN {missing} ELSE {within or 'TRUE'} END"


def original_row(table: Table) -> str:
    """The row as it was read, its fields joined again."""
    fields = ", ".join(f"coalesce(`{name}`, '')" for name in table.header)
    return f"concat_ws({quoted(table.files.delimiter)}, {fields})"
