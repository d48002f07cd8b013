"""The thread that changes instance counts: because of alarms, of new bounds, and until each change is made."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from triptych.localcloud.autoscaling import readings
from triptych.localcloud.autoscaling.changes import Changes
from triptych.localcloud.autoscaling.readings import AlarmView
from triptych.localcloud.autoscaling.records import Activity, Policy, Records, Target
from triptych.localcloud.autoscaling.rules import (
    Bounds,
    LastChange,
    Proposal,
    decide,
    stepped_count,
    tracked_count,
)
from triptych.localcloud.autoscaling.steps import DEFAULT_COOLDOWN_SECONDS
from triptych.localcloud.autoscaling.timing import Timing
from triptych.localcloud.autoscaling.tracking import scaled_target
from triptych.localcloud.autoscaling.variants import VariantId, Variants, VariantState
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.cloudwatch.store import Datum
from triptych.localcloud.service import ServiceError

_log = logging.getLogger(__name__)

_AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "Minimum": min,
    "Maximum": max,
    "Average": lambda values: sum(values) / len(values),
}


class Scaler:
    """Follows alarms and bounds; ``forget`` deregisters a target.

    Its thread sleeps until an alarm changes, bounds change, or something is due; ``tick`` does what is due.

    While an alarm stays in the state that calls a policy, the policy is asked again each period. While an
    endpoint is changing, everything that concerns it waits.
    """

    def __init__(
        self,
        cloud: Cloud,
        records: Records,
        timing: Timing,
        forget: Callable[[Target], None],
        now: Callable[[], float],
    ) -> None:
        self._cloud = cloud
        self._records = records
        self._timing = timing
        self._now = now
        self._forget = forget
        self._changes = Changes(records, Variants(cloud.clients), now)
        self._lock = threading.Lock()
        self._watched: dict[str, float] = {}
        """alarm -> when to look at it again"""
        self._bounds_changed: set[str] = set()
        """targets whose count may be out of bounds"""
        self._deleted: list[tuple[str, float]] = []
        """endpoints and when they were deleted"""
        self._rescan = True
        """alarms in ALARM are to be found anew: at the start, and for new policies"""
        self._next_zeros = 0.0
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            self._bounds_changed |= {target.resource_id for target in self._records.targets()}
        self._thread = threading.Thread(target=self._run, name="autoscaling", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is under way is found again by the next start."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    # What the others tell

    def alarm_changed(self, name: str) -> None:
        """An alarm went into another state; quick."""
        with self._lock:
            self._watched[name] = 0.0
        self._wake.set()

    def bounds_changed(self, resource_id: str) -> None:
        """A target is new, or its minimum or maximum changed; quick."""
        with self._lock:
            self._bounds_changed.add(resource_id)
        self._wake.set()

    def policies_changed(self) -> None:
        """There is a new policy; quick."""
        with self._lock:
            self._rescan = True
        self._wake.set()

    def endpoint_deleted(self, name: str, at: float) -> None:
        """Its variants, as far as they were registered before, are no scalable targets any more; quick."""
        with self._lock:
            self._deleted.append((name, at))
        self._wake.set()

    # The thread

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            pause: float | None = self._timing.look_seconds
            try:
                pause = self.tick()
            except Exception:
                if not self._stopped.is_set():
                    _log.exception("autoscaling: trying again in %s s", pause)
            self._wake.wait(pause)

    def tick(self) -> float | None:
        """Do what is due; answers in how many seconds to come again, None for when something happens."""
        now = self._now()
        self._forget_deleted()
        self._changes.settle()
        dues = [self._emit_zeros(now), self._keep_bounds(), self._follow(now)]
        if self._records.activities_under_way():
            dues.append(self._timing.look_seconds)
        pauses = [due for due in dues if due is not None]
        return max(0.0, min(pauses)) if pauses else None

    def _forget_deleted(self) -> None:
        with self._lock:
            deleted = list(self._deleted)
        for item in deleted:
            name, at = item
            for target in self._records.targets():
                if VariantId.parse(target.resource_id).endpoint == name and target.created <= at:
                    self._forget(target)
            with self._lock:
                self._deleted.remove(item)

    def _emit_zeros(self, now: float) -> float | None:
        """A variant without traffic has zero invocations, not no data: it scales in to its minimum."""
        followed = [
            VariantId.parse(policy.resource_id)
            for policy in self._records.policies()
            if "PredefinedMetricSpecification" in policy.configuration
        ]
        if not followed:
            return None
        if now >= self._next_zeros:
            self._next_zeros = now + self._timing.period_seconds / 2
            moment = datetime.fromtimestamp(now, UTC)
            self._cloud.metrics.put(
                Datum(
                    "AWS/SageMaker",
                    "InvocationsPerInstance",
                    (("EndpointName", item.endpoint), ("VariantName", item.variant)),
                    moment,
                    0.0,
                )
                for item in followed
            )
        return self._next_zeros - now

    def _keep_bounds(self) -> float | None:
        """Bring counts that are out of new bounds within them, once their endpoints are in service."""
        with self._lock:
            changed = sorted(self._bounds_changed)
        waiting = False
        for resource_id in changed:
            with self._lock:
                self._bounds_changed.discard(resource_id)
            kept = False
            try:
                kept = self._keep_bound(resource_id)
            finally:
                if not kept:
                    waiting = True
                    with self._lock:
                        self._bounds_changed.add(resource_id)
        return self._timing.look_seconds if waiting else None

    def _keep_bound(self, resource_id: str) -> bool:
        """False while the endpoint is changing. Of a variant that is not in service nothing is changed."""
        target = self._records.target(resource_id)
        if target is None:
            return True
        try:
            state = self._changes.ready(target)
        except ServiceError:
            return True
        if state is None:
            return False
        if state.count < target.minimum:
            self._changes.begin(
                target, state, target.minimum, f"minimum capacity was set to {target.minimum}"
            )
        elif state.count > target.maximum:
            self._changes.begin(
                target, state, target.maximum, f"maximum capacity was set to {target.maximum}"
            )
        return True

    # Alarms

    def _follow(self, now: float) -> float | None:
        policies = self._records.policies()
        with self._lock:
            if not policies:
                self._watched.clear()
                return None
            rescan, self._rescan = self._rescan, False
        if rescan:
            try:
                acting = [alarm.name for alarm in readings.alarms_in_alarm(self._cloud) if alarm.actions]
            except BaseException:
                self._rescan = True
                raise
            with self._lock:
                self._watched = dict.fromkeys(acting, 0.0) | self._watched
        with self._lock:
            watched = dict(self._watched)
        if any(due <= now for due in watched.values()):
            self._look(watched, policies, now)
        with self._lock:
            return min((due - now for due in self._watched.values()), default=None)

    def _look(self, watched: dict[str, float], policies: list[Policy], now: float) -> None:
        """Ask the policies that the alarms which are due call."""
        tracking = [name for policy in policies for name in policy.alarms.values()]
        alarms = readings.alarms_named(self._cloud, [*watched, *tracking])
        called: dict[str, list[tuple[Policy, AlarmView]]] = defaultdict(list)
        dues: dict[str, float | None] = {name: None for name in watched if name not in alarms}
        for name in watched.keys() & alarms.keys():
            asked = [policy for policy in policies if _calls(alarms[name], policy)]
            for policy in asked:
                called[policy.resource_id].append((policy, alarms[name]))
            if not asked:
                dues[name] = None
        for resource_id, calls in called.items():
            due = [alarm.name for _, alarm in calls if watched[alarm.name] <= now]
            if not due:
                continue
            stable = self._ask(resource_id, calls, policies, alarms, now)
            for name in due:
                dues[name] = now + (alarms[name].period_seconds if stable else self._timing.look_seconds)
        with self._lock:
            for name, next_look in dues.items():
                if self._watched.get(name) != watched[name]:
                    continue  # it has changed meanwhile
                if next_look is None:
                    del self._watched[name]
                else:
                    self._watched[name] = next_look

    def _ask(
        self,
        resource_id: str,
        calls: Iterable[tuple[Policy, AlarmView]],
        policies: list[Policy],
        alarms: dict[str, AlarmView],
        now: float,
    ) -> bool:
        """Decide and act on one target; False while its endpoint is changing."""
        target = self._records.target(resource_id)
        if target is None:
            return True
        try:
            state = self._changes.ready(target)
        except ServiceError:
            return True
        if state is None:
            return False
        last = _last_change(self._records.last_change(resource_id))
        ready_to_scale_in = all(
            policy.alarms["low"] in alarms and alarms[policy.alarms["low"]].state == "ALARM"
            for policy in policies
            if policy.resource_id == resource_id and "low" in policy.alarms
        )
        proposals = []
        for policy, alarm in calls:
            if policy.type == "StepScaling":
                proposal = self._stepped(policy, alarm, state.count, last, now)
            else:
                proposal = self._tracked(policy, alarm, state.count, last, now)
                if proposal is not None and proposal.wanted < state.count and not ready_to_scale_in:
                    continue
            if proposal is not None:
                proposals.append(proposal)
        decision = decide(state.count, _bounds(target, state), proposals, last, now)
        if decision is None:
            return True
        proposal = decision.proposal
        if decision.count is None:
            self._changes.not_scaled(target, decision.reason, proposal.cause)
        else:
            self._changes.begin(target, state, decision.count, proposal.cause, proposal.cooldown_seconds)
        return True

    def _tracked(
        self, policy: Policy, alarm: AlarmView, current: int, last: LastChange | None, now: float
    ) -> Proposal | None:
        values = readings.recent_values(self._cloud, alarm, now, last.ended if last else 0.0)
        if not values:
            return None
        outwards = alarm.name == policy.alarms.get("high")
        # Out by what there is now; in only as far as every period allows.
        metric = values[-1] if outwards else max(values)
        wanted = tracked_count(current, metric, scaled_target(policy, self._timing))
        if wanted == current or (wanted > current) != outwards:
            return None
        member = "ScaleOutCooldown" if outwards else "ScaleInCooldown"
        return _proposal(wanted, policy, alarm, policy.configuration.get(member))

    def _stepped(
        self, policy: Policy, alarm: AlarmView, current: int, last: LastChange | None, now: float
    ) -> Proposal | None:
        values = readings.recent_values(self._cloud, alarm, now, 0.0)
        if not values:
            return None
        steps = policy.configuration
        metric = _AGGREGATES[steps.get("MetricAggregationType") or "Average"](values)
        wanted = stepped_count(current, metric, alarm.threshold, steps, last, now)
        return None if wanted is None else _proposal(wanted, policy, alarm, steps.get("Cooldown"))


def _calls(alarm: AlarmView, policy: Policy) -> bool:
    """Whether the alarm, in its present state, has the policy as its action."""
    return policy.arn in alarm.actions or policy.action_arn in alarm.actions


def _proposal(wanted: int, policy: Policy, alarm: AlarmView, cooldown_seconds: float | None) -> Proposal:
    cause = f"monitor alarm {alarm.name} in state {alarm.state} triggered policy {policy.name}"
    return Proposal(wanted, cause, DEFAULT_COOLDOWN_SECONDS if cooldown_seconds is None else cooldown_seconds)


def _bounds(target: Target, state: VariantState) -> Bounds:
    minimum = target.minimum if state.may_be_empty else max(1, target.minimum)
    return Bounds(
        minimum,
        target.maximum,
        in_suspended=target.suspended.get("DynamicScalingInSuspended", False),
        out_suspended=target.suspended.get("DynamicScalingOutSuspended", False),
    )


def _last_change(activity: Activity | None) -> LastChange | None:
    if activity is None or activity.previous is None or activity.wanted is None or activity.ended is None:
        return None
    return LastChange(activity.previous, activity.wanted, activity.ended, activity.cooldown_seconds)
