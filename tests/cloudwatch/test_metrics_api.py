"""PutMetricData, GetMetricStatistics, GetMetricData and ListMetrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloudwatch.alarm_world import NOON, AlarmWorld

DIMENSIONS = [{"Name": "EndpointName", "Value": "flights"}, {"Name": "VariantName", "Value": "main"}]


@pytest.fixture
def world(tmp_path: Path) -> AlarmWorld:
    return AlarmWorld(tmp_path / "home", now=NOON + timedelta(minutes=5))


def put(world: AlarmWorld, name: str = "m", **datum: Any) -> None:
    world("PutMetricData", Namespace="N", MetricData=[{"MetricName": name, "Timestamp": NOON, **datum}])


def statistics(world: AlarmWorld, **changes: Any) -> list[dict[str, Any]]:
    usual = {
        "Namespace": "N",
        "MetricName": "m",
        "StartTime": NOON,
        "EndTime": NOON + timedelta(minutes=5),
        "Period": 60,
        "Statistics": ["Sum"],
    }
    points = world("GetMetricStatistics", **(usual | changes))["Datapoints"]
    return sorted(points, key=lambda point: (point["Timestamp"], point["Unit"]))


def query(
    identity: str, name: str = "m", stat: str = "Sum", period: int = 60, **members: Any
) -> dict[str, Any]:
    metric = {"Namespace": "N", "MetricName": name}
    return {"Id": identity, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}, **members}


def data(world: AlarmWorld, *queries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    usual = {"StartTime": NOON, "EndTime": NOON + timedelta(minutes=5), "ScanBy": "TimestampAscending"}
    return world("GetMetricData", MetricDataQueries=list(queries), **(usual | changes))


def test_a_point_comes_back_in_its_period(world: AlarmWorld) -> None:
    put(world, Value=2.0, Unit="Count", Timestamp=NOON + timedelta(seconds=59))
    put(world, Values=[1.0, 10.0], Counts=[9, 1], Unit="Count", Timestamp=NOON + timedelta(seconds=61))
    every = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"]
    assert statistics(world, Statistics=every, ExtendedStatistics=["p50", "p99"]) == [
        {
            "Timestamp": NOON,
            "Unit": "Count",
            **dict.fromkeys(("Sum", "Average", "Minimum", "Maximum"), 2.0),
            "SampleCount": 1.0,
            "ExtendedStatistics": {"p50": 2.0, "p99": 2.0},
        },
        {
            "Timestamp": NOON + timedelta(minutes=1),
            "Unit": "Count",
            "Sum": 19.0,
            "Average": 1.9,
            "Minimum": 1.0,
            "Maximum": 10.0,
            "SampleCount": 10.0,
            "ExtendedStatistics": {"p50": 1.0, "p99": 10.0},
        },
    ]


def test_periods_are_whole_ones_since_the_epoch(world: AlarmWorld) -> None:
    put(world, Value=1.0, Timestamp=NOON + timedelta(seconds=5))
    start = NOON + timedelta(seconds=33)
    assert [point["Timestamp"] for point in statistics(world, StartTime=start, Period=60)] == [NOON]
    answer = data(world, query("m"), StartTime=start)
    assert answer["MetricDataResults"][0]["Timestamps"] == [NOON]


def test_units_and_dimensions_are_told_apart(world: AlarmWorld) -> None:
    put(world, Value=1.0, Unit="Seconds")
    put(world, Value=2.0, Unit="Count")
    put(world, Value=4.0, Unit="Count", Dimensions=DIMENSIONS)
    assert [(point["Unit"], point["Sum"]) for point in statistics(world)] == [
        ("Count", 2.0),
        ("Seconds", 1.0),
    ]
    assert [point["Sum"] for point in statistics(world, Unit="Seconds")] == [1.0]
    assert [point["Sum"] for point in statistics(world, Dimensions=DIMENSIONS[::-1])] == [4.0]
    assert statistics(world, Dimensions=DIMENSIONS[:1]) == []


def test_a_statistic_set(world: AlarmWorld) -> None:
    put(world, StatisticValues={"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 5})
    [point] = statistics(world, Statistics=["Average", "Maximum"], ExtendedStatistics=["p90"])
    assert point == {"Timestamp": NOON, "Unit": "None", "Average": 2.5, "Maximum": 5.0}


def test_entities_bring_metrics_too(world: AlarmWorld) -> None:
    entity = {"Entity": {}, "MetricData": [{"MetricName": "m", "Value": 3.0, "Timestamp": NOON}]}
    world("PutMetricData", Namespace="N", EntityMetricData=[entity])
    assert [point["Sum"] for point in statistics(world)] == [3.0]


def test_metric_data_with_expressions(world: AlarmWorld) -> None:
    for minute, (errors, requests) in enumerate([(1, 10), (None, 20), (6, 30)]):
        moment = NOON + timedelta(minutes=minute)
        put(world, "requests", Value=float(requests), Timestamp=moment)
        if errors:
            put(world, "errors", Value=float(errors), Timestamp=moment)
    answer = data(
        world,
        query("e", "errors", ReturnData=False),
        query("r", "requests"),
        {"Id": "share", "Expression": "100 * FILL(e, 0) / r", "Label": "errors in %"},
        {"Id": "both", "Expression": "METRICS()"},
    )
    results = {(one["Id"], one["Label"]): one for one in answer["MetricDataResults"]}
    assert list(results) == [
        ("r", "requests"),
        ("share", "errors in %"),
        ("both", "both 1"),
        ("both", "both 2"),
    ]
    share = results[("share", "errors in %")]
    assert share["Values"] == [10.0, 0.0, 20.0]
    assert share["Timestamps"] == [NOON + timedelta(minutes=minute) for minute in range(3)]
    assert share["StatusCode"] == "Complete"


def test_the_newest_point_comes_first_unless_asked_otherwise(world: AlarmWorld) -> None:
    for minute in range(3):
        put(world, Value=float(minute), Timestamp=NOON + timedelta(minutes=minute))
    [result] = data(world, query("m"), ScanBy="TimestampDescending")["MetricDataResults"]
    assert result["Values"] == [2.0, 1.0, 0.0]


def test_many_points_come_in_pages(world: AlarmWorld) -> None:
    for minute in range(5):
        for name in ("a", "b"):
            put(world, name, Value=float(minute), Timestamp=NOON + timedelta(minutes=minute))
    queries = [query("a", "a"), query("none", "none"), query("b", "b")]
    found: dict[str, list[float]] = {}
    token: dict[str, Any] = {}
    pages = 0
    while True:
        page = data(world, *queries, MaxDatapoints=3, **token)
        pages += 1
        for result in page["MetricDataResults"]:
            found.setdefault(result["Id"], []).extend(result["Values"])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert pages == 4
    assert found == {"a": [0, 1, 2, 3, 4], "none": [], "b": [0, 1, 2, 3, 4]}


def test_an_empty_metric_is_an_empty_result(world: AlarmWorld) -> None:
    assert data(world, query("m"))["MetricDataResults"] == [
        {"Id": "m", "Label": "m", "Timestamps": [], "Values": [], "StatusCode": "Complete"}
    ]
    assert statistics(world) == []


def test_metrics_are_listed_while_they_have_recent_data(world: AlarmWorld) -> None:
    put(world, "new", Value=1.0, Dimensions=DIMENSIONS)
    put(world, "new", Value=1.0, Dimensions=DIMENSIONS, Unit="Count")
    put(world, "old", Value=1.0, Timestamp=NOON - timedelta(days=13))
    world.skip(3600)

    def names(**params: Any) -> list[str]:
        return [metric["MetricName"] for metric in world("ListMetrics", **params)["Metrics"]]

    assert names() == ["new", "old"]
    assert names(RecentlyActive="PT3H") == ["new"]
    assert names(Namespace="N", MetricName="old") == ["old"]
    assert names(Namespace="M") == []
    assert names(Dimensions=[{"Name": "VariantName"}]) == ["new"]
    assert names(Dimensions=[{"Name": "VariantName", "Value": "other"}]) == []
    world.skip(2 * 86_400)
    assert names() == ["new"]


def test_many_metrics_are_listed_in_pages(world: AlarmWorld) -> None:
    world(
        "PutMetricData", Namespace="N", MetricData=[{"MetricName": f"m{n}", "Value": 1.0} for n in range(600)]
    )
    first = world("ListMetrics")
    second = world("ListMetrics", NextToken=first["NextToken"])
    assert (len(first["Metrics"]), len(second["Metrics"]), "NextToken" in second) == (500, 100, False)


WRONG_DATA: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing": ({"Value": None}, "MissingParameter", "exactly one of"),
    "two kinds": ({"Values": [1.0]}, "InvalidParameterCombination", "exactly one of"),
    "not a number": ({"Value": float("nan")}, "InvalidParameterValue", "not a finite number"),
    "infinite": ({"Value": float("-inf")}, "InvalidParameterValue", "not a finite number"),
    "too large": ({"Value": 1e200}, "InvalidParameterValue", "not a finite number"),
    "no values": ({"Value": None, "Values": []}, "InvalidParameterValue", "1 to 150"),
    "too many values": ({"Value": None, "Values": [1.0] * 151}, "InvalidParameterValue", "1 to 150"),
    "other counts": (
        {"Value": None, "Values": [1.0], "Counts": [1.0, 2.0]},
        "InvalidParameterValue",
        "same length",
    ),
    "no count": ({"Value": None, "Values": [1.0], "Counts": [0.0]}, "InvalidParameterValue", "positive"),
    "an empty set": (
        {"Value": None, "StatisticValues": {"SampleCount": 0, "Sum": 0, "Minimum": 0, "Maximum": 0}},
        "InvalidParameterValue",
        "positive SampleCount",
    ),
    "half a set": ({"Value": None, "StatisticValues": {"Sum": 0}}, "ValidationError", "SampleCount"),
    "too old": ({"Timestamp": NOON - timedelta(days=15)}, "InvalidParameterValue", "two weeks"),
    "too new": ({"Timestamp": NOON + timedelta(hours=3)}, "InvalidParameterValue", "two hours"),
    "no such unit": ({"Unit": "Lightyears"}, "ValidationError", "must be one of"),
    "a dimension twice": ({"Dimensions": [DIMENSIONS[0]] * 2}, "InvalidParameterValue", "twice"),
    "too many dimensions": (
        {"Dimensions": [{"Name": f"d{n}", "Value": "x"} for n in range(31)]},
        "ValidationError",
        "at most 30",
    ),
    "no name": ({"MetricName": ""}, "ValidationError", "MetricName"),
}


@pytest.mark.parametrize(("datum", "code", "why"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_wrong_data_is_refused(world: AlarmWorld, datum: dict[str, Any], code: str, why: str) -> None:
    given = {"MetricName": "m", "Value": 1.0} | datum
    entry = {name: value for name, value in given.items() if value is not None}
    error = world.refusal(
        "PutMetricData", Namespace="N", MetricData=[{"MetricName": "good", "Value": 1.0}, entry]
    )
    assert error.code == code
    assert why in error.message
    assert world("ListMetrics")["Metrics"] == []  # the whole request was refused


def test_too_much_data_is_refused(world: AlarmWorld) -> None:
    many = [{"MetricName": "m", "Value": 1.0}] * 1001
    assert "1000" in world.refusal("PutMetricData", Namespace="N", MetricData=many).message
    assert world.refusal("PutMetricData", Namespace="N").code == "MissingParameter"


STATISTICS = {
    "Namespace": "N",
    "MetricName": "m",
    "StartTime": NOON,
    "EndTime": NOON + timedelta(minutes=5),
    "Period": 60,
    "Statistics": ["Sum"],
}
DATA = {"StartTime": NOON, "EndTime": NOON + timedelta(minutes=5)}
WRONG_QUERIES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "backwards": (
        "GetMetricStatistics",
        STATISTICS | {"EndTime": NOON},
        "InvalidParameterValue",
        "less than",
    ),
    "no statistic": ("GetMetricStatistics", STATISTICS | {"Statistics": []}, "ValidationError", "Statistics"),
    "strange statistic": (
        "GetMetricStatistics",
        STATISTICS | {"ExtendedStatistics": ["p101"]},
        "InvalidParameterValue",
        "no statistic",
    ),
    "strange period": (
        "GetMetricStatistics",
        STATISTICS | {"Period": 7},
        "InvalidParameterValue",
        "multiple of 60",
    ),
    "too many points": (
        "GetMetricStatistics",
        STATISTICS | {"StartTime": NOON - timedelta(days=2)},
        "InvalidParameterCombination",
        "exceeds the limit of 1440",
    ),
    "no end": ("GetMetricData", {"StartTime": NOON, "MetricDataQueries": []}, "ValidationError", "EndTime"),
    "data backwards": (
        "GetMetricData",
        {"StartTime": NOON, "EndTime": NOON, "MetricDataQueries": [query("m")]},
        "ValidationError",
        "less than",
    ),
    "a number": (
        "GetMetricData",
        DATA | {"MetricDataQueries": [query("m"), {"Id": "e", "Expression": "SUM(m)"}]},
        "ValidationError",
        "TIME_SERIES",
    ),
    "an unknown id": (
        "GetMetricData",
        DATA | {"MetricDataQueries": [{"Id": "e", "Expression": "m * 2"}]},
        "ValidationError",
        "'m', which is no id",
    ),
    "a strange token": (
        "GetMetricData",
        DATA | {"MetricDataQueries": [query("m")], "NextToken": "?"},
        "InvalidNextToken",
        "token",
    ),
}


@pytest.mark.parametrize(("operation", "params", "code", "why"), WRONG_QUERIES.values(), ids=WRONG_QUERIES)
def test_wrong_queries_are_refused(
    world: AlarmWorld, operation: str, params: dict[str, Any], code: str, why: str
) -> None:
    error = world.refusal(operation, **params)
    assert error.code == code
    assert why in error.message


def test_data_without_a_time_is_of_now(world: AlarmWorld) -> None:
    world("PutMetricData", Namespace="N", MetricData=[{"MetricName": "m", "Value": 1.0}])
    [series] = world.cloud.metrics.series()
    assert datetime.fromtimestamp(series.last_ms / 1000, UTC) == world.now
