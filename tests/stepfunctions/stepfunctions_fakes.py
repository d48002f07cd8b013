"""A task runner whose tasks do what the test says, and Step Functions over HTTP for real clients."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.service import RequestContext, ServiceError
from triptych.localcloud.stepfunctions.service import StepFunctionsService
from triptych.localcloud.stepfunctions.tasks import (
    ItemsRequest,
    ResultsRequest,
    TaskRequest,
    TaskSink,
    UnknownResource,
)

KNOWN = re.compile(r"arn:aws:(lambda:.*|states:::(aws-sdk:)?[\w-]+:\w+(\.sync(:2)?|\.waitForTaskToken)?)")
UNSUPPORTED = {"arn:aws:states:::dynamodb:query"}


class FakeTasks:
    """Answers tasks by the last part of their resource; unknown ones stay open until the test speaks."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Callable[[TaskRequest, TaskSink], None]] = {}
        self.started: list[TaskRequest] = []
        self.cancelled: list[TaskRequest] = []
        self.recovered: list[tuple[TaskRequest, Any]] = []
        self.items: list[Any] = []
        self.item_requests: list[ItemsRequest] = []
        self.result_requests: list[ResultsRequest] = []
        self.changed = threading.Condition()

    def on(self, name: str, behaviour: Callable[[TaskRequest, TaskSink], None]) -> None:
        """``name``: what follows the last colon of the resource."""
        self.behaviours[name] = behaviour

    def check(self, resource: str) -> None:
        if resource in UNSUPPORTED or not KNOWN.fullmatch(resource):
            raise UnknownResource()

    def start(self, request: TaskRequest, sink: TaskSink) -> None:
        # Noted after the behaviour: who waits for a start may rely on what it has told the engine.
        try:
            behaviour = self.behaviours.get(request.resource.rpartition(":")[2])
            if behaviour is not None:
                behaviour(request, sink)
        finally:
            with self.changed:
                self.started.append(request)
                self.changed.notify_all()

    def cancel(self, request: TaskRequest) -> None:
        with self.changed:
            self.cancelled.append(request)
            self.changed.notify_all()

    def recover(self, request: TaskRequest, submitted: Any | None, sink: TaskSink) -> None:
        with self.changed:
            self.recovered.append((request, submitted))
            self.changed.notify_all()

    def read_items(self, request: ItemsRequest) -> Iterable[Any]:
        self.item_requests.append(request)
        yield from self.items

    def write_results(self, request: ResultsRequest) -> dict[str, Any]:
        self.result_requests.append(request)
        return {"Bucket": request.bucket, "Key": f"{request.prefix}/{request.map_run_uuid}/manifest.json"}

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "the task runner was not called"


def cloud_at(root: Path) -> Cloud:
    home = Home(root)
    home.create()
    return Cloud(home, Settings())


class HttpEndpoint:
    """The service behind JSON 1.0 over HTTP, for boto3 and the conformance replay."""

    def __init__(self, service: StepFunctionsService) -> None:
        outer = service

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service_name, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
                status, answer = _answer(outer, service_name, operation, body)
                payload = json.dumps(answer, default=_time).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(service: StepFunctionsService, service_name: str, operation: str, body: bytes) -> tuple[int, Any]:
    found = service.operations.get(operation) if service_name == "AWSStepFunctions" else None
    if found is None:
        return 400, {"__type": "UnknownOperationException", "message": operation}
    try:
        return 200, found(RequestContext("stepfunctions", operation), json.loads(body or b"{}"))
    except ServiceError as error:
        return error.status, {"__type": error.code, "message": error.message}
    except Exception as error:
        return 500, {"__type": "InternalFailure", "message": f"{type(error).__name__}: {error}"}


def _time(value: Any) -> float:
    assert isinstance(value, datetime)
    return value.timestamp()
