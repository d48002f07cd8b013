"""What a service of the local cloud is: operations by their AWS names, and AWS-shaped errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Params = dict[str, Any]
"""An operation's input or output in botocore's shape (the names of the service model)."""


class ServiceError(Exception):
    """An error an AWS client shall see: ``code`` as the service model names it, and a message.

    ``status`` is the HTTP status; ``fields`` are further members of the error's shape.
    """

    def __init__(self, code: str, message: str, status: int = 400, **fields: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields


@dataclass(frozen=True)
class RequestContext:
    """Who calls, and how to hand the very same request on to moto."""

    service: str
    operation: str
    region: str = "us-east-1"
    account_id: str = "123456789012"
    partition: str = "aws"
    request_id: str = ""
    principal: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    forward: Callable[[Params], Params] | None = None
    """Ask moto the same operation with (possibly changed) parameters; raises ServiceError on its errors."""


Operation = Callable[[RequestContext, Params], Params]


class Service(Protocol):
    """One AWS service, or a part of one, that the local cloud serves itself.

    The gateway routes ``(service_id, operation)`` found in ``operations`` here and everything else to moto.
    """

    service_id: str
    """botocore's name of the service: ``stepfunctions``, ``sagemaker-runtime`` …"""
    operations: Mapping[str, Operation]

    def start(self) -> None:
        """Recover what the home folder holds and begin to work. Called once, after all are constructed."""

    def stop(self) -> None:
        """Stop threads and processes; what runs is found again by the next ``start``."""
