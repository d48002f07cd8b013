"""Warm worker processes of functions: started on demand, one invocation at a time each."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from triptych.localcloud.awslambda.code import CodeStore
from triptych.localcloud.awslambda.functions import FunctionRecord
from triptych.localcloud.awslambda.worker import MARKER
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.jobs import wire
from triptych.localcloud.jobs.environment import base_environment
from triptych.localcloud.jobs.spec import FunctionEntry, JobExit, JobSpec
from triptych.localcloud.service import ServiceError

INIT_SECONDS = 10.0
"""How long a handler's module may take to import"""
_AFTER_END_SECONDS = 5.0


class WorkerEnded(Exception):
    """The process ended instead of answering; ``how`` says in what way."""

    def __init__(self, how: JobExit) -> None:
        super().__init__(how.reason)
        self.how = how


class WorkerTimedOut(Exception):
    """The answer did not come in time; the process is killed."""


class InitFailed(Exception):
    """The handler could not be imported; ``payload`` is Lambda's error."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__(payload["errorMessage"])
        self.payload = payload


class Worker:
    """One process of one function. Not for two threads at once."""

    def __init__(self, cloud: Cloud, code: CodeStore, function: FunctionRecord) -> None:
        self.function = function
        self.log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[{function.version}]{uuid4().hex}"
        self.init_seconds: float | None = None
        self.last_used = time.monotonic()
        self.lines: list[str] = []
        self._ready = False
        self._ended = threading.Event()
        self._how: JobExit | None = None
        self._output_ended = threading.Condition()
        self._markers: set[str] = set()
        task_root = code.function(function.code)
        layers = [path for layer in function.layers for path in code.layer(layer)]
        self._channel, theirs = socket.socketpair()
        spec = JobSpec(
            name=f"lambda {function.name}",
            pool="lambda",
            entry=FunctionEntry("triptych.localcloud.awslambda.worker:serve", {"handler": function.handler}),
            env=_environment(cloud, function, str(task_root), self.log_stream),
            cwd=task_root,
            python_path=(str(task_root), *layers),
            memory_limit_bytes=function.memory_mb << 20,
            channel=theirs,
        )
        try:
            self._process = cloud.jobs.start(spec, None, self._on_exit, on_lines=self._on_lines)
        except BaseException:
            self._channel.close()
            theirs.close()
            raise

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    @property
    def peak_memory_bytes(self) -> int | None:
        """Known once it has ended."""
        return self._how.peak_memory_bytes if self._how is not None else None

    @property
    def pid(self) -> int:
        return self._process.pid

    def initialise(self) -> float | None:
        """Wait until the handler is imported: how long that took, the first time it is asked.

        Raises InitFailed, WorkerEnded, WorkerTimedOut.
        """
        if self._ready:
            return None
        message = self._receive(time.monotonic() + INIT_SECONDS)
        if "init_error" in message:
            self._wait_for_output("init")
            raise InitFailed(message["init_error"])
        self._ready = True
        self.init_seconds = message["init_seconds"]
        return self.init_seconds

    def call(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Send one invocation and wait for its answer; ``deadline`` is of the monotonic clock.

        What it printed is in ``lines`` then. Raises WorkerEnded, WorkerTimedOut.
        """
        try:
            wire.send(self._channel, request)
        except OSError:
            raise WorkerEnded(self._wait_for_end()) from None
        answer = self._receive(deadline)
        self._wait_for_output(request["id"])
        self.last_used = time.monotonic()
        return answer

    def take_lines(self) -> list[str]:
        """What was printed since the last time."""
        with self._output_ended:
            lines, self.lines = self.lines, []
        return lines

    def retire(self) -> None:
        """Let it end; returns at once."""
        with contextlib.suppress(OSError):
            self._channel.close()
        self._process.kill()

    def _receive(self, deadline: float) -> dict[str, Any]:
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            message, _ = wire.receive(self._channel)
        except TimeoutError:
            self._process.kill()
            self._wait_for_end()
            raise WorkerTimedOut from None
        except (EOFError, OSError):
            raise WorkerEnded(self._wait_for_end()) from None
        finally:
            with contextlib.suppress(OSError):
                self._channel.settimeout(None)
        return message

    def _wait_for_end(self) -> JobExit:
        if not self._ended.wait(_AFTER_END_SECONDS):  # it closed its channel and lives on
            self._process.kill()
            self._ended.wait()
        assert self._how is not None
        return self._how

    def _wait_for_output(self, marker: str) -> None:
        with self._output_ended:
            self._output_ended.wait_for(
                lambda: marker in self._markers or self._ended.is_set(), _AFTER_END_SECONDS
            )
            self._markers.discard(marker)

    def _on_lines(self, lines: Sequence[str]) -> None:
        with self._output_ended:
            for line in lines:
                text, marked, request_id = line.partition(MARKER)
                if text or not marked:
                    self.lines.append(text)
                if marked:
                    self._markers.add(request_id)
                    self._output_ended.notify_all()

    def _on_exit(self, how: JobExit) -> None:
        self._how = how
        self._ended.set()
        with self._output_ended:
            self._output_ended.notify_all()


@dataclass
class _Crew:
    """The workers of one function version."""

    fingerprint: str
    idle: list[Worker]
    busy: int = 0


class WorkerPool:
    """Workers by function. At most ``most_at_once`` of one function work at a time; further invocations wait.

    (On AWS they would get workers of their own; a laptop has few cores.)
    """

    def __init__(
        self,
        start_worker: Callable[[FunctionRecord], Worker],
        most_at_once: int | None = None,
        idle_seconds: float = 600.0,
    ) -> None:
        self._start_worker = start_worker
        self._most_at_once = most_at_once or max(4, 2 * (os.cpu_count() or 2))
        self._idle_seconds = idle_seconds
        self._crews: dict[str, _Crew] = {}
        self._changed = threading.Condition()

    def acquire(self, function: FunctionRecord) -> Worker:
        """A worker of the function, warm if one is free.

        Raises TooManyRequestsException at its reserved concurrency.
        """
        fingerprint = function.fingerprint
        with self._changed:
            while True:
                crew = self._crew(function.arn, fingerprint)
                if function.reserved_concurrency is not None and crew.busy >= function.reserved_concurrency:
                    raise ServiceError(
                        "TooManyRequestsException",
                        "Rate Exceeded.",
                        429,
                        Reason="ReservedFunctionConcurrentInvocationLimitExceeded",
                    )
                if crew.busy < self._most_at_once:
                    break
                self._changed.wait()
            crew.busy += 1
            while crew.idle:
                worker = crew.idle.pop()
                if worker.alive:
                    return worker
        try:
            return self._start_worker(function)
        except BaseException:
            with self._changed:
                crew.busy -= 1
                self._changed.notify()
            raise

    def release(self, worker: Worker, keep: bool) -> None:
        """Give a worker back; one that is not to be kept, or whose function has changed, is retired."""
        with self._changed:
            crew = self._crews.get(worker.function.arn)
            if crew is not None and crew.fingerprint == worker.function.fingerprint:
                crew.busy -= 1
                if keep and worker.alive:
                    crew.idle.append(worker)
                    worker = None  # type: ignore[assignment]
            self._changed.notify()
        if worker is not None:
            worker.retire()

    def reap(self) -> None:
        """Retire what nobody has used for a while."""
        limit = time.monotonic() - self._idle_seconds
        with self._changed:
            stale = []
            for crew in self._crews.values():
                stale += [worker for worker in crew.idle if worker.last_used < limit]
                crew.idle = [worker for worker in crew.idle if worker.last_used >= limit]
        for worker in stale:
            worker.retire()

    def stop(self) -> None:
        """Retire all idle workers; busy ones end with the job pool."""
        with self._changed:
            crews = list(self._crews.values())
            self._crews.clear()
            self._changed.notify_all()
        for crew in crews:
            for worker in crew.idle:
                worker.retire()

    def _crew(self, arn: str, fingerprint: str) -> _Crew:
        crew = self._crews.get(arn)
        if crew is None or crew.fingerprint != fingerprint:
            for worker in crew.idle if crew is not None else ():
                worker.retire()
            crew = self._crews[arn] = _Crew(fingerprint, [])
        return crew


def _environment(cloud: Cloud, function: FunctionRecord, task_root: str, log_stream: str) -> dict[str, str]:
    """What Lambda sets, with the function's own variables over it where it may set them."""
    settings = cloud.settings
    base = base_environment(settings)
    reserved = {
        "_HANDLER": function.handler,
        "_X_AMZN_TRACE_ID": "",
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group(function),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_SESSION_TOKEN": "triptych",
        "LAMBDA_TASK_ROOT": task_root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
    defaults = {
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "TZ": ":UTC",
    }
    return {**base, **defaults, **function.environment, **reserved}


def log_group(function: FunctionRecord) -> str:
    return f"/aws/lambda/{function.name}"
