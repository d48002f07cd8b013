"""JSON of the States Language to and from botocore's shapes, for any operation of any service."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.integrations.naming import capitalised, member_name
from triptych.localcloud.stepfunctions.tasks import TaskError


class ParametersRejected(TaskError):
    """A task's parameters do not fit the operation: ``States.Runtime``, with AWS's text as cause."""

    def __init__(self, parameters: Any, reason: str) -> None:
        text = json.dumps(parameters, separators=(",", ":"), ensure_ascii=False, default=str)
        super().__init__(
            "States.Runtime", f"The Parameters '{text}' could not be used to start the Task: [{reason}]"
        )
        self.reason = reason


class _Misfit(Exception):
    """Why one member cannot be converted; becomes a ParametersRejected that shows the whole parameters."""


@dataclass(frozen=True)
class Dialect:
    """How one family of integrations names members and writes values."""

    member_name: Callable[[str], str]
    """a member's name in ASL, from its name in the service model"""
    timestamp: Callable[[datetime], Any]
    json_in_strings: bool
    """objects and arrays given for a string or blob member are sent as their JSON text"""


def epoch_milliseconds(moment: datetime) -> int:
    """As the optimised integrations write times."""
    return round(_aware(moment).timestamp() * 1000)


def iso_instant(moment: datetime) -> str:
    """As the AWS SDK integrations write times: ``2026-08-28T20:34:59.712Z``, without a fraction of zero."""
    moment = _aware(moment).astimezone(UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        text += (
            f".{moment.microsecond // 1000:03d}"
            if moment.microsecond % 1000 == 0
            else f".{moment.microsecond:06d}"
        )
    return text + "Z"


OPTIMISED = Dialect(member_name=capitalised, timestamp=epoch_milliseconds, json_in_strings=False)
AWS_SDK = Dialect(member_name=member_name, timestamp=iso_instant, json_in_strings=True)


def to_request(parameters: Any, shape: Any, dialect: Dialect) -> dict[str, Any]:
    """The operation's keyword arguments from a task's parameters; raises ParametersRejected.

    ``shape`` is botocore's input shape, None for an operation without input.
    """
    if parameters is None:
        parameters = {}
    try:
        if not isinstance(parameters, dict):
            raise _Misfit("Parameters must be a JSON object")
        if shape is None:
            if parameters:
                raise _Misfit(_unsupported(next(iter(parameters))))
            return {}
        return _structure_in(parameters, shape, dialect)
    except _Misfit as misfit:
        raise ParametersRejected(parameters, str(misfit)) from None


def to_json(value: Any, shape: Any, dialect: Dialect) -> Any:
    """An operation's answer, or a part of one with its shape, as JSON, members in alphabetical order."""
    if value is None:
        return None
    kind = shape.type_name if shape is not None else None
    if kind == "structure" and isinstance(value, Mapping):
        if getattr(shape, "is_document_type", False):
            return value
        converted = {
            dialect.member_name(name): to_json(item, shape.members[name], dialect)
            for name, item in value.items()
            if name in shape.members and item is not None
        }
        return dict(sorted(converted.items()))
    if kind == "list" and isinstance(value, list | tuple):
        return [to_json(item, shape.member, dialect) for item in value]
    if kind == "map" and isinstance(value, Mapping):
        return {str(key): to_json(item, shape.value, dialect) for key, item in value.items()}
    if kind == "timestamp" and isinstance(value, int | float):  # seconds, from a service that kept them so
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, datetime):
        return dialect.timestamp(value)
    if isinstance(value, bytes | bytearray):
        return _text(bytes(value))
    if hasattr(value, "read"):
        return _text(value.read())
    return value


def json_text(value: Any) -> str:
    """Compact JSON, as Step Functions writes causes and payloads."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _structure_in(parameters: dict[str, Any], shape: Any, dialect: Dialect) -> dict[str, Any]:
    if getattr(shape, "is_document_type", False):
        return parameters
    names = {dialect.member_name(member): member for member in shape.members}
    request: dict[str, Any] = {}
    for key, value in parameters.items():
        member = names.get(key)
        if member is None:
            raise _Misfit(_unsupported(key))
        if value is not None:
            request[member] = _value_in(value, shape.members[member], dialect, key)
    for member in shape.required_members:
        if member not in request and not shape.members[member].metadata.get("idempotencyToken"):
            raise _Misfit(f"The field '{dialect.member_name(member)}' is required but was missing")
    return request


def _value_in(value: Any, shape: Any, dialect: Dialect, key: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            raise _Misfit(f"The value for the field '{key}' must be an object")
        return _structure_in(value, shape, dialect)
    if kind == "list":
        if not isinstance(value, list):
            raise _Misfit(f"The value for the field '{key}' must be an array")
        return [_value_in(item, shape.member, dialect, key) for item in value]
    if kind == "map":
        if not isinstance(value, dict):
            raise _Misfit(f"The value for the field '{key}' must be an object")
        return {name: _value_in(item, shape.value, dialect, name) for name, item in value.items()}
    if kind == "blob":
        if isinstance(value, bytes):
            return value
        return (
            json_text(value).encode()
            if dialect.json_in_strings or not isinstance(value, str)
            else value.encode()
        )
    if kind == "string":
        return _string_in(value, dialect, key)
    if kind in ("integer", "long", "float", "double"):
        return _number_in(value, kind, key)
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise _Misfit(f"The value for the field '{key}' must be a BOOLEAN")
    return value


def _string_in(value: Any, dialect: Dialect, key: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list) and not dialect.json_in_strings:
        raise _Misfit(f"The value for the field '{key}' must be a STRING")
    return json_text(value)


def _number_in(value: Any, kind: str, key: str) -> int | float:
    whole = kind in ("integer", "long")
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not whole:
            return number
        if isinstance(value, int):
            return value
        if number != int(number):
            raise ValueError
        return int(value) if isinstance(value, str) else int(number)
    except (TypeError, ValueError, OverflowError):
        raise _Misfit(
            f"The value for the field '{key}' must be {'an INTEGER' if whole else 'a NUMBER'}"
        ) from None


def _unsupported(key: str) -> str:
    return f'The field "{key}" is not supported by Step Functions'


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii")
