"""The checksums S3 clients send: computed while a body streams by, and combined for multipart uploads."""

from __future__ import annotations

import base64
import hashlib
import queue
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

ALGORITHMS = (
    "crc32",
    "crc32c",
    "crc64nvme",
    "sha1",
    "sha256",
    "sha512",
    "md5",
    "xxhash64",
    "xxhash3",
    "xxhash128",
)
"""What a client may send; those that ``_HASHERS`` lacks are kept and given back, but not verified."""

_POLYNOMIALS = {
    "crc32": (32, 0xEDB88320),
    "crc32c": (32, 0x82F63B78),
    "crc64nvme": (64, 0x9A6C9329AC4BC9B5),
}
_QUEUE_CHUNKS = 8


class Hasher(Protocol):
    """A running digest."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc32:
    """zlib's CRC-32 as a running digest."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_HASHERS: dict[str, Callable[[], Hasher]] = {
    "crc32": Crc32,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}


class Digests:
    """Several digests of one stream; ``parallel`` gives each its own thread, which pays for large bodies."""

    def __init__(self, names: Sequence[str], *, parallel: bool) -> None:
        self._hashers = {name: _HASHERS[name]() for name in dict.fromkeys(names) if name in _HASHERS}
        self._lanes = [_Lane(hasher) for hasher in self._hashers.values()] if parallel else []

    def update(self, data: bytes) -> None:
        if self._lanes:
            for lane in self._lanes:
                lane.put(data)
        else:
            for hasher in self._hashers.values():
                hasher.update(data)

    def finish(self) -> dict[str, bytes]:
        """The digests by name; the threads end."""
        for lane in self._lanes:
            lane.close()
        return {name: hasher.digest() for name, hasher in self._hashers.items()}


class _Lane:
    def __init__(self, hasher: Hasher) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUE_CHUNKS)
        self._thread = threading.Thread(target=self._run, args=(hasher,), daemon=True)
        self._thread.start()

    def _run(self, hasher: Hasher) -> None:
        while (data := self._queue.get()) is not None:
            hasher.update(data)

    def put(self, data: bytes) -> None:
        self._queue.put(data)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()


def composite(algorithm: str, parts: Sequence[str]) -> str | None:
    """The checksum of the parts' checksums, ``<base64>-<parts>``; None where it cannot be computed here."""
    if algorithm not in _HASHERS:
        return None
    hasher = _HASHERS[algorithm]()
    for part in parts:
        hasher.update(base64.b64decode(part))
    return f"{base64.b64encode(hasher.digest()).decode()}-{len(parts)}"


def full_object(algorithm: str, parts: Sequence[tuple[str, int]]) -> str | None:
    """A CRC of the whole from the parts' CRCs (base64) and sizes in bytes; None for other algorithms."""
    if algorithm not in _POLYNOMIALS or not parts:
        return None
    width, polynomial = _POLYNOMIALS[algorithm]
    total = int.from_bytes(base64.b64decode(parts[0][0]), "big")
    for value, size in parts[1:]:
        second = int.from_bytes(base64.b64decode(value), "big")
        total = _shift(total, size, width, polynomial) ^ second
    return base64.b64encode(total.to_bytes(width // 8, "big")).decode()


def _shift(crc: int, size_bytes: int, width: int, polynomial: int) -> int:
    """``crc`` after ``size_bytes`` zero bytes: multiplication by x^(8 n) over GF(2), by repeated squaring."""
    matrix = [polynomial, *(1 << bit for bit in range(width - 1))]  # one zero bit
    bits = size_bytes * 8
    while bits:
        if bits & 1:
            crc = _times(matrix, crc)
        matrix = [_times(matrix, column) for column in matrix]
        bits >>= 1
    return crc


def _times(matrix: Sequence[int], vector: int) -> int:
    total = 0
    for column in matrix:
        if vector & 1:
            total ^= column
        vector >>= 1
        if not vector:
            break
    return total
