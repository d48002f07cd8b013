"""Metric filters: which log events count, and for how much."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.logs.store import LogStore
from triptych.localcloud.service import ServiceError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Group:
    """A log group ``g`` and what its filters count in ``Logs/found``."""

    def __init__(self, root: Path) -> None:
        home = Home(root)
        home.create()
        self.metrics = MetricStore(home)
        self.logs = LogStore(home, metrics=self.metrics)

    def filter(self, pattern: str = "", name: str = "f", value: str = "1", **changes: Any) -> None:
        usual = {"metricNamespace": "Logs", "metricName": "found", "metricValue": value}
        self.logs.put_metric_filter("g", name, pattern, [usual | changes])

    def say(self, *messages: str) -> None:
        self.logs.append("g", "s", [(NOON, message) for message in messages])

    def count(self, statistic: str = "Sum", dimensions: Any = ()) -> float | None:
        found = self.metrics.statistics(
            "Logs", "found", dimensions, NOON, NOON + timedelta(minutes=1), 60, statistic
        )
        return found[0][1] if found else None


@pytest.fixture
def group(tmp_path: Path) -> Group:
    made = Group(tmp_path / "home")
    made.logs.create_group("g")
    return made


SLOW = json.dumps({"level": "ERROR", "seconds": 2.5, "stage": "train", "job": {"rows": "7"}})
QUICK = json.dumps({"level": "INFO", "seconds": 0.5, "stage": "train"})


@pytest.mark.parametrize(
    ("pattern", "value", "total"),
    [
        ("", "1", 3.0),
        ("ERROR", "1", 2.0),
        ("ERROR -level", "10", 10.0),
        ("{ $.seconds > 1 }", "1", 1.0),
        ('{ $.stage = "train" }', "$.seconds", 3.0),
        ("{ $.job.rows EXISTS }", "$.job.rows", 7.0),
        ("ERROR", "$.nothing", None),
        ("", "$.stage", None),
    ],
)
def test_matching_events_count(group: Group, pattern: str, value: str, total: float | None) -> None:
    group.say("before the filter: ERROR")
    group.filter(pattern, value=value)
    group.say(SLOW, QUICK, "plain ERROR")
    assert group.count() == total


def test_dimensions_come_from_the_event(group: Group) -> None:
    group.filter("{ $.seconds >= 0 }", value="$.seconds", dimensions={"Stage": "$.stage"}, unit="Seconds")
    group.say(SLOW, QUICK, json.dumps({"seconds": 9}))
    assert group.count("Maximum", (("Stage", "train"),)) == 2.5
    assert [one.unit for one in group.metrics.series()] == ["Seconds"]


def test_events_without_a_match_give_the_default(group: Group) -> None:
    group.filter("ERROR", defaultValue=0)
    group.say("fine", "fine")
    assert (group.count(), group.count("SampleCount")) == (0.0, 1.0)
    group.say("ERROR")
    assert group.count() == 1.0


def test_filters_are_replaced_deleted_and_kept_over_a_restart(group: Group, tmp_path: Path) -> None:
    group.filter("ERROR")
    group.filter("ERROR", value="5")
    later = Group(tmp_path / "home")
    later.say("ERROR")
    assert later.count() == 5.0
    later.logs.delete_metric_filter("g", "f")
    later.say("ERROR")
    assert later.count() == 5.0
    later.filter("ERROR")
    later.logs.delete_group("g")
    last = Group(tmp_path / "home")
    last.say("ERROR")
    assert last.count() == 5.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": "many"}, "must be a number"),
        ({"value": "$size"}, "begin with"),
        ({"dimensions": {"A": "fixed"}}, "begin with"),
        ({"dimensions": dict.fromkeys("ABCD", "$.a")}, "3 is the most"),
        ({"dimensions": {"A": "$.a"}, "defaultValue": 0}, "exclude each other"),
        ({"pattern": "[a, b]"}, "not served"),
        ({"pattern": "{ broken"}, "Invalid filter pattern"),
    ],
)
def test_wrong_filters_are_refused(group: Group, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ServiceError, match=why):
        group.filter(**changes)


def test_a_filter_needs_its_group(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="does not exist"):
        Group(tmp_path).filter()
