"""Objects cut into the payloads that a container gets: whole, by lines up to a size, or a line each.

A payload is a range of a file, so that cutting reads next to nothing and the process that answers it reads it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transform_task import Failure

_WINDOW_BYTES = 1 << 16


class ObjectRefused(Exception):
    """An object that cannot be sent; ``failure`` says why."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.failure = Failure("ClientError", message, line=line)


@dataclass(frozen=True)
class Payload:
    """``length`` bytes from ``start`` of the task's object ``index``; ``number`` counts its payloads from 0.

    ``path`` is the file, which for a compressed object is not the object's own.
    """

    index: int
    number: int
    path: str
    start: int
    length: int

    def read(self) -> bytes:
        """The content; raises OSError when the file is shorter than it was."""
        with open(self.path, "rb", buffering=0) as file:
            content = os.pread(file.fileno(), self.length, self.start)
            while len(content) < self.length:
                more = os.pread(file.fileno(), self.length - len(content), self.start + len(content))
                if not more:
                    raise OSError(f"{self.path} ends before byte {self.start + self.length}")
                content += more
        return content

    def first_line(self) -> int:
        """The number of the payload's first line in its file."""
        lines, left = 1, self.start
        with open(self.path, "rb", buffering=0) as file:
            while left and (content := file.read(min(left, 1 << 20))):
                lines += content.count(b"\n")
                left -= len(content)
        return lines


def unpack_gzip(source: Path, target: Path) -> None:
    """Decompress an object; raises ObjectRefused."""
    try:
        with gzip.open(source, "rb") as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ObjectRefused(f"the object is not gzip that can be unpacked: {error}") from error


def whole(index: int, path: Path, limit: int) -> Iterator[Payload]:
    """The file as one payload; raises ObjectRefused where it is larger than ``limit`` (0: no limit)."""
    size = path.stat().st_size
    if limit and size > limit:
        raise ObjectRefused(
            f"the object has {size} bytes, more than the {limit} that MaxPayloadInMB allows; set SplitType to Line, "
            "or raise MaxPayloadInMB"
        )
    yield Payload(index, 0, str(path), 0, size)


def by_lines(index: int, path: Path, wanted: int, limit: int) -> Iterator[Payload]:
    """Whole lines, as many as fit ``wanted`` bytes; a longer line alone, up to ``limit`` bytes (0: no limit).

    Raises ObjectRefused for a line that is longer.
    """
    size = path.stat().st_size
    start = number = 0
    with path.open("rb", buffering=0) as file:
        while start < size:
            end = _last_end(file.fileno(), start, min(start + wanted + 1, size), size)
            if end is None:
                end = _first_end(file.fileno(), start, size)
            payload = Payload(index, number, str(path), start, end - start)
            _check_size(payload, limit)
            yield payload
            start, number = end, number + 1


def each_line(index: int, path: Path, limit: int) -> Iterator[Payload]:
    """A payload a line, lines without anything left out; raises ObjectRefused for one over ``limit`` bytes."""
    start = number = 0
    with path.open("rb") as file:
        for line in file:
            end = start + len(line)
            if not line.isspace():
                payload = Payload(index, number, str(path), start, len(line))
                _check_size(payload, limit)
                yield payload
                number += 1
            start = end


def _check_size(payload: Payload, limit: int) -> None:
    """A line's end does not count."""
    if limit and payload.length > limit + 1:
        raise ObjectRefused(
            f"the line has {payload.length} bytes, more than the {limit} that MaxPayloadInMB allows",
            payload.first_line(),
        )


def _last_end(descriptor: int, start: int, stop: int, size: int) -> int | None:
    """Where the last line that ends between ``start`` and ``stop`` does; the end of the file ends one, too."""
    if stop == size:
        return size
    high = stop
    while high > start:
        low = max(start, high - _WINDOW_BYTES)
        found = os.pread(descriptor, high - low, low).rfind(b"\n")
        if found >= 0:
            return low + found + 1
        high = low
    return None


def _first_end(descriptor: int, start: int, size: int) -> int:
    """Where the line that begins at ``start`` ends."""
    position = start
    while position < size:
        content = os.pread(descriptor, 1 << 20, position)
        found = content.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(content)
    return size
