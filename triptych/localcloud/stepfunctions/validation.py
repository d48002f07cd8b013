"""What CreateStateMachine and ValidateStateMachineDefinition find wrong with a definition, in AWS's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from triptych.localcloud.stepfunctions.definition import JSONATA, JSONPATH
from triptych.localcloud.stepfunctions.jsonata_query import is_expression
from triptych.localcloud.stepfunctions.jsontext import decode
from triptych.localcloud.stepfunctions.timestamps import parse_timestamp
from triptych.localcloud.stepfunctions.validation_fields import (
    SCHEMA,
    Diagnostic,
    check_errors,
    check_payload,
    check_queries,
    check_query,
    check_rule,
    check_template,
    is_whole,
    one_of,
    required,
    targets,
)

TRANSITION = "MISSING_TRANSITION_TARGET"
NOT_JSON = "INVALID_JSON_DESCRIPTION"
MAX_DEFINITION_BYTES = 1_048_576
MAX_NAME = 80

ResourceCheck = Callable[[str], str | None]
"""what is wrong with a Task's resource, or ``None``"""

_COMMON = {"Type", "Comment", "QueryLanguage", "Next", "End", "Assign"}
_PATHS = {"InputPath", "OutputPath"}
_ERRORS = {"Retry", "Catch"}
_FIELDS: dict[str, tuple[set[str], set[str], set[str]]] = {
    # type: fields of both languages, of JSONPath, of JSONata
    "Pass": (_COMMON, _PATHS | {"Parameters", "Result", "ResultPath"}, {"Output"}),
    "Task": (
        _COMMON | _ERRORS | {"Resource", "TimeoutSeconds", "HeartbeatSeconds", "Credentials"},
        _PATHS | {"Parameters", "ResultSelector", "ResultPath", "TimeoutSecondsPath", "HeartbeatSecondsPath"},
        {"Arguments", "Output"},
    ),
    "Choice": ({"Type", "Comment", "QueryLanguage", "Assign", "Choices", "Default"}, _PATHS, {"Output"}),
    "Wait": (_COMMON | {"Seconds", "Timestamp"}, _PATHS | {"SecondsPath", "TimestampPath"}, {"Output"}),
    "Succeed": ({"Type", "Comment", "QueryLanguage"}, _PATHS, {"Output"}),
    "Fail": ({"Type", "Comment", "QueryLanguage", "Error", "Cause"}, {"ErrorPath", "CausePath"}, set()),
    "Parallel": (
        _COMMON | _ERRORS | {"Branches"},
        _PATHS | {"Parameters", "ResultSelector", "ResultPath"},
        {"Arguments", "Output"},
    ),
    "Map": (
        _COMMON
        | _ERRORS
        | {
            "ItemProcessor",
            "ItemReader",
            "ItemSelector",
            "ItemBatcher",
            "ResultWriter",
            "MaxConcurrency",
            "Label",
        }
        | {"ToleratedFailureCount", "ToleratedFailurePercentage", "Iterator"},
        _PATHS
        | {"Parameters", "ResultSelector", "ResultPath", "ItemsPath", "MaxConcurrencyPath"}
        | {"ToleratedFailureCountPath", "ToleratedFailurePercentagePath"},
        {"Items", "Output"},
    ),
}
_EXCLUSIVE = (
    ("TimeoutSeconds", "TimeoutSecondsPath"),
    ("HeartbeatSeconds", "HeartbeatSecondsPath"),
    ("Error", "ErrorPath"),
    ("Cause", "CausePath"),
    ("MaxConcurrency", "MaxConcurrencyPath"),
    ("ToleratedFailureCount", "ToleratedFailureCountPath"),
    ("ToleratedFailurePercentage", "ToleratedFailurePercentagePath"),
)
_WAITS = ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")


def validate(
    text: str, machine_type: str = "STANDARD", check_resource: ResourceCheck = lambda resource: None
) -> list[Diagnostic]:
    """Everything wrong with a definition; an empty list means that it can run."""
    try:
        raw = decode(text)
    except ValueError as error:
        return [Diagnostic(NOT_JSON, str(error), "/")]
    if not isinstance(raw, dict):
        return [Diagnostic(SCHEMA, "The definition must be a JSON object", "/")]
    try:
        return list(_Validator(machine_type, check_resource).machine(raw))
    except RecursionError:
        return [Diagnostic(SCHEMA, "The definition is nested too deeply", "/")]


class _Validator:
    def __init__(self, machine_type: str, check_resource: ResourceCheck) -> None:
        self.express = machine_type == "EXPRESS"
        self.check_resource = check_resource
        self.names: set[str] = set()
        self.language = JSONPATH

    def machine(self, raw: dict[str, Any]) -> Iterator[Diagnostic]:
        allowed = {"Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage"}
        for name in raw:
            if name not in allowed:
                yield Diagnostic(SCHEMA, "Field is not supported", f"/{name}")
        missing = [name for name in ("States", "StartAt") if name not in raw]
        if missing:
            yield Diagnostic(SCHEMA, f"These fields are required: [{', '.join(missing)}]", "/")
            return
        language = raw.get("QueryLanguage", JSONPATH)
        if language not in (JSONPATH, JSONATA):
            yield one_of("/QueryLanguage", (JSONPATH, JSONATA))
            return
        self.language = language
        if "TimeoutSeconds" in raw and not is_whole(raw["TimeoutSeconds"], 1, 99_999_999):
            yield Diagnostic(
                SCHEMA, "Expected value of type Integer between 1 and 99999999", "/TimeoutSeconds"
            )
        if raw.get("Version", "1.0") != "1.0":
            yield one_of("/Version", ("1.0",))
        yield from self.block(raw, language, "")

    def block(self, raw: Any, language: str, where: str) -> Iterator[Diagnostic]:
        states = raw.get("States")
        if not isinstance(states, dict) or not states:
            yield Diagnostic(
                SCHEMA, "Expected value of type Object with at least one state", f"{where}/States"
            )
            return
        start = raw.get("StartAt")
        if start not in states:
            yield Diagnostic(TRANSITION, f"Missing 'Next' target: {start}", f"{where}/StartAt")
        reached = {start}
        for name, state in states.items():
            place = f"{where}/States/{name}"
            if len(name) > MAX_NAME:
                yield Diagnostic(SCHEMA, f"State name must not be longer than {MAX_NAME} characters", place)
            if name in self.names:
                yield Diagnostic("DUPLICATE_STATE_NAME", f"Duplicate state name: {name}", place)
            self.names.add(name)
            if not isinstance(state, dict):
                yield Diagnostic(SCHEMA, "Expected value of type Object", place)
                continue
            yield from self.state(state, language, place)
            for target, at in targets(state, place):
                reached.add(target)
                if target not in states:
                    yield Diagnostic(TRANSITION, f"Missing 'Next' target: {target}", at)
        for name in states:
            if name not in reached:
                yield Diagnostic(TRANSITION, f'State "{name}" is not reachable.', f"{where}/States/{name}")

    def state(self, raw: dict[str, Any], inherited: str, where: str) -> Iterator[Diagnostic]:
        kind = raw.get("Type")
        if kind is None:
            yield required("Type", where)
            return
        if kind not in _FIELDS:
            yield one_of(f"{where}/Type", tuple(_FIELDS))
            return
        language = raw.get("QueryLanguage", inherited)
        if language not in (JSONPATH, JSONATA):
            yield one_of(f"{where}/QueryLanguage", (JSONPATH, JSONATA))
            return
        if language == JSONPATH and inherited == JSONATA:
            yield Diagnostic(
                SCHEMA,
                "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
                where,
            )
            return
        both, jsonpath, jsonata = _FIELDS[kind]
        allowed = both | (jsonata if language == JSONATA else jsonpath)
        for name in raw:
            if name in allowed:
                continue
            if name in jsonpath:
                yield Diagnostic(SCHEMA, f"The field '{name}' is not supported by JSONata", where)
            elif name in jsonata:
                yield Diagnostic(SCHEMA, f"The field '{name}' is not supported by JSONPath", where)
            else:
                yield Diagnostic(SCHEMA, "Field is not supported", f"{where}/{name}")
        yield from self.transition(raw, kind, where)
        if language == JSONATA:
            yield from check_queries(raw, kind, where)
        else:
            yield from check_payload(raw, kind, where)
        for first, second in _EXCLUSIVE:
            if first in raw and second in raw:
                yield Diagnostic(SCHEMA, f"Only one of '{first}' and '{second}' is allowed", where)
        if kind in ("Task", "Parallel", "Map"):
            yield from check_errors(raw, where)
        check = getattr(self, f"_{kind.lower()}", None)
        if check is not None:
            yield from check(raw, language, where)

    def transition(self, raw: dict[str, Any], kind: str, where: str) -> Iterator[Diagnostic]:
        if kind in ("Choice", "Succeed", "Fail"):
            return
        if "Next" in raw and "End" in raw:
            yield Diagnostic(SCHEMA, "Only one of 'Next' and 'End' is allowed", where)
        elif "Next" not in raw and raw.get("End") is not True:
            yield Diagnostic(SCHEMA, "One of 'Next' or 'End' is required", where)

    # one method a state type that needs more

    def _task(self, raw: dict[str, Any], language: str, where: str) -> Iterator[Diagnostic]:
        if "Resource" not in raw:
            yield required("Resource", where)
            return
        resource = raw["Resource"]
        if not isinstance(resource, str):
            yield Diagnostic(SCHEMA, "Expected value of type String", f"{where}/Resource")
            return
        if self.express:
            pattern = resource.rpartition(":")[2] if not resource.endswith(":2") else "sync"
            for suffix, blank in ((".sync", ""), (".waitForTaskToken", " ")):
                if resource.endswith((suffix, f"{suffix}:2")) and pattern:
                    yield Diagnostic(
                        SCHEMA,
                        f"Express state machine does not support '{suffix}' service integration{blank}",
                        f"{where}/Resource",
                    )
                    return
        wrong = self.check_resource(resource)
        if wrong:
            yield Diagnostic(SCHEMA, wrong, f"{where}/Resource")
        for name in ("TimeoutSeconds", "HeartbeatSeconds"):
            value = raw.get(name, 1)
            if not (language == JSONATA and isinstance(value, str)) and not is_whole(value, 1, 99_999_999):
                yield Diagnostic(
                    SCHEMA, "Expected value of type Integer between 1 and 99999999", f"{where}/{name}"
                )
        heartbeat, timeout = raw.get("HeartbeatSeconds"), raw.get("TimeoutSeconds")
        if isinstance(heartbeat, int) and isinstance(timeout, int) and heartbeat >= timeout:
            yield Diagnostic(SCHEMA, "HeartbeatSeconds must be smaller than TimeoutSeconds", where)
        credentials = raw.get("Credentials")
        if credentials is not None and not (
            isinstance(credentials, dict) and ("RoleArn" in credentials or "RoleArn.$" in credentials)
        ):
            yield required("RoleArn", f"{where}/Credentials")

    def _choice(self, raw: dict[str, Any], language: str, where: str) -> Iterator[Diagnostic]:
        choices = raw.get("Choices")
        if choices is None:
            yield required("Choices", where)
            return
        if not isinstance(choices, list) or not choices:
            yield Diagnostic(
                SCHEMA, "Expected value of type Array with at least one rule", f"{where}/Choices"
            )
            return
        for index, rule in enumerate(choices):
            at = f"{where}/Choices[{index}]"
            if not isinstance(rule, dict):
                yield Diagnostic(SCHEMA, "Expected value of type Object", at)
                continue
            if "Next" not in rule:
                yield required("Next", at)
            if language == JSONATA:
                if "Condition" not in rule:
                    yield required("Condition", at)
                for name in ("Condition", "Assign", "Output"):
                    if name in rule:
                        yield from check_query(rule[name], f"{at}/{name}")
            else:
                if "Assign" in rule:
                    yield from check_template(rule["Assign"], f"{at}/Assign")
                yield from check_rule(rule, at)

    def _wait(self, raw: dict[str, Any], language: str, where: str) -> Iterator[Diagnostic]:
        given = [name for name in _WAITS if name in raw]
        if len(given) != 1:
            yield Diagnostic(SCHEMA, f"Exactly one of {', '.join(_WAITS)} is required", where)
            return
        name, value = given[0], raw[given[0]]
        if language == JSONATA and isinstance(value, str) and is_expression(value):
            return
        if name == "Seconds" and not is_whole(value, 0, 99_999_999):
            yield Diagnostic(
                SCHEMA, "Expected value of type Integer between 0 and 99999999", f"{where}/Seconds"
            )
        if name == "Timestamp" and (not isinstance(value, str) or parse_timestamp(value) is None):
            yield Diagnostic(SCHEMA, "String does not match RFC3339 timestamp", f"{where}/Timestamp")

    def _parallel(self, raw: dict[str, Any], language: str, where: str) -> Iterator[Diagnostic]:
        branches = raw.get("Branches")
        if branches is None:
            yield required("Branches", where)
            return
        if not isinstance(branches, list) or not branches:
            yield Diagnostic(
                SCHEMA, "Expected value of type Array with at least one branch", f"{where}/Branches"
            )
            return
        for index, branch in enumerate(branches):
            yield from self.inner(branch, f"{where}/Branches[{index}]")

    def _map(self, raw: dict[str, Any], language: str, where: str) -> Iterator[Diagnostic]:
        name = "ItemProcessor" if "ItemProcessor" in raw else "Iterator"
        if name not in raw:
            yield required("ItemProcessor", where)
            return
        yield from self.inner(raw[name], f"{where}/{name}")
        config = raw[name].get("ProcessorConfig", {}) if isinstance(raw[name], dict) else {}
        mode = config.get("Mode", "INLINE")
        if mode not in ("INLINE", "DISTRIBUTED"):
            yield one_of(f"{where}/{name}/ProcessorConfig/Mode", ("INLINE", "DISTRIBUTED"))
        if mode == "DISTRIBUTED" and config.get("ExecutionType") not in ("STANDARD", "EXPRESS"):
            yield one_of(f"{where}/{name}/ProcessorConfig/ExecutionType", ("STANDARD", "EXPRESS"))
        if mode != "DISTRIBUTED":
            for field in ("ItemReader", "ItemBatcher", "ResultWriter", "Label"):
                if field in raw:
                    yield Diagnostic(
                        SCHEMA, f"The field '{field}' needs ProcessorConfig Mode DISTRIBUTED", where
                    )
        elif self.express:
            yield Diagnostic(SCHEMA, "Express state machine does not support distributed Map state", where)

    def inner(self, block: Any, where: str) -> Iterator[Diagnostic]:
        if not isinstance(block, dict):
            yield Diagnostic(SCHEMA, "Expected value of type Object", where)
            return
        missing = [name for name in ("States", "StartAt") if name not in block]
        if missing:
            yield Diagnostic(SCHEMA, f"These fields are required: [{', '.join(missing)}]", where)
            return
        # A state's own QueryLanguage does not reach the states inside it: those follow the whole machine.
        yield from self.block(block, self.language, where)
