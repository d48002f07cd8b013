"""A Task state's ``Resource``, parsed: which integration, which action, which pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass

SYNC = "sync"
SYNC_2 = "sync:2"
TASK_TOKEN = "waitForTaskToken"

_SERVICE_ARN = re.compile(
    r"arn:aws[a-z-]*:states:[a-z0-9-]*:\d*:"
    r"(?P<service>aws-sdk:[a-z0-9-]+|[a-z0-9-]+):(?P<action>[A-Za-z][A-Za-z0-9]*)"
    r"(?:\.(?P<pattern>sync:2|sync|waitForTaskToken))?"
)
_FUNCTION_ARN = re.compile(
    r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]+(?::[A-Za-z0-9$_-]+)?"
)
_ACTIVITY_ARN = re.compile(r"arn:aws[a-z-]*:states:[a-z0-9-]+:\d{12}:activity:.+")


@dataclass(frozen=True)
class Resource:
    """``arn:aws:states:::glue:startJobRun.sync``: ``glue``, ``startJobRun``, ``sync``."""

    arn: str
    service: str
    """``glue``, ``aws-sdk:s3``, ``lambda-function`` (a function's own ARN), ``activity``"""
    action: str
    pattern: str = ""
    """empty for request/response, else ``sync``, ``sync:2`` or ``waitForTaskToken``"""

    @property
    def name(self) -> str:
        """The part after the account: what the history calls resource type and resource."""
        return f"{self.service}:{self.action}" + (f".{self.pattern}" if self.pattern else "")


def parse_resource(arn: str) -> Resource | None:
    """The resource that ``arn`` names, or None when it has no form that Step Functions knows."""
    if _ACTIVITY_ARN.fullmatch(arn):
        return Resource(arn, "activity", "")
    if match := _SERVICE_ARN.fullmatch(arn):
        return Resource(arn, match["service"], match["action"], match["pattern"] or "")
    if _FUNCTION_ARN.fullmatch(arn):
        return Resource(arn, "lambda-function", "invoke")
    return None
