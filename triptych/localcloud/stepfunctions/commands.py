"""The engine's queue: commands, and the sink through which integrations report."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)

TaskReport = Callable[[str, str, str, dict[str, Any]], Any]
"""``(execution ARN, task id, kind, data)``"""


@dataclass
class Command:
    """An action for the engine's thread; ``future`` is of the caller who waits for it, if one does."""

    action: Callable[[], Any]
    future: Future[Any] | None
    result: Any = None
    error: Exception | None = None

    def run(self) -> None:
        try:
            self.result = self.action()
        except (sqlite3.Error, OSError):
            raise
        except Exception as error:
            self.error = error
            if self.future is None:
                _log.exception("a Step Functions command failed")

    def resolve(self) -> None:
        if self.future is None:
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Sink:
    """``TaskSink``: hands what integrations report to the engine's thread."""

    def __init__(self, post: Callable[[Callable[[], Any]], None], report: TaskReport) -> None:
        self._enqueue = post
        self._report = report

    def _post(self, task_id: str, kind: str, **data: Any) -> None:
        arn = task_id.rpartition("#")[0]
        self._enqueue(lambda: self._report(arn, task_id, kind, data))

    def started(self, task_id: str) -> None:
        self._post(task_id, "started")

    def submitted(self, task_id: str, output: Any) -> None:
        self._post(task_id, "submitted", output=output)

    def succeeded(self, task_id: str, output: Any) -> None:
        self._post(task_id, "succeeded", output=output)

    def failed(self, task_id: str, error: str, cause: str) -> None:
        self._post(task_id, "failed", error=error, cause=cause)

    def start_failed(self, task_id: str, error: str, cause: str) -> None:
        self._post(task_id, "start_failed", error=error, cause=cause)

    def rejected(self, task_id: str, cause: str) -> None:
        """The parameters cannot be used: the state fails as States.Runtime, without a failed task."""
        self._post(task_id, "rejected", cause=cause)

    def submit_failed(self, task_id: str, error: str, cause: str) -> None:
        self._post(task_id, "submit_failed", error=error, cause=cause)
