"""Time series, and arithmetic on them: what metric math computes with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class InvalidExpression(ValueError):
    """A metric math expression that cannot be read, or does not fit its values."""


@dataclass(frozen=True)
class Series:
    """Values by the start of their period (milliseconds since 1970). ``grid`` holds every period there could
    be a value for; ``samples`` how many samples a value comes from, where that is known.
    """

    points: Mapping[int, float]
    grid: range
    samples: Mapping[int, float] = field(default_factory=dict)


Value = float | str | Series | list[Series]
"""What an expression evaluates to; a text only within function calls"""


@dataclass(frozen=True)
class Environment:
    """What an expression can see: ``values`` by id, ``metrics`` the plain metrics among them."""

    values: Mapping[str, Value]
    metrics: Mapping[str, Series]
    grid: range


def combine(function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """Point by point; where one side has no value, or there is no result (x / 0), there is no point."""
    if isinstance(left, list):
        return [as_series(combine(function, one, right)) for one in left]
    if isinstance(right, list):
        return [as_series(combine(function, left, one)) for one in right]
    if isinstance(left, Series) and isinstance(right, Series):
        shared = left.points.keys() & right.points.keys()
        grid = left.grid if left.grid.step >= right.grid.step else right.grid
        return Series(
            _results({at: (left.points[at], right.points[at]) for at in sorted(shared)}, function), grid
        )
    if isinstance(left, Series):
        number = as_number(right)
        return Series(
            _results({at: (value, number) for at, value in left.points.items()}, function), left.grid
        )
    if isinstance(right, Series):
        number = as_number(left)
        return Series(
            _results({at: (number, value) for at, value in right.points.items()}, function), right.grid
        )
    found = _result(function, as_number(left), as_number(right))
    return math.nan if found is None else found


def mapped(function: Callable[[float], float], value: Value) -> Value:
    """A function of one number on each point."""
    return combine(lambda number, _: function(number), value, 0.0)


def as_number(value: Value) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise InvalidExpression("a number is wanted here")


def as_series(value: Value) -> Series:
    if isinstance(value, Series):
        return value
    raise InvalidExpression("a time series is wanted here")


def as_list(value: Value) -> list[Series]:
    """An array of time series; a single one counts as an array of one."""
    return value if isinstance(value, list) else [as_series(value)]


def _results(
    pairs: Mapping[int, tuple[float, float]], function: Callable[[float, float], float]
) -> dict[int, float]:
    found = {at: _result(function, *pair) for at, pair in pairs.items()}
    return {at: value for at, value in found.items() if value is not None}


def _result(function: Callable[[float, float], float], left: float, right: float) -> float | None:
    try:
        value = function(left, right)
    except (ArithmeticError, ValueError):
        return None
    # A negative number to a broken power is complex.
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
