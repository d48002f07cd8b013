"""The processes that answer a job's payloads: as many at once as asked, replaced when they die or hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from transform_payloads import Payload
from transform_task import Failure, TransformTask
from transform_worker import Answer, Loaded, NotLoaded, serve

_LOAD_SECONDS = 600.0
"""how long a model may take to load"""


class ModelNotLoaded(Exception):
    """No process can answer: the model does not load."""


@dataclass
class _Work:
    payload: Payload
    attempt: int = 0


class _Worker:
    def __init__(self, task: TransformTask, threads: int) -> None:
        # A fork: it has all modules at once, and the job's process has no threads that a fork would harm. No daemon:
        # a user's script may start processes itself.
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(theirs, task, threads))
        self.process.start()
        theirs.close()
        self.work: _Work | None = None
        self.deadline = float("inf")

    def loaded(self) -> Loaded:
        """Wait for its model; raises ModelNotLoaded."""
        if not self.connection.poll(_LOAD_SECONDS):
            self.process.kill()
            self.end()
            raise ModelNotLoaded(f"it was not ready within {_LOAD_SECONDS:g} s")
        try:
            found: Loaded | NotLoaded = self.connection.recv()
        except EOFError:
            raise ModelNotLoaded(f"its process {self.end()} while the model was loaded") from None
        if isinstance(found, NotLoaded):
            raise ModelNotLoaded(found.reason)
        return found

    def give(self, work: _Work, seconds: float) -> None:
        self.work, self.deadline = work, time.monotonic() + seconds
        self.connection.send(work.payload)

    def end(self) -> str:
        """Make sure that it is gone; how it ended, in words."""
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        self.connection.close()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class WorkerPool:
    """Answers payloads in processes of their own. Begins with one; ``grow`` starts the others."""

    def __init__(self, task: TransformTask, threads: int) -> None:
        self._task = task
        self._threads = threads
        self._workers = [_Worker(task, threads)]
        self.loaded = self._workers[0].loaded()

    def grow(self, count: int) -> None:
        """Have ``count`` processes; raises ModelNotLoaded."""
        added = [_Worker(self._task, self._threads) for _ in range(count - len(self._workers))]
        self._workers += added
        for worker in added:
            worker.loaded()

    def run(
        self,
        payloads: Iterator[Payload],
        may_go_on: Callable[[], bool],
        take: Callable[[Payload, Answer], None],
    ) -> None:
        """Answer all payloads; ``take`` gets the answers as they come.

        The next payload is asked for when a process is free and ``may_go_on`` says that there is room for answers.
        Raises ModelNotLoaded when a process that died cannot be replaced.
        """
        again: deque[_Work] = deque()
        while True:
            for worker in self._workers:
                if worker.work is None:
                    work = again.popleft() if again else None
                    if work is None and may_go_on() and (payload := next(payloads, None)) is not None:
                        work = _Work(payload)
                    if work is None:
                        break
                    worker.give(work, self._task.timeout_seconds)
            busy = [worker for worker in self._workers if worker.work is not None]
            if not busy:
                return
            for work, answer in self._answers(busy):
                failure = answer.failure
                if failure is not None and failure.may_pass and work.attempt < self._task.max_retries:
                    again.append(_Work(work.payload, work.attempt + 1))
                else:
                    take(work.payload, answer)

    def _answers(self, busy: list[_Worker]) -> Iterator[tuple[_Work, Answer]]:
        """Wait for the first answers; a process that dies or takes too long has failed and is replaced."""
        left = min(worker.deadline for worker in busy) - time.monotonic()
        connections: list[Connection] = [worker.connection for worker in busy]
        ready = wait(connections, max(left, 0))
        for worker in busy:
            work = worker.work
            assert work is not None
            if worker.connection in ready:
                worker.work = None
                try:
                    yield work, worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    answer = _no_answer(f"the model's process {worker.end()} while it answered")
                    self._replace(worker)
                    yield work, answer
            elif worker.deadline <= time.monotonic():
                worker.work = None
                worker.process.kill()
                worker.end()
                self._replace(worker)
                seconds = f"{self._task.timeout_seconds:g}"
                yield work, _no_answer(f"no answer within InvocationsTimeoutInSeconds ({seconds} s)")

    def _replace(self, worker: _Worker) -> None:
        fresh = _Worker(self._task, self._threads)
        self._workers[self._workers.index(worker)] = fresh
        fresh.loaded()

    def close(self) -> None:
        """End the processes."""
        alive = [worker for worker in self._workers if not worker.connection.closed]
        for worker in alive:
            if worker.work is None:
                with contextlib.suppress(OSError):
                    worker.connection.send(None)
            else:
                worker.process.kill()
        for worker in alive:
            worker.end()


def _no_answer(message: str) -> Answer:
    return Answer(failure=Failure("AlgorithmError", f"Unable to get response from algorithm: {message}"))
