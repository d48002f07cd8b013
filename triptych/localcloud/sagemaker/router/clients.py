"""A client's connection: requests in, one at a time; answers out."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Protocol, cast

from triptych.localcloud.http_server import loopback
from triptych.localcloud.sagemaker.router.http import (
    MAX_HEAD_BYTES,
    Chunks,
    Malformed,
    Refusal,
    RequestHead,
    parse_request,
)

_READ_AHEAD_BYTES = 1 << 20
_DISCARD_BYTES = 1 << 30
_LINGER_SECONDS = 2.0
_host_is_ours = lru_cache(maxsize=256)(loopback)


class Requests(Protocol):
    """Who answers complete requests, each with one ``respond`` of the connection."""

    max_body_bytes: int
    connections: set[ClientConnection]
    """all that are open"""

    def new_request_id(self) -> str: ...

    def take(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None: ...


class ClientConnection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length or chunked bodies, kept alive."""

    def __init__(self, requests: Requests, loop: asyncio.AbstractEventLoop) -> None:
        self._requests = requests
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: RequestHead | None = None
        self._chunks: Chunks | None = None
        self._discarded = 0
        self._keep_alive = True
        self._busy = False
        self._deaf = False
        self._paused = False

    @property
    def busy(self) -> bool:
        """A request is being answered."""
        return self._busy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._requests.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._buffer.clear()
        self._requests.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if not self._buffer and not self._busy and self._head is None:
            end = data.find(b"\r\n\r\n")
            if end > 0:
                try:
                    head = parse_request(data[:end])
                except Malformed as error:
                    self._refuse(error.status, str(error))
                    return
                if head.length == len(data) - end - 4 and head.length <= self._requests.max_body_bytes:
                    self._hand_on(head, data[end + 4 :])
                    return
        self._buffer += data
        if not self._busy:
            self._advance()
        elif len(self._buffer) > _READ_AHEAD_BYTES and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def respond(self, response: bytes, *, keep_alive: bool = True) -> None:
        """Send the answer to the request that was handed on."""
        self._busy = False
        if self._transport is None:
            return
        self._transport.write(response)
        if not (keep_alive and self._keep_alive):
            self._transport.close()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._buffer:
            self._loop.call_soon(self._advance)

    # Inside

    def _advance(self) -> None:
        """Take the next request from the buffer, once it is complete."""
        try:
            while self._buffer and not self._busy and not self._deaf and self._take_request():
                pass
        except Malformed as error:
            self._refuse(error.status, str(error))

    def _take_request(self) -> bool:
        """Hand one request on; False while it is incomplete. Raises Malformed."""
        if self._head is None and not self._take_head():
            return False
        head = self._head
        assert head is not None
        limit = self._requests.max_body_bytes
        if head.length is None:
            assert self._chunks is not None
            if not self._chunks.take(self._buffer):
                if self._chunks.size > _DISCARD_BYTES:
                    self._too_large(limit, close=True)
                return False
            body, size = bytes(self._chunks.body), self._chunks.size
        elif head.length > limit:
            return self._discard(head.length, limit)
        else:
            if len(self._buffer) < head.length:
                return False
            body, size = bytes(self._buffer[: head.length]), head.length
            del self._buffer[: head.length]
        self._head = self._chunks = None
        if size > limit:
            self._too_large(limit, close=False)
            return True
        self._hand_on(head, body)
        return True

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise Malformed("the request's headers are too long", 431)
            return False
        head = self._head = parse_request(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._keep_alive = head.keep_alive
        self._chunks = Chunks(self._requests.max_body_bytes) if head.length is None else None
        self._discarded = 0
        if head.headers.get("expect", "").lower() == "100-continue":
            if head.length is not None and head.length > self._requests.max_body_bytes:
                self._too_large(self._requests.max_body_bytes, close=True)
                return False
            if self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _discard(self, length: int, limit: int) -> bool:
        """Read over a body that is too large, so that the client, which sends first, sees the answer."""
        if length > _DISCARD_BYTES:
            self._too_large(limit, close=True)
            return False
        taken = min(len(self._buffer), length - self._discarded)
        self._discarded += taken
        del self._buffer[:taken]
        if self._discarded < length:
            return False
        self._head = None
        self._too_large(limit, close=False)
        return True

    def _too_large(self, limit: int, *, close: bool) -> None:
        refusal = Refusal("413", f"HTTP content length exceeded {limit} bytes.", 413)
        if close:
            self._refuse_and_linger(refusal)
        else:
            self.respond(refusal.render(self._requests.new_request_id()))

    def _refuse(self, status: int, message: str) -> None:
        self._refuse_and_linger(Refusal("ValidationError", message, status))

    def _refuse_and_linger(self, refusal: Refusal) -> None:
        """Answer, and drop what is still being sent: closing over unread bytes would reset the connection, and
        the client might never see the answer."""
        self._deaf = True
        self._buffer.clear()
        if self._transport is not None:
            self._transport.write(refusal.render(self._requests.new_request_id(), close=True))
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._loop.call_later(_LINGER_SECONDS, self.close)

    def _hand_on(self, head: RequestHead, body: bytes) -> None:
        self._keep_alive = head.keep_alive
        host = head.headers.get("host", "")
        if not _host_is_ours(host.rsplit(":", 1)[0] if not host.endswith("]") else host):
            self._refuse(403, f"Host '{host}' is not this machine: use 127.0.0.1 or localhost.")
            return
        if "origin" in head.headers:
            self._refuse(403, f"Pages of '{head.headers['origin']}' may not call the local cloud.")
            return
        self._busy = True
        self._requests.take(self, head, body)
