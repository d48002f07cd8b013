"""Step Functions as a service of the local cloud."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from triptych.localcloud.bus import ExecutionEnded, ServiceEvent
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError
from triptych.localcloud.stepfunctions.arns import Arns
from triptych.localcloud.stepfunctions.engine import Engine, EngineUnavailable, Finished
from triptych.localcloud.stepfunctions.executions_api import ExecutionsApi
from triptych.localcloud.stepfunctions.facts import RUNNING
from triptych.localcloud.stepfunctions.journal import Journal
from triptych.localcloud.stepfunctions.machines_api import MachinesApi
from triptych.localcloud.stepfunctions.tags_api import TagsApi
from triptych.localcloud.stepfunctions.tasks import TaskRunner
from triptych.localcloud.stepfunctions.tasks_api import POLL_SECONDS, TasksApi
from triptych.localcloud.stepfunctions.versions_api import VersionsApi


class StepFunctionsService:
    """State machines, executions, tasks and activities; ``tasks`` does what Task states ask for."""

    service_id = "stepfunctions"

    def __init__(
        self,
        cloud: Cloud,
        tasks: TaskRunner,
        *,
        clock: Callable[[], float] = time.time,
        entropy: random.Random | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        settings = cloud.settings
        self._bus = cloud.bus
        entropy = entropy or random.SystemRandom()
        arns = Arns(settings.partition, settings.region, settings.account_id)
        self._journal = Journal(cloud.home)
        self.engine = Engine(
            self._journal,
            tasks,
            region=settings.region,
            account_id=settings.account_id,
            partition=settings.partition,
            clock=clock,
            entropy=entropy,
            listener=self._announce,
        )
        machines = MachinesApi(self._journal, tasks, arns, clock, entropy)
        versions = VersionsApi(self._journal, machines, clock, entropy)
        self._executions = ExecutionsApi(self._journal, self.engine, machines, versions, arns, clock, entropy)
        tokens = TasksApi(self._journal, self.engine, arns, clock, poll_seconds)
        operations: dict[str, Operation] = {}
        for api in (machines, versions, TagsApi(self._journal, machines), self._executions, tokens):
            operations |= api.operations
        self.operations: Mapping[str, Operation] = {
            name: _available(operation) for name, operation in operations.items()
        }

    def start(self) -> None:
        """Go on with the executions that the home folder holds."""
        self.engine.start()

    def stop(self) -> None:
        """Stop the engine; what runs is found again by the next ``start``."""
        self.engine.stop()

    def _announce(self, finished: Finished) -> None:
        row = self._journal.execution(finished.arn)
        if row is None or row["type"] == "EXPRESS":
            if row is not None and finished.status != RUNNING:
                self._bus.publish(ExecutionEnded(finished.arn, self._executions.description(row)))
            return
        description = self._executions.description(row) | {"status": finished.status}
        if finished.status != RUNNING:
            self._bus.publish(ExecutionEnded(finished.arn, description))
        self._bus.publish(
            ServiceEvent(
                "aws.states",
                "Step Functions Execution Status Change",
                _event_detail(description),
                (finished.arn,),
            )
        )


def _event_detail(description: Params) -> Params:
    """The ``detail`` of AWS's event: times in milliseconds since the epoch, absent values as null."""
    detail: Params = {
        name: description.get(name)
        for name in (
            "executionArn", "stateMachineArn", "name", "status", "input", "output", "inputDetails",
            "outputDetails", "error", "cause", "stateMachineVersionArn", "stateMachineAliasArn",
            "redriveCount", "redriveStatus", "redriveStatusReason",
        )
    }  # fmt: skip
    for name in ("startDate", "stopDate", "redriveDate"):
        moment = description.get(name)
        detail[name] = int(moment.timestamp() * 1000) if moment is not None else None
    if detail["status"] == RUNNING:
        detail |= {"output": None, "outputDetails": None, "stopDate": None, "error": None, "cause": None}
    return detail


def _available(operation: Operation) -> Operation:
    """An operation whose failure to reach the journal is an answer that clients retry."""

    def call(context: RequestContext, params: Params) -> Params:
        try:
            return operation(context, params)
        except EngineUnavailable as error:
            raise ServiceError("ServiceUnavailable", str(error), 503) from error

    return call
