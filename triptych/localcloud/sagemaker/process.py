"""One job's process: started in the pool, its output logged, stopped on request or when its time is over."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from triptych.localcloud.jobs.spec import JobExit, JobSpec
from triptych.localcloud.sagemaker.errors import JobRefused

if TYPE_CHECKING:
    from triptych.localcloud.jobs.pool import JobPool, JobProcess
    from triptych.localcloud.logs.store import LogStore

STOP_GRACE_SECONDS = 120.0
"""How long a job may go on after SIGTERM, as StopTrainingJob documents"""
_TRACEBACK = "Traceback (most recent call last):"
_NAMED_ERROR = re.compile(r"[A-Z]\w*(Error|Exception|Unusable|Refused|Failed): ")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning|[A-Z]\w*)?(: .*)?$")


class JobLog:
    """Where a job's lines go: CloudWatch Logs, the listeners, and the last for a failure's reason."""

    def __init__(self, store: LogStore, group: str, stream: str) -> None:
        self.group, self.stream = group, stream
        self.tail: deque[str] = deque(maxlen=200)
        self.listeners: list[Callable[[Sequence[str]], None]] = []
        self._store = store

    def __call__(self, lines: Sequence[str]) -> None:
        moment = datetime.now(UTC)
        self.tail.extend(lines)
        for listener in self.listeners:
            listener(lines)
        self._store.append(self.group, self.stream, [(moment, line) for line in lines])

    @property
    def last_error(self) -> str:
        """The last exception in the output with its message, else the last few lines."""
        lines = list(self.tail)
        starts = [number for number, line in enumerate(lines) if line.strip() == _TRACEBACK]
        if starts:
            for number in range(starts[-1] + 1, len(lines)):
                line = lines[number]
                if line and not line[0].isspace() and _EXCEPTION.match(line):
                    return "\n".join(lines[number : number + 12]).strip()
        named = [line for line in lines if _NAMED_ERROR.match(line)]
        return named[-1] if named else "\n".join(line for line in lines[-3:] if line.strip())


class JobControl:
    """Ends a job from outside: a person's stop, or its maximum runtime. Safe before the process exists."""

    def __init__(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        self.stopped = False
        self.expired = False
        self._grace = grace_seconds
        self._process: JobProcess | None = None
        self._lock = threading.Lock()

    @property
    def ended_early(self) -> bool:
        return self.stopped or self.expired

    def stop(self) -> None:
        """SIGTERM now, SIGKILL after the grace time."""
        self._end("stopped")

    def expire(self) -> None:
        self._end("expired")

    def attach(self, process: JobProcess) -> None:
        with self._lock:
            self._process = process
            if self.ended_early:
                process.terminate(self._grace)

    def _end(self, how: str) -> None:
        with self._lock:
            if self.ended_early:
                return
            setattr(self, how, True)
            if self._process is not None:
                self._process.terminate(self._grace)


def run_process(
    pool: JobPool, spec: JobSpec, log: JobLog, control: JobControl, max_runtime_seconds: float | None
) -> JobExit | None:
    """Run to the end; None when it was stopped before it began. Raises JobRefused where it cannot start."""
    if control.ended_early:
        return None
    done = threading.Event()
    result: list[JobExit] = []

    def on_exit(how: JobExit) -> None:
        result.append(how)
        done.set()

    timer = threading.Timer(max_runtime_seconds, control.expire) if max_runtime_seconds else None
    try:
        process = pool.start(spec, None, on_exit, on_lines=log)
    except OSError as error:
        raise JobRefused(f"InternalServerError: the process could not be started: {error}") from error
    if timer is not None:
        timer.daemon = True
        timer.start()
    control.attach(process)
    try:
        done.wait()
    finally:
        if timer is not None:
            timer.cancel()
    return result[0]


def failure_reason(how: JobExit, message: str, log: JobLog, memory_limit_bytes: int | None) -> str:
    """AWS's FailureReason for a process that failed: its own ``message``, or the last error in its output."""
    if how.out_of_memory:
        limit = f" of {memory_limit_bytes // 2**20} MiB" if memory_limit_bytes else ""
        return (
            "ClientError: Please use an instance type with more memory, or reduce the size of training data "
            f"processed on an instance. The process passed its limit{limit} "
            f"(peak {how.peak_memory_bytes // 2**20} MiB), exit code: 137"
        )
    code = how.code if how.code is not None else 128 + (how.signal or 0)
    text = message or log.last_error or how.reason
    if how.code is None and not message:
        text = f"{how.reason}. {text}" if text != how.reason else text
    if not text.startswith(("ClientError:", "AlgorithmError:", "InternalServerError:")):
        text = f"AlgorithmError: {text}"
    return f"{text[:1000]}, exit code: {code}"
