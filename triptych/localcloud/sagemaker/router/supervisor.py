"""The router seen from the gateway: its process started and watched, the table published, its news heard."""

from __future__ import annotations

import errno
import json
import logging
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from triptych.localcloud.home import Home
from triptych.localcloud.sagemaker.router.messages import Message, encode, receive_all
from triptych.localcloud.sagemaker.router.settings import RouterSettings
from triptych.localcloud.service import ServiceError

_log = logging.getLogger(__name__)

_MODULE = "triptych.localcloud.sagemaker.router"
_PUBLISH_SECONDS = 30.0
_STOP_SECONDS = 10.0
_QUICK_DEATH_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_PORT_SECONDS = 3.0
"""how long the port of an earlier gateway's router may take to become free"""

News = Callable[[Message, Sequence[bytes]], None]


class RouterFailed(Exception):
    """The router does not come up, or does not take the table."""


def listen(home: Home, host: str, gateway_port: int) -> socket.socket:
    """The router's port, held by the gateway so that it outlives the router's process.

    The home's last one, else the one after the gateway's, else any free one; kept in ``router.port``.
    """
    last = _last_port(home)
    listener = None
    if last is not None:
        listener = _bind(host, last, _PORT_SECONDS)
    elif 0 < gateway_port < 65535:
        listener = _bind(host, gateway_port + 1, 0.0)
    if listener is None:
        if last is not None:
            _log.warning("port %d of %s is in use: the inference router takes another one", last, host)
        listener = _bind(host, 0, 0.0)
        assert listener is not None
    temporary = home.router_port_file.with_name(f"{home.router_port_file.name}.tmp")
    temporary.write_text(str(listener.getsockname()[1]))
    temporary.replace(home.router_port_file)
    return listener


def _last_port(home: Home) -> int | None:
    try:
        port = int(home.router_port_file.read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port <= 65535 else None


def _bind(host: str, port: int, patience_seconds: float) -> socket.socket | None:
    """A listening socket; None where the port stays taken. Raises OSError for other reasons."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return socket.create_server((host, port), backlog=1024)
        except OSError as error:
            if port == 0 or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            if time.monotonic() >= deadline:
                return None
        time.sleep(0.05)


class RouterSupervisor:
    """Keeps one router process up and its table current.

    ``explain`` tells why an endpoint does not serve; ``on_news`` hears the router's captures and metrics in a
    thread of its own; ``on_hung`` hears the endpoint and socket path of a server that hangs.
    """

    def __init__(
        self,
        listener: socket.socket,
        settings: RouterSettings,
        explain: Callable[[str], ServiceError],
        on_news: News,
        on_hung: Callable[[str, str], None],
    ) -> None:
        self._listener = listener
        self._settings = settings
        self._explain = explain
        self._on_news = on_news
        self._on_hung = on_hung
        self._entries: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._open = False
        self._stopping = False
        self._generation = 0
        self._taken = 0
        self._drain_ids = 0
        self._drained: set[int] = set()
        self._news: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where clients reach the router."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def pid(self) -> int | None:
        """The router's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process, and let it answer once it has the table as published so far."""
        for name, work in (("router", self._keep_running), ("router news", self._hear_news)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let the requests under way end, hear the last news, and end the process."""
        with self._changed:
            self._stopping = True
            self._send({"kind": "stop"})
            self._changed.notify_all()
        if not self._threads:
            self._listener.close()
            return
        self._threads[0].join(_STOP_SECONDS)
        if self._threads[0].is_alive() and self._process is not None:
            self._process.kill()
            self._threads[0].join(_STOP_SECONDS)
        self._news.put(None)
        self._threads[1].join(_STOP_SECONDS)
        self._threads.clear()
        self._listener.close()

    # The table

    def publish(self, name: str, entry: dict[str, Any] | None) -> int:
        """Route the endpoint's requests by ``entry`` (None: no longer); the number is for ``await_taken``.

        Before ``start`` it is only kept.
        """
        with self._changed:
            if entry is None:
                self._entries.pop(name, None)
            else:
                self._entries[name] = entry
            self._generation += 1
            self._send({"kind": "routes", "generation": self._generation, "endpoints": {name: entry}})
            return self._generation

    def await_taken(self, generation: int) -> None:
        """Return once every request that arrives goes by what was published.

        Raises RouterFailed when the router does not take it in time.
        """
        with self._changed:
            if not self._threads:
                return
            done = self._changed.wait_for(
                lambda: self._taken >= generation or self._stopping, _PUBLISH_SECONDS
            )
        if not done:
            raise RouterFailed(
                f"the inference router has not taken new routes within {_PUBLISH_SECONDS:g} seconds; "
                "see gateway.log"
            )

    def drain(self, servers: Iterable[str], timeout_seconds: float) -> bool:
        """Wait until none of these servers (socket paths), which are routed to no longer, has a request."""
        with self._changed:
            if self._control is None:
                return True  # whatever was under way ended with the router
            self._drain_ids += 1
            identity = self._drain_ids
            control = self._control
            self._send({"kind": "drain", "id": identity, "servers": list(servers)})
            self._changed.wait_for(
                lambda: identity in self._drained or self._control is not control, timeout_seconds
            )
            done = identity in self._drained or self._control is not control
            self._drained.discard(identity)
        return done

    def _send(self, message: Message) -> None:
        """With the lock held; a router that is gone gets the whole table when the next one starts."""
        if self._control is None:
            return
        try:
            self._control.sendall(encode(message))
        except OSError:
            _log.debug("the router is gone; the next one gets the table")

    def server_ended(self, path: str) -> None:
        """The server that listened there is dead."""
        with self._changed:
            self._send({"kind": "ended", "server": path})

    def after_news(self, work: Callable[[], None]) -> None:
        """Do this once all that the router has told so far is dealt with."""
        if self._threads:
            self._news.put(work)
        else:
            work()

    # The process

    def _keep_running(self) -> None:
        while True:
            born = time.monotonic()
            try:
                self._run_once()
            except Exception:
                _log.exception("the inference router could not be started")
            with self._changed:
                if self._stopping:
                    return
                _log.warning("the inference router ended; it is started again on port %d", self.port)
                if time.monotonic() - born < _QUICK_DEATH_SECONDS:
                    self._changed.wait_for(lambda: self._stopping, _RETRY_SECONDS)
                    if self._stopping:
                        return

    def _run_once(self) -> None:
        """One process from its start to its end."""
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self._listener.fileno())
        command = [sys.executable, "-m", _MODULE, *map(str, descriptors), json.dumps(asdict(self._settings))]
        with ours:
            with theirs:
                process = subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL)
            with self._changed:
                self._process, self._control = process, ours
                self._generation += 1
                self._send({"kind": "routes", "generation": self._generation, "endpoints": self._entries})
                self._send({"kind": "stop" if self._stopping else "open"})
                self._changed.notify_all()
            for message, blobs in receive_all(ours):
                self._hear(message, blobs)
            with self._changed:
                self._control = None
                self._changed.notify_all()
        process.wait()

    def _hear(self, message: Message, blobs: list[bytes]) -> None:
        kind = message["kind"]
        if kind == "routed":
            with self._changed:
                self._taken = message["generation"]
                self._changed.notify_all()
        elif kind == "drained":
            with self._changed:
                self._drained.add(message["id"])
                self._changed.notify_all()
        else:
            self._news.put(lambda: self._tell(message, blobs))

    def _hear_news(self) -> None:
        while (work := self._news.get()) is not None:
            try:
                work()
            except Exception:
                _log.exception("what the router told could not be kept")

    def _tell(self, message: Message, blobs: list[bytes]) -> None:
        if message["kind"] == "missing":
            self._refuse(message["endpoint"])
        elif message["kind"] == "hung":
            self._on_hung(message["endpoint"], message["server"])
        else:
            self._on_news(message, blobs)

    def _refuse(self, name: str) -> None:
        try:
            why = self._explain(name)
        except Exception as error:
            why = ServiceError("InternalFailure", f"{type(error).__name__}: {error}", 500)
        with self._changed:
            self._send(
                {
                    "kind": "refuse",
                    "endpoint": name,
                    "code": why.code,
                    "message": why.message,
                    "status": why.status,
                }
            )
