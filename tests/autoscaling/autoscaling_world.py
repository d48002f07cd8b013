"""A cloud with real metrics, and small fakes of SageMaker's endpoints and CloudWatch's alarms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.autoscaling.service import AutoScalingService
from triptych.localcloud.autoscaling.timing import Timing
from triptych.localcloud.bus import AlarmChanged, ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.cloudwatch.store import Datum, MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.service import RequestContext, ServiceError

RESOURCE = "endpoint/flights/variant/champion"
NAMED = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": RESOURCE,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
TRACKING = {
    "TargetValue": 60.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleOutCooldown": 100,
    "ScaleInCooldown": 200,
}


@dataclass
class FakeEndpoint:
    counts: dict[str, int]
    status: str = "InService"
    asynchronous: bool = False
    failure: str = ""
    coming: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    """what the next change is refused with"""


@dataclass
class FakeClients:
    """``call`` and ``get`` as ``Clients`` has them, for the two services that scaling talks to."""

    endpoints: dict[str, FakeEndpoint] = field(default_factory=dict)
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: list[ServiceError] = field(default_factory=list)
    """raised by the next calls of PutMetricAlarm"""

    def get(self, service: str) -> FakeClients:
        assert service == "cloudwatch"
        return self

    def call(self, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self, operation)(**params)
        return answer

    # SageMaker

    def DescribeEndpoint(self, EndpointName: str) -> dict[str, Any]:
        endpoint = self.endpoints.get(EndpointName)
        if endpoint is None:
            raise ServiceError("ValidationException", f'Could not find endpoint "{EndpointName}".')
        return {
            "EndpointName": EndpointName,
            "EndpointStatus": endpoint.status,
            "ProductionVariants": [
                {"VariantName": name, "CurrentInstanceCount": count, "DesiredInstanceCount": count}
                for name, count in endpoint.counts.items()
            ],
            **({"AsyncInferenceConfig": {}} if endpoint.asynchronous else {}),
            **({"FailureReason": endpoint.failure} if endpoint.failure else {}),
        }

    def UpdateEndpointWeightsAndCapacities(
        self, EndpointName: str, DesiredWeightsAndCapacities: list[dict[str, Any]]
    ) -> dict[str, Any]:
        endpoint = self.endpoints[EndpointName]
        if endpoint.refusal:
            raise ServiceError("ValidationException", endpoint.refusal)
        assert endpoint.status == "InService"
        endpoint.status = "Updating"
        endpoint.coming = {
            item["VariantName"]: item["DesiredInstanceCount"] for item in DesiredWeightsAndCapacities
        }
        return {}

    def finish(self, name: str, failure: str = "") -> None:
        """The change under way is made, or fails."""
        endpoint = self.endpoints[name]
        endpoint.status, endpoint.failure = "InService", failure
        if not failure:
            endpoint.counts |= endpoint.coming

    # CloudWatch

    def PutMetricAlarm(self, **alarm: Any) -> dict[str, Any]:
        if self.broken:
            raise self.broken.pop(0)
        known = self.alarms.get(alarm["AlarmName"], {})
        self.alarms[alarm["AlarmName"]] = {
            "StateValue": "INSUFFICIENT_DATA",
            "ActionsEnabled": True,
            **{name: known[name] for name in ("StateValue",) if name in known},
            **alarm,
        }
        return {}

    def DeleteAlarms(self, AlarmNames: list[str]) -> dict[str, Any]:
        for name in AlarmNames:
            self.alarms.pop(name, None)
        return {}

    def describe_alarms(self, AlarmNames: list[str], **_: Any) -> dict[str, Any]:
        return {"MetricAlarms": [self.alarms[name] for name in AlarmNames if name in self.alarms]}

    def get_paginator(self, name: str) -> FakeClients:
        assert name == "describe_alarms"
        return self

    def paginate(self, StateValue: str, **_: Any) -> Iterator[dict[str, Any]]:
        yield {"MetricAlarms": [alarm for alarm in self.alarms.values() if alarm["StateValue"] == StateValue]}


class World:
    """The service over a temporary home, its clock and its threads in the test's hand."""

    def __init__(self, folder: Path, timing: Timing | None = None) -> None:
        home = Home(folder)
        home.create()
        self.cloud = Cloud(home, Settings())
        self.clients = FakeClients({"flights": FakeEndpoint({"champion": 1, "challenger": 1})})
        self.cloud.clients = self.clients  # type: ignore[assignment]
        self.cloud.metrics = MetricStore(home)
        self.timing = timing or Timing(period_seconds=60, high_periods=3, low_periods=3)
        self.time = 1_700_000_000.0
        self.forwarded: list[dict[str, Any]] = []
        self.restart()

    def restart(self) -> None:
        """The service that the next process makes, over the same home."""
        self.service = AutoScalingService(self.cloud, timing=self.timing, now=lambda: self.time)

    @property
    def endpoint(self) -> FakeEndpoint:
        return self.clients.endpoints["flights"]

    @property
    def count(self) -> int:
        return self.endpoint.counts["champion"]

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        def forward(given: dict[str, Any]) -> dict[str, Any]:
            self.forwarded.append(given)
            return {"forwarded": True}

        context = RequestContext(self.service.service_id, operation, forward=forward)
        return self.service.operations[operation](context, params)

    def refused(self, operation: str, **params: Any) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            self.call(operation, **params)
        return caught.value

    def register(self, minimum: int = 1, maximum: int = 4, **more: Any) -> dict[str, Any]:
        return self.call("RegisterScalableTarget", **NAMED, MinCapacity=minimum, MaxCapacity=maximum, **more)

    def track(self, name: str = "load", **changes: Any) -> dict[str, Any]:
        return self.call(
            "PutScalingPolicy",
            **NAMED,
            PolicyName=name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=TRACKING | changes,
        )

    def step(self, name: str = "steps", cooldown: int = 100, **changes: Any) -> str:
        """A step policy that adds one instance, two from 50 above the threshold; and its alarm ``busy``."""
        configuration = {
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": cooldown,
            "StepAdjustments": [
                {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 50, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 50, "ScalingAdjustment": 2},
            ],
        }
        arn: str = self.call(
            "PutScalingPolicy",
            **NAMED,
            PolicyName=name,
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration=configuration | changes,
        )["PolicyARN"]
        self.clients.PutMetricAlarm(
            AlarmName="busy",
            Namespace="Load",
            MetricName="Queue",
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=100.0,
            AlarmActions=[arn],
        )
        return arn

    def alarm(self, side: str, policy: str = "load") -> str:
        """The name of a target tracking policy's alarm."""
        found = self.call("DescribeScalingPolicies", ServiceNamespace="sagemaker", PolicyNames=[policy])
        alarms = found["ScalingPolicies"][0]["Alarms"]
        return str(next(item["AlarmName"] for item in alarms if f"Alarm{side}-" in item["AlarmName"]))

    def measure(self, per_minute: float, minutes: int = 3, name: str = "InvocationsPerInstance") -> None:
        """Time goes by, with this much of the metric in each minute."""
        dimensions = (("EndpointName", "flights"), ("VariantName", "champion"))
        for _ in range(minutes):
            self.put("AWS/SageMaker", name, dimensions, per_minute)
            self.time += 60

    def put(self, namespace: str, name: str, dimensions: tuple[tuple[str, str], ...], value: float) -> None:
        moment = datetime.fromtimestamp(self.time + 30, UTC)
        self.cloud.metrics.put([Datum(namespace, name, dimensions, moment, value)])

    def set_alarm(self, name: str, state: str = "ALARM") -> None:
        """The alarm goes into a state, and the bus says so."""
        alarm = self.clients.alarms[name]
        previous, alarm["StateValue"] = alarm["StateValue"], state
        moment = datetime.fromtimestamp(self.time, UTC)
        self.cloud.bus.publish(AlarmChanged(name, f"arn:{name}", state, previous, "", {}, moment))

    def tick(self) -> float | None:
        return self.service.scaler.tick()

    def settle(self) -> None:
        """The change under way is made and its activity ends."""
        self.clients.finish("flights")
        self.tick()

    def activities(self, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call(
            "DescribeScalingActivities", ServiceNamespace="sagemaker", **params
        )["ScalingActivities"]
        return found

    def delete_endpoint(self) -> None:
        del self.clients.endpoints["flights"]
        detail = {"EndpointName": "flights", "EndpointStatus": "Deleting"}
        moment = datetime.fromtimestamp(self.time, UTC)
        self.cloud.bus.publish(
            ServiceEvent("aws.sagemaker", "SageMaker Endpoint State Change", detail, time=moment)
        )
