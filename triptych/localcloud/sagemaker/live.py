"""What an endpoint serves from: fleets and their shares of the requests, switched without losing one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.sagemaker.capture import DataCapture
from triptych.localcloud.sagemaker.fleet import Fleet
from triptych.localcloud.sagemaker.traffic import Traffic


@dataclass(frozen=True)
class Share:
    """A fleet and its part of the endpoint's requests; all parts add up to 1.

    Within a fleet, requests go by the variants' weights.
    """

    fleet: Fleet
    share: float


class LiveEndpoint:
    """An endpoint that serves, or is about to after a restart: until the first ``route`` requests wait.

    The inference router goes by what is said here. Of two of the same name the one made later counts.
    """

    def __init__(self, traffic: Traffic, name: str) -> None:
        self.name = name
        self.ready = threading.Event()
        """``route`` or ``close`` was called"""
        self._traffic = traffic
        self._shares: tuple[Share, ...] = ()
        self._capture_config: dict[str, Any] | None = None
        self._capture: tuple[int, DataCapture] | None = None
        self._old_captures: list[int] = []
        self._closed = False
        self._lock = threading.RLock()
        self._serial = traffic.enter(name, self)
        self._publish()

    @property
    def shares(self) -> tuple[Share, ...]:
        """What serves now."""
        return self._shares

    def route(self, shares: Sequence[Share], capture: dict[str, Any] | None) -> None:
        """Serve by these shares, and capture by this DataCaptureConfig, atomically.

        Every request that arrives after the return goes by them. No shares: every request is refused.
        """
        with self._lock:
            self._set_capture(capture)
            before, self._shares = self._shares, tuple(share for share in shares if share.share > 0)
            for share in before:
                share.fleet.watch(None)
            for share in self._shares:
                share.fleet.watch(self)
            self.ready.set()
            generation = self._publish()
        self._traffic.await_taken(generation)

    def drain(self, fleet: Fleet, timeout_seconds: float) -> bool:
        """Wait until none of the fleet's requests is under way; False when the time is over.

        The fleet is no longer among the shares; its servers stay.
        """
        drained = self._traffic.drain(fleet.sockets, timeout_seconds)
        with self._lock:
            old, self._old_captures = self._old_captures, []
        self._traffic.forget_captures(old)
        return drained

    def close(self) -> None:
        """Refuse every further request and write what was captured; the fleets are their owner's to stop."""
        with self._lock:
            self._closed = True
            self.route((), None)
            old, self._old_captures = self._old_captures, []
        self._traffic.leave(self.name, self._serial)
        self._traffic.forget_captures(old)
        self._traffic.await_news()

    # What a fleet tells

    def fleet_changed(self) -> None:
        """Servers came or went, or weights are others: the router hears of it, without waiting for it."""
        with self._lock:
            self._publish()

    def server_ended(self, path: str) -> None:
        """A server is dead: what the router has sent to it since cannot be answered."""
        self._traffic.server_ended(path)

    def servers_leave(self, sockets: Sequence[str], timeout_seconds: float) -> None:
        """Return once none of these servers, which the fleet holds no longer, has a request."""
        with self._lock:
            generation = self._publish()
        self._traffic.await_taken(generation)
        self._traffic.drain(sockets, timeout_seconds)

    def server_hangs(self, path: str) -> None:
        """A server has not answered in time: another process takes its place."""
        for share in self._shares:
            share.fleet.replace(path)

    # Inside

    def _publish(self) -> int:
        return self._traffic.publish(self.name, self._serial, self._entry())

    def _entry(self) -> dict[str, Any]:
        capture = None
        if self._capture is not None:
            identity, plan = self._capture
            capture = {
                "identity": identity,
                "share": plan.share,
                "inputs": plan.captures_input,
                "outputs": plan.captures_output,
            }
        return {
            "ready": self.ready.is_set(),
            "capture": capture,
            "fleets": [share.fleet.entry() | {"share": share.share} for share in self._shares],
        }

    def _set_capture(self, config: dict[str, Any] | None) -> None:
        if config is not None and not config.get("EnableCapture", True):
            config = None
        if config == self._capture_config:
            return
        if self._capture is not None:
            self._old_captures.append(self._capture[0])
        self._capture_config, self._capture = config, None
        if config is not None:
            plan = DataCapture(self._traffic.store, self.name, config)
            self._capture = self._traffic.remember_capture(plan), plan
