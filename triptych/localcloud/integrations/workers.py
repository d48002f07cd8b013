"""Threads that wait for calls: as many as needed up to a limit, and none that holds up the process's exit."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class WorkerThreads:
    """Runs callables on daemon threads, started when all others are busy; more work than threads queues.

    ``concurrent.futures`` joins its threads at interpreter exit, where a fifteen-minute Lambda call would
    keep the gateway from stopping: hence daemons.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._unclaimed = 0
        """work queued or running; a thread is started when it exceeds the threads"""

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` soon; what it raises is logged."""
        with self._lock:
            self._unclaimed += 1
            start = self._unclaimed > self._threads and self._threads < self._limit
            if start:
                self._threads += 1
                number = self._threads
        self._work.put(work)
        if start:
            threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end after what they are doing; queued work is dropped."""
        with self._lock:
            threads, self._threads = self._threads, 0
            self._limit = 0
        while not self._work.empty():
            try:
                self._work.get_nowait()
            except queue.Empty:
                break
        for _ in range(threads):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:
                _log.exception("work of %s failed", self._name)
            finally:
                with self._lock:
                    self._unclaimed -= 1
