"""Checks of single fields of a definition: paths, templates, expressions, choice rules, error handlers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.stepfunctions.choices import COMPARISONS, OPERATORS, TYPE_TESTS
from triptych.localcloud.stepfunctions.intrinsics import InvalidIntrinsic
from triptych.localcloud.stepfunctions.jsonata_query import (
    InvalidQuery,
    compile_query,
    inner_text,
    is_expression,
)
from triptych.localcloud.stepfunctions.jsonpath import InvalidPath, compile_path
from triptych.localcloud.stepfunctions.jsontext import is_number
from triptych.localcloud.stepfunctions.templates import compile_expression
from triptych.localcloud.stepfunctions.timestamps import parse_timestamp

SCHEMA = "SCHEMA_VALIDATION_FAILED"
_TEMPLATES = ("Parameters", "ResultSelector", "ItemSelector", "Assign", "Credentials")
_REFERENCES = ("ResultPath",)


@dataclass(frozen=True)
class Diagnostic:
    """One finding; ``location`` is a slash-separated path into the definition."""

    code: str
    message: str
    location: str
    severity: str = "ERROR"


def required(name: str, where: str) -> Diagnostic:
    return Diagnostic(SCHEMA, f"The field '{name}' is required but was missing", where)


def one_of(where: str, values: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(SCHEMA, f"Value is not one of the allowed values: [{', '.join(values)}]", where)


def is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def targets(raw: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for name in ("Next", "Default"):
        if isinstance(raw.get(name), str):
            yield raw[name], f"{where}/{name}"
    for name in ("Catch", "Choices"):
        entries = raw.get(name)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict) and isinstance(entry.get("Next"), str):
                yield entry["Next"], f"{where}/{name}[{index}]/Next"


def check_errors(raw: Mapping[str, Any], where: str) -> Iterator[Diagnostic]:
    for name in ("Retry", "Catch"):
        entries = raw.get(name, [])
        if not isinstance(entries, list):
            yield Diagnostic(SCHEMA, "Expected value of type Array", f"{where}/{name}")
            continue
        for index, entry in enumerate(entries):
            at = f"{where}/{name}[{index}]"
            if not isinstance(entry, dict):
                yield Diagnostic(SCHEMA, "Expected value of type Object", at)
                continue
            errors = entry.get("ErrorEquals")
            if errors is None:
                yield required("ErrorEquals", at)
            elif (
                not isinstance(errors, list)
                or not errors
                or not all(isinstance(item, str) for item in errors)
            ):
                yield Diagnostic(SCHEMA, "Expected value of type Array of Strings", f"{at}/ErrorEquals")
            elif "States.ALL" in errors and (len(errors) > 1 or index < len(entries) - 1):
                yield Diagnostic(
                    SCHEMA, "States.ALL must appear alone and in the last entry", f"{at}/ErrorEquals"
                )
            if name == "Catch" and "Next" not in entry:
                yield required("Next", at)
            if name == "Retry":
                yield from _retrier(entry, at)
            elif entry.get("ResultPath") is not None:
                yield from _path(entry["ResultPath"], "ResultPath", at)


def _retrier(entry: Mapping[str, Any], at: str) -> Iterator[Diagnostic]:
    if not is_whole(entry.get("IntervalSeconds", 1), 1, 99_999_999):
        yield Diagnostic(
            SCHEMA, "Expected value of type Integer between 1 and 99999999", f"{at}/IntervalSeconds"
        )
    if not is_whole(entry.get("MaxAttempts", 3), 0, 99_999_999):
        yield Diagnostic(SCHEMA, "Expected value of type Integer between 0 and 99999999", f"{at}/MaxAttempts")
    rate = entry.get("BackoffRate", 2.0)
    if not is_number(rate) or rate < 1:
        yield Diagnostic(SCHEMA, "Expected value of type Number of at least 1.0", f"{at}/BackoffRate")
    if "MaxDelaySeconds" in entry and not is_whole(entry["MaxDelaySeconds"], 1, 31_622_400):
        yield Diagnostic(
            SCHEMA, "Expected value of type Integer between 1 and 31622400", f"{at}/MaxDelaySeconds"
        )
    if entry.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
        yield one_of(f"{at}/JitterStrategy", ("NONE", "FULL"))


def check_payload(raw: Mapping[str, Any], kind: str, where: str) -> Iterator[Diagnostic]:
    for name, value in raw.items():
        if name in _TEMPLATES:
            yield from check_template(value, f"{where}/{name}")
        elif name in ("ErrorPath", "CausePath"):
            yield from _expression(value, name, where)
        elif name.endswith("Path") and value is not None:
            yield from _path(value, name, where)
    for name in ("ItemReader", "ResultWriter"):
        if isinstance(raw.get(name), dict) and "Parameters" in raw[name]:
            yield from check_template(raw[name]["Parameters"], f"{where}/{name}/Parameters")


def _path(value: Any, name: str, where: str) -> Iterator[Diagnostic]:
    try:
        path = compile_path(value) if isinstance(value, str) else None
    except InvalidPath:
        path = None
    if path is None:
        yield Diagnostic(SCHEMA, "Value is not a valid JSONPath", f"{where}/{name}")
    elif name in _REFERENCES and (not path.definite or path.root != "input" or path.function):
        yield Diagnostic(SCHEMA, "Value is not a Reference Path", f"{where}/{name}")


def _expression(value: Any, name: str, where: str) -> Iterator[Diagnostic]:
    try:
        valid = isinstance(value, str) and compile_expression(value) is not None
    except (InvalidPath, InvalidIntrinsic):
        valid = False
    if not valid:
        yield Diagnostic(
            SCHEMA,
            f"The value for the field '{name}' must be a valid JSONPath or a valid intrinsic function call",
            where,
        )


def check_template(value: Any, where: str) -> Iterator[Diagnostic]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key.endswith(".$"):
                yield from _expression(item, key, where)
            else:
                yield from check_template(item, f"{where}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from check_template(item, f"{where}[{index}]")


def check_queries(raw: Mapping[str, Any], kind: str, where: str) -> Iterator[Diagnostic]:
    for name, value in raw.items():
        if name in ("Branches", "ItemProcessor", "Iterator", "Choices", "Comment", "Retry"):
            continue
        yield from check_query(value, f"{where}/{name}")


def check_query(value: Any, where: str) -> Iterator[Diagnostic]:
    if isinstance(value, str):
        if is_expression(value):
            try:
                compile_query(inner_text(value))
            except InvalidQuery as error:
                yield Diagnostic(SCHEMA, f"Invalid JSONata expression: {error}", where)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from check_query(item, f"{where}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from check_query(item, f"{where}[{index}]")


def check_rule(rule: Mapping[str, Any], where: str) -> Iterator[Diagnostic]:
    for name in ("And", "Or"):
        if name in rule:
            inner = rule[name]
            if not isinstance(inner, list) or not inner:
                yield Diagnostic(
                    SCHEMA, "Expected value of type Array with at least one rule", f"{where}/{name}"
                )
                return
            for index, item in enumerate(inner):
                yield from _nested(item, f"{where}/{name}[{index}]")
            return
    if "Not" in rule:
        yield from _nested(rule["Not"], f"{where}/Not")
        return
    if "Variable" not in rule:
        yield required("Variable", where)
        return
    yield from _path(rule["Variable"], "Variable", where)
    operators = [name for name in rule if name in OPERATORS]
    if len(operators) != 1:
        yield Diagnostic(SCHEMA, "Exactly one comparison operator is required", where)
        return
    name = operators[0]
    value = rule[name]
    if name in TYPE_TESTS or name in ("IsPresent", "BooleanEquals"):
        if not isinstance(value, bool):
            yield Diagnostic(SCHEMA, "Expected value of type Boolean", f"{where}/{name}")
    elif name.endswith("Path"):
        yield from _path(value, name, where)
    elif name.startswith("Numeric"):
        if not is_number(value):
            yield Diagnostic(SCHEMA, "Expected value of type Number", f"{where}/{name}")
    elif not isinstance(value, str):
        yield Diagnostic(SCHEMA, "Expected value of type String", f"{where}/{name}")
    elif name.startswith("Timestamp") and name in COMPARISONS and parse_timestamp(value) is None:
        yield Diagnostic(SCHEMA, "String does not match RFC3339 timestamp", f"{where}/{name}")


def _nested(rule: Any, where: str) -> Iterator[Diagnostic]:
    if not isinstance(rule, dict):
        yield Diagnostic(SCHEMA, "Expected value of type Object", where)
        return
    yield from check_rule(rule, where)
