"""The thread that fires schedules when they are due."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from triptych.localcloud.events.expressions import At, Expression, InvalidExpression, Rate, parse_expression
from triptych.localcloud.events.outbox import Outbox

_log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 5.0
"""how long a schedule that was made behind the API's back (CloudFormation) may stay unseen"""
_PAST = timedelta(microseconds=1)


@dataclass(frozen=True)
class Schedule:
    """One schedule, of a rule or of EventBridge Scheduler."""

    arn: str
    expression: str
    zone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None
    window_seconds: float = 0.0
    """fires at a random moment of this window"""
    fires_when_created: bool = False
    """a rate without a start date begins at once (EventBridge Scheduler), not after one period (rules)"""


@dataclass(frozen=True)
class _Plan:
    """When a schedule fires next."""

    expression: Expression
    anchor: datetime
    """where a rate counts from"""
    due: datetime
    """the time that the expression names"""
    moment: datetime
    """the moment within the window"""


class ScheduleClock:
    """Keeps each schedule's next firing. What was due while the process was down is not caught up.

    ``list_schedules`` is asked every few seconds and when ``changed`` is called; ``fire`` gets the ARN and
    the time that the expression names, and must be quick.
    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        list_schedules: Callable[[], list[Schedule]],
        fire: Callable[[str, datetime], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._list = list_schedules
        self._fire = fire
        self._now = now
        self._plans: dict[Schedule, _Plan | None] = {}
        """None for a schedule that does not fire any more"""
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def changed(self) -> None:
        """A schedule was made, changed or deleted."""
        self._wake.set()

    def tick(self) -> datetime | None:
        """Look at the schedules, fire what is due, answer when the next one is."""
        now = self._now()
        schedules = self._list()
        known, self._plans = self._plans, {}
        for schedule in schedules:
            self._plans[schedule] = known[schedule] if schedule in known else self._first(schedule, now)
        if known.keys() - self._plans.keys():
            self._outbox.keep_anchors(schedule.arn for schedule in schedules)
        for schedule, plan in list(self._plans.items()):
            if plan is not None and plan.moment <= now:
                self._plans[schedule] = _plan(
                    schedule, plan.expression, plan.anchor, max(plan.due, now - _PAST)
                )
                self._fire(schedule.arn, plan.due)
        return min((plan.moment for plan in self._plans.values() if plan is not None), default=None)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            pause = _LOOK_AGAIN_SECONDS
            try:
                due = self.tick()
                if due is not None:
                    pause = min(pause, max(0.0, (due - self._now()).total_seconds()))
            except Exception:
                _log.exception("%s: trying again in %s s", self._name, pause)
            self._wake.wait(pause)

    def _first(self, schedule: Schedule, now: datetime) -> _Plan | None:
        """The plan of a schedule not seen before in this process."""
        try:
            expression = parse_expression(schedule.expression, schedule.zone)
        except InvalidExpression as error:
            _log.warning("schedule %s never fires: %s", schedule.arn, error)
            return None
        version = f"{schedule.expression} {schedule.zone} {schedule.start}"
        seconds, is_new = self._outbox.anchor(schedule.arn, version, now.timestamp())
        anchor, after = schedule.start or datetime.fromtimestamp(seconds, UTC), now
        if schedule.start is not None and schedule.start > now and not isinstance(expression, At):
            after = schedule.start - _PAST
        elif (
            schedule.start is None and is_new and schedule.fires_when_created and isinstance(expression, Rate)
        ):
            after = anchor - _PAST
        return _plan(schedule, expression, anchor, after)


def _plan(schedule: Schedule, expression: Expression, anchor: datetime, after: datetime) -> _Plan | None:
    due = expression.next_after(after, anchor)
    if due is None or (schedule.end is not None and due > schedule.end):
        return None
    return _Plan(expression, anchor, due, due + timedelta(seconds=random.uniform(0, schedule.window_seconds)))
