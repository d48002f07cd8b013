"""JSON values as text and back, the way Step Functions writes them (compact, key order kept)."""

from __future__ import annotations

import json
from typing import Any

MAX_PAYLOAD_BYTES = 262_144
"""the quota on a state's input or output, in bytes of UTF-8 JSON text"""

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
encode = _encoder.encode
"""A JSON value as compact text; raises ValueError on NaN and infinities."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def decode(text: str) -> Any:
    """The value of strict JSON text; raises ValueError (also for NaN, and for nesting beyond the stack)."""
    try:
        return _decoder.decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def size_bytes(text: str) -> int:
    """The text's length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def is_number(value: Any) -> bool:
    """A JSON number; Python's booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
