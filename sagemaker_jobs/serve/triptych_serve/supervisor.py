"""The container's worker processes: forked, watched, replaced when they die or hang."""

from __future__ import annotations

import math
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

_WORD = 8
_LOOK_SECONDS = 1.0
_MOST_FAILED_STARTS = 3
_CANNOT_SERVE = 1
_LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 40.0
"""after SIGTERM; a worker needs 30 at most for the requests under way"""


class Heartbeat:
    """One worker's sign of life, in memory that the supervisor sees too: the time of the last beat."""

    def __init__(self, memory: mmap.mmap, slot: int) -> None:
        self._cell = memoryview(memory)[slot * _WORD : (slot + 1) * _WORD].cast("d")

    def beat(self) -> None:
        """Say that requests are being taken."""
        self._cell[0] = time.monotonic()

    @property
    def last(self) -> float:
        """When it last beat, by the monotonic clock; 0 before the first beat."""
        return float(self._cell[0])

    def clear(self) -> None:
        self._cell[0] = 0.0


@dataclass
class _Slot:
    heartbeat: Heartbeat
    pid: int | None = None
    due: float = 0.0
    failures: int = 0


class Supervisor:
    """Keeps ``workers`` processes of ``serve`` running until SIGTERM.

    ``serve`` gets a heartbeat, beats while it is able to answer, and returns an exit code. A worker that has
    not beaten for ``hang_seconds`` is killed. As long as none has ever come to serve, a worker that returns 1, or
    fails three times to start, is the whole server's failure.
    """

    def __init__(self, serve: Callable[[Heartbeat], int], workers: int, hang_seconds: float) -> None:
        self._serve = serve
        self._hang_seconds = hang_seconds
        memory = mmap.mmap(-1, max(1, workers) * _WORD)
        self._slots = [_Slot(Heartbeat(memory, number)) for number in range(max(1, workers))]
        self._stopping = False
        self._served = False

    def run(self) -> int:
        """Returns the exit code: 0 after a signal, 1 when no worker can start."""
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)
        signal.signal(signal.SIGCHLD, _noticed)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        while not self._stopping:
            for slot in self._slots:
                if slot.pid is None and time.monotonic() >= slot.due:
                    self._start(slot, wake, waker)
            select.select([wake], [], [], _LOOK_SECONDS)
            _drain(wake)
            self._reap()
            self._kill_the_hung()
            if not self._served and any(slot.failures >= _MOST_FAILED_STARTS for slot in self._slots):
                self._end()
                return 1
        self._end()
        return 0

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _start(self, slot: _Slot, *descriptors: int) -> None:
        slot.heartbeat.clear()
        sys.stdout.flush()
        sys.stderr.flush()
        slot.pid = os.fork()
        if slot.pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                for descriptor in descriptors:
                    os.close(descriptor)
                code = self._serve(slot.heartbeat)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is None:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            beaten = slot.heartbeat.last > 0
            self._served = self._served or beaten
            if not pid:
                continue
            slot.pid = None
            self._died(slot, pid, os.waitstatus_to_exitcode(status), beaten)

    def _died(self, slot: _Slot, pid: int, code: int, beaten: bool) -> None:
        how = f"signal {-code}" if code < 0 else f"code {code}"
        if beaten:
            slot.failures = 0
        elif code == _CANNOT_SERVE and not self._served:
            slot.failures = _MOST_FAILED_STARTS  # it said why, and would only say it again
        else:
            slot.failures += 1
        # At once after a crash; ever later when it does not even come up.
        slot.due = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, (2.0**slot.failures - 1) / 4)
        if self._stopping:
            return
        if slot.failures >= _MOST_FAILED_STARTS and not self._served:
            _say(f"worker {pid} ended with {how}; the server gives up, none of its workers came up")
        else:
            _say(f"worker {pid} ended with {how}; another one takes its place")

    def _kill_the_hung(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            last = slot.heartbeat.last or math.inf
            if slot.pid is not None and now - last > self._hang_seconds:
                _say(f"worker {slot.pid} has hung for {now - last:.0f} s: killed")
                os.kill(slot.pid, signal.SIGKILL)

    def _end(self) -> None:
        """Let the workers finish what is under way."""
        self._stopping = True
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(slot.pid is not None for slot in self._slots):
            if time.monotonic() > deadline:
                for slot in self._slots:
                    if slot.pid is not None:
                        os.kill(slot.pid, signal.SIGKILL)
            time.sleep(0.02)
            self._reap()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _noticed(number: int, frame: FrameType | None) -> None:
    """The signal's byte in the wake-up pipe is all that is needed."""


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
