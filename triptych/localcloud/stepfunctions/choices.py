"""The rules of JSONPath Choice states: every comparison operator and And, Or, Not."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from re import DOTALL, Pattern, compile, escape
from typing import Any

from triptych.localcloud.stepfunctions.failures import ProcessingFailure
from triptych.localcloud.stepfunctions.jsonpath import JsonPath, PathNotFound, compile_path
from triptych.localcloud.stepfunctions.jsontext import is_number
from triptych.localcloud.stepfunctions.scope import Scope
from triptych.localcloud.stepfunctions.timestamps import parse_timestamp

Rule = Callable[[Scope], bool]
Comparison = Callable[[Any, Any], bool]

_ORDERS: dict[str, Comparison] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}


def _strings(order: Comparison) -> Comparison:
    return lambda left, right: isinstance(left, str) and isinstance(right, str) and order(left, right)


def _numbers(order: Comparison) -> Comparison:
    return lambda left, right: is_number(left) and is_number(right) and order(left, right)


def _timestamps(order: Comparison) -> Comparison:
    def compare(left: Any, right: Any) -> bool:
        if not isinstance(left, str) or not isinstance(right, str):
            return False
        first, second = parse_timestamp(left), parse_timestamp(right)
        return first is not None and second is not None and order(first, second)

    return compare


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Pattern[str]:
    """``*`` stands for any characters; ``\\*`` is an asterisk, ``\\\\`` a backslash."""
    out, position = [], 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2] in ("*", "\\"):
            out.append(escape(text[position + 1]))
            position += 2
            continue
        out.append(".*" if text[position] == "*" else escape(text[position]))
        position += 1
    return compile("".join(out), DOTALL)


def _string_matches(left: Any, right: Any) -> bool:
    return isinstance(left, str) and isinstance(right, str) and _pattern(right).fullmatch(left) is not None


COMPARISONS: dict[str, Comparison] = {
    **{f"String{name}": _strings(order) for name, order in _ORDERS.items()},
    **{f"Numeric{name}": _numbers(order) for name, order in _ORDERS.items()},
    **{f"Timestamp{name}": _timestamps(order) for name, order in _ORDERS.items()},
    "BooleanEquals": lambda left, right: isinstance(left, bool) and left is right,
    "StringMatches": _string_matches,
}
"""operators that compare with a value; each but StringMatches also as ``…Path``"""

TYPE_TESTS: dict[str, Callable[[Any], bool]] = {
    "IsNull": lambda value: value is None,
    "IsNumeric": is_number,
    "IsString": lambda value: isinstance(value, str),
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: isinstance(value, str) and parse_timestamp(value) is not None,
}

OPERATORS = frozenset(
    {
        *COMPARISONS,
        *(f"{name}Path" for name in COMPARISONS if name != "StringMatches"),
        *TYPE_TESTS,
        "IsPresent",
    }
)


def compile_rule(rule: dict[str, Any]) -> Rule:
    """One choice rule as a function; raises InvalidPath, KeyError (validated definitions have neither)."""
    for name, combine in (("And", all), ("Or", any)):
        if name in rule:
            rules = [compile_rule(inner) for inner in rule[name]]
            return _combined(combine, rules)
    if "Not" in rule:
        inner_rule = compile_rule(rule["Not"])
        return lambda scope: not inner_rule(scope)
    return _comparison(rule)


def _combined(combine: Callable[[Any], bool], rules: list[Rule]) -> Rule:
    return lambda scope: combine(rule(scope) for rule in rules)


def _comparison(rule: dict[str, Any]) -> Rule:
    variable = compile_path(rule["Variable"])
    name = next(key for key in rule if key in OPERATORS)
    wanted = rule[name]
    if name == "IsPresent":
        return lambda scope: _present(scope, variable) is wanted
    if name in TYPE_TESTS:
        test = TYPE_TESTS[name]
        return lambda scope: test(_value(scope, variable)) is wanted
    if name.endswith("Path"):
        compare, other = COMPARISONS[name[:-4]], compile_path(wanted)
        return lambda scope: compare(_value(scope, variable), _value(scope, other))
    compare = COMPARISONS[name]
    return lambda scope: compare(_value(scope, variable), wanted)


def _present(scope: Scope, path: JsonPath) -> bool:
    if path.root == "variable" and path.variable not in scope.variables:
        return False
    try:
        scope.find(path)
    except PathNotFound:
        return False
    return True


def _value(scope: Scope, path: JsonPath) -> Any:
    try:
        return scope.find(path)
    except PathNotFound as error:
        raise ProcessingFailure(
            f"Invalid path '{path.text}': The choice state's condition path references an invalid value."
        ) from error
