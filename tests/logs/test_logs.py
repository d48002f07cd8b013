"""CloudWatch Logs through its operations: appends, paging, filters, retention, and a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.logs.service import LogsService
from triptych.localcloud.logs.store import LogStore
from triptych.localcloud.service import RequestContext, ServiceError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


class Logs:
    """The service over a home, called by operation name."""

    def __init__(self, root: Path) -> None:
        home = Home(root)
        home.create()
        cloud = Cloud(home, Settings())
        cloud.logs = LogStore(home, now_ms=lambda: NOON_MS)
        self.store = cloud.logs
        self.service = LogsService(cloud)

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.service.operations[operation](RequestContext("logs", operation), params)

    def messages(self, **params: Any) -> list[str]:
        return [event["message"] for event in self("FilterLogEvents", logGroupName="g", **params)["events"]]


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def lines(*messages: str) -> list[tuple[datetime, str]]:
    return [(NOON + timedelta(seconds=number), message) for number, message in enumerate(messages)]


def test_groups_and_streams_come_with_the_first_line(logs: Logs) -> None:
    logs.store.append("/aws/lambda/f", "2026/01/01/[$LATEST]a", lines("one", "two"))
    group = logs("DescribeLogGroups", logGroupNamePrefix="/aws/lambda")["logGroups"][0]
    assert group["logGroupName"] == "/aws/lambda/f"
    assert group["arn"].endswith(":log-group:/aws/lambda/f:*")
    stream = logs("DescribeLogStreams", logGroupName="/aws/lambda/f")["logStreams"][0]
    assert stream["firstEventTimestamp"] == NOON_MS
    assert stream["lastEventTimestamp"] == NOON_MS + 1000
    assert logs.store.tail("/aws/lambda/f") == ["one", "two"]


PATTERNS = {
    "all": ("", ["ERROR disk full", "warn disk slow", '{"level": "ERROR", "took": 12}']),
    "one term": ("disk", ["ERROR disk full", "warn disk slow"]),
    "two terms": ("ERROR disk", ["ERROR disk full"]),
    "a phrase": ('"disk slow"', ["warn disk slow"]),
    "not": ("disk -ERROR", ["warn disk slow"]),
    "either": ("?slow ?took", ["warn disk slow", '{"level": "ERROR", "took": 12}']),
    "json text": ('{ $.level = "ERR*" }', ['{"level": "ERROR", "took": 12}']),
    "json number": ("{ $.took >= 12 && $.took < 13 }", ['{"level": "ERROR", "took": 12}']),
    "json or": ('{ ($.took = 1) || ($.level = "ERROR") }', ['{"level": "ERROR", "took": 12}']),
    "json missing": ("{ $.nothing NOT EXISTS }", ['{"level": "ERROR", "took": 12}']),
    "json unequal": ('{ $.level != "ERROR" }', []),
    "regular expression": ("%s[a-z]ow$%", ["warn disk slow"]),
}


@pytest.mark.parametrize("case", PATTERNS)
def test_filter_patterns(case: str, logs: Logs) -> None:
    pattern, expected = PATTERNS[case]
    logs.store.append("g", "s", lines(*PATTERNS["all"][1]))
    assert logs.messages(filterPattern=pattern) == expected


@pytest.mark.parametrize("pattern", ["{ $.a = }", "{ $.a = 1", "[a, b]", "%(%"])
def test_a_pattern_that_is_none_is_refused(pattern: str, logs: Logs) -> None:
    logs.store.append("g", "s", lines("x"))
    with pytest.raises(ServiceError) as refused:
        logs.messages(filterPattern=pattern)
    assert refused.value.code == "InvalidParameterException"


def test_filter_pages_through_many_events_in_order_of_time(logs: Logs) -> None:
    for stream in ("b", "a"):
        logs.store.append("g", stream, [(NOON + timedelta(seconds=i), f"{stream}{i}") for i in range(30)])
    found: list[str] = []
    params: dict[str, Any] = {"limit": 7}
    while True:
        page = logs("FilterLogEvents", logGroupName="g", **params)
        found += [event["message"] for event in page["events"]]
        if "nextToken" not in page:
            break
        params["nextToken"] = page["nextToken"]
    assert found == [f"{stream}{i}" for i in range(30) for stream in ("b", "a")]
    assert logs.messages(logStreamNamePrefix="a", startTime=NOON_MS + 28_000) == ["a28", "a29"]
    assert logs.messages(logStreamNames=["b"], endTime=NOON_MS) == ["b0"]


def test_get_log_events_walks_forward_and_backward(logs: Logs) -> None:
    logs.store.append("g", "s", lines(*(str(i) for i in range(10))))

    def page(**params: Any) -> tuple[list[str], dict[str, Any]]:
        answer = logs("GetLogEvents", logGroupName="g", logStreamName="s", limit=4, **params)
        return [event["message"] for event in answer["events"]], answer

    newest, answer = page()
    assert newest == ["6", "7", "8", "9"]
    assert page(nextToken=answer["nextBackwardToken"])[0] == ["2", "3", "4", "5"]
    oldest, answer = page(startFromHead=True)
    assert oldest == ["0", "1", "2", "3"]
    after, answer = page(nextToken=answer["nextForwardToken"])
    assert after == ["4", "5", "6", "7"]
    rest, end = page(nextToken=answer["nextForwardToken"])
    assert rest == ["8", "9"]
    none, again = page(nextToken=end["nextForwardToken"])
    assert none == []
    assert again["nextForwardToken"] == end["nextForwardToken"]


ERRORS = {
    "group twice": ("CreateLogGroup", {"logGroupName": "g"}, "ResourceAlreadyExistsException"),
    "no such group": ("FilterLogEvents", {"logGroupName": "x"}, "ResourceNotFoundException"),
    "no group for the stream": (
        "CreateLogStream",
        {"logGroupName": "x", "logStreamName": "s"},
        "ResourceNotFoundException",
    ),
    "no such stream": (
        "GetLogEvents",
        {"logGroupName": "g", "logStreamName": "x"},
        "ResourceNotFoundException",
    ),
    "stream twice": (
        "CreateLogStream",
        {"logGroupName": "g", "logStreamName": "s"},
        "ResourceAlreadyExistsException",
    ),
    "out of order": (
        "PutLogEvents",
        {
            "logGroupName": "g",
            "logStreamName": "s",
            "logEvents": [{"timestamp": 2, "message": "b"}, {"timestamp": 1, "message": "a"}],
        },
        "InvalidParameterException",
    ),
    "token": ("FilterLogEvents", {"logGroupName": "g", "nextToken": "junk"}, "InvalidParameterException"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str, logs: Logs) -> None:
    operation, params, code = ERRORS[case]
    logs("CreateLogGroup", logGroupName="g")
    logs("CreateLogStream", logGroupName="g", logStreamName="s")
    with pytest.raises(ServiceError) as refused:
        logs(operation, **params)
    assert refused.value.code == code


def test_retention_and_restart(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.store.append("g", "s", [(NOON - timedelta(days=5), "old"), (NOON, "new")])
    logs.store.append("kept", "s", [(NOON - timedelta(days=5), "old")])
    logs("PutRetentionPolicy", logGroupName="g", retentionInDays=3)
    again = Logs(tmp_path)
    again.service.start()
    assert again.store.tail("g") == ["new"]
    assert again.store.tail("kept") == ["old"]
    assert again("DescribeLogGroups")["logGroups"][0]["retentionInDays"] == 3
    again("DeleteLogGroup", logGroupName="g")
    assert [g["logGroupName"] for g in again("DescribeLogGroups")["logGroups"]] == ["kept"]
