"""HTTP/1.1 requests out of the bytes of a connection, however they are cut; nothing here knows of sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_HEAD_BYTES = 65_536
_CHUNKED = -1
_MOST_HEADS = 512
_LONGEST_KEPT_HEAD_BYTES = 1024


class Malformed(Exception):
    """What arrived is no request that is served; ``status`` says how it is answered."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Head:
    """What a request's first lines say. ``length`` is the body's bytes, or -1 for a chunked one."""

    method: str
    path: str
    keep_alive: bool
    expects_continue: bool
    content_type: str | None
    accept: str | None
    length: int


class RequestReader:
    """Collects bytes and yields complete requests.

    A client sends the same headers again and again, so heads are parsed once and looked up afterwards.
    """

    _heads: dict[bytes, Head] = {}

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = 1
        self._head: Head | None = None
        self._chunks: _ChunkedBody | None = None

    @property
    def in_request(self) -> bool:
        """Whether a request has begun and is not complete."""
        return self._held > 0 or self._head is not None

    @property
    def awaits_body_of(self) -> Head | None:
        """The request whose body is still to come."""
        return self._head

    def feed(self, data: bytes) -> Iterator[tuple[Head, bytes]]:
        """The requests that are complete now, with their bodies; raises Malformed, and is of no use then."""
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._parts)
            self._parts = []
        position = 0
        while position < len(data) or (self._head is not None and self._head.length == 0):
            if self._head is None:
                end = data.find(b"\r\n\r\n", position)
                if end < 0:
                    if len(data) - position > MAX_HEAD_BYTES:
                        raise Malformed("the request's headers are too long", 431)
                    self._needed = len(data) - position + 1
                    break
                self._head = self._parse(data[position:end])
                position = end + 4
                if self._head.length == _CHUNKED:
                    self._chunks = _ChunkedBody(self._max_body_bytes)
                continue
            head = self._head
            if self._chunks is not None:
                position = self._chunks.feed(data, position)
                if not self._chunks.complete:
                    self._needed = len(data) - position + 1
                    break
                body = self._chunks.body()
                self._chunks = None
            else:
                end = position + head.length
                if end > len(data):
                    self._needed = head.length
                    break
                body = data[position:end]
                position = end
            self._head = None
            yield head, body
        self._held = len(data) - position
        if self._held:
            self._parts = [data[position:] if position else data]

    def _parse(self, text: bytes) -> Head:
        head = self._heads.get(text)
        if head is None:
            head = _parse_head(text)
            if len(text) <= _LONGEST_KEPT_HEAD_BYTES:
                if len(self._heads) >= _MOST_HEADS:
                    self._heads.clear()
                self._heads[text] = head
        if head.length > self._max_body_bytes:
            raise Malformed(
                f"the body has {head.length} bytes, more than the {self._max_body_bytes} allowed", 413
            )
        return head


class _ChunkedBody:
    """A body sent in chunks, each with its size before it."""

    def __init__(self, max_bytes: int) -> None:
        self.complete = False
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def body(self) -> bytes:
        return b"".join(self._parts)

    def feed(self, data: bytes, position: int) -> int:
        """Take the whole chunks from ``position`` on; where the rest begins."""
        while True:
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                if len(data) - position > 1024:
                    raise Malformed("a chunk's size is not hexadecimal")
                return position
            size = _chunk_size(data[position:line_end])
            if self._size + size > self._max_bytes:
                raise Malformed(f"the body has more than the {self._max_bytes} bytes allowed", 413)
            start = line_end + 2
            if size == 0:
                return self._trailer(data, position, start)
            if len(data) < start + size + 2:
                return position
            if data[start + size : start + size + 2] != b"\r\n":
                raise Malformed("a chunk is longer than its size says")
            self._parts.append(data[start : start + size])
            self._size += size
            position = start + size + 2

    def _trailer(self, data: bytes, position: int, start: int) -> int:
        """Skip what headers follow the last chunk, up to the empty line."""
        while True:
            line_end = data.find(b"\r\n", start)
            if line_end < 0:
                if len(data) - start > MAX_HEAD_BYTES:
                    raise Malformed("the request's headers are too long", 431)
                return position
            if line_end == start:
                self.complete = True
                return start + 2
            start = line_end + 2


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    try:
        if not digits.isalnum():
            raise ValueError
        return int(digits, 16)
    except ValueError:
        raise Malformed("a chunk's size is not hexadecimal") from None


def _parse_head(text: bytes) -> Head:
    lines = text.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Malformed("this is not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed("a request header has no colon")
        if not name or name != name.strip():
            raise Malformed("a request header's name has spaces around it")
        key, value = name.lower(), value.strip()
        if key == "content-length" and headers.get(key, value) != value:
            raise Malformed("there are two different Content-Length headers")
        headers[key] = value
    connection = headers.get("connection", "").lower()
    return Head(
        method=words[0],
        path=words[1].split("?", 1)[0],
        keep_alive=connection == "keep-alive" if words[2] == "HTTP/1.0" else connection != "close",
        expects_continue=headers.get("expect", "").lower() == "100-continue",
        content_type=headers.get("content-type"),
        accept=headers.get("accept"),
        length=_length(headers),
    )


def _length(headers: dict[str, str]) -> int:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise Malformed("the request has both Content-Length and Transfer-Encoding")
        if coding.lower() != "chunked":
            raise Malformed(f"the transfer encoding '{coding[:40]}' is not served; send chunked", 501)
        return _CHUNKED
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit()):
        raise Malformed("Content-Length is not a number")
    return int(length)
