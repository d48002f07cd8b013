"""Pages of answers: opaque tokens that only fit the request that they were given for."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from triptych.localcloud.service import Params, ServiceError
from triptych.localcloud.stepfunctions.jsontext import decode, encode

DEFAULT_PAGE = 100
MAX_PAGE = 1_000


def offset_of(params: Params, scope: str) -> int:
    """Where the page begins, from ``nextToken``; raises ServiceError (InvalidToken)."""
    token = params.get("nextToken")
    if token is None:
        return 0
    try:
        stated, offset = decode(base64.urlsafe_b64decode(token.encode()).decode())
    except (ValueError, TypeError, binascii.Error):
        stated, offset = None, 0
    if stated != scope or not isinstance(offset, int) or offset < 0:
        raise ServiceError("InvalidToken", "Invalid Token: 'Invalid token'")
    return offset


def size_of(params: Params) -> int:
    """``maxResults``, of which 0 means the default."""
    return min(params.get("maxResults") or DEFAULT_PAGE, MAX_PAGE)


def page(params: Params, scope: str, items: list[Any], key: str) -> Params:
    """One page of a list that is at hand as a whole."""
    offset, size = offset_of(params, scope), size_of(params)
    return finish({key: items[offset : offset + size]}, scope, offset + size, len(items))


def finish(answer: Params, scope: str, end: int, total: int) -> Params:
    """Add ``nextToken`` when something is left after ``end``."""
    if end < total:
        answer["nextToken"] = base64.urlsafe_b64encode(encode([scope, end]).encode()).decode()
    return answer
