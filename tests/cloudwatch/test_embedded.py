"""Log lines in the embedded metric format."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.cloudwatch.embedded import embedded_metrics
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.logs.store import LogStore

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENT_MS = MOMENT.timestamp() * 1000


def line(directive: Any = None, timestamp: Any = MOMENT_MS, **members: Any) -> str:
    usual = {"Namespace": "App", "Dimensions": [["service"]], "Metrics": [{"Name": "rows", "Unit": "Count"}]}
    header = {"Timestamp": timestamp, "CloudWatchMetrics": [usual if directive is None else directive]}
    return json.dumps({"_aws": header, "service": "clean", "rows": 7, **members})


def found(text: str) -> list[tuple[str, str, tuple[tuple[str, str], ...], list[float], str]]:
    return [
        (one.namespace, one.name, one.dimensions, list(one.values), one.unit)
        for one in embedded_metrics([text])
    ]


def test_a_line_becomes_a_data_point() -> None:
    [datum] = embedded_metrics(["noise", line(), '{"a": 1}'])
    assert datum.timestamp == MOMENT
    assert found(line()) == [("App", "rows", (("service", "clean"),), [7.0], "Count")]


def test_each_set_of_dimensions_is_a_metric_of_its_own() -> None:
    directive = {
        "Namespace": "App",
        "Dimensions": [[], ["service"], ["service", "stage"]],
        "Metrics": [{"Name": "rows"}, {"Name": "seconds", "Unit": "Seconds"}, {"Name": "absent"}],
    }
    sets = [(), (("service", "clean"),), (("service", "clean"), ("stage", "test"))]
    assert found(line(directive, stage="test", seconds=[0.5, 1])) == [
        one
        for dimensions in sets
        for one in (
            ("App", "rows", dimensions, [7.0], "None"),
            ("App", "seconds", dimensions, [0.5, 1.0], "Seconds"),
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"_aws": 1}',
        '{"_aws": {"Timestamp": 1}}',
        '{"_aws": {"Timestamp": "x", "CloudWatchMetrics": []}}',
        '{"_aws": broken',
        line(timestamp=1e30),
        line({"Namespace": "", "Metrics": []}),
        line({"Namespace": "A", "Metrics": "rows"}),
        line("text"),
        line(rows="many"),
        line(rows=True),
        line(rows=[1, None]),
        line(rows=float("inf")),
    ],
)
def test_what_is_malformed_is_passed_over(text: str) -> None:
    assert found(text) == []


def test_log_events_become_metrics(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    metrics = MetricStore(home)
    logs = LogStore(home, metrics=metrics)
    logs.append("/aws/lambda/f", "s", [(MOMENT, "START"), (MOMENT, line())])
    logs.create_stream("/aws/lambda/f", "t")
    logs.put("/aws/lambda/f", "t", [(int(MOMENT.timestamp() * 1000), line(rows=3))])
    day = datetime(2026, 3, 2, tzinfo=UTC)
    assert metrics.statistics("App", "rows", (("service", "clean"),), MOMENT, day, 60, "Sum") == [
        (MOMENT, 10.0)
    ]
