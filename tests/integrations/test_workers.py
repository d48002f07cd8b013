"""Threads that wait for calls."""

from __future__ import annotations

import logging
import threading

import pytest

from triptych.localcloud.integrations.workers import WorkerThreads


def test_work_runs_side_by_side_up_to_the_limit() -> None:
    workers = WorkerThreads("test", 3)
    together = threading.Barrier(4)
    for _ in range(3):
        workers.submit(lambda: together.wait(10) and None)
    together.wait(10)  # breaks unless three run at once
    workers.stop()


def test_more_work_than_threads_queues() -> None:
    workers = WorkerThreads("test", 2)
    done: list[int] = []
    finished = threading.Semaphore(0)

    def work(number: int) -> None:
        done.append(number)
        finished.release()

    for number in range(50):
        workers.submit(lambda number=number: work(number))  # type: ignore[misc]
    assert all(finished.acquire(timeout=10) for _ in range(50))
    assert sorted(done) == list(range(50))
    workers.stop()


def test_work_that_raises_is_logged_and_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    workers = WorkerThreads("test", 1)
    finished = threading.Event()

    def broken() -> None:
        raise ValueError("no")

    with caplog.at_level(logging.ERROR):
        workers.submit(broken)
        workers.submit(finished.set)
        assert finished.wait(10)
    assert "work of test failed" in caplog.text
    workers.stop()
