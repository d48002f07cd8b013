"""Building blocks of the deployments' tests: policies, an alarm to trip, an endpoint that is updated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from endpoint_blocks import create_config, create_endpoint, variant
from sagemaker_laptop import Laptop

from triptych.localcloud.bus import AlarmChanged, Bus
from triptych.localcloud.sagemaker.records import now

GUARD = "guard"
HALF = {"Type": "CAPACITY_PERCENT", "Value": 50}
ONE = {"Type": "INSTANCE_COUNT", "Value": 1}
DEPLOYMENT = "SageMaker Endpoint Deployment State Change"


class FakeAlarms:
    """The ``cloudwatch`` service, as far as deployments ask it."""

    def __init__(self, bus: Bus | None = None) -> None:
        self.bus = bus
        self._states: dict[str, str] = {}

    def alarm_states(self, names: Any) -> dict[str, str]:
        return {name: self._states[name] for name in names if name in self._states}

    def set(self, name: str, state: str) -> None:
        previous = self._states.get(name, "INSUFFICIENT_DATA")
        self._states[name] = state
        if self.bus is None:
            return
        arn = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}"
        self.bus.publish(AlarmChanged(name, arn, state, previous, f"{name} became {state}.", {}, now()))

    def remove(self, name: str) -> None:
        del self._states[name]


def blue_green(kind: str, wait: int = 0, termination: int = 0, **sizes: Any) -> dict[str, Any]:
    traffic = {"Type": kind, "WaitIntervalInSeconds": wait, **sizes}
    policy = {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": termination}
    return {"BlueGreenUpdatePolicy": policy}


def rolling(wait: int = 0, **changes: Any) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": wait, **changes}}


def guarded(policy: dict[str, Any]) -> dict[str, Any]:
    return policy | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": GUARD}]}}


class Subject:
    """An endpoint that is updated, and watched while it is."""

    def __init__(self, laptop: Laptop, name: str, old: str, instances: int = 2) -> None:
        """Create it: ``instances`` instances that serve the model ``old``."""
        self.laptop, self.name, self.instances, self._configs = laptop, name, instances, 0
        described = create_endpoint(laptop, name, variant(old, InitialInstanceCount=instances))
        assert described["EndpointStatus"] == "InService", described.get("FailureReason")
        laptop.events.clear()

    @classmethod
    def found(cls, laptop: Laptop, name: str, instances: int = 2) -> Subject:
        """One that is there already."""
        subject = cls.__new__(cls)
        subject.laptop, subject.name, subject.instances, subject._configs = laptop, name, instances, 0
        return subject

    def config(self, model: str, **changes: Any) -> str:
        self._configs += 1
        changes = {"InitialInstanceCount": self.instances} | changes
        return create_config(self.laptop, f"{self.name}-{self._configs}", variant(model, **changes))

    def update(self, model: str, policy: dict[str, Any] | None = None, **params: Any) -> str:
        config = self.config(model, **params.pop("variant", {}))
        if policy is not None:
            params["DeploymentConfig"] = policy
        self.laptop.call("UpdateEndpoint", EndpointName=self.name, EndpointConfigName=config, **params)
        return config

    def describe(self) -> dict[str, Any]:
        return self.laptop.call("DescribeEndpoint", EndpointName=self.name)

    def until(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            described = self.describe()
            if condition(described):
                return described
            assert time.monotonic() < deadline, described

    def settled(self) -> dict[str, Any]:
        return self.until(lambda d: d["EndpointStatus"] not in ("Updating", "RollingBack"))

    def baking(self, share: float) -> dict[str, Any]:
        """Once the deployment bakes with that share of the requests."""
        return self.until(lambda d: stage(d) == ("Updating", share, "Baking"))

    def stages(self) -> list[tuple[str, float, str]]:
        """Every state of the deployment, as the event bus told it."""
        return [
            stage(event.detail)
            for event in list(self.laptop.events)
            if event.detail.get("EndpointName") == self.name and event.detail_type == DEPLOYMENT
        ]

    def delete(self) -> None:
        self.laptop.call("DeleteEndpoint", EndpointName=self.name)


def stage(described: dict[str, Any]) -> tuple[str, float, str]:
    """Status, the new fleet's share of the requests, and what the new variant does."""
    (pending,) = described.get("PendingDeploymentSummary", {}).get("ProductionVariants") or [{}]
    (status,) = pending.get("VariantStatus") or [{"Status": ""}]
    return described["EndpointStatus"], pending.get("CurrentWeight", 0.0), status["Status"]
