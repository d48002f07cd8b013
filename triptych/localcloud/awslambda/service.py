"""Lambda's Invoke. Function records, versions, aliases and layers stay moto's."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from triptych.localcloud.awslambda.asynchronous import RETRY_DELAYS_SECONDS, EventQueue, QueuedEvent
from triptych.localcloud.awslambda.code import CodeStore
from triptych.localcloud.awslambda.functions import FindFunction, FunctionRecord, MotoFunctions
from triptych.localcloud.awslambda.invocation import Invocation, invoke
from triptych.localcloud.awslambda.workers import Worker, WorkerPool
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.cloudwatch.vended import invocation_metrics
from triptych.localcloud.jobs.pool import JobServerFailed
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_log = logging.getLogger(__name__)

_MOST_REQUEST_BYTES = 6 * 1024 * 1024
_MOST_EVENT_BYTES = 1024 * 1024
_LOG_TAIL_BYTES = 4096
_REAP_SECONDS = 60.0


class LambdaService:
    """Runs functions' own zips on warm workers. ``find_function`` answers records (moto's by default)."""

    service_id = "lambda"

    def __init__(
        self,
        cloud: Cloud,
        find_function: FindFunction | None = None,
        retry_delays: Sequence[float] = RETRY_DELAYS_SECONDS,
        most_workers: int | None = None,
        idle_seconds: float = 600.0,
    ) -> None:
        self._cloud = cloud
        self._find = find_function or MotoFunctions(cloud)
        self._code = CodeStore(cloud.home)
        self._workers = WorkerPool(self._start_worker, most_workers, idle_seconds)
        self._events = EventQueue(cloud, self._run_event, retry_delays)
        self._stopped = threading.Event()
        self.operations: Mapping[str, Operation] = {"Invoke": self.invoke, "InvokeAsync": self.invoke_async}

    def start(self) -> None:
        """Take up unfinished events; begin to reap idle workers."""
        self._stopped.clear()
        threading.Thread(target=self._reap, name="lambda reaper", daemon=True).start()
        self._events.start()

    def stop(self) -> None:
        """End idle workers; unfinished events are taken up again by the next start."""
        self._stopped.set()
        self._events.stop()
        self._workers.stop()

    def invoke(self, context: RequestContext, params: Params) -> Params:
        """Invoke, of every type; a function's error is an answer with ``FunctionError``, no ServiceError."""
        event = _event_text(params.get("Payload"))
        function = self._find(context, params["FunctionName"], params.get("Qualifier"))
        _check(function)
        kind = params.get("InvocationType") or "RequestResponse"
        if kind == "DryRun":
            return {"StatusCode": 204}
        if kind == "Event":
            return {"StatusCode": self._accept(context, function, event)}
        if kind != "RequestResponse":
            raise ServiceError(
                "InvalidParameterValueException",
                f"InvocationType {kind!r}: use RequestResponse, Event or DryRun.",
            )
        outcome = self._invoke(
            function, event, context.request_id or str(uuid4()), _client_context(params.get("ClientContext"))
        )
        answer: Params = {
            "StatusCode": 200,
            "ExecutedVersion": function.version,
            "Payload": outcome.payload,
        }
        if outcome.failed:
            answer["FunctionError"] = "Unhandled"
        if params.get("LogType") == "Tail":
            text = "\n".join(outcome.log_lines).encode()[-_LOG_TAIL_BYTES:]
            answer["LogResult"] = base64.b64encode(text).decode()
        return answer

    def invoke_async(self, context: RequestContext, params: Params) -> Params:
        """The older form of an Event invocation."""
        event = _event_text(params.get("InvokeArgs"))
        function = self._find(context, params["FunctionName"], None)
        _check(function)
        return {"Status": self._accept(context, function, event)}

    def _accept(self, context: RequestContext, function: FunctionRecord, event: str) -> int:
        if len(event) > _MOST_EVENT_BYTES:
            raise _too_large(len(event), _MOST_EVENT_BYTES)
        self._events.put(
            QueuedEvent(
                context.request_id or str(uuid4()), function.arn, context.account_id, context.region, event
            )
        )
        return 202

    def _run_event(self, event: QueuedEvent) -> tuple[FunctionRecord, Invocation]:
        context = RequestContext("lambda", "Invoke", event.region, event.account_id)
        function = self._find(context, event.function, None)
        return function, self._invoke(function, event.payload, event.request_id, None)

    def _invoke(
        self, function: FunctionRecord, event: str, request_id: str, client_context: Any
    ) -> Invocation:
        began = datetime.now(UTC)
        outcome = invoke(self._workers, function, event, request_id, self._write_log, client_context)
        milliseconds = (datetime.now(UTC) - began).total_seconds() * 1000
        self._cloud.metrics.put(invocation_metrics(function.name, began, milliseconds, outcome.failed))
        return outcome

    def _start_worker(self, function: FunctionRecord) -> Worker:
        try:
            return Worker(self._cloud, self._code, function)
        except (JobServerFailed, OSError) as error:
            raise ServiceError("ServiceException", f"No worker for {function.name}: {error}", 500) from error

    def _write_log(self, group: str, stream: str, lines: Sequence[tuple[datetime, str]]) -> None:
        self._cloud.logs.append(group, stream, lines)

    def _reap(self) -> None:
        while not self._stopped.wait(_REAP_SECONDS):
            self._workers.reap()


def _event_text(payload: Any) -> str:
    """The event as JSON text; raises as Lambda does for what is no JSON or too large."""
    data = payload.read() if hasattr(payload, "read") else payload
    data = data.encode() if isinstance(data, str) else data or b"{}"
    if len(data) > _MOST_REQUEST_BYTES:
        raise _too_large(len(data), _MOST_REQUEST_BYTES)
    try:
        text: str = data.decode()
        json.loads(text)
    except ValueError as error:
        raise ServiceError(
            "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from error
    return text


def _too_large(size: int, most: int) -> ServiceError:
    return ServiceError(
        "RequestEntityTooLargeException",
        f"{size} byte payload is too large for the RequestResponse invocation type (limit {most} bytes)",
        413,
    )


def _check(function: FunctionRecord) -> None:
    if not function.runtime.startswith("python3."):
        raise ServiceError(
            "InvalidRuntimeException",
            f"Function {function.name} has the runtime {function.runtime!r}; the local cloud runs Python "
            "functions only, on the Python it is installed in.",
            502,
        )


def _client_context(text: str | None) -> Any:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return json.loads(base64.b64decode(text))
    raise ServiceError(
        "InvalidRequestContentException", "Could not parse the client context: base64 of JSON."
    )
