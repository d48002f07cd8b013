"""A process with the heavy imports loaded that forks one process group a job and watches over them.

Run as ``python -m triptych.localcloud.jobs.forkserver <pool> <descriptor of a connected Unix socket>``. It
starts no thread: forking beside running threads is not safe. When the socket closes (the gateway ended, even
by ``kill -9``), it kills every group and ends. Should it be killed itself, the kernel kills its children
(``PR_SET_PDEATHSIG``) and the gateway the rest of their groups.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from triptych.localcloud.jobs import child, memory, preload, wire

_PR_SET_CHILD_SUBREAPER = 36
_QUICKEST_LOOK_SECONDS = 0.05
_SLOWEST_LOOK_SECONDS = 0.5


@dataclass
class _Job:
    id: int
    pid: int
    started: float
    deadline: float | None
    memory_limit: int | None
    kill_at: float | None = None
    timed_out: bool = False
    out_of_memory: bool = False
    held: int = 0
    peak: int = 0
    look_every: float = _QUICKEST_LOOK_SECONDS
    look_at: float = 0.0


@dataclass
class _Orphan:
    """A process whose parent ended; it may live as long as one of the jobs it can belong to."""

    owners: set[int] = field(default_factory=set)


class ForkServer:
    """Serves one connection until it closes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._jobs: dict[int, _Job] = {}
        """by process id"""
        self._orphans: dict[int, _Orphan] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> None:
        """Fork, watch and report until the gateway is gone; then kill what runs."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
                wire.send(self._connection, {"op": "ready", "pid": os.getpid()})
                while True:
                    for key, _ in selector.select(self._until_next_look()):
                        if key.fileobj is self._connection:
                            self._serve_message(selector)
                        else:
                            os.read(self._wake_read, 4096)
                    self._reap()
                    self._watch()
        self._end_everything()

    def _end_everything(self) -> None:
        """Kill all groups, and then what left them: it becomes our child when its parent dies."""
        for job in self._jobs.values():
            _kill_group(job.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for stray in self._strays():
                    _kill(stray)
                pid, _ = os.waitpid(-1, 0)
                self._jobs.pop(pid, None)

    def _serve_message(self, selector: selectors.BaseSelector) -> None:
        message, descriptors = wire.receive(self._connection)
        if message["op"] == "start":
            self._start(message, descriptors, selector)
            return
        for job in self._jobs.values():
            if job.id == message["id"]:
                _kill_group(job.pid, message["signal"])
                if message["kill_after"] is not None:
                    job.kill_at = time.monotonic() + message["kill_after"]

    def _start(
        self, message: dict[str, Any], descriptors: list[int], selector: selectors.BaseSelector
    ) -> None:
        output, channel = descriptors[0], descriptors[1] if len(descriptors) > 1 else None
        server_pid = os.getpid()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            selector.close()
            for descriptor in (self._connection.fileno(), self._wake_read, self._wake_write):
                os.close(descriptor)
            child.run(message, output, channel, server_pid)
        for descriptor in descriptors:
            os.close(descriptor)
        timeout = message["timeout_seconds"]
        self._jobs[pid] = _Job(
            id=message["id"],
            pid=pid,
            started=started,
            deadline=None if timeout is None else started + timeout,
            memory_limit=message["memory_limit_bytes"],
        )
        wire.send(self._connection, {"op": "started", "id": message["id"], "pid": pid})

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(self._next_ended(), os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._orphans.pop(pid, None)
            job = self._jobs.pop(pid, None)
            if job is not None:
                self._report(job, status, usage.ru_maxrss)

    def _next_ended(self) -> int:
        """A child that has ended, its group killed; -1 for whichever it is.

        While it is a zombie its group's id is given to no one else. macOS cannot look without collecting.
        """
        if sys.platform != "linux":
            for pid in self._jobs:
                with contextlib.suppress(psutil.Error):
                    if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                        _kill_group(pid, signal.SIGKILL)
            return -1
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return -1
        if ended.si_pid in self._jobs:
            _kill_group(ended.si_pid, signal.SIGKILL)
        return ended.si_pid

    def _report(self, job: _Job, status: int, highest_resident: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._end_orphans_of(job)
        highest_bytes = highest_resident * (1 if sys.platform == "darwin" else 1024)
        wire.send(
            self._connection,
            {
                "op": "exit",
                "id": job.id,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "timed_out": job.timed_out,
                "out_of_memory": job.out_of_memory,
                "duration_seconds": time.monotonic() - job.started,
                "peak_memory_bytes": max(job.peak, highest_bytes),
            },
        )

    def _until_next_look(self) -> float | None:
        if not self._jobs:
            return None
        moments = []
        for job in self._jobs.values():
            moments.append(job.look_at)
            moments.extend(moment for moment in (job.deadline, job.kill_at) if moment is not None)
        return max(0.0, min(moments) - time.monotonic())

    def _watch(self) -> None:
        now = time.monotonic()
        looked = False
        for job in self._jobs.values():
            if job.kill_at is not None and now >= job.kill_at:
                job.kill_at = None
                _kill_group(job.pid, signal.SIGKILL)
            if job.deadline is not None and now >= job.deadline:
                job.deadline = None
                job.timed_out = True
                _kill_group(job.pid, signal.SIGKILL)
            if now >= job.look_at:
                self._look(job, now)
                looked = True
        if looked:
            self._find_orphans()

    def _look(self, job: _Job, now: float) -> None:
        """Measure; a job whose memory does not move is looked at less often."""
        held = memory.held_bytes(job.pid)
        moved = abs(held - job.held) > job.held // 50
        job.look_every = _QUICKEST_LOOK_SECONDS if moved else min(job.look_every * 1.5, _SLOWEST_LOOK_SECONDS)
        job.look_at = now + job.look_every
        job.held = held
        job.peak = max(job.peak, held)
        if job.memory_limit is not None and held > job.memory_limit and not job.out_of_memory:
            job.out_of_memory = True
            _kill_group(job.pid, signal.SIGKILL)

    def _strays(self) -> list[int]:
        """Our children that are no jobs: processes that left their job's session and lost their parent."""
        if sys.platform != "linux":
            return []
        return [pid for pid in memory.children(os.getpid()) if pid not in self._jobs]

    def _find_orphans(self) -> None:
        for pid in self._strays():
            if pid not in self._orphans:
                self._orphans[pid] = _Orphan({job.id for job in self._jobs.values()})

    def _end_orphans_of(self, job: _Job) -> None:
        self._find_orphans()
        for pid, orphan in self._orphans.items():
            orphan.owners.discard(job.id)
            if not orphan.owners:
                _kill(pid)


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        _kill(pid, number)  # forked this instant: it has no group of its own yet


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def main(pool: str, descriptor: int) -> None:
    """Load what the pool's jobs need, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which then closes the socket
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    preload.load(pool)
    gc.collect()
    gc.freeze()  # what is loaded stays shared with the jobs: the collector writes to none of it
    ForkServer(socket.socket(fileno=descriptor)).serve()
    os._exit(0)  # tearing down what is loaded takes long and serves nothing


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
