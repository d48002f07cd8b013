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
    """In order of time."""

    looks: list[Look] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


def read(events: Iterable[Mapping[str, Any]]) -> History:
    """``events`` as GetExecutionHistory gives them, oldest first, with their data."""
    history = History()
    for event in events:
        at = event["timestamp"].astimezone(UTC)
        if details := event.get("taskSucceededEventDetails"):
            _succeeded(history, at, details)
        elif details := event.get("taskScheduledEventDetails"):
            _scheduled(history, at, details)
    return history


def _succeeded(history: History, at: datetime, details: Mapping[str, Any]) -> None:
    output = _document(details.get("output"))
    if details["resource"] == "describeEndpoint" and "EndpointStatus" in output:
        history.looks.append(_look(at, output))
    payload = output.get("Payload")
    if isinstance(payload, dict) and payload.get("kind") in ("experiment", "shadow"):
        history.verdicts.append(Verdict(at, payload))


def _scheduled(history: History, at: datetime, details: Mapping[str, Any]) -> None:
    text = _CHANGES.get(details["resource"])
    parameters = _document(details.get("parameters"))
    if text is None or "EndpointName" not in parameters:
        return
    configuration = parameters.get("EndpointConfigName")
    history.changes.append(
        Change(
            at,
            parameters["EndpointName"],
            details["resource"],
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
