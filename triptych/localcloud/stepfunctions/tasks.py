"""The contract between the engine and what Task states, ItemReaders and ResultWriters do to other services.

The engine knows nothing of AWS services: it asks a ``TaskRunner``, and is told through a ``TaskSink``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol


class UnknownResource(Exception):
    """A Task's ``Resource`` that nothing here can run.

    The message says what is served instead; without one, the refusal has AWS's words for a resource that
    does not exist there either.
    """


class TaskError(Exception):
    """``read_items`` and ``write_results`` raise it: an error name and a cause, as a state sees them."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass(frozen=True)
class TaskRequest:
    """One attempt of one Task state."""

    task_id: str
    """unique, and stable over restarts: the engine's key of this attempt"""
    execution_arn: str
    resource: str
    """as in the ASL: ``arn:aws:states:::glue:startJobRun.sync``, a Lambda function's ARN"""
    parameters: Any
    """the task's payload: after ``InputPath`` and ``Parameters``, or ``Arguments``"""
    region: str
    account_id: str
    role_arn: str
    """the state machine's role"""
    credentials: Any | None = None
    """``Credentials`` of the state, evaluated: ``{"RoleArn": …}``"""
    task_token: str | None = None
    """for ``.waitForTaskToken``"""
    timeout_seconds: float | None = None
    heartbeat_seconds: float | None = None


class TaskSink(Protocol):
    """The engine, seen from an integration. Every method may be called from any thread and returns at once.

    Calls for a task that has ended already (timed out, stopped) are ignored. Outputs are JSON values
    (``dict``, ``list``, ``str``, numbers, ``bool``, ``None``), never JSON text.
    """

    def started(self, task_id: str) -> None:
        """The call is under way (``TaskStarted``). Optional: the later calls imply it."""

    def submitted(self, task_id: str, output: Any) -> None:
        """The start call's answer (``TaskSubmitted``), for ``.sync`` and ``.waitForTaskToken``; kept for
        ``recover``.
        """

    def succeeded(self, task_id: str, output: Any) -> None:
        """The task's result."""

    def failed(self, task_id: str, error: str, cause: str) -> None:
        """The call or the job failed (``TaskFailed``)."""

    def start_failed(self, task_id: str, error: str, cause: str) -> None:
        """The call could not be begun (``TaskStartFailed``)."""

    def submit_failed(self, task_id: str, error: str, cause: str) -> None:
        """The start call of a ``.sync`` or ``.waitForTaskToken`` task was refused (``TaskSubmitFailed``)."""


@dataclass(frozen=True)
class ItemsRequest:
    """What a Distributed Map's ``ItemReader`` asks for, its ``Parameters`` / ``Arguments`` already
    evaluated.
    """

    execution_arn: str
    region: str
    account_id: str
    role_arn: str
    resource: str
    """``arn:aws:states:::s3:getObject`` or ``arn:aws:states:::s3:listObjectsV2``"""
    arguments: dict[str, Any]
    """``Bucket``, ``Key`` / ``Prefix``, ``VersionId`` …"""
    reader_config: dict[str, Any]
    """``InputType``, ``CSVHeaderLocation``, ``CSVHeaders``, ``CSVDelimiter``, ``MaxItems``, ``ItemsPointer``,
    ``Transformation`` …; ``MaxItemsPath`` already read. ``MaxItems`` is applied by the engine too."""


@dataclass(frozen=True)
class ChildExecution:
    """One child of a map run, as ResultWriter's files describe it (times are ISO 8601 with milliseconds,
    ``Z``).
    """

    execution_arn: str
    name: str
    state_machine_arn: str
    status: str
    """SUCCEEDED, FAILED, TIMED_OUT, ABORTED (in the FAILED file) or PENDING (never started)"""
    input: str | None
    """JSON text"""
    output: str | None
    """JSON text; of a success only"""
    error: str | None = None
    cause: str | None = None
    start_date: str | None = None
    stop_date: str | None = None
    redrive_count: int = 0
    redrive_status: str = "NOT_REDRIVABLE"
    redrive_status_reason: str | None = None
    input_included: bool = True
    output_included: bool = True


@dataclass(frozen=True)
class ResultsRequest:
    """What a Distributed Map's ``ResultWriter`` shall write once all its children have ended."""

    execution_arn: str
    region: str
    account_id: str
    role_arn: str
    map_run_arn: str
    bucket: str
    prefix: str
    """the files go to ``<prefix>/<the map run's uuid>/``: ``manifest.json``, ``SUCCEEDED_0.json`` …"""
    writer_config: dict[str, Any]
    """``Transformation`` (NONE, COMPACT, FLATTEN) and ``OutputType`` (JSON, JSONL); may be empty"""
    succeeded: tuple[ChildExecution, ...] = field(default=())
    failed: tuple[ChildExecution, ...] = field(default=())
    pending: tuple[ChildExecution, ...] = field(default=())

    @property
    def map_run_uuid(self) -> str:
        """The last part of the map run's ARN, which names the folder of the results."""
        return self.map_run_arn.rsplit(":", 1)[-1]


class TaskRunner(Protocol):
    """Does Task states' work; implemented by ``integrations.registry.TaskRunners``."""

    def check(self, resource: str) -> None:
        """At CreateStateMachine and UpdateStateMachine: raises UnknownResource when it could never run."""

    def start(self, request: TaskRequest, sink: TaskSink) -> None:
        """Begin the task and return at once; all else comes through ``sink``, from any thread.

        May raise: the engine then fails the task as ``States.Runtime``. Activities never come here.
        """

    def cancel(self, request: TaskRequest) -> None:
        """The execution was stopped or the task timed out: stop a ``.sync`` job, as AWS does. Returns at
        once.
        """

    def recover(self, request: TaskRequest, submitted: Any | None, sink: TaskSink) -> None:
        """After a restart: this task was running; find its job again, or fail it as AWS would.

        ``submitted`` is the output that ``sink.submitted`` was given, ``None`` when it was not called yet.
        """

    def read_items(self, request: ItemsRequest) -> Iterable[Any]:
        """The items of a Distributed Map, in order; called in a thread of its own. Raises TaskError.

        CSV rows are objects of strings; a listing's are S3's ``Contents`` entries with AWS's own keys
        (``Etag``, ``Key``, ``LastModified`` as seconds, ``Size``, ``StorageClass``).
        """

    def write_results(self, request: ResultsRequest) -> dict[str, Any]:
        """Write the result files and ``manifest.json``; called in a thread of its own. Raises TaskError.

        Returns the value of ``ResultWriterDetails``: ``{"Bucket": …, "Key": "…/manifest.json"}``.
        """
