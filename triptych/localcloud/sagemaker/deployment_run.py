"""Carries a deployment's plan out: starts and stops servers, moves traffic, bakes, and goes back when it must."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal, Protocol

from triptych.localcloud.sagemaker.deployment_alarms import AlarmWatch, RollbackAlarms
from triptych.localcloud.sagemaker.deployment_plan import Counts, Plan, Step, plan_rollback
from triptych.localcloud.sagemaker.deployment_target import Serving, plans, sizes_of_serving
from triptych.localcloud.sagemaker.errors import JobRefused
from triptych.localcloud.sagemaker.fleet import Fleet, FleetFailed, VariantPlan
from triptych.localcloud.sagemaker.live import LiveEndpoint, Share

_log = logging.getLogger(__name__)

DRAIN_SECONDS = 60.0
"""how long requests may still be under way when servers are stopped: InvokeEndpoint's own limit"""
_LOOK_SECONDS = 1.0
Ending = Literal["deployed", "rolled back", "rollback failed", "cancelled"]


@dataclass(frozen=True)
class Outcome:
    """How a deployment ended, and why it was not carried through."""

    ending: Ending
    reason: str = ""


class Observer(Protocol):
    """Keeps what a deployment does. Called in the deployment's thread; a false answer means: given up."""

    def doing(self, step: Step, before: Step | None) -> None:
        """``step`` is about to be carried out, from the state that ``before`` left."""

    def going_back(self, reason: str) -> None:
        """The deployment has failed; what comes now leads back."""

    def ended(self, outcome: Outcome) -> None:
        """All traffic is where it stays; what comes now only cleans up."""


class _Cancelled(Exception):
    """The endpoint is being deleted, or the local cloud stops."""


class _Stopped(Exception):
    """The deployment must be rolled back; the text says why."""


class DeploymentRun:
    """One deployment of one endpoint, from the shares that serve now to a fleet of ``new``.

    ``make_fleet`` makes a fleet that is not started yet. ``clock`` counts seconds; it never goes back.
    """

    def __init__(
        self,
        plan: Plan,
        old: Serving,
        new: Serving,
        live: LiveEndpoint,
        alarms: RollbackAlarms,
        make_fleet: Callable[[list[VariantPlan]], Fleet],
        observer: Observer,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._plan = plan
        self._old = old
        self._new = new
        self._live = live
        self._alarms = alarms
        self._make_fleet = make_fleet
        self._observer = observer
        self._clock = clock
        self._deadline: float | None = None
        self._before: tuple[Share, ...] = live.shares
        self._fleet: Fleet | None = None
        self._done: Step | None = None
        self._watch: AlarmWatch | None = None
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._cancelled = False

    def run(self) -> None:
        """Carry the plan out to its end, or back; the observer hears how it ended."""
        try:
            for step in self._settle():
                self._carry_out(step)
        except _Cancelled:
            self._observer.ended(Outcome("cancelled"))
            for fleet in [self._fleet, *(item.fleet for item in self._before)]:
                if fleet is not None:  # servers may have come after the others were stopped
                    self._retire(fleet)
        finally:
            if self._watch is not None:
                self._watch.close()

    def cancel(self) -> None:
        """Give up: after the return no traffic is moved any more; then all servers of both fleets are stopped."""
        with self._lock:
            self._cancelled = True
            waiting = self._fleet if self._done is None else None
        if waiting is not None:
            waiting.stop()  # else servers that start slowly would be waited for
        self._wake.set()

    def _settle(self) -> Sequence[Step]:
        """Move the traffic to where it stays; the answer is what is left to clean up."""
        try:
            self._go_on()
            return self._plan.steps[-1:]
        except _Cancelled:
            raise
        except (FleetFailed, JobRefused, _Stopped) as error:
            return self._go_back(str(error))
        except Exception as error:
            if self._cancelled:
                raise _Cancelled from error
            _log.exception("the deployment to %s failed", self._new["config"])
            return self._go_back(f"InternalServerError: {type(error).__name__}: {error}")

    def _go_on(self) -> None:
        timeout = self._plan.timeout_seconds
        self._deadline = None if timeout is None else self._clock() + timeout
        for step in self._plan.steps[:-1]:
            if step.action == "shift" and self._watch is None:
                self._watch = self._alarms.watch(self._plan.alarms, self._wake.set)
            self._check()
            self._observer.doing(step, self._done)
            self._carry_out(step)
            self._check()
        self._end(Outcome("deployed"))

    def _go_back(self, reason: str) -> Sequence[Step]:
        self._observer.going_back(reason)
        steps = plan_rollback(self._plan, self._done, sizes_of_serving(self._old))
        try:
            for step in steps[:-1]:
                self._observer.doing(step, self._done)
                self._carry_out(step)
        except _Cancelled:
            raise
        except Exception as error:
            if not isinstance(error, FleetFailed | JobRefused):
                _log.exception("the deployment to %s could not be rolled back", self._new["config"])
            self._end(Outcome("rollback failed", f"{reason} The rollback failed too: {error}"))
            return ()
        self._end(Outcome("rolled back", reason))
        return steps[-1:]

    def _end(self, outcome: Outcome) -> None:
        with self._lock:  # after cancel() nothing counts any more
            if self._cancelled:
                raise _Cancelled
            self._observer.ended(outcome)

    def _check(self) -> None:
        """Raises when the deployment may not go on."""
        if self._cancelled:
            raise _Cancelled
        if self._deadline is not None and self._clock() > self._deadline:
            raise _Stopped(
                f"The deployment did not end within its MaximumExecutionTimeoutInSeconds of "
                f"{self._plan.timeout_seconds} seconds."
            )
        reason = self._watch.tripped() if self._watch is not None else None
        if reason is not None:
            raise _Stopped(reason)

    def _carry_out(self, step: Step) -> None:
        match step.action:
            case "provision":
                self._grow(step)
            case "shift":
                self._shift(step.share)
            case "bake":
                self._bake(step.seconds)
            case "terminate":
                self._shrink(step)
        self._done = step

    def _grow(self, step: Step) -> None:
        if self._fleet is None:
            with self._lock:
                if self._cancelled:
                    raise _Cancelled
                self._fleet = self._make_fleet(plans(self._new, step.new))
            try:
                self._fleet.start()
            except FleetFailed as error:
                if self._cancelled:
                    raise _Cancelled from error
                raise
            return
        _resize(self._fleet, self._done.new if self._done else {}, step.new)
        if self._done is not None and step.old != self._done.old:
            _resize(self._only_old(), self._done.old, step.old)

    def _shift(self, share: float) -> None:
        assert self._fleet is not None
        shares = [Share(item.fleet, item.share * (1 - share)) for item in self._before]
        capture = (self._new if share >= 1 else self._old).get("capture")
        with self._lock:
            if self._cancelled:
                raise _Cancelled
            self._live.route([*shares, Share(self._fleet, share)], capture)

    def _bake(self, seconds: float) -> None:
        until = self._clock() + seconds
        while True:
            self._wake.clear()
            self._check()
            left = until - self._clock()
            if left <= 0:
                return
            self._wake.wait(min(left, _LOOK_SECONDS))

    def _shrink(self, step: Step) -> None:
        assert self._fleet is not None
        assert self._done is not None
        if not any(step.new.values()):
            self._retire(self._fleet)
        else:
            _resize(self._fleet, self._done.new, step.new)
        if not any(step.old.values()):
            for item in self._before:
                self._retire(item.fleet)
        elif step.old != self._done.old:
            _resize(self._only_old(), self._done.old, step.old)

    def _only_old(self) -> Fleet:
        (only,) = self._before
        return only.fleet

    def _retire(self, fleet: Fleet) -> None:
        """Let the requests of a fleet that serves no longer end, then stop its servers."""
        self._live.drain(fleet, DRAIN_SECONDS)
        fleet.stop()


def _resize(fleet: Fleet, now: Counts, wanted: Counts) -> None:
    for name, instances in wanted.items():
        if instances != now.get(name):
            fleet.resize(name, instances)
