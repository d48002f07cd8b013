"""The thread that evaluates alarms once a second, and what a change of state sets off."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.localcloud.bus import AlarmChanged, Bus
from triptych.localcloud.cloudwatch.actions import ActionCourier, action, is_scaling, state_event
from triptych.localcloud.cloudwatch.alarms import COMPOSITE, METRIC, Alarm, AlarmStore, HistoryItem
from triptych.localcloud.cloudwatch.evaluation import ALARM, INSUFFICIENT_DATA, OK, timestamp
from triptych.localcloud.cloudwatch.messages import state_history
from triptych.localcloud.cloudwatch.rules import Rule, parse_rule
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.cloudwatch.watch import Watch, watch

_log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SET_STATE_HELD = timedelta(seconds=10)
"""how long a state that somebody has set stays before the alarm is evaluated again"""
_LARGEST_SHARE = 0.05
"""of one core, for one alarm: costly ones (percentiles over long windows) are evaluated less often"""
_LARGEST_LOAD = 0.25
"""of one core, for all alarms together"""
_ROLL_UP_SECONDS = 600.0


def utc_now() -> datetime:
    """Now, in whole milliseconds: as times are kept."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class AlarmEvaluator:
    """Metric alarms by the clock; composite alarms whenever one of their children has changed."""

    def __init__(
        self,
        alarms: AlarmStore,
        metrics: MetricStore,
        bus: Bus,
        courier: ActionCourier,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._alarms = alarms
        self._metrics = metrics
        self._bus = bus
        self._courier = courier
        self._now = now
        self._watches: dict[str, tuple[dict[str, Any], Watch]] = {}
        self._rules: dict[str, tuple[dict[str, Any], Rule]] = {}
        self._held_until: dict[str, datetime] = {}
        self._next_at: dict[str, float] = {}
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="cloudwatch alarms", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def wake(self) -> None:
        """Evaluate soon: an alarm is new."""
        self._wake.set()

    def _run(self) -> None:
        rolled_up = -_ROLL_UP_SECONDS
        while not self._stopped.is_set():
            started, began = time.monotonic(), time.thread_time()
            try:
                self._metrics.flush()
                self._evaluate_due(started)
                if started - rolled_up >= _ROLL_UP_SECONDS:
                    rolled_up = started
                    self._metrics.roll_up(self._now())
                    self._alarms.forget_old_history(self._now())
            except Exception:
                _log.exception("alarms could not be evaluated")
            busy = (time.thread_time() - began) / _LARGEST_LOAD
            self._wake.wait(max(0.05, TICK_SECONDS - (time.monotonic() - started), busy))
            self._wake.clear()

    def _evaluate_due(self, now: float) -> None:
        for alarm in self._alarms.all():
            if self._stopped.is_set():
                return
            if alarm.kind == METRIC and now >= self._next_at.get(alarm.name, 0.0):
                began = time.thread_time()
                self._evaluate_safely(alarm)
                self._next_at[alarm.name] = now + (time.thread_time() - began) / _LARGEST_SHARE

    def evaluate_all(self) -> None:
        """Every metric alarm, once."""
        for alarm in self._alarms.all():
            if alarm.kind == METRIC:
                self._evaluate_safely(alarm)

    def _evaluate_safely(self, alarm: Alarm) -> None:
        try:
            self.evaluate(alarm)
        except Exception:
            _log.exception("alarm %s could not be evaluated", alarm.name)

    def evaluate(self, alarm: Alarm) -> None:
        """One metric alarm, now."""
        now = self._now()
        held = self._held_until.get(alarm.name)
        if held is not None:
            if now < held:
                return
            self._held_until.pop(alarm.name, None)
        verdict, data = self._watch(alarm).judged(self._metrics, now)
        if verdict.state is None or verdict.state == alarm.state:
            return
        self.change(alarm, verdict.state, verdict.reason, json.dumps(data))

    def change(
        self,
        alarm: Alarm,
        state: str,
        reason: str,
        reason_data: str,
        hold: bool = False,
        causes: tuple[str, ...] = (),
    ) -> Alarm | None:
        """Bring an alarm into a state, with all that follows; None where the alarm is no longer as given.

        With ``hold`` it is brought there in any case, and stays for a while, whatever the metric says.
        ``causes`` are the alarms whose changes have led here: composite alarms may refer to each other.
        """
        with self._alarms.lock:
            previous = self._alarms.get(alarm.name)
            if previous is None or not (hold or previous is alarm):
                return None
            now = self._now()
            if hold:
                self._held_until[alarm.name] = now + SET_STATE_HELD
            changed = previous.state != state
            alarm = replace(
                previous,
                state=state,
                reason=reason,
                reason_data=reason_data,
                updated_at=now,
                transitioned_at=now if changed else previous.transitioned_at,
            )
            if not changed:
                self._alarms.save(alarm)
                return alarm
            taken = alarm.actions(state) if alarm.actions_enabled else ()
            self._alarms.save(
                alarm,
                history=[
                    HistoryItem(
                        alarm.name,
                        alarm.kind,
                        now,
                        "StateUpdate",
                        f"Alarm updated from {previous.state} to {state}",
                        state_history(alarm, previous),
                    )
                ],
                deliveries=[
                    state_event(alarm, previous),
                    *(action(alarm, previous, target) for target in taken if not is_scaling(target)),
                ],
            )
        _log.info("alarm %s: %s -> %s (%s)", alarm.name, previous.state, state, reason)
        self._courier.wake()
        self._publish(alarm, previous.state)
        self.evaluate_parents(alarm, causes)
        return alarm

    def evaluate_parents(self, child: Alarm, causes: tuple[str, ...] = ()) -> None:
        """Composite alarms whose rules ask about an alarm that has changed or gone."""
        path = (*causes, child.name)
        for parent in self._alarms.all():
            if (
                parent.kind == COMPOSITE
                and parent.name not in path
                and child.name in self._rule(parent).children
            ):
                self.evaluate_composite(parent, child, path)

    def evaluate_composite(
        self, composite: Alarm, trigger: Alarm | None = None, causes: tuple[str, ...] = ()
    ) -> None:
        """One composite alarm; ``trigger`` is the child whose change asks for it (None: its own change)."""
        # Again where somebody has changed the alarm between the look and the change.
        while (current := self._alarms.get(composite.name)) is not None:
            rule = self._rule(current)
            state = ALARM if rule.holds(self._state_of) else OK
            if state == current.state:
                return
            reason = self._composite_reason(current, state, trigger)
            shown = [trigger] if trigger else [self._alarms.get(name) for name in rule.children]
            data = {
                "triggeringAlarms": [
                    {"arn": one.arn, "state": {"value": one.state, "timestamp": timestamp(one.updated_at)}}
                    for one in shown
                    if one is not None
                ]
            }
            if self.change(current, state, reason, json.dumps(data), causes=causes) is not None:
                return

    def _composite_reason(self, composite: Alarm, state: str, trigger: Alarm | None) -> str:
        if trigger is not None:
            moment = f"{self._now():%A %d %B, %Y %H:%M:%S} UTC"
            return f"{trigger.arn} transitioned to {trigger.state} at {moment}"
        verb = "created" if composite.configured_at <= composite.updated_at else "updated"
        return f"{composite.arn} was {verb} and its alarm rule evaluates to {state}"

    def forget(self, name: str) -> None:
        """An alarm is gone."""
        for kept in (self._watches, self._rules, self._held_until, self._next_at):
            kept.pop(name, None)

    def _state_of(self, name: str) -> str:
        child = self._alarms.get(name)
        return child.state if child is not None else INSUFFICIENT_DATA

    def _publish(self, alarm: Alarm, previous: str) -> None:
        self._bus.publish(
            AlarmChanged(
                name=alarm.name,
                arn=alarm.arn,
                state=alarm.state,
                previous=previous,
                reason=alarm.reason,
                reason_data=_loaded(alarm.reason_data),
                at=alarm.updated_at,
            )
        )

    def _watch(self, alarm: Alarm) -> Watch:
        known = self._watches.get(alarm.name)
        if known is None or known[0] is not alarm.config:
            known = self._watches[alarm.name] = (alarm.config, watch(alarm.config))
        return known[1]

    def _rule(self, alarm: Alarm) -> Rule:
        known = self._rules.get(alarm.name)
        if known is None or known[0] is not alarm.config:
            known = self._rules[alarm.name] = (alarm.config, parse_rule(alarm.config["AlarmRule"]))
        return known[1]


def _loaded(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
