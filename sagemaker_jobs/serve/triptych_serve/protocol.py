"""HTTP/1.1 on bare asyncio: what SageMaker's inference contract needs, and no more in a request's way."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus

from triptych_serve.handlers import Handlers, Request, Response

MAX_HEADER_BYTES = 65_536
LINGER_SECONDS = 2.0
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_PING = Response(200, b"\n", "text/plain")


class _Malformed(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Router:
    """Collects the requests that arrived in one turn of the event loop and answers them together.

    Sixteen waiting clients so cost one predict call instead of sixteen.
    """

    def __init__(self, handlers: Handlers, loop: asyncio.AbstractEventLoop, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self._handlers = handlers
        self._loop = loop
        self._waiting: list[tuple[Connection, str, str, Request, bool]] = []

    @property
    def idle(self) -> bool:
        return not self._waiting

    def add(self, connection: Connection, method: str, path: str, request: Request, keep_alive: bool) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append((connection, method, path, request, keep_alive))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        predict = [entry for entry in waiting if entry[1] == "POST" and entry[2] == "/invocations"]
        answers = iter(self._handlers.answer([entry[3] for entry in predict]))
        for connection, method, path, _, keep_alive in waiting:
            if path == "/invocations":
                response = next(answers) if method == "POST" else Response(405, b"use POST")
            elif path == "/ping":
                response = _PING
            else:
                response = Response(404, b"there are /ping and /invocations")
            connection.respond(response, keep_alive)


class Connection(asyncio.Protocol):
    """One client: reads requests (Content-Length or chunked), hands them on, writes the answers."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._continued = False
        self._refused = False
        self._pending: deque[None] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._pending) or bool(self._buffer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._router.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._router.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._buffer += data
        try:
            while self._buffer and self._take_request():
                pass
        except _Malformed as error:
            self._refuse(error)

    def respond(self, response: Response, keep_alive: bool, close: bool | None = None) -> None:
        """Send an answer; the connection is closed after it unless kept alive, or ``close`` says otherwise."""
        self._pending.popleft()
        if self._transport is None or self._transport.is_closing():
            return
        reason = _REASONS.get(response.status, "Unknown")
        head = (
            f"HTTP/1.1 {response.status} {reason}\r\nContent-Type: {response.content_type}\r\n"
            "Content-Length: "
            f"{len(response.body)}\r\n{'' if keep_alive else 'Connection: close' + chr(13) + chr(10)}\r\n"
        )
        self._transport.write(head.encode("latin-1", "replace") + response.body)
        if not keep_alive if close is None else close:
            self._transport.close()

    def _refuse(self, error: _Malformed) -> None:
        """Answer, and drop what is still being sent: closing over unread bytes would reset the connection, and the
        client might never see the answer."""
        self._buffer.clear()
        self._refused = True
        self._pending.append(None)
        self.respond(Response(error.status, str(error).encode()), keep_alive=False, close=False)
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.close)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _take_request(self) -> bool:
        """Hand one complete request on; False when more bytes must come first."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise _Malformed("the request's headers are too long", 431)
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, path, keep_alive = _request_line(lines[0])
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise _Malformed("a request header has no colon")
            headers[name.lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue" and not self._continued and self._transport:
            self._continued = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        taken = self._body(headers, end + 4)
        if taken is None:
            return False
        body, used = taken
        del self._buffer[:used]
        self._continued = False
        connection = headers.get("connection", "").lower()
        keep_alive = connection != "close" and (keep_alive or connection == "keep-alive")
        self._pending.append(None)
        request = Request(body, headers.get("content-type"), headers.get("accept"))
        self._router.add(self, method, path, request, keep_alive)
        return True

    def _body(self, headers: dict[str, str], start: int) -> tuple[bytes, int] | None:
        """The body and where it ends in the buffer; None while it is incomplete."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(start)
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise _Malformed("Content-Length is not a number") from error
        if length < 0:
            raise _Malformed("Content-Length is negative")
        if length > self._router.max_body_bytes:
            raise _Malformed(
                f"the body has {length} bytes, more than the {self._router.max_body_bytes} allowed", 413
            )
        if len(self._buffer) < start + length:
            return None
        return bytes(self._buffer[start : start + length]), start + length

    def _chunks(self, start: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while True:
            line_end = self._buffer.find(b"\r\n", start)
            if line_end < 0:
                return None
            try:
                size = int(self._buffer[start:line_end].split(b";", 1)[0], 16)
            except ValueError as error:
                raise _Malformed("a chunk's size is not hexadecimal") from error
            if len(body) + size > self._router.max_body_bytes:
                raise _Malformed(
                    f"the body has more than the {self._router.max_body_bytes} bytes allowed", 413
                )
            data = line_end + 2
            if len(self._buffer) < data + size + 2:
                return None
            if size == 0:
                return bytes(body), data + 2
            body += self._buffer[data : data + size]
            start = data + size + 2


def _request_line(line: str) -> tuple[str, str, bool]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Malformed("this is not an HTTP/1.1 request")
    return parts[0], parts[1].split("?", 1)[0], parts[2] != "HTTP/1.0"
