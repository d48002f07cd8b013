"""The services ``events`` and ``scheduler``: delivery and firing are ours, the records stay moto's."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from triptych.localcloud.bus import ServiceEvent
from triptych.localcloud.events.clock import Schedule, ScheduleClock
from triptych.localcloud.events.courier import Courier
from triptych.localcloud.events.expressions import InvalidExpression, parse_expression
from triptych.localcloud.events.outbox import AcceptedEvent, Delivery, Outbox
from triptych.localcloud.events.patterns import InvalidPattern, compile_pattern
from triptych.localcloud.events.rules import DEFAULT_BUS, Rules, to_delivery
from triptych.localcloud.events.targets import Targets
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud

_log = logging.getLogger(__name__)

_MOST_ENTRIES = 10
_MOST_BYTES = 256 * 1024


class EventsService:
    """PutEvents, the delivery to rules' targets, and rules with a schedule.

    Archives and replays are not fed: moto keeps their records only.
    """

    service_id = "events"

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._rules = Rules(cloud)
        self._outbox = Outbox(cloud.home, "events")
        self._courier = Courier("events", self._outbox, Targets(cloud, self._accept), self._rules.route)
        self._clock = ScheduleClock("events-clock", self._outbox, self._scheduled_rules, self._fire)
        self.operations: Mapping[str, Operation] = {
            "PutEvents": self._put_events,
            "TestEventPattern": self._test_event_pattern,
            "PutRule": self._put_rule,
            "DeleteRule": self._change_rule,
            "EnableRule": self._change_rule,
            "DisableRule": self._change_rule,
        }
        cloud.bus.subscribe(ServiceEvent, self._service_event)

    def start(self) -> None:
        self._courier.start()
        self._clock.start()

    def stop(self) -> None:
        self._clock.stop()
        self._courier.stop()

    # --- operations ---

    def _put_events(self, context: RequestContext, params: Params) -> Params:
        entries = params.get("Entries") or []
        if not 1 <= len(entries) <= _MOST_ENTRIES:
            raise ServiceError(
                "ValidationException",
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must "
                f"have length between 1 and {_MOST_ENTRIES}, got {len(entries)}.",
            )
        if sum(map(_size_bytes, entries)) > _MOST_BYTES:
            raise ServiceError(
                "ValidationException", "Total size of the entries in the request is over the limit."
            )
        answers: list[Params] = []
        for entry in entries:
            error = _entry_error(entry)
            if error is not None:
                answers.append({"ErrorCode": error[0], "ErrorMessage": error[1]})
                continue
            event = self._event(
                source=entry["Source"],
                detail_type=entry["DetailType"],
                detail=json.loads(entry["Detail"]),
                resources=entry.get("Resources") or [],
                time=_moment(entry.get("Time")),
                region=context.region,
            )
            bus = str(entry.get("EventBusName") or DEFAULT_BUS).split(":event-bus/")[-1]
            self._accept(bus, event)
            answers.append({"EventId": event["id"]})
        return {
            "FailedEntryCount": sum("ErrorCode" in answer for answer in answers),
            "Entries": answers,
        }

    def _test_event_pattern(self, context: RequestContext, params: Params) -> Params:
        predicate = _checked_pattern(params["EventPattern"])
        try:
            event = json.loads(params["Event"])
        except ValueError:
            raise ServiceError("ValidationException", "Parameter Event is not valid JSON.") from None
        return {"Result": predicate(event)}

    def _put_rule(self, context: RequestContext, params: Params) -> Params:
        if params.get("EventPattern"):
            _checked_pattern(params["EventPattern"])
        if params.get("ScheduleExpression"):
            try:
                parse_expression(params["ScheduleExpression"])
            except InvalidExpression as error:
                raise ServiceError(
                    "ValidationException", f"Parameter ScheduleExpression is not valid. {error}"
                ) from None
        return self._change_rule(context, params)

    def _change_rule(self, context: RequestContext, params: Params) -> Params:
        assert context.forward is not None
        answer = context.forward(params)
        self._clock.changed()
        return answer

    # --- events ---

    def _service_event(self, message: ServiceEvent) -> None:
        event = self._event(
            source=message.source,
            detail_type=message.detail_type,
            detail=message.detail,
            resources=list(message.resources),
            time=message.time,
            region=self._cloud.settings.region,
            event_id=message.id,
        )
        self._accept(DEFAULT_BUS, event)

    def _accept(self, bus: str, event: dict[str, Any], hops: int = 0) -> None:
        self._outbox.accept(bus, event, hops)
        self._courier.wake()

    def _event(
        self,
        *,
        source: str,
        detail_type: str,
        detail: Any,
        resources: list[str],
        time: datetime,
        region: str,
        event_id: str | None = None,
    ) -> dict[str, Any]:
        return {
            "version": "0",
            "id": event_id or str(uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self._cloud.settings.account_id,
            "time": time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": region,
            "resources": resources,
            "detail": detail,
        }

    # --- scheduled rules ---

    def _scheduled_rules(self) -> list[Schedule]:
        return [
            Schedule(rule["Arn"], rule["ScheduleExpression"])
            for rule in self._rules.enabled(DEFAULT_BUS)
            if rule.get("ScheduleExpression")
        ]

    def _fire(self, rule_arn: str, due: datetime) -> None:
        """The event goes to this rule's targets only, whatever patterns other rules have."""
        rule = next((rule for rule in self._rules.enabled(DEFAULT_BUS) if rule["Arn"] == rule_arn), None)
        if rule is None:
            return
        body = self._event(
            source="aws.events",
            detail_type="Scheduled Event",
            detail={},
            resources=[rule_arn],
            time=due,
            region=self._cloud.settings.region,
            event_id=str(uuid5(NAMESPACE_URL, f"{rule_arn} {due.isoformat()}")),
        )
        event = AcceptedEvent(seq=-1, bus=DEFAULT_BUS, hops=0, body=body)
        self._outbox.route([], [to_delivery(event, rule, target) for target in self._rules.targets(rule)])
        self._courier.wake()


class SchedulerService:
    """EventBridge Scheduler: its schedules fire. Records stay moto's."""

    service_id = "scheduler"

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._outbox = Outbox(cloud.home, "scheduler")
        self._courier = Courier("scheduler", self._outbox, Targets(cloud))
        self._clock = ScheduleClock("scheduler-clock", self._outbox, self._schedules, self._fire)
        self._found: dict[str, dict[str, Any]] = {}
        """the schedules by ARN, as GetSchedule has them, of the last look"""
        self.operations: Mapping[str, Operation] = {
            "CreateSchedule": self._put_schedule,
            "UpdateSchedule": self._put_schedule,
            "DeleteSchedule": self._change_schedule,
            "DeleteScheduleGroup": self._change_schedule,
        }

    def start(self) -> None:
        self._courier.start()
        self._clock.start()

    def stop(self) -> None:
        self._clock.stop()
        self._courier.stop()

    def _put_schedule(self, context: RequestContext, params: Params) -> Params:
        zone = params.get("ScheduleExpressionTimezone") or "UTC"
        try:
            parse_expression(params["ScheduleExpression"], zone)
        except InvalidExpression as error:
            raise ServiceError("ValidationException", f"Invalid Schedule Expression. {error}") from None
        return self._change_schedule(context, params)

    def _change_schedule(self, context: RequestContext, params: Params) -> Params:
        assert context.forward is not None
        answer = context.forward(params)
        self._clock.changed()
        return answer

    def _schedules(self) -> list[Schedule]:
        client = self._cloud.clients.get("scheduler")
        found: dict[str, dict[str, Any]] = {}
        arguments: dict[str, Any] = {}
        while True:
            page = client.list_schedules(**arguments)
            for summary in page["Schedules"]:
                record = self._record(client, summary)
                if record is not None:
                    found[record["Arn"]] = record
            if not page.get("NextToken"):
                break
            arguments["NextToken"] = page["NextToken"]
        self._found = found
        return [_to_schedule(record) for record in found.values() if record.get("State") != "DISABLED"]

    def _record(self, client: Any, summary: dict[str, Any]) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = client.get_schedule(GroupName=summary["GroupName"], Name=summary["Name"])
        except client.exceptions.ResourceNotFoundException:
            return None
        return record

    def _fire(self, arn: str, due: datetime) -> None:
        record = self._found[arn]
        event_id = str(uuid5(NAMESPACE_URL, f"{arn} {record.get('LastModificationDate')} {due.isoformat()}"))
        time = due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        payload = record["Target"].get("Input") or self._default_input(arn, event_id, time)
        for keyword, value in (("schedule-arn", arn), ("scheduled-time", time), ("execution-id", event_id)):
            payload = payload.replace(f"<aws.scheduler.{keyword}>", value)
        self._outbox.route([], [Delivery(event_id, arn, record["Target"], payload)])
        self._courier.wake()
        if record.get("ActionAfterCompletion") == "DELETE" and _is_last(record, due):
            self._cloud.clients.get("scheduler").delete_schedule(
                GroupName=record["GroupName"], Name=record["Name"]
            )

    def _default_input(self, arn: str, event_id: str, time: str) -> str:
        event = {
            "version": "0",
            "id": event_id,
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": self._cloud.settings.account_id,
            "time": time,
            "region": self._cloud.settings.region,
            "resources": [arn],
            "detail": "{}",
        }
        return json.dumps(event, separators=(",", ":"))


def _to_schedule(record: dict[str, Any]) -> Schedule:
    window = record.get("FlexibleTimeWindow") or {}
    minutes = window.get("MaximumWindowInMinutes") or 0 if window.get("Mode") == "FLEXIBLE" else 0
    return Schedule(
        arn=record["Arn"],
        expression=record["ScheduleExpression"],
        zone=record.get("ScheduleExpressionTimezone") or "UTC",
        start=record.get("StartDate"),
        end=record.get("EndDate"),
        window_seconds=minutes * 60,
        fires_when_created=True,
    )


def _is_last(record: dict[str, Any], due: datetime) -> bool:
    expression = parse_expression(
        record["ScheduleExpression"], record.get("ScheduleExpressionTimezone") or "UTC"
    )
    following = expression.next_after(due, record.get("StartDate") or due)
    return following is None or (record.get("EndDate") is not None and following > record["EndDate"])


def _checked_pattern(text: str) -> Any:
    try:
        return compile_pattern(text)
    except InvalidPattern as error:
        raise ServiceError(
            "InvalidEventPatternException", f"Event pattern is not valid. Reason: {error}"
        ) from None


def _entry_error(entry: Params) -> tuple[str, str] | None:
    """Why one entry is refused, as EventBridge says it; the others are taken."""
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            return "InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument."
    if entry["Source"].startswith("aws."):
        return "NotAuthorizedForSourceException", "Not authorized for the source."
    try:
        detail = json.loads(entry["Detail"])
    except (ValueError, RecursionError):
        return "MalformedDetail", "Detail is malformed."
    return None if isinstance(detail, dict) else ("MalformedDetail", "Detail is malformed.")


def _size_bytes(entry: Params) -> int:
    """As EventBridge counts: 14 bytes for a time, and the UTF-8 of the rest."""
    texts = [str(entry.get(name) or "") for name in ("Source", "DetailType", "Detail")]
    return sum(len(text.encode()) for text in [*texts, *(entry.get("Resources") or [])]) + (
        14 if entry.get("Time") else 0
    )


def _moment(time: Any) -> datetime:
    if not isinstance(time, datetime):
        return datetime.now(UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
