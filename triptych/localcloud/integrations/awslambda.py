"""``lambda:invoke`` and functions' own ARNs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.integrations.action import Action, JsonObject
from triptych.localcloud.integrations.failures import ErrorNames, TaskFailure
from triptych.localcloud.integrations.resource import TASK_TOKEN
from triptych.localcloud.integrations.shapes import json_text
from triptych.localcloud.stepfunctions.tasks import TaskRequest

_ERRORS = ErrorNames(prefix="Lambda", base="AWSLambdaException", service="AWSLambda")


def _payload_as_json(parameters: JsonObject, request: TaskRequest) -> JsonObject:
    """The payload is always sent as JSON; a string that is JSON already is sent as it stands."""
    payload = parameters.get("Payload")
    return parameters | {"Payload": _payload_text(payload)}


def _payload_text(payload: Any) -> str:
    if payload is None:
        return "{}"
    if isinstance(payload, str):
        try:
            json.loads(payload)
        except ValueError:
            return json_text(payload)
        return payload
    return json_text(payload)


def _answer(output: JsonObject, parameters: JsonObject) -> JsonObject:
    text = output.pop("Payload", "")
    if output.pop("FunctionError", None):
        raise _function_error(text)
    return output | {"Payload": _parsed(text)}


def _function_error(text: str) -> TaskFailure:
    payload = _parsed(text)
    error = payload.get("errorType") if isinstance(payload, dict) else None
    if not isinstance(error, str) or not error:
        return TaskFailure(
            "Lambda.Unknown",
            "The cause could not be determined because Lambda did not return an error type. "
            f"Returned payload: {text}",
        )
    return TaskFailure(error, json_text(payload))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text else ""
    except ValueError:
        return text


@dataclass(frozen=True)
class FunctionAction(Action):
    """A function's ARN as the resource: its payload is the task's, its result the task's output."""

    def arguments(self, clients: Any, request: TaskRequest) -> JsonObject:
        return {"FunctionName": request.resource, "Payload": _payload_text(request.parameters).encode()}

    def call(self, clients: Any, arguments: JsonObject, parameters: Any) -> Any:
        return super().call(clients, arguments, parameters)["Payload"]


ACTIONS = {
    "lambda:invoke": Action(
        "lambda",
        "Invoke",
        errors=_ERRORS,
        patterns=frozenset({"", TASK_TOKEN}),
        prepare=_payload_as_json,
        finish=_answer,
        interrupted="Lambda.Unknown",
    ),
    "lambda-function:invoke": FunctionAction(
        "lambda", "Invoke", errors=_ERRORS, finish=_answer, interrupted="Lambda.Unknown"
    ),
}
