"""Activity workers: tasks that wait for GetActivityTask, and calls of it that wait for tasks."""

from __future__ import annotations

import threading
from collections import deque

from triptych.localcloud.stepfunctions.tasks import TaskRequest


class Activities:
    """Scheduled activity tasks, first come first served."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: dict[str, deque[TaskRequest]] = {}
        self._closed = False

    def add(self, request: TaskRequest) -> None:
        with self._condition:
            self._closed = False
            self._waiting.setdefault(request.resource, deque()).append(request)
            self._condition.notify_all()

    def remove(self, request: TaskRequest) -> None:
        """Its execution ended or its time is up: no worker shall get it any more."""
        with self._condition:
            tasks = self._waiting.get(request.resource, deque())
            self._waiting[request.resource] = deque(task for task in tasks if task.task_id != request.task_id)

    def take(self, activity_arn: str, timeout_seconds: float) -> TaskRequest | None:
        """The next task of an activity; waits for one, ``None`` when none came in time."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or bool(self._waiting.get(activity_arn)), timeout=timeout_seconds
            )
            tasks = self._waiting.get(activity_arn)
            return tasks.popleft() if tasks else None

    def close(self) -> None:
        """Send waiting calls home."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
