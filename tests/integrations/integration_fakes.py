"""A services' fake with botocore's real models, and a sink that collects what a task reports."""

from __future__ import annotations

import queue
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import boto3
from botocore.exceptions import ClientError, ParamValidationError
from botocore.validate import ParamValidator

from triptych.localcloud.stepfunctions.tasks import TaskRequest

REGION, ACCOUNT = "us-east-1", "123456789012"
EXECUTION = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:Machine:run-1"
Operation = Callable[[dict[str, Any]], dict[str, Any]]


@lru_cache(maxsize=32)
def _model_client(service: str) -> Any:
    return boto3.client(service, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="s")


class FakeClients:
    """Clients that answer with the functions given as ``{"glue.StartJobRun": …}``; all calls are kept."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        self.operations = operations
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def get(self, service: str) -> Any:
        return _FakeClient(self, service, _model_client(service))

    def named(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == operation]


class _FakeClient:
    def __init__(self, clients: FakeClients, service: str, real: Any) -> None:
        self._clients, self._service, self._real = clients, service, real
        self.meta = real.meta

    def __getattr__(self, method: str) -> Callable[..., dict[str, Any]]:
        operation = self.meta.method_to_api_mapping[method]
        shape = self.meta.service_model.operation_model(operation).input_shape

        def call(**params: Any) -> dict[str, Any]:
            report = ParamValidator().validate(params, shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
            name = f"{self._service}.{operation}"
            self._clients.calls.append((name, params))
            metadata = {
                "RequestId": "req-1",
                "HTTPStatusCode": 200,
                "HTTPHeaders": {"date": "today", "server": "x"},
            }
            return {"ResponseMetadata": metadata} | self._clients.operations[name](params)

        return call


def client_error(code: str, message: str, status: int = 400) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "req-9"},
    }
    return ClientError(response, "Operation")


def raising(error: Exception) -> Operation:
    def call(params: dict[str, Any]) -> dict[str, Any]:
        raise error

    return call


class FakeSink:
    """``next()`` answers what was reported next, without ``started``; fails after ten seconds of silence."""

    def __init__(self) -> None:
        self._reports: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def started(self, task_id: str) -> None:
        pass

    def submitted(self, task_id: str, output: Any) -> None:
        self._reports.put(("submitted", output))

    def succeeded(self, task_id: str, output: Any) -> None:
        self._reports.put(("succeeded", output))

    def failed(self, task_id: str, error: str, cause: str) -> None:
        self._reports.put(("failed", error, cause))

    def start_failed(self, task_id: str, error: str, cause: str) -> None:
        self._reports.put(("start_failed", error, cause))

    def submit_failed(self, task_id: str, error: str, cause: str) -> None:
        self._reports.put(("submit_failed", error, cause))

    def next(self) -> tuple[Any, ...]:
        return self._reports.get(timeout=10)

    @property
    def silent(self) -> bool:
        return self._reports.empty()


def task(resource: str, parameters: Any, **more: Any) -> TaskRequest:
    arn = resource if resource.startswith("arn:") else f"arn:aws:states:::{resource}"
    return TaskRequest(
        task_id=more.pop("task_id", "task-1"),
        execution_arn=EXECUTION,
        resource=arn,
        parameters=parameters,
        region=REGION,
        account_id=ACCOUNT,
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/machine",
        **more,
    )
