"""The WSGI types that the gateway's parts hand each other, and small answers."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

IN_PROCESS = "triptych.in_process"
"""environ key: the call comes from one of our own services, which may be just starting"""
ROUTE = "triptych.route"
"""environ key: the Route, once it has been found"""
MOTO_APP = "triptych.moto_app"
"""environ key: moto's application, for services that answer raw requests and hand some on"""

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class FileWrapper:
    """``wsgi.file_wrapper``: the server sends the file's bytes without copying them through Python."""

    def __init__(self, file: BinaryIO, block_size: int = 1 << 18) -> None:
        self.file = file
        self._block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self._block_size):
            yield block

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True)
class Response:
    """A whole answer in memory."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def send(self, start_response: StartResponse) -> list[bytes]:
        headers = self.headers
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(self.body)))]
        start_response(f"{self.status} {_PHRASES.get(self.status, 'Status')}", headers)
        return [self.body]


def json_response(status: int, document: Any) -> Response:
    body = json.dumps(document, indent=2, default=str).encode() + b"\n"
    return Response(status, [("Content-Type", "application/json")], body)


def read_body(environ: Environ) -> bytes:
    """The request's whole body; ``wsgi.input`` can be read again afterwards."""
    data: bytes
    source = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        data = source.read()
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"] = str(len(data))
    else:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        data = source.read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(data)
    return data


def inflate(environ: Environ) -> None:
    """Unpacks the body of a compressed request in place, as clients send large ones (PutMetricData).

    Raises ValueError where the body is not what its header says.
    """
    try:
        data = gzip.decompress(read_body(environ))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"the body is no gzip: {error}") from error
    environ["wsgi.input"] = io.BytesIO(data)
    environ["CONTENT_LENGTH"] = str(len(data))
    del environ["HTTP_CONTENT_ENCODING"]


def call(app: WsgiApp, environ: Environ) -> Response:
    """Runs ``app`` and collects its answer in memory."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [(status, headers)]
        return written.append

    result = app(environ, start_response)
    try:
        body = b"".join(result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    status, headers = started[0]
    return Response(
        int(status.split(" ", 1)[0]),
        headers,
        b"".join(written) + body,
    )
