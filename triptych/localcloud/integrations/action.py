"""One action of a service integration: how its parameters become a call, and the answer a task's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from triptych.localcloud.integrations.failures import ErrorNames, TaskFailure, optimised_failure, sdk_failure
from triptych.localcloud.integrations.shapes import AWS_SDK, OPTIMISED, Dialect, to_json, to_request
from triptych.localcloud.stepfunctions.tasks import TaskRequest

JsonObject = dict[str, Any]


class ClientSource(Protocol):
    """``cloud.clients``: boto3 clients by botocore's name of the service."""

    def get(self, service: str) -> Any: ...


def unchanged(parameters: JsonObject, request: TaskRequest) -> JsonObject:
    return parameters


def answer_as_is(output: JsonObject, parameters: JsonObject) -> JsonObject:
    return output


@dataclass(frozen=True)
class Job:
    """What a ``.sync`` action waits for, and how it is described and stopped.

    The functions take the task's parameters and the start call's output (JSON, as
    given to ``sink.submitted``).
    """

    bus_service: str
    bus_kind: str
    identity: Callable[[JsonObject, JsonObject], str]
    """the job's name or id, as ``JobEnded.identity`` has it"""
    describe_operation: str
    describe_arguments: Callable[[JsonObject, JsonObject], JsonObject]
    status_member: str
    succeeded: frozenset[str]
    ended: frozenset[str]
    stop_operation: str
    stop_arguments: Callable[[JsonObject, JsonObject], JsonObject]
    member: str | None = None
    """the member of the description that is the job: ``JobRun``"""
    is_named: Callable[[JsonObject], bool] = lambda parameters: False
    """the parameters alone name the job, so that it is found again though the start call's answer was lost"""

    def describe(self, client: Any, parameters: JsonObject, submitted: JsonObject) -> JsonObject:
        """The job in botocore's shape; raises botocore's ClientError when there is none."""
        from botocore import xform_name

        call = getattr(client, xform_name(self.describe_operation))
        description: JsonObject = call(**self.describe_arguments(parameters, submitted))
        return description[self.member] if self.member else description

    def render(self, client: Any, description: JsonObject) -> JsonObject:
        """The job as a state sees it."""
        shape = client.meta.service_model.operation_model(self.describe_operation).output_shape
        if self.member:
            shape = shape.members[self.member]
        rendered: JsonObject = to_json(description, shape, OPTIMISED)
        return rendered

    def stop(self, client: Any, parameters: JsonObject, submitted: JsonObject) -> None:
        from botocore import xform_name

        getattr(client, xform_name(self.stop_operation))(**self.stop_arguments(parameters, submitted))


@dataclass(frozen=True)
class Action:
    """An action that Task states may name, with the patterns it may be used in."""

    client: str
    operation: str
    errors: ErrorNames | None = None
    """None for ``aws-sdk:`` actions, which name errors by the service's own model"""
    patterns: frozenset[str] = frozenset({""})
    job: Job | None = None
    prepare: Callable[[JsonObject, TaskRequest], JsonObject] = unchanged
    """turns the task's parameters into the operation's, still in ASL's names"""
    finish: Callable[[JsonObject, JsonObject], JsonObject] = answer_as_is
    """(output, parameters): completes the output, or raises TaskFailure"""
    http_metadata: bool = True
    """the output carries SdkHttpMetadata and SdkResponseMetadata"""
    interrupted: str = "States.TaskFailed"
    """the error of a call that the end of the process cut off"""

    @property
    def dialect(self) -> Dialect:
        return OPTIMISED if self.errors else AWS_SDK

    @property
    def is_read_only(self) -> bool:
        """Asking again after a restart changes nothing."""
        return self.operation.startswith(
            ("Get", "List", "Describe", "Head", "Search", "Query", "Scan", "BatchGet")
        )

    def arguments(self, clients: ClientSource, request: TaskRequest) -> JsonObject:
        """The call's arguments; raises ParametersRejected."""
        parameters = request.parameters
        if isinstance(parameters, dict):
            parameters = self.prepare(parameters, request)
        model = clients.get(self.client).meta.service_model.operation_model(self.operation)
        return to_request(parameters, model.input_shape, self.dialect)

    def call(self, clients: ClientSource, arguments: JsonObject, parameters: Any) -> Any:
        """The operation's answer as the task's output; raises TaskFailure."""
        from botocore import xform_name

        client = clients.get(self.client)
        try:
            response = getattr(client, xform_name(self.operation))(**arguments)
        except Exception as error:
            raise self.failure(error, client) from error
        shape = client.meta.service_model.operation_model(self.operation).output_shape
        output: JsonObject = to_json(response or {}, shape, self.dialect) if shape is not None else {}
        if self.http_metadata and self.errors:
            output |= http_metadata((response or {}).get("ResponseMetadata", {}))
        return dict(sorted(self.finish(output, parameters).items()))

    def failure(self, error: Exception, client: Any) -> TaskFailure:
        return optimised_failure(error, client, self.errors) if self.errors else sdk_failure(error, client)


_HEADERS = {
    "connection": "connection",
    "content-length": "Content-Length",
    "content-type": "Content-Type",
    "date": "Date",
    "x-amzn-requestid": "x-amzn-RequestId",
    "x-amz-executed-version": "X-Amz-Executed-Version",
    "x-amzn-trace-id": "X-Amzn-Trace-Id",
    "x-amzn-remapped-content-length": "x-amzn-Remapped-Content-Length",
}
"""botocore lower-cases header names; Step Functions shows them as they came"""


def http_metadata(metadata: Mapping[str, Any]) -> JsonObject:
    """``SdkHttpMetadata`` and ``SdkResponseMetadata`` from botocore's ResponseMetadata."""
    headers = {
        _HEADERS[name]: value for name, value in metadata.get("HTTPHeaders", {}).items() if name in _HEADERS
    }
    return {
        "SdkHttpMetadata": {
            "AllHttpHeaders": {name: [value] for name, value in headers.items()},
            "HttpHeaders": headers,
            "HttpStatusCode": metadata.get("HTTPStatusCode", 200),
        },
        "SdkResponseMetadata": {"RequestId": metadata.get("RequestId", "")},
    }
