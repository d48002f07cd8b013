"""What a JSONPath is made of: steps from values to values, comparisons of filters, aggregate functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from triptych.localcloud.stepfunctions.jsontext import is_number

Step = Callable[[Iterable[Any], Any], Iterator[Any]]
"""``(values, root) -> values``"""
Test = Callable[[Any, Any], bool]
"""a filter: ``(item, root) -> whether it stays``"""
MISSING: Any = object()
FUNCTIONS: dict[str, Callable[[Any], Any]] = {}


def child_of(value: Any, key: str | int) -> Any:
    if isinstance(key, str):
        return value.get(key, MISSING) if isinstance(value, dict) else MISSING
    if isinstance(value, list) and -len(value) <= key < len(value):
        return value[key]
    return MISSING


def _numbers(value: Any) -> list[float]:
    return [item for item in value if is_number(item)] if isinstance(value, list) else []


def _stddev(value: Any) -> float:
    numbers = _numbers(value)
    mean = sum(numbers) / len(numbers)
    return float((sum((number - mean) ** 2 for number in numbers) / len(numbers)) ** 0.5)


FUNCTIONS.update(
    {
        "length": lambda value: len(value) if isinstance(value, (list, dict, str)) else None,
        "size": lambda value: len(value) if isinstance(value, (list, dict, str)) else None,
        "min": lambda value: float(min(_numbers(value))),
        "max": lambda value: float(max(_numbers(value))),
        "avg": lambda value: sum(_numbers(value)) / len(_numbers(value)),
        "sum": lambda value: float(sum(_numbers(value))),
        "stddev": _stddev,
        "keys": lambda value: list(value) if isinstance(value, dict) else None,
        "first": lambda value: value[0] if isinstance(value, list) and value else None,
        "last": lambda value: value[-1] if isinstance(value, list) and value else None,
    }
)


def each_child(key: str | int) -> Step:
    def step(values: Iterable[Any], root: Any) -> Iterator[Any]:
        for value in values:
            found = child_of(value, key)
            if found is not MISSING:
                yield found

    return step


def names_step(names: tuple[str, ...]) -> Step:
    def step(values: Iterable[Any], root: Any) -> Iterator[Any]:
        for value in values:
            if isinstance(value, dict):
                yield {name: value[name] for name in names if name in value}

    return step


def indexes_step(numbers: tuple[int, ...]) -> Step:
    def step(values: Iterable[Any], root: Any) -> Iterator[Any]:
        for value in values:
            for number in numbers:
                found = child_of(value, number)
                if found is not MISSING:
                    yield found

    return step


def slice_step(first: int | None, last: int | None) -> Step:
    def step(values: Iterable[Any], root: Any) -> Iterator[Any]:
        for value in values:
            if isinstance(value, list):
                yield from value[first:last]

    return step


def wildcard(values: Iterable[Any], root: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list):
            yield from value


def descend(values: Iterable[Any], root: Any) -> Iterator[Any]:
    for value in values:
        waiting = [value]
        while waiting:
            current = waiting.pop()
            yield current
            if isinstance(current, dict):
                waiting.extend(reversed(current.values()))
            elif isinstance(current, list):
                waiting.extend(reversed(current))


def filter_step(test: Test) -> Step:
    def step(values: Iterable[Any], root: Any) -> Iterator[Any]:
        for value in values:
            if isinstance(value, list):
                yield from (item for item in value if test(item, root))
            elif isinstance(value, dict) and test(value, root):
                yield value

    return step


def _same(left: Any, right: Any) -> bool:
    if is_number(left) and is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def _ordered(left: Any, right: Any, test: Callable[[Any, Any], bool]) -> bool:
    if (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return test(left, right)
    return False


def _member(left: Any, right: Any) -> bool:
    return isinstance(right, list) and any(_same(left, item) for item in right)


def _matches(left: Any, pattern: Any) -> bool:
    return isinstance(left, str) and pattern.fullmatch(left) is not None


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return right in left
    return _member(right, left)


def _is_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": _same,
    "!=": lambda left, right: not _same(left, right),
    "<": lambda left, right: _ordered(left, right, lambda a, b: a < b),
    "<=": lambda left, right: _ordered(left, right, lambda a, b: a <= b),
    ">": lambda left, right: _ordered(left, right, lambda a, b: a > b),
    ">=": lambda left, right: _ordered(left, right, lambda a, b: a >= b),
    "=~": _matches,
    "in": _member,
    "nin": lambda left, right: left is not MISSING and not _member(left, right),
    "subsetof": lambda left, right: isinstance(left, list) and all(_member(item, right) for item in left),
    "anyof": lambda left, right: any(_member(item, right) for item in _is_list(left)),
    "noneof": lambda left, right: isinstance(left, list) and not any(_member(item, right) for item in left),
    "size": lambda left, right: isinstance(left, (list, str)) and len(left) == right,
    "empty": lambda left, right: isinstance(left, (list, str, dict)) and (len(left) == 0) is right,
    "contains": _contains,
}
