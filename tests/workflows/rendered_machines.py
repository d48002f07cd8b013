"""The committed definitions, and Step Functions running them with services that a test plays."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.localcloud.bus import ExecutionEnded
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.service import RequestContext, ServiceError
from triptych.localcloud.stepfunctions.service import StepFunctionsService
from triptych.localcloud.stepfunctions.tasks import ItemsRequest, ResultsRequest, TaskRequest, TaskSink

RENDERED = Path(__file__).parents[2] / "workflows" / "rendered"
MACHINES = ("data_engineering", "model", "deployment", "pipeline")
PREFIX = "triptych-flights-test"
STATES = "arn:aws:states:us-east-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role/machine"

Answer = Any
"""What a service answers; a Failure fails the task; a function gets the parameters and gives either."""


@dataclass(frozen=True)
class Failure:
    error: str
    cause: str = "because"


def definition(machine: str) -> dict[str, Any]:
    """A committed definition as it is, with its substitutions unfilled."""
    parsed: dict[str, Any] = json.loads((RENDERED / f"{machine}.asl.json").read_text())
    return parsed


def states(machine: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every state: name, body, and whether it is inside a Map or Parallel state."""
    yield from _states(definition(machine), False)


def _states(block: dict[str, Any], inside: bool) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, state in block["States"].items():
        yield name, state, inside
        for branch in [*state.get("Branches", []), *filter(None, [state.get("ItemProcessor")])]:
            yield from _states(branch, True)


def tasks(machine: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The Task states of a machine."""
    return ((name, state, inside) for name, state, inside in states(machine) if state["Type"] == "Task")


def filled(machine: str) -> str:
    """A definition with plausible values for its substitutions."""
    text = (RENDERED / f"{machine}.asl.json").read_text()
    values = {
        "Partition": "aws",
        "DataBucket": "data",
        "UseCase": "flights",
        "ContractUri": "s3://code/contract.yaml",
    }

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in values:
            return values[name]
        if name.endswith("Function"):
            return f"arn:aws:lambda:us-east-1:123456789012:function:{name.removesuffix('Function')}"
        if name.endswith("Executions"):
            return f"{STATES}:execution:{_machine_name(name.removesuffix('Executions'))}"
        if name in ("DataEngineeringArn", "ModelArn", "DeploymentArn"):
            return f"{STATES}:stateMachine:{_machine_name(name.removesuffix('Arn'))}"
        return f"the-{name}"

    return re.sub(r"\$\{(\w+)\}", value, text)


def _machine_name(camel: str) -> str:
    return f"{PREFIX}-" + re.sub(r"(?<!^)([A-Z])", r"-\1", camel).lower()


class Services:
    """Plays the services: notes what is asked; answers come one after another, the last again and again.

    Keys are a function's name (``JudgeModel``), a Glue job's (``the-CleanDataJob``) or the integration
    (``sagemaker:createEndpoint``).
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.operations: dict[str, Callable[..., dict[str, Any]]] = {}
        self._waiting: dict[str, list[tuple[str, TaskSink]]] = defaultdict(list)
        self._ended: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def answer(self, key: str, *answers: Answer) -> None:
        self.answers[key] = list(answers)

    def check(self, resource: str) -> None:
        assert resource.startswith("arn:aws:states:::"), resource

    def start(self, request: TaskRequest, sink: TaskSink) -> None:
        integration = request.resource.removeprefix("arn:aws:states:::")
        if integration == "states:startExecution.sync:2":
            self._start_execution(request, sink)
            return
        if integration.startswith("aws-sdk:sfn:"):
            self._sfn(integration, request, sink)
            return
        key = integration
        asked = request.parameters
        if integration == "lambda:invoke":
            key, asked = asked["FunctionName"].rpartition(":")[2], asked["Payload"]
        elif integration.startswith("glue:"):
            key = asked["JobName"]
        self.calls[key].append(asked)
        answers = self.answers.get(key)
        if answers is None:
            sink.failed(request.task_id, "Unplayed", f"the test plays no {key}")
            return
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(asked)
        if isinstance(answer, Failure):
            sink.failed(request.task_id, answer.error, answer.cause)
        elif answer is not None:
            sink.succeeded(request.task_id, {"Payload": answer} if integration == "lambda:invoke" else answer)

    def _start_execution(self, request: TaskRequest, sink: TaskSink) -> None:
        asked = request.parameters
        self.calls["states:startExecution"].append(asked)
        try:
            started = self.operations["StartExecution"](
                RequestContext("stepfunctions", "StartExecution"),
                {
                    "stateMachineArn": asked["StateMachineArn"],
                    "name": asked["Name"],
                    "input": json.dumps(asked["Input"]),
                },
            )
        except ServiceError as error:
            sink.failed(request.task_id, f"StepFunctions.{error.code}Exception", error.message)
            return
        arn = started["executionArn"]
        with self._lock:
            self._waiting[arn].append((request.task_id, sink))
            description = self._ended.pop(arn, None)
        if description is not None:
            self.ended(ExecutionEnded(arn, description))

    def ended(self, message: ExecutionEnded) -> None:
        """A nested execution's end wakes the task that waits for it."""
        with self._lock:
            waiting = self._waiting.pop(message.execution_arn, None)
            if waiting is None:
                self._ended[message.execution_arn] = message.description
                return
        described = message.description
        for task_id, sink in waiting:
            if described["status"] == "SUCCEEDED":
                sink.succeeded(
                    task_id,
                    {"ExecutionArn": message.execution_arn, "Output": json.loads(described["output"])},
                )
            else:
                cause = {
                    "ExecutionArn": message.execution_arn,
                    "Error": described.get("error"),
                    "Cause": described.get("cause"),
                }
                sink.failed(task_id, "States.TaskFailed", json.dumps(cause))

    def _sfn(self, integration: str, request: TaskRequest, sink: TaskSink) -> None:
        operation = integration.rpartition(":")[2]
        operation = operation[0].upper() + operation[1:]
        arn = request.parameters["ExecutionArn"]
        self.calls[operation].append(arn)
        self._ended.pop(arn, None)
        found = self.operations[operation](RequestContext("stepfunctions", operation), {"executionArn": arn})
        plain = {key[0].upper() + key[1:]: value for key, value in found.items() if isinstance(value, str)}
        sink.succeeded(request.task_id, plain)

    def cancel(self, request: TaskRequest) -> None:
        self.calls["cancel"].append(request.resource)

    def recover(self, request: TaskRequest, submitted: Any | None, sink: TaskSink) -> None:
        sink.failed(request.task_id, "States.TaskFailed", "died with the laptop")

    def read_items(self, request: ItemsRequest) -> Iterable[Any]:
        self.calls["read_items"].append(request.arguments)
        yield from [{"key": "raw/flights/2013-01.csv"}, {"key": "raw/flights/2013-02.csv"}]

    def write_results(self, request: ResultsRequest) -> dict[str, Any]:
        self.calls["write_results"].append(request)
        return {"Bucket": request.bucket, "Key": f"{request.prefix}/uuid/manifest.json"}


class Runner:
    """The four machines in an engine of their own."""

    def __init__(self, root: Path) -> None:
        home = Home(root)
        home.create()
        cloud = Cloud(home, Settings())
        self.services = Services()
        self.service = StepFunctionsService(cloud, self.services)
        self.services.operations = dict(self.service.operations)
        self._ended: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        cloud.bus.subscribe(ExecutionEnded, self.services.ended)
        cloud.bus.subscribe(ExecutionEnded, self._note)
        self.service.start()
        for machine in MACHINES:
            self.call(
                "CreateStateMachine",
                name=f"{PREFIX}-{machine.replace('_', '-')}",
                definition=filled(machine),
                roleArn=ROLE,
            )

    def _note(self, message: ExecutionEnded) -> None:
        with self._changed:
            self._ended[message.execution_arn] = message.description
            self._changed.notify_all()

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.service.operations[operation](RequestContext("stepfunctions", operation), params)

    def run(self, machine: str, name: str = "run-1", **given: Any) -> dict[str, Any]:
        """Start and wait; DescribeExecution's answer with the output parsed."""
        arn = f"{STATES}:stateMachine:{PREFIX}-{machine.replace('_', '-')}"
        self.call("StartExecution", stateMachineArn=arn, name=name, input=json.dumps(given))
        return self._wait(arn.replace(":stateMachine:", ":execution:") + f":{name}")

    def redrive(self, machine: str, name: str = "run-1") -> dict[str, Any]:
        """Redrive and wait."""
        arn = f"{STATES}:execution:{PREFIX}-{machine.replace('_', '-')}:{name}"
        with self._changed:
            self._ended.pop(arn, None)
        self.call("RedriveExecution", executionArn=arn)
        return self._wait(arn)

    def _wait(self, arn: str) -> dict[str, Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: arn in self._ended, 20), self.visited(arn)
        described = self.call("DescribeExecution", executionArn=arn)
        if "output" in described:
            described["output"] = json.loads(described["output"])
        described["visited"] = self.visited(arn)
        return described

    def visited(self, arn: str) -> list[str]:
        """The names of the states entered, in order."""
        history = self.call("GetExecutionHistory", executionArn=arn, maxResults=1000)
        return [
            event["stateEnteredEventDetails"]["name"]
            for event in history["events"]
            if "stateEnteredEventDetails" in event
        ]

    def close(self) -> None:
        self.service.stop()
