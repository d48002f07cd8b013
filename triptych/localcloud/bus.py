"""What the services tell each other: job ends, and the events that AWS services put on EventBridge."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobEnded:
    """A Glue or SageMaker job reached its last status; wakes the ``.sync`` task that waits for it."""

    service: str
    """``glue`` or ``sagemaker``"""
    kind: str
    """``job_run``, ``training_job``, ``processing_job``, ``transform_job``, ``tuning_job``"""
    identity: str
    """the job's name (SageMaker) or the run's id (Glue)"""
    description: dict[str, Any] = field(default_factory=dict)
    """the service's Describe (Glue: the JobRun) answer, in botocore's shape"""


@dataclass(frozen=True)
class ExecutionEnded:
    """A Step Functions execution reached its last status; wakes a parent's ``startExecution.sync``."""

    execution_arn: str
    description: dict[str, Any] = field(default_factory=dict)
    """DescribeExecution's answer, in botocore's shape"""


@dataclass(frozen=True)
class ServiceEvent:
    """An event that an AWS service puts on the default event bus (``aws.s3`` Object Created, …)."""

    source: str
    detail_type: str
    detail: dict[str, Any]
    resources: tuple[str, ...] = ()
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class AlarmChanged:
    """A CloudWatch alarm went into another state."""

    name: str
    arn: str
    state: str
    """``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``"""
    previous: str
    reason: str
    reason_data: dict[str, Any]
    """what the state rests on; empty where nobody has said"""
    at: datetime


Message = TypeVar("Message")


class Bus:
    """Synchronous publish/subscribe by message type.

    Handlers run in the publisher's thread: they must be quick and hand longer work to a thread of their own.
    A handler that raises is logged; the others still get the message.
    """

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[Any], None]]] = {}
        self._lock = threading.Lock()

    def subscribe(self, kind: type[Message], handler: Callable[[Message], None]) -> None:
        with self._lock:
            self._handlers[kind] = [*self._handlers.get(kind, []), handler]

    def publish(self, message: object) -> None:
        for handler in self._handlers.get(type(message), []):
            try:
                handler(message)
            except Exception:
                _log.exception("handler of %s failed", type(message).__name__)
