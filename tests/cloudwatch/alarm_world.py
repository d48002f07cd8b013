"""The service over a home, on a clock that the test turns; other services are remembered calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from triptych.localcloud.bus import AlarmChanged, ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.cloudwatch.service import CloudWatchService
from triptych.localcloud.cloudwatch.store import Datum, MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.service import RequestContext, ServiceError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPIC = "arn:aws:sns:us-east-1:123456789012:news"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:listen"
POLICY = (
    "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:7:resource/sagemaker/endpoint/e/variant/v:"
    "policyName/p"
)


class Clients:
    """``get(...).operation(**params)`` is noted in ``calls``; ``failures`` are raised first, one a call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.failures: list[Exception] = []

    def get(self, service: str, region: str | None = None) -> Any:
        clients = self

        class Client:
            def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
                def call(**params: Any) -> dict[str, Any]:
                    if clients.failures:
                        raise clients.failures.pop(0)
                    clients.calls.append((service, operation, params))
                    return {}

                return call

        return Client()


class AlarmWorld:
    """One life of the service; ``restarted`` is the next over the same home."""

    def __init__(self, root: Path, now: datetime = NOON, clients: Clients | None = None) -> None:
        self.root = root
        self.now = now
        home = Home(root)
        home.create()
        self.cloud = Cloud(home, Settings())
        self.cloud.metrics = MetricStore(home)
        self.clients = clients or Clients()
        self.cloud.clients = self.clients  # type: ignore[assignment]
        self.changes: list[AlarmChanged] = []
        self.events: list[ServiceEvent] = []
        self.cloud.bus.subscribe(AlarmChanged, self.changes.append)
        self.cloud.bus.subscribe(ServiceEvent, self.events.append)
        self.service = CloudWatchService(self.cloud, lambda: self.now, retry_seconds=(0.0, 0.0))

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.service.operations[operation](RequestContext("cloudwatch", operation), params)

    def restarted(self) -> AlarmWorld:
        return AlarmWorld(self.root, self.now, self.clients)

    def refusal(self, operation: str, **params: Any) -> ServiceError:
        """The error that an operation must answer with."""
        try:
            self(operation, **params)
        except ServiceError as error:
            return error
        raise AssertionError(f"{operation} was not refused")

    def alarm(self, name: str = "a", **changes: Any) -> str:
        """An alarm on N/m: more than 5 in ten seconds, once."""
        usual = {
            "AlarmName": name,
            "Namespace": "N",
            "MetricName": "m",
            "Statistic": "Sum",
            "Period": 10,
            "EvaluationPeriods": 1,
            "Threshold": 5.0,
            "ComparisonOperator": "GreaterThanThreshold",
        }
        given = usual | changes
        self("PutMetricAlarm", **{key: value for key, value in given.items() if value is not None})
        return name

    def put(self, value: float | None, name: str = "m", seconds_ago: float = 1, **changes: Any) -> None:
        moment = self.now - timedelta(seconds=seconds_ago)
        self.cloud.metrics.put([Datum("N", name, (), moment, **({"value": value} | changes))])

    def skip(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def tick(self, seconds: float = 0) -> None:
        """Let time pass, then evaluate what is due, as the thread does each second."""
        self.now += timedelta(seconds=seconds)
        self.service.evaluate()

    def state(self, name: str = "a") -> str:
        return self.service.alarm_states([name])[name]

    def states(self, name: str = "a") -> list[str]:
        """The states that an alarm has gone into, in order."""
        return [change.state for change in self.changes if change.name == name]

    def described(self, name: str = "a") -> dict[str, Any]:
        answer = self("DescribeAlarms", AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        [found] = [*answer["MetricAlarms"], *answer["CompositeAlarms"]]
        return dict(found)

    def history(self, name: str = "a", **params: Any) -> list[str]:
        """The summaries, oldest first."""
        answer = self(
            "DescribeAlarmHistory",
            AlarmName=name,
            AlarmTypes=["MetricAlarm", "CompositeAlarm"],
            ScanBy="TimestampAscending",
            **params,
        )
        return [item["HistorySummary"] for item in answer["AlarmHistoryItems"]]

    def state_updates(self, name: str) -> list[dict[str, Any]]:
        """The data of all changes of state, oldest first."""
        found: list[dict[str, Any]] = []
        token: dict[str, Any] = {}
        while True:
            answer = self(
                "DescribeAlarmHistory",
                AlarmName=name,
                AlarmTypes=["MetricAlarm", "CompositeAlarm"],
                HistoryItemType="StateUpdate",
                ScanBy="TimestampAscending",
                **token,
            )
            found += [json.loads(item["HistoryData"]) for item in answer["AlarmHistoryItems"]]
            if "NextToken" not in answer:
                return found
            token = {"NextToken": answer["NextToken"]}

    def deliver(self) -> None:
        """Send what waits to be sent."""
        self.service.deliver()

    def published(self) -> list[dict[str, Any]]:
        """SNS's messages so far."""
        return [
            json.loads(params["Message"]) for service, _, params in self.clients.calls if service == "sns"
        ]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
