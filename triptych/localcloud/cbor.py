"""CBOR (RFC 8949) as AWS's clients speak it in Smithy's RPC v2 protocol; times are tag 1.

https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE = 31
_BREAK = object()
_SIMPLE_VALUES = {20: False, 21: True, 22: None, 23: None}
_EPOCH_TAG = 1
_DEEPEST = 64


class InvalidCbor(ValueError):
    """The bytes are no CBOR, or end too early."""


def loads(data: bytes) -> Any:
    """One value; times become aware datetimes in UTC."""
    reader = _Reader(data)
    value = reader.value(0)
    if value is _BREAK:
        raise InvalidCbor("a break stands outside of any list")
    if reader.position != len(data):
        raise InvalidCbor(f"{len(data) - reader.position} bytes follow the value")
    return value


def dumps(value: Any) -> bytes:
    """Maps, lists, texts, numbers, booleans, bytes and datetimes; members that are None are left out."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise InvalidCbor("it is nested too deeply")
        [first] = self._take(1)
        major, info = first >> 5, first & 31
        if major == _SIMPLE:
            return self._simple(info)
        if info == _INDEFINITE:
            return self._indefinite(major, depth)
        number = self._number(info)
        if major == _UNSIGNED:
            return number
        if major == _NEGATIVE:
            return -1 - number
        if major == _BYTES:
            return self._take(number)
        if major == _TEXT:
            return self._text(number)
        if major == _ARRAY:
            return [self._item(depth) for _ in range(number)]
        if major == _MAP:
            return {self._key(depth): self._item(depth) for _ in range(number)}
        return self._tagged(number, depth)

    def _item(self, depth: int) -> Any:
        value = self.value(depth + 1)
        if value is _BREAK:
            raise InvalidCbor("a break stands in a list of known length")
        return value

    def _key(self, depth: int) -> str:
        key = self._item(depth)
        if not isinstance(key, str):
            raise InvalidCbor("a map's key is no text")
        return key

    def _indefinite(self, major: int, depth: int) -> Any:
        items: list[Any] = []
        while (item := self.value(depth + 1)) is not _BREAK:
            items.append(item)
        try:
            if major == _BYTES:
                return b"".join(items)
            if major == _TEXT:
                return "".join(items)
        except TypeError:
            raise InvalidCbor("a chunk of a text or of bytes is of another type") from None
        if major == _ARRAY:
            return items
        if major == _MAP and len(items) % 2 == 0 and all(isinstance(key, str) for key in items[::2]):
            return dict(zip(items[::2], items[1::2], strict=True))
        raise InvalidCbor("a value of unknown length is malformed")

    def _tagged(self, tag: int, depth: int) -> Any:
        value = self._item(depth)
        if tag != _EPOCH_TAG:
            return value
        if not isinstance(value, (int, float)):
            raise InvalidCbor("a time is no number")
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError):
            raise InvalidCbor(f"{value} is no time") from None

    def _simple(self, info: int) -> Any:
        if info in _SIMPLE_VALUES:
            return _SIMPLE_VALUES[info]
        if info == _INDEFINITE:
            return _BREAK
        formats = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
        if info not in formats:
            raise InvalidCbor(f"simple value {info} is not known")
        code, size = formats[info]
        return struct.unpack(code, self._take(size))[0]

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise InvalidCbor(f"length code {info} is not known")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode()
        except UnicodeDecodeError:
            raise InvalidCbor("a text is not UTF-8") from None

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise InvalidCbor(f"it ends {end - len(self._data)} bytes too early")
        data = self._data[self.position : end]
        self.position = end
        return data


def _write(value: Any, parts: list[bytes]) -> None:
    if value is None:
        parts.append(b"\xf6")
    elif isinstance(value, bool):
        parts.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        parts.append(_head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value))
    elif isinstance(value, float):
        parts.append(b"\xfb" + struct.pack(">d", value))
    elif isinstance(value, str):
        data = value.encode()
        parts += (_head(_TEXT, len(data)), data)
    elif isinstance(value, bytes):
        parts += (_head(_BYTES, len(value)), value)
    elif isinstance(value, datetime):
        parts += (_head(_TAG, _EPOCH_TAG), b"\xfb" + struct.pack(">d", value.timestamp()))
    elif isinstance(value, dict):
        members = {name: member for name, member in value.items() if member is not None}
        parts.append(_head(_MAP, len(members)))
        for name, member in members.items():
            _write(str(name), parts)
            _write(member, parts)
    elif isinstance(value, (list, tuple)):
        parts.append(_head(_ARRAY, len(value)))
        for one in value:
            _write(one, parts)
    else:
        raise TypeError(f"{type(value).__name__} has no place in CBOR")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    raise OverflowError(f"{number} is too large for CBOR")
