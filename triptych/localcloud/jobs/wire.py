"""Messages between the gateway and a fork server: JSON with a length before it, and file descriptors."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEADER = struct.Struct("!I")
_MOST_DESCRIPTORS = 2


def send(connection: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one message; the descriptors travel with its header."""
    payload = json.dumps(message).encode()
    header = _HEADER.pack(len(payload))
    if descriptors:
        socket.send_fds(connection, [header], list(descriptors))
        connection.sendall(payload)
    else:
        connection.sendall(header + payload)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for one message; raises EOFError when the other side is gone."""
    try:
        header, descriptors, _, _ = socket.recv_fds(connection, _HEADER.size, _MOST_DESCRIPTORS)
        if not header:
            raise EOFError
        header += _exactly(connection, _HEADER.size - len(header))
        payload = _exactly(connection, _HEADER.unpack(header)[0])
    except (ConnectionResetError, BrokenPipeError) as error:
        raise EOFError from error
    message: dict[str, Any] = json.loads(payload)
    return message, descriptors


def _exactly(connection: socket.socket, size: int) -> bytes:
    chunks = []
    while size:
        chunk = connection.recv(min(size, 1 << 20))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
