"""PutMetricData, GetMetricStatistics, GetMetricData, ListMetrics."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.localcloud.cloudwatch.queries import (
    MetricQuery,
    evaluate,
    metric_dimensions,
    parse_queries,
)
from triptych.localcloud.cloudwatch.requests import check_model, invalid
from triptych.localcloud.cloudwatch.store import Datum, MetricStore, Series, StatisticSet, milliseconds
from triptych.localcloud.cloudwatch.summaries import SIMPLE_STATISTICS, UnknownStatistic, reader
from triptych.localcloud.cloudwatch.timeseries import InvalidExpression, Value
from triptych.localcloud.cloudwatch.timeseries import Series as TimeSeries
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_MOST_DATA = 1000
_MOST_VALUES = 150
_LARGEST = 2.0**360
_OLDEST, _NEWEST = timedelta(days=14), timedelta(hours=2)
_MOST_POINTS = 1440
_MOST_QUERIES = 500
_MOST_RESULT_POINTS = 100_800
_PAGE = 500


class MetricsApi:
    """The operations on metrics, over the store."""

    def __init__(self, store: MetricStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self.operations: Mapping[str, Operation] = {
            "PutMetricData": self.put_metric_data,
            "GetMetricStatistics": self.get_metric_statistics,
            "GetMetricData": self.get_metric_data,
            "ListMetrics": self.list_metrics,
        }

    def put_metric_data(self, context: RequestContext, params: Params) -> Params:
        check_model("PutMetricData", params)
        given = list(params.get("MetricData") or ())
        for entity in params.get("EntityMetricData") or ():
            given += entity.get("MetricData") or ()
        if not given:
            raise ServiceError("MissingParameter", "The parameter MetricData must not be empty.")
        if len(given) > _MOST_DATA:
            raise ServiceError(
                "InvalidParameterValue",
                f"The collection MetricData must not have a size greater than {_MOST_DATA}.",
            )
        now = self._now()
        self._store.put_now(
            [_datum(params["Namespace"], entry, number, now) for number, entry in enumerate(given, 1)]
        )
        return {}

    def get_metric_statistics(self, context: RequestContext, params: Params) -> Params:
        check_model("GetMetricStatistics", params)
        period = params["Period"]
        _check_period(period)
        start, end = params["StartTime"], params["EndTime"]
        if start >= end:
            raise ServiceError(
                "InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime."
            )
        wanted = [*(params.get("Statistics") or ()), *(params.get("ExtendedStatistics") or ())]
        if not wanted:
            raise ServiceError(
                "MissingParameter", "The request must contain either Statistics or ExtendedStatistics."
            )
        first = _aligned(start, period)
        periods = math.ceil((end - first).total_seconds() / period)
        if periods > _MOST_POINTS:
            raise ServiceError(
                "InvalidParameterCombination",
                f"You have requested up to {periods} datapoints, which exceeds the limit of {_MOST_POINTS}. You "
                "may reduce the datapoints requested by increasing Period, or decreasing the time range.",
            )
        try:
            readers = {name: reader(name) for name in wanted}
        except UnknownStatistic as error:
            raise ServiceError("InvalidParameterValue", str(error)) from None
        dimensions = metric_dimensions(params.get("Dimensions"))
        namespace, name = params["Namespace"], params["MetricName"]
        units = sorted(
            {
                series.unit
                for series in self._store.series(namespace, name)
                if series.dimensions == dimensions and params.get("Unit") in (None, series.unit)
            }
        )
        points = []
        for unit in units:
            found = self._store.summaries(
                namespace, name, dimensions, first, end, period, unit,
                distributions=any(name not in SIMPLE_STATISTICS for name in wanted),
            )  # fmt: skip
            for index in sorted(found):
                point: dict[str, Any] = {
                    "Timestamp": first + timedelta(seconds=index * period),
                    "Unit": unit,
                }
                values = {one: read(found[index]) for one, read in readers.items()}
                point |= {one: value for one, value in values.items() if one in SIMPLE_STATISTICS}
                extended = {
                    one: value
                    for one, value in values.items()
                    if one not in SIMPLE_STATISTICS and value is not None
                }
                if extended:
                    point["ExtendedStatistics"] = extended
                points.append(point)
        return {"Label": name, "Datapoints": points}

    def get_metric_data(self, context: RequestContext, params: Params) -> Params:
        check_model("GetMetricData", params)
        given = params["MetricDataQueries"]
        if len(given) > _MOST_QUERIES:
            raise invalid(f"MetricDataQueries must not have more than {_MOST_QUERIES} elements.")
        if params["StartTime"] >= params["EndTime"]:
            raise invalid("The parameter StartTime must be less than the parameter EndTime.")
        try:
            queries = parse_queries(given)
            for query in queries:
                if query.period_seconds is not None:
                    _check_period(query.period_seconds)
            values = evaluate(self._store, queries, params["StartTime"], params["EndTime"], align=True)
        except InvalidExpression as error:
            raise invalid(f"Error in MetricDataQueries: {error}") from None
        newest_first = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        results: list[dict[str, Any]] = []
        for entry, query in zip(given, queries, strict=True):
            if not entry.get("ReturnData", True):
                continue
            label = entry.get("Label") or (query.name if isinstance(query, MetricQuery) else query.id)
            results += _results(query.id, label, values[query.id], newest_first)
        return _page_of_points(results, params)

    def list_metrics(self, context: RequestContext, params: Params) -> Params:
        check_model("ListMetrics", params)
        since = self._now() - (timedelta(hours=3) if params.get("RecentlyActive") else _OLDEST)
        wanted = {entry["Name"]: entry.get("Value") for entry in params.get("Dimensions") or ()}
        metrics: dict[tuple[Any, ...], dict[str, Any]] = {}
        for series in self._store.series(params.get("Namespace"), params.get("MetricName"), since):
            if _has_dimensions(series, wanted):
                metrics[(series.namespace, series.name, series.dimensions)] = {
                    "Namespace": series.namespace,
                    "MetricName": series.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in series.dimensions],
                }
        start = page_start(params.get("NextToken"))
        answer: Params = {"Metrics": list(metrics.values())[start : start + _PAGE]}
        if len(metrics) > start + _PAGE:
            answer["NextToken"] = page_token(start + _PAGE)
        return answer


def page_token(start: int) -> str:
    return base64.urlsafe_b64encode(json.dumps(start).encode()).decode()


def page_start(token: str | None) -> int:
    """Raises InvalidNextToken."""
    if not token:
        return 0
    try:
        return int(json.loads(base64.urlsafe_b64decode(token)))
    except (ValueError, TypeError):
        raise ServiceError("InvalidNextToken", "The specified next token is invalid.") from None


def _datum(namespace: str, entry: Mapping[str, Any], number: int, now: datetime) -> Datum:
    where = f"MetricData.member.{number}"
    given = [name for name in ("Value", "Values", "StatisticValues") if entry.get(name) is not None]
    if len(given) != 1:
        what = "exactly one of Value, Values and StatisticValues"
        raise ServiceError(
            "InvalidParameterCombination" if given else "MissingParameter",
            f"The parameter {where} needs {what}; it has {', '.join(given) or 'none'}.",
        )
    moment = entry.get("Timestamp") or now
    if not now - _OLDEST <= moment <= now + _NEWEST:
        raise ServiceError(
            "InvalidParameterValue",
            f"The parameter {where}.Timestamp must specify a time no more than two weeks in the past and no more "
            f"than two hours in the future; it is {moment.isoformat()}.",
        )
    dimensions = metric_dimensions(entry.get("Dimensions"))
    if len({name for name, _ in dimensions}) < len(dimensions):
        raise ServiceError("InvalidParameterValue", f"The parameter {where}.Dimensions has a name twice.")
    unit = entry.get("Unit", "None")
    common = (namespace, entry["MetricName"], dimensions, moment)
    if "StatisticValues" in given:
        stats = entry["StatisticValues"]
        numbers = [float(stats[name]) for name in ("Sum", "SampleCount", "Minimum", "Maximum")]
        _check_numbers(numbers, where)
        if numbers[1] <= 0 or numbers[2] > numbers[3]:
            raise ServiceError(
                "InvalidParameterValue",
                f"The parameter {where}.StatisticValues needs a positive SampleCount and Minimum <= Maximum.",
            )
        return Datum(*common, statistics=StatisticSet(*numbers), unit=unit)
    if "Value" in given:
        _check_numbers([float(entry["Value"])], where)
        return Datum(*common, value=float(entry["Value"]), unit=unit)
    values = [float(value) for value in entry["Values"]]
    counts = [float(count) for count in entry.get("Counts") or ()]
    _check_numbers([*values, *counts], where)
    if not 1 <= len(values) <= _MOST_VALUES:
        raise ServiceError(
            "InvalidParameterValue", f"The parameter {where}.Values must have 1 to {_MOST_VALUES} elements."
        )
    if counts and (len(counts) != len(values) or min(counts) <= 0):
        raise ServiceError(
            "InvalidParameterValue",
            f"The parameters {where}.Values and Counts must be of the same length, and counts positive.",
        )
    return Datum(*common, values=values, counts=counts, unit=unit)


def _check_numbers(numbers: Sequence[float], where: str) -> None:
    for number in numbers:
        if not math.isfinite(number) or abs(number) > _LARGEST:
            raise ServiceError(
                "InvalidParameterValue",
                f"The value {number} for parameter {where} is invalid: not a finite number.",
            )


def _check_period(period: int) -> None:
    if period not in (1, 5, 10, 20, 30) and period % 60:
        raise ServiceError(
            "InvalidParameterValue",
            f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}.",
        )


def _aligned(start: datetime, period: int) -> datetime:
    time_ms = milliseconds(start)
    return datetime.fromtimestamp((time_ms - time_ms % (period * 1000)) / 1000, UTC)


def _results(identity: str, label: str, value: Value, newest_first: bool) -> list[dict[str, Any]]:
    if isinstance(value, list):
        found = []
        for number, series in enumerate(value, 1):
            found += _results(identity, f"{label} {number}", series, newest_first)
        return found
    if not isinstance(value, TimeSeries):
        raise invalid(
            f"Error in MetricDataQueries: '{identity}' must be a time series; wrap it in TIME_SERIES."
        )
    times = sorted(value.points, reverse=newest_first)
    return [
        {
            "Id": identity,
            "Label": label,
            "Timestamps": [datetime.fromtimestamp(at / 1000, UTC) for at in times],
            "Values": [value.points[at] for at in times],
            "StatusCode": "Complete",
        }
    ]


def _page_of_points(results: list[dict[str, Any]], params: Params) -> Params:
    """At most MaxDatapoints points an answer, result after result."""
    most = min(params.get("MaxDatapoints") or _MOST_RESULT_POINTS, _MOST_RESULT_POINTS)
    skipped, taken = page_start(params.get("NextToken")), 0
    total = sum(len(result["Values"]) for result in results)
    shown, seen = [], 0
    for result in results:
        count = len(result["Values"])
        low, high = max(0, skipped - seen), max(0, min(count, skipped + most - seen))
        seen += count
        if low < high or (count == 0 and skipped == 0):
            taken += high - low
            partial = high < count
            shown.append(
                {
                    **result,
                    "Timestamps": result["Timestamps"][low:high],
                    "Values": result["Values"][low:high],
                    "StatusCode": "PartialData" if partial else "Complete",
                }
            )
    answer: Params = {"MetricDataResults": shown, "Messages": []}
    if skipped + taken < total:
        answer["NextToken"] = page_token(skipped + taken)
    return answer


def _has_dimensions(series: Series, wanted: Mapping[str, str | None]) -> bool:
    own = dict(series.dimensions)
    return all(name in own and value in (None, own[name]) for name, value in wanted.items())
