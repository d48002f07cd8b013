"""``sns:publish``, ``sqs:sendMessage`` and ``events:putEvents``: bodies may be given as JSON."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.integrations.action import Action, JsonObject
from triptych.localcloud.integrations.failures import ErrorNames, TaskFailure
from triptych.localcloud.integrations.resource import TASK_TOKEN
from triptych.localcloud.integrations.shapes import json_text
from triptych.localcloud.stepfunctions.tasks import TaskRequest


def _text_member(parameters: JsonObject, member: str) -> JsonObject:
    body = parameters.get(member)
    if body is None or isinstance(body, str):
        return parameters
    return parameters | {member: json_text(body)}


def _message(parameters: JsonObject, request: TaskRequest) -> JsonObject:
    return _text_member(parameters, "Message")


def _message_body(parameters: JsonObject, request: TaskRequest) -> JsonObject:
    return _text_member(parameters, "MessageBody")


def _entries(parameters: JsonObject, request: TaskRequest) -> JsonObject:
    """Each entry's detail becomes text, and the execution and its state machine are among its resources."""
    entries = parameters.get("Entries")
    if not isinstance(entries, list):
        return parameters
    return parameters | {"Entries": [_entry(entry, request) for entry in entries]}


def _entry(entry: Any, request: TaskRequest) -> Any:
    if not isinstance(entry, dict):
        return entry
    parts = request.execution_arn.split(":")
    machine = ":".join([*parts[:5], "stateMachine", *parts[6:7]])
    resources = entry.get("Resources") or []
    return _text_member(entry, "Detail") | {"Resources": [*resources, machine, request.execution_arn]}


def _no_failed_entries(output: JsonObject, parameters: JsonObject) -> JsonObject:
    if output.get("FailedEntryCount"):
        answer = {name: output[name] for name in ("Entries", "FailedEntryCount") if name in output}
        raise TaskFailure("EventBridge.FailedEntry", json_text(answer))
    return output


_REQUEST_OR_TOKEN = frozenset({"", TASK_TOKEN})

ACTIONS = {
    "sns:publish": Action(
        "sns",
        "Publish",
        errors=ErrorNames(prefix="SNS", base="AmazonSNSException", service="AmazonSNS"),
        patterns=_REQUEST_OR_TOKEN,
        prepare=_message,
    ),
    "sqs:sendMessage": Action(
        "sqs",
        "SendMessage",
        errors=ErrorNames(prefix="SQS", base="AmazonSQSException", service="AmazonSQS"),
        patterns=_REQUEST_OR_TOKEN,
        prepare=_message_body,
    ),
    "events:putEvents": Action(
        "events",
        "PutEvents",
        errors=ErrorNames(
            prefix="EventBridge", base="AmazonEventBridgeException", service="AmazonEventBridge"
        ),
        patterns=_REQUEST_OR_TOKEN,
        prepare=_entries,
        finish=_no_failed_entries,
    ),
}
