"""The ``TaskRunner`` of the engine: finds a resource's action, calls the service, waits for jobs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from triptych.localcloud.integrations import awslambda, glue, messages, nested, sagemaker, tables
from triptych.localcloud.integrations.action import Action, Job, JsonObject
from triptych.localcloud.integrations.aws_sdk import AwsSdkActions
from triptych.localcloud.integrations.failures import TaskFailure
from triptych.localcloud.integrations.items import ItemReader
from triptych.localcloud.integrations.resource import SYNC_2, TASK_TOKEN, Resource, parse_resource
from triptych.localcloud.integrations.results import ResultWriter
from triptych.localcloud.integrations.shapes import json_text
from triptych.localcloud.integrations.waiting import WaitingTasks
from triptych.localcloud.integrations.workers import WorkerThreads
from triptych.localcloud.stepfunctions.tasks import (
    ItemsRequest,
    ResultsRequest,
    TaskRequest,
    TaskSink,
    UnknownResource,
)

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud

_log = logging.getLogger(__name__)

_OPTIMISED: dict[str, Action] = (
    awslambda.ACTIONS | glue.ACTIONS | sagemaker.ACTIONS | nested.ACTIONS | messages.ACTIONS | tables.ACTIONS
)
_CALLS_AT_ONCE = 256


@dataclass
class _Attempt:
    """A task whose start call is under way."""

    cancelled: bool = False


class TaskRunners:
    """Does what Task states, ItemReaders and ResultWriters ask of other services, through ``cloud.clients``.

    Calls run on threads of their own. A ``.sync`` task waits in a table until the bus says that its job
    ended.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._waiting = WaitingTasks(cloud.bus)
        self._threads = WorkerThreads("task-call", _CALLS_AT_ONCE)
        self._lock = threading.Lock()
        self._attempts: dict[str, _Attempt] = {}

    def stop(self) -> None:
        """End the threads; what waits is found again by ``recover``."""
        self._threads.stop()

    # --- the TaskRunner protocol ---

    def check(self, resource: str) -> None:
        """Raises UnknownResource for what could never run here."""
        parsed = parse_resource(resource)
        if parsed is None:
            raise UnknownResource(_not_recognized(resource))
        if parsed.service != "activity":
            self._action(parsed)

    def start(self, request: TaskRequest, sink: TaskSink) -> None:
        """Begin the task; raises ParametersRejected when the parameters do not fit the operation."""
        resource, action = self._resolve(request)
        arguments = action.arguments(self._cloud.clients, request)
        with self._lock:
            self._attempts[request.task_id] = _Attempt()
        self._run(request, sink, lambda: self._call(resource, action, arguments, request, sink))

    def cancel(self, request: TaskRequest) -> None:
        """Stop a ``.sync`` task's job; a start call under way is followed by the stop call."""
        with self._lock:
            attempt = self._attempts.get(request.task_id)
            if attempt is not None:
                attempt.cancelled = True
        resource, action = self._resolve(request)
        if action.job is None or not _waits_for_job(resource):
            return
        submitted = self._waiting.take(request.task_id)
        if submitted is not None:
            job = action.job
            self._threads.submit(lambda: self._stop_job(action, job, request, submitted))

    def recover(self, request: TaskRequest, submitted: Any | None, sink: TaskSink) -> None:
        """Go on with a task that was running when the last process ended."""
        resource, action = self._resolve(request)
        if resource.pattern == TASK_TOKEN and submitted is not None:
            return
        if action.job is not None and _waits_for_job(resource):
            job = action.job
            if submitted is not None:
                self._run(request, sink, lambda: self._wait(resource, action, job, request, submitted, sink))
                return
            if job.is_named(request.parameters):
                self._run(request, sink, lambda: self._find_or_start(resource, action, job, request, sink))
                return
        elif action.is_read_only:
            self.start(request, sink)
            return
        sink.failed(
            request.task_id,
            action.interrupted,
            f"The local cloud stopped while the call {resource.name} was under way: whether it took effect "
            "is not known. A Retry for this error tries it again.",
        )

    def read_items(self, request: ItemsRequest) -> Iterable[Any]:
        return ItemReader(self._cloud.store).read(request)

    def write_results(self, request: ResultsRequest) -> dict[str, Any]:
        return ResultWriter(self._cloud.store).write(request)

    # --- finding the action ---

    def _resolve(self, request: TaskRequest) -> tuple[Resource, Action]:
        parsed = parse_resource(request.resource)
        if parsed is None:
            raise UnknownResource(_not_recognized(request.resource))
        return parsed, self._action(parsed)

    def _action(self, resource: Resource) -> Action:
        if resource.service.startswith("aws-sdk:"):
            service = resource.service.removeprefix("aws-sdk:")
            action = AwsSdkActions(self._cloud.clients).find(service, resource.action)
        else:
            action = _OPTIMISED.get(f"{resource.service}:{resource.action}")
        if action is None or resource.pattern not in action.patterns:
            raise UnknownResource(_not_recognized(resource.arn, "" if action else resource.service))
        return action

    # --- calls, on threads of their own ---

    def _run(self, request: TaskRequest, sink: TaskSink, work: Callable[[], None]) -> None:
        """``work`` on a thread; what it raises fails the task, so that no task waits for ever."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                _log.exception("task %s of %s failed", request.resource, request.execution_arn)
                sink.failed(request.task_id, "States.Runtime", f"{type(error).__name__}: {error}")

        self._threads.submit(guarded)

    def _call(
        self, resource: Resource, action: Action, arguments: JsonObject, request: TaskRequest, sink: TaskSink
    ) -> None:
        task_id = request.task_id
        try:
            sink.started(task_id)
            output = action.call(self._cloud.clients, arguments, request.parameters)
        except TaskFailure as failure:
            self._attempts.pop(task_id, None)
            report = sink.submit_failed if resource.pattern else sink.failed
            report(task_id, failure.error, failure.cause)
            return
        if not resource.pattern:
            self._attempts.pop(task_id, None)
            sink.succeeded(task_id, output)
            return
        sink.submitted(task_id, output)
        if action.job is not None and _waits_for_job(resource):
            self._wait(resource, action, action.job, request, output, sink)
        self._attempts.pop(task_id, None)

    def _wait(
        self,
        resource: Resource,
        action: Action,
        job: Job,
        request: TaskRequest,
        submitted: JsonObject,
        sink: TaskSink,
    ) -> None:
        """Wait for the job's end; it may have ended before, so it is looked at once after registering."""
        client = self._cloud.clients.get(action.client)
        task_id = request.task_id

        def report(description: JsonObject) -> None:
            self._report(resource, job, client, description, task_id, sink)

        def on_end(description: JsonObject) -> None:
            self._run(
                request,
                sink,
                lambda: report(description or job.describe(client, request.parameters, submitted)),
            )

        key = (job.bus_service, job.bus_kind, job.identity(request.parameters, submitted))
        self._waiting.add(task_id, key, submitted, on_end)
        with self._lock:
            attempt = self._attempts.get(task_id)
            cancelled = attempt is not None and attempt.cancelled
        if cancelled:
            if self._waiting.take(task_id) is not None:
                self._stop_job(action, job, request, submitted)
            return
        try:
            description = job.describe(client, request.parameters, submitted)
        except Exception as error:
            if self._waiting.take(task_id) is not None:
                failure = action.failure(error, client)
                sink.failed(task_id, failure.error, failure.cause)
            return
        if description.get(job.status_member) in job.ended and self._waiting.take(task_id) is not None:
            report(description)

    def _report(
        self,
        resource: Resource,
        job: Job,
        client: Any,
        description: JsonObject,
        task_id: str,
        sink: TaskSink,
    ) -> None:
        output = job.render(client, description)
        if resource.pattern == SYNC_2:
            output = nested.with_parsed_payloads(output)
        if description.get(job.status_member) in job.succeeded:
            sink.succeeded(task_id, output)
        else:
            sink.failed(task_id, "States.TaskFailed", json_text(output))

    def _find_or_start(
        self, resource: Resource, action: Action, job: Job, request: TaskRequest, sink: TaskSink
    ) -> None:
        """The start call's answer was lost: the job exists by its name, or the call was never made."""
        from botocore.exceptions import ClientError

        client = self._cloud.clients.get(action.client)
        try:
            description = job.render(client, job.describe(client, request.parameters, {}))
        except ClientError:
            self.start(request, sink)
            return
        answer = client.meta.service_model.operation_model(action.operation).output_shape
        members = {action.dialect.member_name(member) for member in answer.members}
        submitted = {name: value for name, value in description.items() if name in members}
        sink.submitted(request.task_id, submitted)
        self._wait(resource, action, job, request, submitted, sink)

    def _stop_job(self, action: Action, job: Job, request: TaskRequest, submitted: JsonObject) -> None:
        """Best effort, as on AWS: a job that ended meanwhile needs no stop."""
        try:
            job.stop(self._cloud.clients.get(action.client), request.parameters, submitted)
        except Exception as error:
            _log.info("%s: stopping the job of task %s: %s", request.resource, request.task_id, error)


def _waits_for_job(resource: Resource) -> bool:
    return resource.pattern not in ("", TASK_TOKEN)


_COMPLETE = frozenset({"dynamodb", "events", "glue", "lambda", "sns", "sqs", "states"})
"""services all of whose optimised actions are served: what is missing there is missing on AWS too"""


def _not_recognized(resource: str, service: str = "") -> str:
    text = (
        f"The resource provided {resource} is not recognized. The value is not a valid resource ARN, or the "
        "resource is not available in this region."
    )
    if service in _COMPLETE:
        return text
    return (
        f"{text} The local cloud runs Lambda function ARNs, activities, {', '.join(_served())} and "
        "aws-sdk:<service>:<action>."
    )


def _served() -> list[str]:
    """Each optimised action with its patterns: ``glue:startJobRun[.sync]``."""
    names = []
    for name, action in sorted(_OPTIMISED.items()):
        if name.startswith("lambda-function"):
            continue
        patterns = "|".join(f".{pattern}" for pattern in sorted(action.patterns) if pattern)
        names.append(f"{name}[{patterns}]" if patterns else name)
    return names
