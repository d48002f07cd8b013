"""What an endpoint serves from: fleets and their shares of the requests, switched without losing one."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.capture import DataCapture
from triptych.localcloud.sagemaker.fleet import Fleet


@dataclass(frozen=True)
class Share:
    """A fleet and its part of the endpoint's requests; all parts add up to 1.

    Within a fleet, requests go by the variants' weights.
    """

    fleet: Fleet
    share: float


class LiveEndpoint:
    """An endpoint that serves, or is about to after a restart: until the first ``route`` requests wait."""

    def __init__(self, cloud: Cloud, name: str, capture_flush_seconds: float = 1.0) -> None:
        self.name = name
        self.ready = threading.Event()
        self.capture: DataCapture | None = None
        self._cloud = cloud
        self._flush_seconds = capture_flush_seconds
        self._capture_config: dict[str, Any] | None = None
        self._old_captures: list[DataCapture] = []
        self._shares: tuple[Share, ...] = ()
        self._lock = threading.Lock()

    @property
    def shares(self) -> tuple[Share, ...]:
        """What serves now."""
        return self._shares

    def route(self, shares: Sequence[Share], capture: dict[str, Any] | None) -> None:
        """Serve by these shares, and capture by this DataCaptureConfig, atomically.

        Every request that arrives after the return goes by them. No shares: every request is refused.
        """
        if capture is not None and not capture.get("EnableCapture", True):
            capture = None
        with self._lock:
            if capture != self._capture_config:
                if self.capture is not None:
                    self._old_captures.append(self.capture)
                self._capture_config = capture
                self.capture = (
                    None
                    if capture is None
                    else DataCapture(self._cloud.store, self.name, capture, self._flush_seconds)
                )
            self._shares = tuple(share for share in shares if share.share > 0)
        self.ready.set()

    def drain(self, fleet: Fleet, timeout_seconds: float) -> bool:
        """Wait until none of the fleet's requests is under way; False when the time is over.

        The fleet is no longer among the shares; its servers stay.
        """
        drained = fleet.await_idle(timeout_seconds)
        self._close_old_captures()
        return drained

    def close(self) -> None:
        """Refuse every further request and write what was captured; the fleets are their owner's to stop."""
        self.route((), None)
        self._close_old_captures()

    def enter(self) -> Fleet | None:
        """A serving fleet by the shares, leased: its servers stay until ``leave``."""
        with self._lock:
            shares = self._shares
            if not shares:
                return None
            chosen = (
                shares[0] if len(shares) == 1 else random.choices(shares, [item.share for item in shares])[0]
            )
            chosen.fleet.enter()
            return chosen.fleet

    def _close_old_captures(self) -> None:
        with self._lock:
            old, self._old_captures = self._old_captures, []
        for capture in old:
            capture.close()
