"""One invocation: run it on a worker, word its failure as Lambda does, write its log."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.awslambda.functions import FunctionRecord
from triptych.localcloud.awslambda.workers import (
    InitFailed,
    WorkerEnded,
    WorkerPool,
    WorkerTimedOut,
    log_group,
)
from triptych.localcloud.jobs import memory

_MOST_RESPONSE_BYTES = 6 * 1024 * 1024 + 100
WriteLog = Callable[[str, str, Sequence[tuple[datetime, str]]], None]


@dataclass(frozen=True)
class Invocation:
    """What came of it: ``payload`` is JSON; ``failed`` says that it is an error's."""

    payload: bytes
    failed: bool
    log_lines: tuple[str, ...]


def invoke(
    workers: WorkerPool,
    function: FunctionRecord,
    event: str,
    request_id: str,
    write_log: WriteLog,
    client_context: Any = None,
) -> Invocation:
    """Run the function on ``event`` (JSON text) and wait for it.

    Raises ServiceError where Lambda itself fails.
    """
    worker = workers.acquire(function)
    keep = False
    began = time.monotonic()
    before: list[str] = []
    init_seconds: float | None = None
    try:
        init_seconds = worker.initialise()
        if init_seconds is not None:
            before = [f"INIT_START Runtime Version: {function.runtime}.local", *worker.take_lines()]
        began = time.monotonic()
        answer = worker.call(
            _request(function, event, request_id, client_context), began + function.timeout_seconds
        )
        keep = True
        if "error" in answer:
            payload, failed = json.dumps(answer["error"], ensure_ascii=False).encode(), True
        else:
            payload, failed = answer["result"].encode(), False
            if len(payload) > _MOST_RESPONSE_BYTES:
                payload, failed = _too_large(request_id), True
    except InitFailed as failure:
        payload, failed = json.dumps({**failure.payload, "requestId": request_id}).encode(), True
    except WorkerTimedOut:
        seconds = f"{function.timeout_seconds:.2f}"
        payload, failed = (
            _sandbox_error("Sandbox.Timedout", request_id, f"Task timed out after {seconds} seconds"),
            True,
        )
    except WorkerEnded as end:
        payload, failed = _sandbox_error("Runtime.ExitError", request_id, _runtime_exit(end)), True
    finally:
        duration = time.monotonic() - began
        printed = worker.take_lines()
        peak = memory.held_bytes(worker.pid) if worker.alive else (worker.peak_memory_bytes or 0)
        workers.release(worker, keep)
    lines = [
        *before,
        f"START RequestId: {request_id} Version: {function.version}",
        *printed,
        *_closing_words(payload if failed and not keep else b"", request_id),
        f"END RequestId: {request_id}",
        _report(function, request_id, duration, peak, init_seconds),
    ]
    now = datetime.now(UTC)
    write_log(log_group(function), worker.log_stream, [(now, line) for line in lines])
    return Invocation(payload, failed, tuple(lines))


def _request(function: FunctionRecord, event: str, request_id: str, client_context: Any) -> dict[str, Any]:
    trace = f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"
    return {
        "id": request_id,
        "event": event,
        "function_arn": function.arn,
        "deadline": time.time() + function.timeout_seconds,
        "client_context": client_context,
        "trace_id": trace,
    }


def _sandbox_error(kind: str, request_id: str, message: str) -> bytes:
    return json.dumps(
        {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    ).encode()


def _runtime_exit(end: WorkerEnded) -> str:
    how = end.how
    if how.out_of_memory or how.signal == 9:
        return "Runtime exited with error: signal: killed"
    if how.signal is not None:
        return f"Runtime exited with error: signal: {how.reason.removeprefix('killed by ')}"
    if how.code == 0:
        return "Runtime exited without providing a reason"
    return f"Runtime exited with error: exit status {how.code}"


def _too_large(request_id: str) -> bytes:
    message = f"Response payload size exceeded maximum allowed payload size ({_MOST_RESPONSE_BYTES} bytes)."
    return json.dumps({"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"}).encode()


def _closing_words(payload: bytes, request_id: str) -> list[str]:
    """The log line of an invocation that the sandbox ended."""
    if not payload:
        return []
    error = json.loads(payload)
    if "stackTrace" in error:
        return []  # the runtime has logged it
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = error["errorMessage"].removeprefix(f"RequestId: {request_id} ")
    if error["errorType"] == "Sandbox.Timedout":
        return [f"{moment} {request_id} {message.removeprefix('Error: ')}"]
    return [f"RequestId: {request_id} {message}", error["errorType"]]


def _report(
    function: FunctionRecord, request_id: str, duration: float, peak_bytes: int, init_seconds: float | None
) -> str:
    milliseconds = duration * 1000
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
        f"Billed Duration: {math.ceil(milliseconds)} ms\tMemory Size: {function.memory_mb} MB\t"
        f"Max Memory Used: {peak_bytes >> 20} MB\t"
    )
    return report + (f"Init Duration: {init_seconds * 1000:.2f} ms\t" if init_seconds is not None else "")
