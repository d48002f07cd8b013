"""The CloudWatch alarms that roll a deployment back, as long as the deployment looks at them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from triptych.localcloud.bus import AlarmChanged
from triptych.localcloud.cloud import Cloud

_ALARM = "ALARM"


class AlarmSource(Protocol):
    """What is asked of the ``cloudwatch`` service."""

    def alarm_states(self, names: Iterable[str]) -> dict[str, str]: ...


class RollbackAlarms:
    """The account's alarms, seen from endpoint deployments."""

    def __init__(self, cloud: Cloud) -> None:
        self._services: dict[str, Any] = cloud.services
        self._watches: set[AlarmWatch] = set()
        self._lock = threading.Lock()
        cloud.bus.subscribe(AlarmChanged, self._changed)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The names that no alarm has."""
        wanted = list(names)
        states = self.states(wanted)
        return [name for name in wanted if name not in states]

    def states(self, names: list[str]) -> dict[str, str]:
        source: AlarmSource | None = self._services.get("cloudwatch")
        return source.alarm_states(names) if source is not None and names else {}

    def watch(self, names: tuple[str, ...], wake: Callable[[], None]) -> AlarmWatch:
        """Look at the alarms from now on; ``wake`` is called, in any thread, when one of them has tripped."""
        watch = AlarmWatch(self, names, wake)
        with self._lock:
            self._watches.add(watch)
        return watch

    def forget(self, watch: AlarmWatch) -> None:
        with self._lock:
            self._watches.discard(watch)

    def _changed(self, change: AlarmChanged) -> None:
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.hear(change)


class AlarmWatch:
    """A deployment's alarms: one that was in ALARM only for a moment has tripped all the same."""

    def __init__(self, alarms: RollbackAlarms, names: tuple[str, ...], wake: Callable[[], None]) -> None:
        self._alarms = alarms
        self._names = names
        self._wake = wake
        self._heard: dict[str, str] = {}

    def hear(self, change: AlarmChanged) -> None:
        if change.name in self._names and change.state == _ALARM:
            self._heard.setdefault(change.name, change.reason)
            self._wake()

    def tripped(self) -> str | None:
        """Why the deployment must be rolled back; None when nothing speaks against it."""
        states = self._alarms.states(list(self._names))
        ringing = [name for name in self._names if name in self._heard or states.get(name) == _ALARM]
        if ringing:
            reasons = [self._heard[name] for name in ringing if self._heard.get(name)]
            return f"Alarm(s) [{', '.join(ringing)}] went into the state ALARM." + (
                f" {' '.join(reasons)}" if reasons else ""
            )
        gone = [name for name in self._names if name not in states]
        if gone:
            return f"Alarm(s) [{', '.join(gone)}] no longer exist, so nothing guards the deployment any more."
        return None

    def close(self) -> None:
        self._alarms.forget(self)
