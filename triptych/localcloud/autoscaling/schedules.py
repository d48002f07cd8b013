"""Scheduled actions: new bounds for a target at set times, by the clock that EventBridge's schedules have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from triptych.localcloud.autoscaling import answers
from triptych.localcloud.autoscaling.errors import invalid, not_found
from triptych.localcloud.autoscaling.records import Activity, Records, ScheduledAction, Target
from triptych.localcloud.autoscaling.variants import NAMESPACE, VariantId
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.events.clock import Schedule, ScheduleClock
from triptych.localcloud.events.expressions import InvalidExpression, parse_expression
from triptych.localcloud.events.outbox import Outbox
from triptych.localcloud.service import Params


class ScheduledActions:
    """The three operations, and the thread that carries actions out.

    ``bounds_changed`` is told the resource whose bounds an action has set.
    """

    def __init__(
        self,
        cloud: Cloud,
        records: Records,
        bounds_changed: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._settings = cloud.settings
        self._records = records
        self._bounds_changed = bounds_changed
        self._now = now
        self.clock = ScheduleClock(
            "autoscaling-clock",
            Outbox(cloud.home, "autoscaling-schedules"),
            self._schedules,
            self.fire,
            lambda: datetime.fromtimestamp(now(), UTC),
        )

    def start(self) -> None:
        self.clock.start()

    def stop(self) -> None:
        self.clock.stop()

    def changed(self) -> None:
        """A target has gone, and its actions with it."""
        self.clock.changed()

    # The API

    def put(self, params: Params) -> Params:
        resource_id, name = VariantId.parse(params["ResourceId"]).resource_id, params["ScheduledActionName"]
        if self._records.target(resource_id) is None:
            raise not_found("No scalable target registered", params)
        old = self._find(resource_id, name)
        schedule = params.get("Schedule") or (old.schedule if old else None)
        if schedule is None:
            raise invalid("Schedule must be given for a new scheduled action.")
        timezone = params.get("Timezone") or (old.timezone if old else None)
        _check_schedule(schedule, timezone)
        minimum, maximum = _bounds(params, old)
        path = f"scheduledAction:{uuid4()}:resource/{NAMESPACE}/{resource_id}:scheduledActionName/{name}"
        settings = self._settings
        arn = f"arn:{settings.partition}:autoscaling:{settings.region}:{settings.account_id}:{path}"
        self._records.put_scheduled_action(
            ScheduledAction(
                resource_id=resource_id,
                name=name,
                arn=old.arn if old else arn,
                schedule=schedule,
                created=old.created if old else self._now(),
                timezone=timezone,
                start=_seconds(params.get("StartTime")),
                end=_seconds(params.get("EndTime")),
                minimum=minimum,
                maximum=maximum,
            )
        )
        self.clock.changed()
        return {}

    def delete(self, params: Params) -> Params:
        name = params["ScheduledActionName"]
        resource_id = VariantId.parse(params["ResourceId"]).resource_id
        if not self._records.delete_scheduled_action(resource_id, name):
            raise not_found("No scheduled action found", params, f", scheduled action name: {name}")
        self.clock.changed()
        return {}

    def describe(self, params: Params) -> Params:
        names, resource_id = params.get("ScheduledActionNames"), params.get("ResourceId")
        found = [
            action
            for action in self._records.scheduled_actions()
            if (not names or action.name in names) and (not resource_id or action.resource_id == resource_id)
        ]
        shown, more = answers.page(found, params)
        return {"ScheduledActions": [answers.scheduled_action_answer(item) for item in shown], **more}

    # Firing

    def fire(self, arn: str, due: datetime) -> None:
        """Set the bounds of the action's target."""
        action = next((item for item in self._records.scheduled_actions() if item.arn == arn), None)
        target = self._records.target(action.resource_id) if action else None
        if action is None or target is None or target.suspended.get("ScheduledScalingSuspended"):
            return
        _, changed = self._records.put_target(target.resource_id, lambda old: _moved(old or target, action))
        now = self._now()
        bounds = f"min capacity to {changed.minimum} and max capacity to {changed.maximum}"
        self._records.put_activity(
            Activity(
                id=str(uuid4()),
                resource_id=target.resource_id,
                description=f"Setting {bounds}",
                cause=f"scheduled action name {action.name} was triggered",
                started=now,
                ended=now,
                status="Successful",
                message=f"Successfully set {bounds}",
            )
        )
        self._bounds_changed(target.resource_id)

    def _schedules(self) -> list[Schedule]:
        return [
            Schedule(
                arn=action.arn,
                expression=action.schedule,
                zone=action.timezone or "UTC",
                start=_moment(action.start),
                end=_moment(action.end),
            )
            for action in self._records.scheduled_actions()
        ]

    def _find(self, resource_id: str, name: str) -> ScheduledAction | None:
        return next(
            (
                item
                for item in self._records.scheduled_actions()
                if (item.resource_id, item.name) == (resource_id, name)
            ),
            None,
        )


def _moved(target: Target, action: ScheduledAction) -> Target:
    """The target within its new bounds; a bound that is set past the other one moves it along."""
    minimum = target.minimum if action.minimum is None else action.minimum
    maximum = target.maximum if action.maximum is None else action.maximum
    if action.minimum is None:
        minimum = min(minimum, maximum)
    return replace(target, minimum=minimum, maximum=max(minimum, maximum))


def _bounds(params: Params, old: ScheduledAction | None) -> tuple[int | None, int | None]:
    given = params.get("ScalableTargetAction")
    if given is None and old is not None:
        return old.minimum, old.maximum
    minimum, maximum = (given or {}).get("MinCapacity"), (given or {}).get("MaxCapacity")
    if minimum is None and maximum is None:
        raise invalid("ScalableTargetAction must set MinCapacity, MaxCapacity or both.")
    if minimum is not None and maximum is not None and maximum < minimum:
        raise invalid("Maximum capacity cannot be less than minimum capacity.")
    return minimum, maximum


def _check_schedule(expression: str, timezone: str | None) -> None:
    try:
        parse_expression(expression, timezone or "UTC")
    except InvalidExpression as error:
        raise invalid(f"Schedule is not valid: {error}.") from None


def _seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
