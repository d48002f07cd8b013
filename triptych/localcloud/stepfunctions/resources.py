"""Reading a Task's ``Resource``."""

from __future__ import annotations

import re
from functools import lru_cache

_SERVICE = re.compile(r"arn:[^:]+:states:[^:]*:[^:]*:(?:(aws-sdk:[^:]+)|([^:]+)):(.+)")
_ACTIVITY = re.compile(r"arn:[^:]+:states:[^:]*:[^:]*:activity:[^:]+")
_LAMBDA = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:.+")


@lru_cache(maxsize=1024)
def resource_parts(resource: str) -> tuple[str, str, str]:
    """``(kind, resource type, resource)``: kind is ``lambda``, ``activity`` or ``service``.

    ``arn:aws:states:::glue:startJobRun.sync`` is ``("service", "glue", "startJobRun.sync")``.
    """
    if _ACTIVITY.fullmatch(resource):
        return "activity", "", ""
    if _LAMBDA.fullmatch(resource):
        return "lambda", "", ""
    match = _SERVICE.fullmatch(resource)
    if match is None:
        return "service", "", resource
    return "service", match.group(1) or match.group(2), match.group(3)


def is_resource(resource: str) -> bool:
    """Whether it looks like anything a Task may name."""
    return any(pattern.fullmatch(resource) for pattern in (_ACTIVITY, _LAMBDA, _SERVICE))
