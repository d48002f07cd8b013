"""HTTP/1.1 as the router needs it: request heads, response heads, and AWS's errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any

MAX_HEAD_BYTES = 65_536
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Malformed(Exception):
    """The bytes are no HTTP message; ``status`` is what to answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A client's request without its body. ``headers`` have lower-case names; ``length`` None is chunked."""

    method: str
    target: str
    headers: dict[str, str]
    length: int | None
    keep_alive: bool


def parse_request(head: bytes) -> RequestHead:
    """The head without its empty line; raises Malformed."""
    lines = head.decode("latin-1").split("\r\n")
    first = lines[0].split(" ")
    if len(first) != 3 or not first[2].startswith("HTTP/1."):
        raise Malformed("this is not an HTTP/1.1 request")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed("a request header has no colon")
        headers[name.lower()] = value.strip()
    length: int | None = 0
    if "content-length" in headers:
        length = _length(headers["content-length"])
    elif "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise Malformed(f"Transfer-Encoding {headers['transfer-encoding']} is not served", 501)
        length = None
    connection = headers.get("connection", "").lower()
    keep_alive = connection != "close" and (first[2] != "HTTP/1.0" or connection == "keep-alive")
    return RequestHead(first[0], first[1], headers, length, keep_alive)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A model server's answer without its body."""

    status: int
    content_type: str
    custom_attributes: str
    length: int | None
    keep_alive: bool


@lru_cache(maxsize=1024)
def parse_response(head: bytes) -> ResponseHead:
    """The head without its empty line; raises Malformed. Cached: servers' heads differ by a length only."""
    lines = head.decode("latin-1").split("\r\n")
    first = lines[0].split(" ", 2)
    if len(first) < 2 or not first[0].startswith("HTTP/1.") or not first[1].isdigit():
        raise Malformed("the model server's answer is not HTTP/1.1")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "content-length" in headers:
        length: int | None = _length(headers["content-length"])
    else:
        length = None if headers.get("transfer-encoding", "").lower() == "chunked" else 0
    return ResponseHead(
        int(first[1]),
        headers.get("content-type", "application/octet-stream"),
        headers.get("x-amzn-sagemaker-custom-attributes", ""),
        length,
        headers.get("connection", "").lower() != "close",
    )


def _length(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise Malformed("Content-Length is not a number")
    return int(text)


class Chunks:
    """A body with ``Transfer-Encoding: chunked``, as it arrives; what passes ``limit`` is not kept."""

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self.size = 0
        self._limit = limit

    def take(self, buffer: bytearray) -> bool:
        """Take whole chunks from the buffer's front; True after the last one. Raises Malformed."""
        while True:
            end = buffer.find(b"\r\n")
            if end < 0:
                if len(buffer) > MAX_HEAD_BYTES:
                    raise Malformed("a chunk without a size")
                return False
            try:
                size = int(bytes(buffer[:end]).split(b";", 1)[0], 16)
            except ValueError:
                raise Malformed("a chunk's size is not hexadecimal") from None
            if size < 0:
                raise Malformed("a chunk's size is negative")
            if size == 0:
                return self._take_trailers(buffer, end)
            if len(buffer) < end + 2 + size + 2:
                return False
            self.size += size
            if self.size <= self._limit:
                self.body += buffer[end + 2 : end + 2 + size]
            del buffer[: end + 2 + size + 2]

    def _take_trailers(self, buffer: bytearray, end: int) -> bool:
        if buffer[end + 2 : end + 4] == b"\r\n":
            del buffer[: end + 4]
            return True
        over = buffer.find(b"\r\n\r\n", end)
        if over < 0:
            return False
        del buffer[: over + 4]
        return True


def render(
    status: int, headers: str, body: bytes, content_type: str = "application/json", *, close: bool = False
) -> bytes:
    """A whole response; ``headers`` are further lines, each ended by CR LF."""
    reason = _REASONS.get(status, "Unknown")
    closing = "Connection: close\r\n" if close else ""
    head = (
        f"HTTP/1.1 {status} {reason}\r\n{headers}Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{closing}\r\n"
    )
    return head.encode("latin-1", "replace") + body


@dataclass(frozen=True)
class Refusal:
    """An error as AWS's clients read it."""

    code: str
    message: str
    status: int = 400
    fields: dict[str, Any] | None = None

    def render(self, request_id: str, *, close: bool = False) -> bytes:
        body = json.dumps({"Message": self.message, "message": self.message, **(self.fields or {})}).encode()
        headers = f"x-amzn-RequestId: {request_id}\r\nx-amzn-ErrorType: {self.code}\r\n"
        return render(self.status, headers, body, close=close)
