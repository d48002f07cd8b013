"""HTTP/1.1 to a model server or to the router, on kept connections."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_RECV_BYTES = 1 << 18


class ServerGone(Exception):
    """The connection was closed, or nobody listens; ``sent``: the server may have seen the request."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class ServerSlow(Exception):
    """No answer within the time allowed."""


@dataclass(frozen=True)
class ModelResponse:
    """A server's answer. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/octet-stream")


class ModelClient:
    """Connections to a Unix socket (a path) or a port (host and number); may be used from many threads."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        self._address = address
        self._idle: deque[socket.socket] = deque()
        self._closed = False

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> ModelResponse:
        """One exchange; raises ServerGone, ServerSlow. A kept connection that is dead is replaced."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        message = head.encode("latin-1", "replace") + body
        maybe_seen = False
        while True:
            try:
                connection, fresh = self._idle.pop(), False
            except IndexError:
                try:
                    connection, fresh = self._connect(timeout_seconds), True
                except OSError as error:
                    reason = f"the model server does not listen: {error}"
                    raise ServerGone(reason, sent=maybe_seen) from error
            try:
                connection.settimeout(timeout_seconds)
                response, keep = _exchange(connection, message)
            except TimeoutError:
                connection.close()
                raise ServerSlow(f"no answer within {timeout_seconds:g} seconds") from None
            except BrokenPipeError:
                connection.close()
                if fresh:
                    raise ServerGone("the connection was closed", sent=False) from None
                continue
            except OSError as error:
                connection.close()
                if fresh:
                    raise ServerGone(str(error) or "the connection was closed", sent=True) from error
                maybe_seen = True
                continue
            if keep and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
            return response

    def close(self) -> None:
        """Close the idle connections; those in use close when their answer is there."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _connect(self, timeout_seconds: float) -> socket.socket:
        if isinstance(self._address, tuple):
            connection = socket.create_connection(self._address, timeout_seconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection


def _exchange(connection: socket.socket, message: bytes) -> tuple[ModelResponse, bool]:
    connection.sendall(message)
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        data = connection.recv(_RECV_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        received += data
    lines = received[:end].decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    parts = [received[end + 4 :]]
    missing = length - len(parts[0])
    while missing > 0:
        data = connection.recv(min(missing, _RECV_BYTES))
        if not data:
            raise ConnectionResetError("the server closed the connection in its answer")
        parts.append(data)
        missing -= len(data)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    return ModelResponse(status, headers, body), headers.get("connection", "").lower() != "close"
