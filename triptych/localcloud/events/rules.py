"""Rules and their targets, as moto keeps them, looked up through the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from triptych.localcloud.events.inputs import target_input
from triptych.localcloud.events.outbox import AcceptedEvent, Delivery
from triptych.localcloud.events.patterns import InvalidPattern, compile_pattern

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud

_log = logging.getLogger(__name__)
DEFAULT_BUS = "default"


class Rules:
    """Asked anew for each batch of events: a rule counts from the moment its creation is acknowledged.

    A cache would miss the rules that CloudFormation makes without passing through EventBridge's API.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def enabled(self, bus: str) -> list[dict[str, Any]]:
        """The enabled rules of a bus, as ListRules has them; none for a bus that does not exist."""
        events = self._cloud.clients.get("events")
        try:
            pages = list(_pages(events.list_rules, "Rules", EventBusName=bus))
        except events.exceptions.ResourceNotFoundException:
            return []
        return [rule for rule in pages if str(rule.get("State", "ENABLED")).startswith("ENABLED")]

    def targets(self, rule: dict[str, Any]) -> list[dict[str, Any]]:
        """The rule's targets; none when it was deleted meanwhile."""
        events = self._cloud.clients.get("events")
        bus = rule.get("EventBusName") or DEFAULT_BUS
        try:
            return list(_pages(events.list_targets_by_rule, "Targets", Rule=rule["Name"], EventBusName=bus))
        except events.exceptions.ResourceNotFoundException:
            return []

    def route(self, events: list[AcceptedEvent]) -> list[Delivery]:
        """What the rules of the events' buses deliver."""
        deliveries: list[Delivery] = []
        rules = {bus: self.enabled(bus) for bus in {event.bus for event in events}}
        targets: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            for rule in rules[event.bus]:
                if _matches(rule, event.body):
                    found = targets.setdefault(rule["Arn"], []) or self.targets(rule)
                    targets[rule["Arn"]] = found
                    deliveries.extend(to_delivery(event, rule, target) for target in found)
        return deliveries


def to_delivery(event: AcceptedEvent, rule: dict[str, Any], target: dict[str, Any]) -> Delivery:
    ingested = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Delivery(
        event_id=event.body["id"],
        origin_arn=rule["Arn"],
        target=target,
        payload=target_input(target, event.body, rule["Arn"], ingested),
        hops=event.hops,
    )


def _matches(rule: dict[str, Any], event: dict[str, Any]) -> bool:
    pattern = rule.get("EventPattern")
    if not pattern or pattern == "{}":
        return False
    try:
        return compile_pattern(pattern)(event)
    except InvalidPattern as error:
        _log.warning("rule %s never matches: its event pattern is not valid: %s", rule["Arn"], error)
        return False


def _pages(call: Any, member: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    while True:
        page = call(**arguments)
        yield from page[member]
        if not page.get("NextToken"):
            return
        arguments["NextToken"] = page["NextToken"]
