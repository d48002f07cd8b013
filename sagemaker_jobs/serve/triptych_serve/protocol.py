"""The server's connections: requests in, answers out in order, one write for what was answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from triptych_serve.handlers import Handlers, Request, Response
from triptych_serve.http_request import Head, Malformed, RequestReader

LINGER_SECONDS = 2.0
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_MOST_JOINED, _MOST_JOINED_BYTES = 256, 1 << 20
_MOST_WAITING = 1024


class Dispatcher:
    """Collects the requests that arrived in one turn of the event loop and answers them together.

    Sixteen waiting clients so cost one predict call instead of sixteen. Requests that the user's own functions
    answer go one by one, each answer on its way before the next is worked out.
    """

    def __init__(self, handlers: Handlers, loop: asyncio.AbstractEventLoop, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self._handlers = handlers
        self._joins = handlers.joins_requests
        self._loop = loop
        self._waiting: deque[tuple[Connection, Head | Malformed, bytes]] = deque()

    def add(self, connection: Connection, head: Head | Malformed, body: bytes) -> None:
        """Answer the request, or say what is wrong with it, once the event loop has read what else came."""
        if not self._waiting:
            self._loop.call_soon(self._answer)
        self._waiting.append((connection, head, body))

    def _answer(self) -> None:
        taken = self._take()
        to_model = [
            Request(body, head.content_type, head.accept)
            for _, head, body in taken
            if isinstance(head, Head) and head.path == "/invocations" and head.method == "POST"
        ]
        answers = iter(self._handlers.answer(to_model) if to_model else ())
        connections: dict[Connection, None] = {}
        for connection, head, _ in taken:
            if isinstance(head, Malformed):
                connection.add_refusal(head)
            elif head.path == "/invocations" and head.method == "POST":
                connection.add_answer(next(answers), head.keep_alive)
            else:
                connection.add_answer(self._other(head), head.keep_alive)
            connections[connection] = None
        if self._waiting:
            self._loop.call_soon(self._answer)
        for connection in connections:
            connection.send()

    def _take(self) -> list[tuple[Connection, Head | Malformed, bytes]]:
        """The requests to answer now: as many as may be joined, of a limited size together."""
        waiting = self._waiting
        taken = [waiting.popleft()]
        size = len(taken[0][2])
        while waiting and self._joins and len(taken) < _MOST_JOINED:
            size += len(waiting[0][2])
            if size > _MOST_JOINED_BYTES:
                break
            taken.append(waiting.popleft())
        return taken

    def _other(self, head: Head) -> Response:
        if head.path == "/ping":
            return self._handlers.ping() if head.method == "GET" else Response(405, b"use GET")
        if head.path == "/invocations":
            return Response(405, b"use POST")
        return Response(404, b"there are /ping and /invocations")


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._reader = RequestReader(dispatcher.max_body_bytes)
        self._transport: Any = None
        self._waiting = 0
        self._answers: list[bytes] = []
        self._deaf = False
        self._lingers = False
        self._continued: Head | None = None
        self._paused = self._client_is_slow = False

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self._waiting or self._reader.in_request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._dispatcher.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._dispatcher.connections.discard(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it until it does."""
        self._client_is_slow = True
        self._balance()

    def resume_writing(self) -> None:
        self._client_is_slow = False
        self._balance()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            for head, body in self._reader.feed(data):
                self._waiting += 1
                self._continued = None
                self._dispatcher.add(self, head, body)
                if not head.keep_alive:
                    self._deaf = True
                    return
            waiting = self._reader.awaits_body_of
            if waiting is not None and waiting.expects_continue and waiting is not self._continued:
                self._continued = waiting
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        except Malformed as error:
            self._deaf = True
            self._waiting += 1
            self._dispatcher.add(self, error, b"")
        self._balance()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers."""
        self._deaf = True
        return self._waiting > 0

    def add_answer(self, response: Response, keep_alive: bool) -> None:
        """The next answer; ``send`` sends it."""
        self._waiting -= 1
        self._answers.append(_start_line(response.status, response.content_type, keep_alive))
        self._answers.append(b"%d\r\n\r\n" % len(response.body))
        self._answers.append(response.body)

    def add_refusal(self, error: Malformed) -> None:
        """The answer to what is no request; the connection ends with it."""
        self.add_answer(Response(error.status, str(error).encode()), keep_alive=False)
        self._lingers = True

    def send(self) -> None:
        """Send the answers that have gathered."""
        data = b"".join(self._answers)
        self._answers.clear()
        self._write(data)
        if self._lingers:
            self._hang_up()
        elif self._deaf and not self._waiting:
            self.close()
        elif self._paused:
            self._balance()

    def close(self) -> None:
        """Close, once all answers are sent."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _hang_up(self) -> None:
        """Drop what is still being sent: closing over unread bytes would reset the connection, and the client
        might never see the answer."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.close)

    def _balance(self) -> None:
        """Read on, or stop reading while too much of this client's waits."""
        pause = not self._deaf and (self._client_is_slow or self._waiting >= _MOST_WAITING)
        if pause == self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


@lru_cache(maxsize=256)
def _start_line(status: int, content_type: str, keep_alive: bool) -> bytes:
    """An answer's head up to the number of its Content-Length."""
    close = "" if keep_alive else "Connection: close\r\n"
    kind = content_type.replace("\r", " ").replace("\n", " ")
    reason = _REASONS.get(status, "Unknown")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{close}Content-Length: "
    return head.encode("latin-1", "replace")
