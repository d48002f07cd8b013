"""A threaded HTTP/1.1 server for one WSGI application, on loopback only.

One thread a connection: a long poll or a large upload holds up nobody else. Connections are kept alive,
request bodies are read from the socket as the application asks for them, files are sent without passing
through memory. The servers in reach either close each connection (werkzeug's), or hold requests back in a
pool or a buffer.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote_to_bytes

from triptych.localcloud.wsgi import Environ, FileWrapper, WsgiApp

_log = logging.getLogger(__name__)
_MAX_LINE_BYTES = 65_536
_MAX_HEADERS = 200
_DRAIN_LIMIT_BYTES = 4 * 1024 * 1024
_NO_BODY_STATUSES = ("204", "304", "100")


class _BadRequest(Exception):
    """The bytes on the wire are no HTTP request."""


class _SizedBody(io.RawIOBase):
    """A request body of a known length, read from the socket when asked for."""

    def __init__(self, source: io.BufferedIOBase, length: int, before_read: _Continue | None) -> None:
        self._source = source
        self._remaining = length
        self._before_read = before_read

    @property
    def remaining(self) -> int:
        return self._remaining

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._remaining <= 0:
            return b""
        if self._before_read is not None:
            self._before_read()
        wanted = self._remaining if size is None or size < 0 else min(size, self._remaining)
        data = self._source.read(wanted)
        self._remaining = self._remaining - len(data) if len(data) == wanted else 0
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        if self._remaining <= 0:
            return b""
        if self._before_read is not None:
            self._before_read()
        limit = self._remaining if size is None or size < 0 else min(size, self._remaining)
        line = self._source.readline(limit)
        self._remaining -= len(line)
        return line


class _ChunkedBody(io.RawIOBase):
    """A request body with ``Transfer-Encoding: chunked``."""

    def __init__(self, source: io.BufferedIOBase, before_read: _Continue | None) -> None:
        self._source = source
        self._chunk = 0
        self.finished = False
        self._before_read = before_read

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        wanted = sys.maxsize if size is None or size < 0 else size
        while wanted > 0:
            data = self._read_some(wanted)
            if not data:
                break
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        data = self._read_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read_some(self, wanted: int) -> bytes:
        if self.finished:
            return b""
        if self._before_read is not None:
            self._before_read()
        if self._chunk == 0:
            size_line = self._source.readline(_MAX_LINE_BYTES).split(b";", 1)[0].strip()
            try:
                self._chunk = int(size_line, 16)
            except ValueError:
                self.finished = True
                raise _BadRequest("a chunk without a size") from None
            if self._chunk == 0:
                while self._source.readline(_MAX_LINE_BYTES).strip():
                    pass  # trailers
                self.finished = True
                return b""
        data = self._source.read(min(wanted, self._chunk))
        self._chunk -= len(data)
        if not data:
            self.finished = True
        elif self._chunk == 0:
            self._source.readline(_MAX_LINE_BYTES)
        return data


class _Continue:
    """Sends ``100 Continue`` once, when the application first reads the body."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pending = True

    def __call__(self) -> None:
        if self.pending:
            self.pending = False
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


class _Connection(socketserver.StreamRequestHandler):
    rbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: HttpServer

    def handle(self) -> None:
        try:
            while self._serve_one():
                pass
        except _BadRequest as error:
            self._refuse("400 Bad Request", str(error))
        except (ConnectionError, TimeoutError, ValueError):
            pass  # the client went away

    def _refuse(self, status: str, message: str) -> None:
        body = message.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError):
            self.connection.sendall(head.encode() + body)

    def _read_head(self) -> tuple[str, str, str, list[tuple[str, str]]] | None:
        line = self.rfile.readline(_MAX_LINE_BYTES)
        while line in (b"\r\n", b"\n"):
            line = self.rfile.readline(_MAX_LINE_BYTES)
        if not line:
            return None
        parts = line.decode("latin-1").split()
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise _BadRequest("this port speaks HTTP/1.1 (the local cloud's AWS endpoint)")
        headers: list[tuple[str, str]] = []
        while True:
            raw = self.rfile.readline(_MAX_LINE_BYTES)
            if raw in (b"\r\n", b"\n"):
                break
            name, colon, value = raw.decode("latin-1").partition(":")
            if not raw or not colon or len(headers) >= _MAX_HEADERS:
                raise _BadRequest("malformed or too many headers")
            headers.append((name.strip(), value.strip()))
        return parts[0], parts[1], parts[2], headers

    def _serve_one(self) -> bool:
        head = self._read_head()
        if head is None:
            return False
        method, target, version, headers = head
        environ = build_environ(method, target, headers, self.server.server_address, self.client_address[0])
        environ["SERVER_PROTOCOL"] = version
        expects = None
        if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
            expects = _Continue(self.connection)
        body: _SizedBody | _ChunkedBody
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            body = _ChunkedBody(self.rfile, expects)
            environ["wsgi.input_terminated"] = True
        else:
            try:
                length = int(environ.get("CONTENT_LENGTH") or 0)
            except ValueError:
                raise _BadRequest("Content-Length is no number") from None
            body = _SizedBody(self.rfile, length, expects)
        environ["wsgi.input"] = body
        connection_header = environ.get("HTTP_CONNECTION", "").lower()
        keep = "close" not in connection_header and (
            version != "HTTP/1.0" or "keep-alive" in connection_header
        )
        keep = self._answer(environ, method, version, keep) and keep
        if expects is not None and expects.pending:
            return False  # the client may or may not send its body now: a new connection is unambiguous
        return keep and self._drain(body)

    def _drain(self, body: _SizedBody | _ChunkedBody) -> bool:
        """Reads what the application left of the body; False where that is too much to bother."""
        if isinstance(body, _SizedBody):
            if body.remaining > _DRAIN_LIMIT_BYTES:
                return False
            body.read()
            return True
        drained = 0
        while not body.finished and drained <= _DRAIN_LIMIT_BYTES:
            drained += len(body.read(1 << 16))
        return body.finished

    def _answer(self, environ: Environ, method: str, version: str, keep: bool) -> bool:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        early: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.clear()
            started.append((status, headers))
            return early.append

        result = self.server.app(environ, start_response)
        try:
            return self._send(result, started, early, method, version, keep)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _send(
        self,
        result: Iterable[bytes],
        started: list[tuple[str, list[tuple[str, str]]]],
        early: list[bytes],
        method: str,
        version: str,
        keep: bool,
    ) -> bool:
        parts = iter(result)
        first = b""
        if not started and not isinstance(result, FileWrapper):
            first = next(parts, b"")  # generators start their response with the first item
        status, headers = started[0]
        names = {name.lower(): value for name, value in headers}
        bodyless = method == "HEAD" or status[:3] in _NO_BODY_STATUSES
        if isinstance(result, (list, tuple)) and not early:
            whole = b"".join(result)
            if "content-length" not in names and (not bodyless or method == "HEAD"):
                headers = [*headers, ("Content-Length", str(len(whole)))]
            self.connection.sendall(self._head(status, headers, names, keep) + (b"" if bodyless else whole))
            return True
        chunked = False
        if "content-length" not in names and not bodyless:
            chunked = version == "HTTP/1.1"
            keep = keep and chunked
            if chunked:
                headers = [*headers, ("Transfer-Encoding", "chunked")]
        head = self._head(status, headers, names, keep)
        if bodyless:
            self.connection.sendall(head)
            return keep
        if isinstance(result, FileWrapper) and "content-length" in names and not early:
            self.connection.sendall(head)
            return self._send_file(result, int(names["content-length"]))
        pending = head
        for part in (*early, first):
            pending += self._framed(part, chunked)
        sent = sum(map(len, early)) + len(first)
        for part in parts:
            sent += len(part)
            pending += self._framed(part, chunked)
            if pending:
                self.connection.sendall(pending)
                pending = b""
        if chunked:
            pending += b"0\r\n\r\n"
        if pending:
            self.connection.sendall(pending)
        # Fewer bytes than promised leave the client waiting: only closing the connection tells it.
        return keep and (chunked or sent == int(names.get("content-length", -1)))

    @staticmethod
    def _framed(part: bytes, chunked: bool) -> bytes:
        if not part or not chunked:
            return part
        return b"%x\r\n%b\r\n" % (len(part), part)

    def _head(self, status: str, headers: list[tuple[str, str]], names: dict[str, str], keep: bool) -> bytes:
        lines = [f"HTTP/1.1 {status}"]
        lines.extend(f"{name}: {value}" for name, value in headers)
        if "date" not in names:
            lines.append(f"Date: {formatdate(usegmt=True)}")
        if "connection" not in names:
            lines.append("Connection: keep-alive" if keep else "Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send_file(self, wrapper: FileWrapper, length: int) -> bool:
        if length == 0:
            return True
        sent = self.connection.sendfile(wrapper.file, wrapper.file.tell(), length)
        return bool(sent == length)


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves ``app`` on ``host:port``; port 0 takes any free one (see ``port``)."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, app: WsgiApp) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.app = app
        super().__init__((host, port), _Connection)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        """Accept connections in a background thread."""
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.2}, name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting; connections that are being answered go on until they are done or the process
        ends.
        """
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.exception("connection from %s failed", client_address)


def build_environ(
    method: str, target: str, headers: Iterable[tuple[str, str]], server: Any, client_host: str
) -> Environ:
    """The WSGI environ of a request; ``wsgi.input`` is left to the caller.

    ``RAW_URI`` keeps the target as it came: S3 keys may hold encoded slashes. Headers whose names hold an
    underscore (legal in S3 metadata) keep their spelling under moto's own environ key.
    """
    path, _, query = target.partition("?")
    if path.startswith("http://"):  # absolute form, from clients that think we are a proxy
        path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": path + ("?" + query if query else ""),
        "REQUEST_URI": path + ("?" + query if query else ""),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": client_host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    spelled: dict[str, str] = {}
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if "_" in name:
            if not name.lower().startswith("x-amz-meta-"):
                continue  # indistinguishable from the dashed spelling: as other servers do, leave it out
            spelled[key] = name
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ["moto.preserved_header_names"] = spelled
    return environ


def loopback(host: str) -> bool:
    """Whether a host name or address (without port) can only mean this machine."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
