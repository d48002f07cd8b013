"""What the gateway and the router tell each other over their socket: JSON, and raw bytes beside it.

A frame is two lengths, the JSON, and the blobs one after the other; ``blobs`` in the JSON are their lengths.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

Message = dict[str, Any]
_LENGTHS = struct.Struct("!IQ")


def encode(message: Message, blobs: Sequence[bytes] = ()) -> bytes:
    """One frame."""
    head = json.dumps({**message, "blobs": [len(blob) for blob in blobs]}).encode()
    return b"".join([_LENGTHS.pack(len(head), sum(map(len, blobs))), head, *blobs])


class Decoder:
    """Frames out of bytes as they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Message, list[bytes]]]:
        """The messages that are complete now."""
        self._buffer += data
        while len(self._buffer) >= _LENGTHS.size:
            head, rest = _LENGTHS.unpack_from(self._buffer)
            end = _LENGTHS.size + head + rest
            if len(self._buffer) < end:
                return
            message: Message = json.loads(self._buffer[_LENGTHS.size : _LENGTHS.size + head])
            blobs, start = [], _LENGTHS.size + head
            for length in message.pop("blobs"):
                blobs.append(bytes(self._buffer[start : start + length]))
                start += length
            del self._buffer[:end]
            yield message, blobs


def receive_all(connection: socket.socket) -> Iterator[tuple[Message, list[bytes]]]:
    """Every message of a blocking socket, until the other side is gone."""
    decoder = Decoder()
    while True:
        try:
            data = connection.recv(1 << 20)
        except OSError:
            return
        if not data:
            return
        yield from decoder.feed(data)
