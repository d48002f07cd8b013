"""The functions of metric math."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from triptych.localcloud.cloudwatch.timeseries import (
    Environment,
    InvalidExpression,
    Series,
    Value,
    as_list,
    as_number,
    as_series,
    mapped,
)

METRICS = "METRICS"
"""the one function that sees the query's metrics rather than its arguments"""

Function = Callable[..., Value]


def _aggregate(function: Callable[[Sequence[float]], float]) -> Function:
    """Of one time series a number, of an array a time series: over what has a value at that time."""

    def evaluate(environment: Environment, value: Value) -> Value:
        if isinstance(value, Series):
            return function(list(value.points.values())) if value.points else math.nan
        found = as_list(value)
        times = sorted({at for series in found for at in series.points})
        points = {at: function([one.points[at] for one in found if at in one.points]) for at in times}
        return Series(points, found[0].grid if found else environment.grid)

    return evaluate


def _if(environment: Environment, condition: Value, yes: Value, no: Value | None = None) -> Value:
    if not isinstance(condition, Series):
        chosen = yes if as_number(condition) else no
        return Series({}, environment.grid) if chosen is None else chosen
    points = {}
    for at, truth in condition.points.items():
        chosen = yes if truth else no
        if isinstance(chosen, Series):
            if at in chosen.points:
                points[at] = chosen.points[at]
        elif chosen is not None:
            points[at] = as_number(chosen)
    return Series(points, condition.grid)


def _fill(environment: Environment, value: Value, filler: Value) -> Value:
    if isinstance(value, list):
        return [_filled(series, filler) for series in value]
    return _filled(as_series(value), filler)


def _filled(series: Series, filler: Value) -> Series:
    points: dict[int, float] = {}
    times = sorted(series.points)
    for at in series.grid:
        if at in series.points:
            points[at] = series.points[at]
            continue
        found = _filler(series, filler, times, at)
        if found is not None:
            points[at] = found
    return Series(points, series.grid)


def _filler(series: Series, filler: Value, times: Sequence[int], at: int) -> float | None:
    if isinstance(filler, Series):
        return filler.points.get(at)
    if not isinstance(filler, str):
        return as_number(filler)
    before = [time for time in times if time < at]
    if filler == "REPEAT":
        return series.points[before[-1]] if before else None
    if filler != "LINEAR":
        raise InvalidExpression(f"'{filler}' fills nothing; use a number, REPEAT or LINEAR")
    after = [time for time in times if time > at]
    if not before or not after:
        return None
    first, last = before[-1], after[0]
    start, end = series.points[first], series.points[last]
    return start + (end - start) * (at - first) / (last - first)


def _differences(per_second: bool) -> Function:
    def one(series: Series) -> Series:
        times = sorted(series.points)
        points = {}
        for before, at in pairwise(times):
            change = series.points[at] - series.points[before]
            points[at] = change / ((at - before) / 1000) if per_second else change
        return Series(points, series.grid)

    def evaluate(environment: Environment, value: Value) -> Value:
        return [one(series) for series in value] if isinstance(value, list) else one(as_series(value))

    return evaluate


def _running_sum(environment: Environment, value: Value) -> Value:
    total, points = 0.0, {}
    series = as_series(value)
    for at in sorted(series.points):
        total += series.points[at]
        points[at] = total
    return Series(points, series.grid)


def _time_series(environment: Environment, value: Value) -> Value:
    number = as_number(value)
    return Series(dict.fromkeys(environment.grid, number), environment.grid)


def _edge(index: int) -> Function:
    def evaluate(environment: Environment, value: Value) -> Value:
        if isinstance(value, list):
            if not value:
                raise InvalidExpression("the array is empty")
            return value[index]
        series = as_series(value)
        return series.points[sorted(series.points)[index]] if series.points else math.nan

    return evaluate


def _clock(read: Callable[[datetime], int]) -> Function:
    def evaluate(environment: Environment, value: Value) -> Value:
        series = as_series(value)
        return Series(
            {at: float(read(datetime.fromtimestamp(at / 1000, UTC))) for at in series.points}, series.grid
        )

    return evaluate


def _elementwise(function: Callable[[float], float]) -> Function:
    return lambda environment, value: mapped(function, value)


FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "SUM": (1, 1, _aggregate(math.fsum)),
    "AVG": (1, 1, _aggregate(statistics.fmean)),
    "MIN": (1, 1, _aggregate(min)),
    "MAX": (1, 1, _aggregate(max)),
    "STDDEV": (1, 1, _aggregate(statistics.pstdev)),
    "IF": (2, 3, _if),
    "FILL": (2, 2, _fill),
    "ABS": (1, 1, _elementwise(abs)),
    "CEIL": (1, 1, _elementwise(math.ceil)),
    "FLOOR": (1, 1, _elementwise(math.floor)),
    "LOG": (1, 1, _elementwise(math.log)),
    "LOG10": (1, 1, _elementwise(math.log10)),
    "RATE": (1, 1, _differences(per_second=True)),
    "DIFF": (1, 1, _differences(per_second=False)),
    "DIFF_TIME": (
        1,
        1,
        lambda environment, value: _time_between(as_series(value)),
    ),
    "RUNNING_SUM": (1, 1, _running_sum),
    "PERIOD": (1, 1, lambda environment, value: as_series(value).grid.step / 1000),
    "DATAPOINT_COUNT": (1, 1, lambda environment, value: float(len(as_series(value).points))),
    "METRIC_COUNT": (1, 1, lambda environment, value: float(len(as_list(value)))),
    "REMOVE_EMPTY": (1, 1, lambda environment, value: [one for one in as_list(value) if one.points]),
    "TIME_SERIES": (1, 1, _time_series),
    "FIRST": (1, 1, _edge(0)),
    "LAST": (1, 1, _edge(-1)),
    "EPOCH": (1, 1, _clock(lambda moment: int(moment.timestamp()))),
    "MINUTE": (1, 1, _clock(lambda moment: moment.minute)),
    "HOUR": (1, 1, _clock(lambda moment: moment.hour)),
    "DAY": (1, 1, _clock(lambda moment: moment.isoweekday())),
    "DATE": (1, 1, _clock(lambda moment: moment.day)),
    "MONTH": (1, 1, _clock(lambda moment: moment.month)),
    "YEAR": (1, 1, _clock(lambda moment: moment.year)),
}
"""name -> least and most arguments, and what computes it (the environment comes first)"""


def _time_between(series: Series) -> Series:
    times = sorted(series.points)
    between = {at: (at - before) / 1000 for before, at in pairwise(times)}
    return Series(between, series.grid)
