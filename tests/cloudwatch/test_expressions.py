"""Metric math on small time series."""

from __future__ import annotations

import math
from typing import Any

import pytest

from triptych.localcloud.cloudwatch.expressions import parse
from triptych.localcloud.cloudwatch.queries import parse_queries
from triptych.localcloud.cloudwatch.timeseries import Environment, InvalidExpression, Series

GRID = range(0, 4_000, 1_000)


def series(*values: float | None) -> Series:
    return Series({at: value for at, value in zip(GRID, values, strict=True) if value is not None}, GRID)


METRICS = {
    "requests": series(100, 50, None, 0),
    "errors": series(5, None, 1, 2),
    "errors_client": series(1, 2, 3, 4),
    "nothing": series(None, None, None, None),
}


def evaluate(text: str) -> Any:
    value = parse(text).evaluate(Environment(METRICS, METRICS, GRID))
    if isinstance(value, Series):
        return [value.points.get(at) for at in GRID]
    if isinstance(value, list):
        return [[one.points.get(at) for at in GRID] for one in value]
    return value


CASES: dict[str, Any] = {
    # both sides need a value
    "requests + errors": [105, None, None, 2],
    # no result of a division by zero
    "errors / requests": [0.05, None, None, None],
    "100 * errors / requests": [5, None, None, None],
    "FILL(errors, 0) / requests": [0.05, 0, None, None],
    "IF(requests > 0, FILL(errors, 0) / requests, 0)": [0.05, 0, None, 0],
    "IF(FILL(requests, 0) > 10, errors)": [5, None, None, None],
    "IF(1 > 2, requests, errors)": [5, None, 1, 2],
    "FILL(nothing, 0)": [0, 0, 0, 0],
    "FILL(errors, REPEAT)": [5, 5, 1, 2],
    "FILL(errors, LINEAR)": [5, 3, 1, 2],
    "FILL(errors, errors_client)": [5, 2, 1, 2],
    "FILL(METRICS('errors'), 0)": [[5, 0, 1, 2], [1, 2, 3, 4]],
    "SUM([errors, errors_client])": [6, 2, 4, 6],
    "SUM(METRICS())": [106, 52, 4, 6],
    'AVG(METRICS("errors"))': [3, 2, 2, 3],
    "MAX([errors, requests])": [100, 50, 1, 2],
    "MIN([errors, requests])": [5, 50, 1, 0],
    "SUM(requests)": 150,
    "AVG(errors_client)": 2.5,
    "errors_client / MAX(errors_client)": [0.25, 0.5, 0.75, 1],
    "-errors": [-5, None, -1, -2],
    "2 ^ 3 ^ 2": 512,
    "-2 ^ 2": -4,
    "(1 + 2) * 3 - 4 / 2": 7,
    "1e3 + .5": 1000.5,
    "errors_client >= 2 AND errors_client < 4": [0, 1, 1, 0],
    "errors_client == 1 || errors_client != 3": [1, 1, 0, 1],
    "ABS(-errors_client)": [1, 2, 3, 4],
    "CEIL(errors_client / 2)": [1, 1, 2, 2],
    "FLOOR(errors_client / 2)": [0, 1, 1, 2],
    "LOG10(requests)": [2, pytest.approx(math.log10(50)), None, None],
    "DIFF(errors_client)": [None, 1, 1, 1],
    "RATE(requests)": [None, -50, None, -25],
    "RUNNING_SUM(errors_client)": [1, 3, 6, 10],
    "errors_client / PERIOD(errors_client)": [1, 2, 3, 4],
    "DATAPOINT_COUNT(errors)": 3,
    "METRIC_COUNT(METRICS())": 4,
    "METRIC_COUNT(REMOVE_EMPTY(METRICS()))": 3,
    "TIME_SERIES(7)": [7, 7, 7, 7],
    "LAST(errors)": 2,
    "MINUTE(errors_client)": [0, 0, 0, 0],
    "[errors] * 2": [[10, None, 2, 4]],
}


@pytest.mark.parametrize(("text", "expected"), CASES.items(), ids=CASES)
def test_expressions(text: str, expected: Any) -> None:
    assert evaluate(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "ends where"),
        ("requests +", "ends where an operand"),
        ("requests errors", "unexpected 'errors'"),
        ("SUM(requests", r"'\,' is wanted|'\)' is wanted"),
        ("sum(requests)", "unexpected"),
        ("SUMM(requests)", "no function"),
        ("SUM(requests, errors)", "takes 1 argument"),
        ("SEARCH('{AWS/EC2} cpu', 'Sum')", "not served"),
        ("ANOMALY_DETECTION_BAND(requests)", "not served"),
        ("requests @ 2", "unexpected text '@ 2'"),
        ("unknown + 1", "there is no 'unknown'"),
        ("[1, 2]", "an array holds time series"),
        ("METRICS(1)", "text in quotes"),
        ("FILL(errors, 'x')", "fills nothing"),
        ("SUM(1)", "a time series is wanted"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidExpression, match=why):
        evaluate(text)


def _stat(identity: str, **changes: Any) -> dict[str, Any]:
    stat = {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 60, "Stat": "Sum", **changes}
    return {"Id": identity, "MetricStat": stat}


@pytest.mark.parametrize(
    ("queries", "why"),
    [
        ([_stat("M1")], "must begin with a lowercase letter"),
        ([_stat("m-1")], "letters, digits"),
        ([_stat("m"), _stat("m")], "used twice"),
        ([{"Id": "m"}], "either MetricStat or Expression"),
        ([{**_stat("m"), "Expression": "1"}], "either MetricStat or Expression"),
        ([{"Id": "e", "Expression": "m1 + 1"}], "'m1', which is no id"),
        ([{"Id": "e", "Expression": "f"}, {"Id": "f", "Expression": "e"}], "refer to each other"),
        ([_stat("m", Stat="median")], "no statistic"),
        ([_stat("m", Metric={"MetricName": "m"})], "Namespace is missing"),
    ],
)
def test_queries_that_do_not_hold_together_are_refused(queries: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(InvalidExpression, match=why):
        parse_queries(queries)
