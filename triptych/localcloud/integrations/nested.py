"""``states:startExecution``: a state machine that another one starts."""

from __future__ import annotations

import json
from typing import Any

from triptych.localcloud.integrations.action import Action, Job, JsonObject
from triptych.localcloud.integrations.failures import ErrorNames
from triptych.localcloud.integrations.resource import SYNC, SYNC_2, TASK_TOKEN
from triptych.localcloud.integrations.shapes import json_text
from triptych.localcloud.stepfunctions.tasks import TaskRequest


def _input_as_text(parameters: JsonObject, request: TaskRequest) -> JsonObject:
    given = parameters.get("Input")
    if isinstance(given, str):
        return parameters
    return parameters | {"Input": json_text({} if given is None else given)}


def _execution_arn(parameters: JsonObject, submitted: JsonObject) -> str:
    """From the answer, or, when that was lost, from the state machine's ARN and the execution's name."""
    if "ExecutionArn" in submitted:
        return str(submitted["ExecutionArn"])
    parts = str(parameters["StateMachineArn"]).split(":")
    return ":".join([*parts[:5], "execution", parts[6], str(parameters["Name"])])


def with_parsed_payloads(description: JsonObject) -> JsonObject:
    """``.sync:2``: Input and Output as JSON values instead of text."""
    return {
        name: _parsed(value) if name in ("Input", "Output") else value for name, value in description.items()
    }


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


_EXECUTION = Job(
    bus_service="stepfunctions",
    bus_kind="execution",
    identity=_execution_arn,
    describe_operation="DescribeExecution",
    describe_arguments=lambda parameters, submitted: {"executionArn": _execution_arn(parameters, submitted)},
    status_member="status",
    succeeded=frozenset({"SUCCEEDED"}),
    ended=frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}),
    stop_operation="StopExecution",
    stop_arguments=lambda parameters, submitted: {"executionArn": _execution_arn(parameters, submitted)},
    is_named=lambda parameters: "Name" in parameters,
)

ACTIONS = {
    "states:startExecution": Action(
        "stepfunctions",
        "StartExecution",
        errors=ErrorNames("StepFunctions", "AWSStepFunctionsException", "AWSStepFunctions"),
        patterns=frozenset({"", SYNC, SYNC_2, TASK_TOKEN}),
        job=_EXECUTION,
        prepare=_input_as_text,
    )
}
