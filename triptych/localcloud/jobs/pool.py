"""Start jobs in fork servers, hear their output line by line, and learn how they ended."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from triptych.localcloud.home import Home
from triptych.localcloud.jobs import wire
from triptych.localcloud.jobs.lines import LineSplitter
from triptych.localcloud.jobs.spec import CommandEntry, FunctionEntry, JobExit, JobSpec, PoolName, ScriptEntry

_log = logging.getLogger(__name__)

_POOLS: tuple[PoolName, ...] = ("jobs", "lambda")
_SERVER_MODULE = "triptych.localcloud.jobs.forkserver"
_READ_BYTES = 1 << 18
_OUTPUT_AFTER_END_SECONDS = 2.0
"""How long a process that escaped its job may hold the output open after the job's end"""

OnLines = Callable[[Sequence[str]], None]
OnExit = Callable[[JobExit], None]


class JobServerFailed(Exception):
    """A fork server could not be started; the message says which and where its own words are."""


@dataclass
class _Running:
    """One job, seen from the gateway."""

    id: int
    name: str
    output: int
    splitter: LineSplitter
    on_lines: OnLines
    on_exit: OnExit
    started: float = field(default_factory=time.monotonic)
    pid: int | None = None
    known: threading.Event = field(default_factory=threading.Event)
    exit: JobExit | None = None
    output_closed: bool = False
    give_up_output_at: float | None = None


class JobProcess:
    """A started job."""

    def __init__(self, server: _Server, running: _Running) -> None:
        self._server = server
        self._running = running

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        assert self._running.pid is not None
        return self._running.pid

    def terminate(self, grace_seconds: float) -> None:
        """Ask the whole group to end (SIGTERM), kill it after ``grace_seconds``. Returns at once."""
        self._server.signal(self._running.id, signal.SIGTERM, grace_seconds)

    def kill(self) -> None:
        """Kill the whole group. Returns at once; ``on_exit`` tells when it is done."""
        self._server.signal(self._running.id, signal.SIGKILL, None)


class JobPool:
    """The fork servers of one local cloud, and one thread that reads what all their jobs write.

    ``on_line`` and ``on_lines`` run in that one thread: they must be quick. ``on_exit`` runs in a thread of
    its own, after the job's last line.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._servers: dict[PoolName, _Server] = {}
        self._reader: threading.Thread | None = None
        self._stopped = False
        self._finishing: list[_Running] = []

    def start_servers(self) -> None:
        """Begin to load every fork server, in the background; a job waits for its own only."""
        for pool in _POOLS:
            self._server(pool)

    def start(
        self,
        spec: JobSpec,
        on_line: Callable[[str], None] | None,
        on_exit: OnExit,
        *,
        on_lines: OnLines | None = None,
    ) -> JobProcess:
        """Start a job; returns once it has a process id.

        Standard output and error arrive merged, line by line at ``on_line``, or as many lines as were there
        at once at ``on_lines``, which suits output that goes into a database. Raises JobServerFailed.
        """
        if on_lines is None:
            on_lines = _one_by_one(on_line) if on_line is not None else _discard
        for attempt in (1, 2):
            server = self._server(spec.pool)
            server.wait_until_ready()
            running = server.start(spec, on_lines, on_exit)
            if running.pid is not None:
                return JobProcess(server, running)
            _log.warning("fork server %r died while starting %s (attempt %d)", spec.pool, spec.name, attempt)
        raise JobServerFailed(
            f"job {spec.name}: the fork server {spec.pool!r} died twice while starting it; "
            f"see {self._home.log_file}. Is there enough memory?"
        )

    def stop(self) -> None:
        """Kill every process group and the servers. Jobs' ``on_exit`` are not called any more."""
        with self._lock:
            self._stopped = True
            servers = list(self._servers.values())
            self._servers.clear()
        for server in servers:
            server.close()
        self._wake()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout=10)

    # The servers' side

    def _server(self, pool: PoolName) -> _Server:
        with self._lock:
            if self._stopped:
                raise JobServerFailed("the job pool is stopped")
            server = self._servers.get(pool)
            if server is None or server.dead:
                server = self._servers[pool] = _Server(pool, self)
                self._selector.register(server.connection, selectors.EVENT_READ, server)
            if self._reader is None:
                self._reader = threading.Thread(target=self._read_all, name="job-output", daemon=True)
                self._reader.start()
            self._wake()
            return server

    def watch_output(self, running: _Running) -> None:
        """Read this job's output from now on."""
        self._selector.register(running.output, selectors.EVENT_READ, running)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"x")

    def _read_all(self) -> None:
        while not self._stopped:
            timeout = 0.1 if self._finishing else None
            for key, _ in self._selector.select(timeout):
                if isinstance(key.data, _Running):
                    self._read_output(key.data)
                elif isinstance(key.data, _Server):
                    self._read_server(key.data)
                else:
                    os.read(self._wake_read, 4096)
            self._finish_waiting()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Running):
                os.close(key.data.output)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _read_output(self, running: _Running) -> None:
        try:
            data = os.read(running.output, _READ_BYTES)
        except BlockingIOError:
            return
        self._hand_over(running, running.splitter.feed(data) if data else running.splitter.rest())
        if not data:
            self._close_output(running)

    def _close_output(self, running: _Running) -> None:
        self._selector.unregister(running.output)
        os.close(running.output)
        running.output_closed = True
        self._finish(running)

    def _hand_over(self, running: _Running, lines: Sequence[str]) -> None:
        if not lines:
            return
        try:
            running.on_lines(lines)
        except Exception:
            _log.exception("the output of job %s could not be handed on", running.name)

    def _read_server(self, server: _Server) -> None:
        try:
            message, _ = wire.receive(server.connection)
        except (EOFError, OSError):
            self._selector.unregister(server.connection)
            for running in server.died():
                self._ended(running, _killed(running))
            return
        ended = server.hear(message)
        if ended is not None:
            self._ended(*ended)

    def _ended(self, running: _Running, how: JobExit) -> None:
        running.exit = how
        running.give_up_output_at = time.monotonic() + _OUTPUT_AFTER_END_SECONDS
        self._finishing.append(running)
        self._finish(running)

    def _finish_waiting(self) -> None:
        now = time.monotonic()
        for running in list(self._finishing):
            if running.give_up_output_at is not None and now >= running.give_up_output_at:
                self._hand_over(running, running.splitter.rest())
                self._close_output(running)

    def _finish(self, running: _Running) -> None:
        """Tell the end once both the exit and the last line are known."""
        if running.exit is None or not running.output_closed:
            return
        self._finishing.remove(running)
        running.known.set()
        threading.Thread(
            target=running.on_exit, args=(running.exit,), name=f"end of {running.name}", daemon=True
        ).start()


class _Server:
    """The gateway's end of one fork server."""

    def __init__(self, pool: PoolName, owner: JobPool) -> None:
        self._owner = owner
        self._jobs: dict[int, _Running] = {}
        self._ids = itertools.count(1)
        self._send_lock = threading.Lock()
        self._ready = threading.Event()
        self.pool = pool
        self.dead = False
        self._closing = False
        self.connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    _SERVER_MODULE,
                    pool,
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                # numpy loads macOS frameworks that would abort a forked process unless told otherwise.
                env={
                    **os.environ,
                    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
                    # Read when libgomp is loaded. Threads that spin while they wait make two jobs side by
                    # side many times slower than one after the other.
                    "OMP_WAIT_POLICY": "PASSIVE",
                },
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is the gateway's to handle
            )

    def wait_until_ready(self) -> None:
        """Wait until the imports are loaded; raises JobServerFailed when it died over them."""
        self._ready.wait()
        if self.dead and self._process.poll() not in (None, 0, -signal.SIGKILL, -signal.SIGTERM):
            raise JobServerFailed(
                f"the fork server {self.pool!r} ended with code {self._process.returncode} while loading; "
                "its error message is in the gateway's log. Install again if a package is missing."
            )

    def start(self, spec: JobSpec, on_lines: OnLines, on_exit: OnExit) -> _Running:
        """Ask for a job and wait for its process id; ``pid`` stays None when the server died meanwhile."""
        output, their_output = os.pipe()
        os.set_blocking(output, False)
        running = _Running(next(self._ids), spec.name, output, LineSplitter(), on_lines, on_exit)
        descriptors = (their_output,) if spec.channel is None else (their_output, spec.channel.fileno())
        message = {
            "op": "start",
            "id": running.id,
            "name": spec.name,
            "entry": _entry_message(spec),
            "env": dict(spec.env),
            "cwd": str(spec.cwd),
            "python_path": list(spec.python_path),
            "memory_limit_bytes": spec.memory_limit_bytes,
            "timeout_seconds": spec.timeout_seconds,
        }
        self._jobs[running.id] = running
        try:
            with self._send_lock:
                wire.send(self.connection, message, descriptors)
        except OSError:
            self._jobs.pop(running.id, None)
            os.close(output)
            return running
        finally:
            os.close(their_output)
        while not running.known.wait(timeout=1.0):
            if self.dead:
                break
        if running.pid is None:
            os.close(output)
            return running
        if spec.channel is not None:
            spec.channel.close()
        self._owner.watch_output(running)
        return running

    def signal(self, job: int, number: int, kill_after: float | None) -> None:
        """Signal the job's whole group; nothing happens when it has ended."""
        with contextlib.suppress(OSError), self._send_lock:
            wire.send(
                self.connection, {"op": "signal", "id": job, "signal": int(number), "kill_after": kill_after}
            )

    def hear(self, message: dict[str, Any]) -> tuple[_Running, JobExit] | None:
        """Take in one message; the answer is the job it ended, if it ended one."""
        if message.pop("op") == "ready":
            self._ready.set()
            return None
        running = self._jobs.get(message.pop("id"))
        if running is None:
            return None
        if "pid" in message:
            running.pid = message["pid"]
            running.known.set()
            return None
        del self._jobs[running.id]
        return running, JobExit(**message)

    def died(self) -> list[_Running]:
        """The process is gone, and its children with it: kill what is left of their groups."""
        self.dead = True
        self.connection.close()
        self._ready.set()
        self._process.wait()
        lost = []
        for running in list(self._jobs.values()):
            running.known.set()
            if running.pid is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(running.pid, signal.SIGKILL)
                lost.append(running)
        self._jobs.clear()
        if not self._closing:
            code = self._process.returncode
            _log.warning("fork server %r ended (code %s); %d jobs lost", self.pool, code, len(lost))
        return lost

    def close(self) -> None:
        """Close the connection: the server kills its jobs and ends."""
        self._closing = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # still importing: it has no jobs yet
            self._process.kill()
            self._process.wait()


def _entry_message(spec: JobSpec) -> dict[str, Any]:
    match spec.entry:
        case ScriptEntry(path, argv):
            return {"kind": "script", "path": str(path), "argv": list(argv)}
        case FunctionEntry(function, kwargs):
            return {"kind": "function", "function": function, "kwargs": dict(kwargs)}
        case CommandEntry(argv):
            return {"kind": "command", "argv": list(argv)}


def _killed(running: _Running) -> JobExit:
    duration = time.monotonic() - running.started
    return JobExit(None, int(signal.SIGKILL), False, False, duration, 0)


def _one_by_one(on_line: Callable[[str], None]) -> OnLines:
    def on_lines(lines: Sequence[str]) -> None:
        for line in lines:
            on_line(line)

    return on_lines


def _discard(lines: Sequence[str]) -> None:
    """For a job whose output nobody wants."""
