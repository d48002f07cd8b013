"""EventBridge's event patterns, compiled to predicates.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Predicate = Callable[[Any], bool]

_ABSENT = object()
"""stands for the value of a field that the event lacks"""
_NUMBER_LIMIT = 5e9


class InvalidPattern(ValueError):
    """The text is no event pattern; the message says why."""


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> Predicate:
    """A predicate on events (parsed JSON) from a pattern's JSON text; raises InvalidPattern."""
    try:
        pattern = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidPattern("Invalid JSON") from None
    if not isinstance(pattern, dict):
        raise InvalidPattern("Filter is not an object")
    if not pattern:
        raise InvalidPattern("Empty objects are not allowed")
    return _object(pattern)


def _object(pattern: dict[str, Any]) -> Predicate:
    alternatives: list[Predicate] = []
    fields: list[tuple[str, Predicate]] = []
    for name, condition in pattern.items():
        if name == "$or" and isinstance(condition, list):
            alternatives.append(_any_of(condition))
        elif isinstance(condition, dict):
            if not condition:
                raise InvalidPattern("Empty objects are not allowed")
            fields.append((name, _object(condition)))
        elif isinstance(condition, list):
            fields.append((name, _values(condition)))
        else:
            raise InvalidPattern(f'"{name}" must be an object or an array')

    def matches(value: Any) -> bool:
        if isinstance(value, list):  # one element must fulfil all conditions
            return any(matches(item) for item in value)
        members = value if isinstance(value, dict) else {}
        return all(predicate(members.get(name, _ABSENT)) for name, predicate in fields) and all(
            predicate(value) for predicate in alternatives
        )

    return matches


def _any_of(patterns: list[Any]) -> Predicate:
    if len(patterns) < 2 or not all(isinstance(each, dict) and each for each in patterns):
        raise InvalidPattern("$or must be an array of at least two objects")
    predicates = [_object(each) for each in patterns]
    return lambda value: any(predicate(value) for predicate in predicates)


def _values(conditions: list[Any]) -> Predicate:
    """One of the conditions holds for the value, or for one element when the value is an array."""
    if not conditions:
        raise InvalidPattern("Empty arrays are not allowed")
    predicates = [_condition(each) for each in conditions]
    may_be_absent = any(isinstance(each, dict) and each.get("exists") is False for each in conditions)

    def matches(value: Any) -> bool:
        if value is _ABSENT:
            return may_be_absent
        if isinstance(value, list):
            return any(matches(item) for item in value)
        return any(predicate(value) for predicate in predicates)

    return matches


def _condition(condition: Any) -> Predicate:
    if isinstance(condition, list):
        raise InvalidPattern("Match value must be String, number, true, false, or null")
    if not isinstance(condition, dict):
        return _equal(condition)
    if len(condition) != 1:
        raise InvalidPattern("Only one key allowed in match expression")
    ((name, operand),) = condition.items()
    build = _OPERATORS.get(name)
    if build is None:
        raise InvalidPattern(f"Unrecognized match type {name}")
    return build(operand)


def _equal(expected: Any) -> Predicate:
    if isinstance(expected, bool) or expected is None:
        return lambda value: value is expected
    if isinstance(expected, int | float):
        return lambda value: _is_number(value) and value == expected
    return lambda value: bool(value == expected)


def _exists(operand: Any) -> Predicate:
    if not isinstance(operand, bool):
        raise InvalidPattern("exists match pattern must be either true or false.")
    return lambda value: operand and not isinstance(value, dict)  # absence is _values' matter; leaves only


def _prefix(operand: Any) -> Predicate:
    ignored, text = _text_operand("prefix", operand)
    if ignored:
        return lambda value: isinstance(value, str) and value.casefold().startswith(text.casefold())
    return lambda value: isinstance(value, str) and value.startswith(text)


def _suffix(operand: Any) -> Predicate:
    ignored, text = _text_operand("suffix", operand)
    if ignored:
        return lambda value: isinstance(value, str) and value.casefold().endswith(text.casefold())
    return lambda value: isinstance(value, str) and value.endswith(text)


def _text_operand(name: str, operand: Any) -> tuple[bool, str]:
    if isinstance(operand, dict) and list(operand) == ["equals-ignore-case"]:
        return True, _text(name, operand["equals-ignore-case"])
    return False, _text(name, operand)


def _equals_ignore_case(operand: Any) -> Predicate:
    text = _text("equals-ignore-case", operand).casefold()
    return lambda value: isinstance(value, str) and value.casefold() == text


def _wildcard(operand: Any) -> Predicate:
    text = _text("wildcard", operand)
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
            if position == len(text) or text[position] not in "*\\":
                raise InvalidPattern("Invalid escape character at pos " + str(position - 1))
            parts.append(re.escape(text[position]))
        elif character == "*":
            if parts and parts[-1] == ".*":
                raise InvalidPattern("Consecutive wildcard characters at pos " + str(position - 1))
            parts.append(".*")
        else:
            parts.append(re.escape(character))
        position += 1
    expression = re.compile("".join(parts), re.DOTALL)
    return lambda value: isinstance(value, str) and expression.fullmatch(value) is not None


def _anything_but(operand: Any) -> Predicate:
    """Every value that the operand does not name."""
    if isinstance(operand, dict):
        if len(operand) != 1 or next(iter(operand)) not in _NEGATABLE:
            raise InvalidPattern("Unsupported anything-but pattern: " + json.dumps(operand))
        ((name, inner),) = operand.items()
        choices = inner if isinstance(inner, list) else [inner]
        if not choices:
            raise InvalidPattern("Empty arrays are not allowed")
        refused = [_OPERATORS[name](choice) for choice in choices]
    else:
        choices = operand if isinstance(operand, list) else [operand]
        if not choices:
            raise InvalidPattern("Empty arrays are not allowed")
        if not all(isinstance(choice, str) or _is_number(choice) for choice in choices):
            raise InvalidPattern("Inside anything but list, values must be strings or numbers")
        refused = [_equal(choice) for choice in choices]
    return lambda value: not isinstance(value, dict) and not any(predicate(value) for predicate in refused)


def _numeric(operand: Any) -> Predicate:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise InvalidPattern("Value of numeric must be an array of one or two operators with their numbers.")
    tests: list[tuple[Callable[[Any, Any], bool], float]] = []
    for symbol, bound in zip(operand[::2], operand[1::2], strict=True):
        if symbol not in _COMPARISONS:
            raise InvalidPattern(f"Unrecognized numeric range operator: {symbol}")
        if not _is_number(bound) or abs(bound) > _NUMBER_LIMIT:
            raise InvalidPattern("Value of numeric must be a number between -5.0e9 and 5.0e9")
        tests.append((_COMPARISONS[symbol], bound))
    return lambda value: _is_number(value) and all(holds(value, bound) for holds, bound in tests)


def _cidr(operand: Any) -> Predicate:
    try:
        network = ipaddress.ip_network(_text("cidr", operand), strict=False)
    except ValueError:
        raise InvalidPattern("Malformed CIDR, one '/' required") from None

    def matches(value: Any) -> bool:
        try:
            return isinstance(value, str) and ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return matches


def _text(name: str, operand: Any) -> str:
    if not isinstance(operand, str):
        raise InvalidPattern(f"{name} match pattern must be a string")
    return operand


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_COMPARISONS: dict[Any, Callable[[Any, Any], bool]] = {
    "<": lambda value, bound: bool(value < bound),
    "<=": lambda value, bound: bool(value <= bound),
    "=": lambda value, bound: bool(value == bound),
    ">=": lambda value, bound: bool(value >= bound),
    ">": lambda value, bound: bool(value > bound),
}
_OPERATORS: dict[str, Callable[[Any], Predicate]] = {
    "anything-but": _anything_but,
    "cidr": _cidr,
    "equals-ignore-case": _equals_ignore_case,
    "exists": _exists,
    "numeric": _numeric,
    "prefix": _prefix,
    "suffix": _suffix,
    "wildcard": _wildcard,
}
_NEGATABLE = ("prefix", "suffix", "equals-ignore-case", "wildcard")
