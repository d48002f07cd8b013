"""A Step Functions service of its own for each test, with a clock that can be moved on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from stepfunctions_fakes import FakeTasks, cloud_at

from triptych.localcloud.bus import ExecutionEnded, ServiceEvent
from triptych.localcloud.service import RequestContext
from triptych.localcloud.stepfunctions.service import StepFunctionsService

ROLE = "arn:aws:iam::123456789012:role/machine"


class MovableClock:
    """The real time, and what the test added to it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


class Harness:
    """Calls operations, and waits for ends without polling."""

    def __init__(self, root: Path, tasks: FakeTasks | None = None) -> None:
        self.root = root
        self.tasks = tasks or FakeTasks()
        self.clock = MovableClock()
        self.ended: dict[str, dict[str, Any]] = {}
        self.service_events: list[ServiceEvent] = []
        self._changed = threading.Condition()
        self._machines = 0
        self.open()

    def open(self) -> None:
        """Start the service on the home folder (again)."""
        self.cloud = cloud_at(self.root)
        self.cloud.bus.subscribe(ExecutionEnded, self._note)
        self.cloud.bus.subscribe(ServiceEvent, self.service_events.append)
        self.service = StepFunctionsService(self.cloud, self.tasks, clock=self.clock, poll_seconds=0.3)
        self.service.start()

    def _note(self, message: ExecutionEnded) -> None:
        with self._changed:
            self.ended[message.execution_arn] = message.description
            self._changed.notify_all()

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.service.operations[operation](RequestContext("stepfunctions", operation), params)

    def machine(self, definition: Any, **more: Any) -> str:
        """Create a state machine from a definition, or from its states (the first one starts)."""
        if "States" not in definition:
            definition = {"StartAt": next(iter(definition)), "States": definition}
        self._machines += 1
        params = {"name": f"machine-{self._machines}", "roleArn": ROLE, **more}
        return str(
            self.call("CreateStateMachine", definition=json.dumps(definition), **params)["stateMachineArn"]
        )

    def start(self, definition: Any, value: Any = None, **more: Any) -> str:
        arn = definition if isinstance(definition, str) else self.machine(definition)
        text = json.dumps({} if value is None else value)
        return str(self.call("StartExecution", stateMachineArn=arn, input=text, **more)["executionArn"])

    def wait(self, execution: str, seconds: float = 20.0) -> dict[str, Any]:
        """DescribeExecution's answer once the execution has ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: execution in self.ended, seconds), (
                f"still running: {[event['type'] for event in self.history(execution)]}"
            )
            return self.ended.pop(execution)

    def run(self, definition: Any, value: Any = None) -> dict[str, Any]:
        return self.wait(self.start(definition, value))

    def output(self, definition: Any, value: Any = None) -> Any:
        """The output of an execution that must succeed."""
        ended = self.run(definition, value)
        assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
        return json.loads(ended["output"])

    def history(self, execution: str, **more: Any) -> list[dict[str, Any]]:
        events, token = [], None
        while True:
            params = {"executionArn": execution, **more, **({"nextToken": token} if token else {})}
            page = self.call("GetExecutionHistory", **params)
            events += page["events"]
            token = page.get("nextToken")
            if token is None:
                return events

    def types(self, execution: str) -> list[str]:
        return [event["type"] for event in self.history(execution)]

    def advance(self, seconds: float) -> None:
        """Let time pass, once all that has been told to the engine is done."""
        self.service.engine.call(lambda: None)
        self.clock.offset += seconds
        self.service.engine.call(lambda: None)

    def close(self) -> None:
        self.service.stop()
