"""The inference router's process between real sockets: model servers that do as the test says, and its news."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from triptych.localcloud.home import Home
from triptych.localcloud.sagemaker.router.messages import Message
from triptych.localcloud.sagemaker.router.settings import RouterSettings
from triptych.localcloud.sagemaker.router.supervisor import RouterSupervisor, listen
from triptych.localcloud.service import ServiceError

ACCOUNT = "123456789012"
Reply = bytes | tuple[int, bytes]


class Die(Exception):
    """The server ends: its sockets are closed, whatever was sent to it."""


class ModelServer:
    """A model server on a Unix socket. ``script`` gets each request's body: what it returns is the answer."""

    def __init__(self, path: Path, script: Callable[[bytes], Reply], extra: str = "") -> None:
        self.path = str(path)
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.crowded = 0
        """how often more was there to read when a request had been read"""
        self._script = script
        self._extra = extra
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for connection in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        try:
            while True:
                while b"\r\n\r\n" not in received:
                    data = connection.recv(65536)
                    if not data:
                        return
                    received += data
                head, _, received = received.partition(b"\r\n\r\n")
                lines = head.decode().lower().split("\r\n")
                length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
                while len(received) < length:
                    data = connection.recv(1 << 20)
                    if not data:
                        return
                    received += data
                body, received = received[:length], received[length:]
                time.sleep(0.001)
                if received or select.select([connection], [], [], 0)[0]:
                    self.crowded += 1
                self.heads.append(head.decode())
                self.bodies.append(body)
                reply = self._script(body)
                status, answer = reply if isinstance(reply, tuple) else (200, reply)
                self._send(connection, status, answer)
        except Die:
            self.close()
        except (OSError, ValueError):  # closed by another thread
            return

    def _send(self, connection: socket.socket, status: int, answer: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: text/csv\r\n{self._extra}Content-Length: {len(answer)}\r\n\r\n"
        connection.sendall(head.encode() + answer)
        if "close" in self._extra.lower():
            connection.close()


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class News:
    """What the router told."""

    captures: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[Message] = field(default_factory=list)
    hung: list[tuple[str, str]] = field(default_factory=list)


class Stage:
    """One router, its gateway's side, and clients."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.home = Home(folder / "home")
        self.home.create()
        self.news = News()
        self._changed = threading.Condition()
        self._servers: list[ModelServer] = []
        self._count = 0
        settings = RouterSettings(
            gateway_host="127.0.0.1",
            gateway_port=limits.pop("gateway_port", 1),
            account_id=ACCOUNT,
            log_prefix="arn:aws:logs:us-east-1:123456789012:log-group:",
            **({"capture_flush_seconds": 0.02} | limits),
        )
        self.listener = listen(self.home, "127.0.0.1", 0)
        self.router = RouterSupervisor(self.listener, settings, self._explain, self._hear, self._hang)
        self._pool = ThreadPoolExecutor(32)

    def start(self) -> Stage:
        self.router.start()
        return self

    def close(self) -> None:
        self.router.stop()
        for server in self._servers:
            server.close()
        self._pool.shutdown(wait=False)

    # What the router tells

    def _explain(self, name: str) -> ServiceError:
        return ServiceError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")

    def _hang(self, endpoint: str, path: str) -> None:
        with self._changed:
            self.news.hung.append((endpoint, path))
            self._changed.notify_all()

    def _hear(self, message: Message, blobs: Sequence[bytes]) -> None:
        with self._changed:
            if message["kind"] == "metrics":
                self.news.metrics += message["parts"]
            else:
                for number, record in enumerate(message["records"]):
                    bodies = {"request": blobs[2 * number], "response": blobs[2 * number + 1]}
                    self.news.captures.append(record | bodies)
            self._changed.notify_all()

    def await_news(self, what: Callable[[News], bool]) -> News:
        with self._changed:
            assert self._changed.wait_for(lambda: what(self.news), 20), f"it never came: {self.news}"
            return self.news

    def totals(self, endpoint: str, variant: str, invocations: int) -> dict[str, int]:
        """The variant's counts once it had that many requests."""

        def count(news: News) -> dict[str, int]:
            found: dict[str, int] = defaultdict(int)
            for part in news.metrics:
                if (part["endpoint"], part["variant"]) == (endpoint, variant):
                    for key in ("invocations", "errors_4xx", "errors_5xx", "model_errors"):
                        found[key] += part[key]
                    found["latencies"] += sum(many for _, many in part["model_latency"])
            return found

        news = self.await_news(lambda news: count(news)["invocations"] >= invocations)
        return dict(count(news))

    # Endpoints

    def server(self, script: Callable[[bytes], Reply] | bytes, extra: str = "") -> ModelServer:
        """A model server; bytes: it always answers so."""
        self._count += 1
        answer = script if callable(script) else (lambda body: script)
        made = ModelServer(self.folder / f"s{self._count}", answer, extra)
        self._servers.append(made)
        return made

    def route(self, name: str, *fleets: dict[str, Any], capture: Any = None, ready: bool = True) -> None:
        entry = {"ready": ready, "capture": capture, "fleets": list(fleets)}
        self.router.await_taken(self.router.publish(name, entry))

    def remove(self, name: str) -> None:
        self.router.await_taken(self.router.publish(name, None))

    # Clients

    def ask(self, name: str, body: bytes = b"1,2", **headers: str) -> Answer:
        """One request on a connection of its own; ``headers`` with underscores for dashes."""
        connection = HTTPConnection("127.0.0.1", self.router.port, timeout=30)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            connection.request("POST", f"/endpoints/{name}/invocations", body, given)
            got = connection.getresponse()
            return Answer(got.status, {key.lower(): value for key, value in got.getheaders()}, got.read())
        finally:
            connection.close()

    def ask_later(self, name: str, body: bytes = b"1,2", **headers: str) -> Future[Answer]:
        return self._pool.submit(self.ask, name, body, **headers)

    def raw(self, data: bytes, end: bool = False) -> bytes:
        """All that comes back for these bytes, until the router closes or says nothing more for a while."""
        with socket.create_connection(("127.0.0.1", self.router.port), timeout=10) as connection:
            threading.Thread(target=_send_quietly, args=(connection, data, end), daemon=True).start()
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while chunk := connection.recv(1 << 16):
                    received += chunk
                    connection.settimeout(0.1)
            return received


def _send_quietly(connection: socket.socket, data: bytes, end: bool) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)


def fleet(*variants: dict[str, Any], share: float = 1.0, identity: str = "one") -> dict[str, Any]:
    return {"id": identity, "share": share, "variants": list(variants)}


def variant(*servers: ModelServer, name: str = "AllTraffic", **changes: Any) -> dict[str, Any]:
    base = {
        "name": name,
        "weight": 1.0,
        "shadow": False,
        "max_concurrency": None,
        "instances": len(servers),
        "servers": [{"path": server.path, "stream": f"{name}/i-1"} for server in servers],
    }
    return base | changes


@contextlib.contextmanager
def until(condition: Callable[[], bool]) -> Iterator[None]:
    """After the block, wait for the condition."""
    yield
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
