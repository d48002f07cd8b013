"""CloudWatch Logs within a whole local cloud: boto3 and the AWS CLI."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.localcloud_fixture import RunningCloud

pytestmark = pytest.mark.cloud


def test_a_group_keeps_its_tags_and_retention(local_cloud: RunningCloud) -> None:
    logs = local_cloud.client("logs")
    logs.create_log_group(logGroupName="/t/tagged", tags={"team": "ml"})
    logs.put_retention_policy(logGroupName="/t/tagged", retentionInDays=7)
    group = logs.describe_log_groups(logGroupNamePrefix="/t/tagged")["logGroups"][0]
    assert group["retentionInDays"] == 7
    assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"team": "ml"}
    with pytest.raises(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName="/t/tagged")
    logs.delete_log_group(logGroupName="/t/tagged")
    assert logs.describe_log_groups(logGroupNamePrefix="/t/tagged")["logGroups"] == []


def test_metric_filters_count(local_cloud: RunningCloud) -> None:
    logs, cloudwatch = local_cloud.client("logs"), local_cloud.client("cloudwatch")
    logs.create_log_group(logGroupName="/t/filtered")
    logs.create_log_stream(logGroupName="/t/filtered", logStreamName="s")
    metric = {"metricNamespace": "Filtered", "metricName": "seconds", "metricValue": "$.seconds"}
    logs.put_metric_filter(
        logGroupName="/t/filtered",
        filterName="slow",
        filterPattern="{ $.seconds > 1 }",
        metricTransformations=[metric],
    )
    [found] = logs.describe_metric_filters(logGroupName="/t/filtered", filterNamePrefix="s")["metricFilters"]
    assert (found["filterName"], found["metricTransformations"]) == ("slow", [metric])
    assert logs.describe_metric_filters(metricName="other", metricNamespace="Filtered")["metricFilters"] == []
    [group] = logs.describe_log_groups(logGroupNamePrefix="/t/filtered")["logGroups"]
    assert group["metricFilterCount"] == 1
    now = datetime.now(UTC)
    events = [
        {"timestamp": int(now.timestamp() * 1000), "message": f'{{"seconds": {n}}}'} for n in (0.5, 2, 3)
    ]
    logs.put_log_events(logGroupName="/t/filtered", logStreamName="s", logEvents=events)
    [point] = cloudwatch.get_metric_statistics(
        Namespace="Filtered",
        MetricName="seconds",
        StartTime=now - timedelta(minutes=2),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert point["Sum"] == 5
    logs.delete_metric_filter(logGroupName="/t/filtered", filterName="slow")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.delete_metric_filter(logGroupName="/t/filtered", filterName="slow")


def test_a_log_can_be_followed(local_cloud: RunningCloud) -> None:
    """The calls of ``aws logs tail --follow`` in version 2 of the AWS CLI; version 1 has no ``tail``."""
    store, logs = local_cloud.cloud.logs, local_cloud.client("logs")
    start = datetime.fromtimestamp(int(time.time()), UTC)
    printed: list[str] = []
    seen: set[str] = set()
    request = {"logGroupName": "/t/followed", "startTime": int(start.timestamp() * 1000), "interleaved": True}
    for stream, line in (("a", "first"), ("b", "second"), ("a", "third")):
        store.append("/t/followed", stream, [(start, line)])
        for page in logs.get_paginator("filter_log_events").paginate(**request):
            for event in page["events"]:
                if event["eventId"] not in seen:
                    seen.add(event["eventId"])
                    printed.append(f"{event['logStreamName']} {event['message']}")
                    request["startTime"] = event["timestamp"]
    assert printed == ["a first", "b second", "a third"]


def test_the_aws_cli_reads_a_log(local_cloud: RunningCloud, tmp_path: Path) -> None:
    local_cloud.cloud.logs.append("/t/cli", "s", [(datetime.now(UTC), "a line with ERROR in it")])
    command = ["logs", "filter-log-events", "--log-group-name", "/t/cli", "--filter-pattern", "ERROR"]
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *command, "--query", "events[].message", "--output", "text"],
        env={**os.environ, **local_cloud.environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "a line with ERROR in it"), done.stderr


def test_a_long_log_reads_back_in_order(local_cloud: RunningCloud) -> None:
    store = local_cloud.cloud.logs
    now = datetime.fromtimestamp(int(time.time()), UTC)
    for start in range(0, 20_000, 1000):
        store.append("/t/long", "s", [(now, f"line {number}") for number in range(start, start + 1000)])
    logs = local_cloud.client("logs")
    messages: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = logs.get_log_events(logGroupName="/t/long", logStreamName="s", startFromHead=True, **token)
        messages += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token.get("nextToken"):
            break
        token = {"nextToken": page["nextForwardToken"]}
    assert messages == [f"line {number}" for number in range(20_000)]
