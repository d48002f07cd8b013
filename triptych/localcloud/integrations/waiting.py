"""The ``.sync`` tasks that wait for a job's end, woken by the bus."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from triptych.localcloud.bus import Bus, ExecutionEnded, JobEnded

JobKey = tuple[str, str, str]
"""service, kind, identity"""
OnEnd = Callable[[dict[str, Any]], None]


class WaitingTasks:
    """A table of waiting tasks by job. Who takes an entry out, by job end or by ``take``, is the only one."""

    def __init__(self, bus: Bus) -> None:
        self._lock = threading.Lock()
        self._by_task: dict[str, tuple[JobKey, dict[str, Any], OnEnd]] = {}
        self._by_job: dict[JobKey, list[str]] = {}
        bus.subscribe(JobEnded, self._job_ended)
        bus.subscribe(ExecutionEnded, self._execution_ended)

    def add(self, task_id: str, job: JobKey, submitted: dict[str, Any], on_end: OnEnd) -> None:
        """``on_end`` gets the job's description (maybe empty) in the publisher's thread: it must be quick.

        ``submitted`` is the start call's answer, which ``take`` gives back.
        """
        with self._lock:
            self._by_task[task_id] = (job, submitted, on_end)
            self._by_job.setdefault(job, []).append(task_id)

    def take(self, task_id: str) -> dict[str, Any] | None:
        """Remove the task and answer its start call's answer; None when it was not waiting (any more)."""
        with self._lock:
            entry = self._by_task.pop(task_id, None)
            if entry is None:
                return None
            job, submitted, _ = entry
            tasks = self._by_job[job]
            tasks.remove(task_id)
            if not tasks:
                del self._by_job[job]
            return submitted

    def _job_ended(self, message: JobEnded) -> None:
        self._ended((message.service, message.kind, message.identity), message.description)

    def _execution_ended(self, message: ExecutionEnded) -> None:
        self._ended(("stepfunctions", "execution", message.execution_arn), message.description)

    def _ended(self, job: JobKey, description: dict[str, Any]) -> None:
        with self._lock:
            tasks = self._by_job.pop(job, [])
            callbacks = [self._by_task.pop(task_id)[2] for task_id in tasks]
        for on_end in callbacks:
            on_end(description)
