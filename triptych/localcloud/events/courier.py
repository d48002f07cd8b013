"""The thread that takes events to their rules and deliveries to their targets."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from triptych.localcloud.events.outbox import AcceptedEvent, Delivery, Outbox, PendingDelivery
from triptych.localcloud.events.targets import DeliveryFailed, Targets, is_exhausted, retry_delay
from triptych.localcloud.integrations.workers import WorkerThreads

_log = logging.getLogger(__name__)

Router = Callable[[list[AcceptedEvent]], list[Delivery]]
"""finds what the rules make of events"""

_BATCH = 500
_DELIVERIES_AT_ONCE = 16
_PAUSE_AFTER_TROUBLE_SECONDS = 1.0
_GATHER_SECONDS = 0.02
"""events come in bursts: one look at the rules serves all that arrive within this time"""


class Courier:
    """Sleeps until woken or until a retry is due; one batch of events at a time, deliveries side by side."""

    def __init__(self, name: str, outbox: Outbox, targets: Targets, router: Router | None = None) -> None:
        self._name = name
        self._outbox = outbox
        self._targets = targets
        self._router = router
        self._workers = WorkerThreads(f"{name}-delivery", _DELIVERIES_AT_ONCE)
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._in_flight: set[int] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._wake.set()  # what an earlier process left
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is under way may finish or not: it is still in the outbox."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._workers.stop()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def _run(self) -> None:
        pause: float | None = None
        while not self._stopped.is_set():
            self._wake.wait(pause)
            self._stopped.wait(_GATHER_SECONDS)
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                self._route_all()
                pause = self._submit_due()
            except Exception:
                pause = _PAUSE_AFTER_TROUBLE_SECONDS
                _log.exception("%s: trying again in %s s", self._name, pause)

    def _route_all(self) -> None:
        while self._router is not None and (events := self._outbox.unrouted(_BATCH)):
            self._outbox.route(events, self._router(events))

    def _submit_due(self) -> float | None:
        """Hand what is due to the workers; answers in how many seconds the next one is, None for no other."""
        now = time.time()
        for seq, due in self._outbox.waiting():
            with self._lock:
                if seq in self._in_flight:
                    continue
                if due > now:
                    return due - now
                self._in_flight.add(seq)
            self._submit(seq)
        return None

    def _submit(self, seq: int) -> None:
        def work() -> None:
            delivered = False
            try:
                pending = self._outbox.pending(seq)
                delivered = pending is None or self._deliver(pending)
            finally:
                with self._lock:
                    self._in_flight.discard(seq)
                if not delivered:
                    self._wake.set()

        self._workers.submit(work)

    def _deliver(self, pending: PendingDelivery) -> bool:
        """Whether the delivery is done: it reached its target, or was given up."""
        delivery = pending.delivery
        attempt = pending.attempts + 1
        payload = delivery.payload.replace("<aws.scheduler.attempt-number>", str(attempt))
        try:
            self._targets.deliver(delivery, payload)
        except Exception as error:
            failure = (
                error
                if isinstance(error, DeliveryFailed)
                else DeliveryFailed("SDK_CLIENT_ERROR", str(error), transient=True)
            )
            if not self._give_up(pending, attempt, payload, failure):
                self._outbox.postpone(pending.seq, time.time() + retry_delay(attempt))
                return False
        self._outbox.done(pending.seq)
        return True

    def _give_up(
        self, pending: PendingDelivery, attempts: int, payload: str, failure: DeliveryFailed
    ) -> bool:
        """False when another attempt is worthwhile; else the event goes to the dead-letter queue, if any."""
        delivery = pending.delivery
        exhausted = is_exhausted(delivery, attempts) if failure.transient else "NonRetryableError"
        if exhausted is None:
            return False
        try:
            kept = self._targets.dead_letter(delivery, payload, failure, attempts - 1, exhausted)
        except Exception as error:
            kept = False
            _log.error("%s: dead-letter queue of %s: %s", self._name, delivery.origin_arn, error)
        _log.warning(
            "%s: event %s of %s did not reach %s (%s: %s) and %s",
            self._name,
            delivery.event_id,
            delivery.origin_arn,
            delivery.target["Arn"],
            failure.code,
            failure.message,
            "went to its dead-letter queue" if kept else "is dropped, as it has no dead-letter queue",
        )
        return True
