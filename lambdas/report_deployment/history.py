"""What an execution's history tells of its endpoints: every look at them, every change asked for, every verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_CHANGES = {
    "createEndpoint": "asked SageMaker to create endpoint {EndpointName} with configuration {EndpointConfigName}",
    "updateEndpoint": "asked SageMaker to bring configuration {EndpointConfigName} to endpoint {EndpointName}",
    "updateEndpointWeightsAndCapacities": "asked SageMaker for other weights or sizes on endpoint {EndpointName}",
    "deleteEndpoint": "asked SageMaker to delete endpoint {EndpointName}",
}
"""Actions on endpoints, by the resource that Step Functions names in its history"""


@dataclass(frozen=True)
class Fleet:
    """A variant of one configuration as DescribeEndpoint saw it; ``weight`` is its share before all are added up."""

    configuration: str
    variant: str
    weight: float
    instances: int | None
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """One answer of DescribeEndpoint."""

    at: datetime
    endpoint: str
    status: str
    configuration: str
    fleets: tuple[Fleet, ...]
    reason: str | None = None
    shadowed: frozenset[str] = frozenset()
    """the configurations that send copies of requests to a shadow"""

    def shares(self) -> dict[tuple[str, str], float]:
        """Each fleet's share of the requests, by configuration and variant; empty where nothing serves."""
        whole = sum(fleet.weight for fleet in self.fleets)
        if whole <= 0:
            return {}
        return {(fleet.configuration, fleet.variant): fleet.weight / whole for fleet in self.fleets}


@dataclass(frozen=True)
class Change:
    """Something was asked of an endpoint; ``configuration`` where one was named."""

    at: datetime
    endpoint: str
    action: str
    configuration: str | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """One look of an A/B experiment or a shadow test: what its function answered."""

    at: datetime
    answer: Mapping[str, Any]


@dataclass
class History:
    """In order of time. ``tests`` are the last answers of the endpoint test, by stage."""

    looks: list[Look] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    tests: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def read(events: Iterable[Mapping[str, Any]]) -> History:
    """``events`` as GetExecutionHistory gives them, oldest first, with their data."""
    history = History()
    stages: dict[int, str] = {}
    for event in events:
        at = event["timestamp"].astimezone(UTC)
        if details := event.get("taskSucceededEventDetails"):
            _succeeded(history, at, details, stages.get(event["previousEventId"]))
        elif details := event.get("taskScheduledEventDetails"):
            parameters = _document(details.get("parameters"))
            _scheduled(history, at, details["resource"], parameters)
            asked = parameters.get("Payload")
            if isinstance(asked, dict) and "stage" in asked:
                stages[event["id"]] = str(asked["stage"])
        elif event["previousEventId"] in stages:  # a task's events are a chain: scheduled, started, succeeded
            stages[event["id"]] = stages[event["previousEventId"]]
    return history


def _succeeded(history: History, at: datetime, details: Mapping[str, Any], stage: str | None) -> None:
    output = _document(details.get("output"))
    if details["resource"] == "describeEndpoint" and "EndpointStatus" in output:
        history.looks.append(_look(at, output))
    payload = output.get("Payload")
    if not isinstance(payload, dict):
        return
    if payload.get("kind") in ("experiment", "shadow"):
        history.verdicts.append(Verdict(at, payload))
    elif stage is not None and "verdict" in payload:
        history.tests[stage] = payload


def _scheduled(history: History, at: datetime, action: str, parameters: Mapping[str, Any]) -> None:
    text = _CHANGES.get(action)
    if text is None or "EndpointName" not in parameters:
        return
    configuration = parameters.get("EndpointConfigName")
    history.changes.append(
        Change(
            at,
            parameters["EndpointName"],
            action,
            configuration,
            text.format(
                EndpointName=parameters["EndpointName"], EndpointConfigName=configuration or "(unknown)"
            ),
        )
    )


def _look(at: datetime, answer: Mapping[str, Any]) -> Look:
    configuration = str(answer.get("EndpointConfigName") or "")
    pending = answer.get("PendingDeploymentSummary") or {}
    fleets = [_fleet(configuration, variant) for variant in answer.get("ProductionVariants") or []]
    fleets += [
        _fleet(str(pending.get("EndpointConfigName") or ""), variant)
        for variant in pending.get("ProductionVariants") or []
    ]
    return Look(
        at,
        str(answer["EndpointName"]),
        str(answer["EndpointStatus"]),
        configuration,
        tuple(fleets),
        answer.get("FailureReason"),
        frozenset(
            str(one.get("EndpointConfigName") or "")
            for one in (answer, pending)
            if one.get("ShadowProductionVariants")
        ),
    )


def _fleet(configuration: str, variant: Mapping[str, Any]) -> Fleet:
    stages = variant.get("VariantStatus") or []
    return Fleet(
        configuration,
        str(variant["VariantName"]),
        float(variant.get("CurrentWeight") or 0.0),
        variant.get("CurrentInstanceCount"),
        tuple(str(stage.get("StatusMessage") or stage["Status"]) for stage in stages),
    )


def _document(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``; empty for anything else, and for what Step Functions cut off."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
