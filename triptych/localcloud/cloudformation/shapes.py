"""Template properties as an API wants them: types, spellings and tags follow botocore's input shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


class PropertyError(Exception):
    """A resource's properties do not fit its service's API; the message names the property."""


def call(client: Any, operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Calls ``operation`` (its API name) with ``properties`` fitted to its input; raises ClientError.

    Templates write numbers and booleans as text, PascalCase where the API has camelCase, policies as objects
    and tags as lists: all that is put right here, and a property that the API lacks is an error by name.
    """
    shape = client.meta.service_model.operation_model(operation).input_shape
    arguments = fit(properties, shape, operation) if shape is not None else {}
    answer: dict[str, Any] = client._make_api_call(operation, arguments)
    return answer


def fit(value: Any, shape: Any, path: str = "") -> Any:
    """``value`` as the botocore ``shape`` wants it."""
    kind = shape.type_name
    if kind == "structure":
        return _structure(value, shape, path)
    if kind == "map":
        if isinstance(value, list):
            value = {
                entry.get("Key", entry.get("key")): entry.get("Value", entry.get("value")) for entry in value
            }
        if not isinstance(value, Mapping):
            raise PropertyError(f"Value of property {path} must be an object")
        return {str(key): fit(member, shape.value, f"{path}/{key}") for key, member in value.items()}
    if kind == "list":
        if isinstance(value, Mapping) and _is_tag(shape.member):
            value = [{"Key": key, "Value": member} for key, member in value.items()]
        if not isinstance(value, (list, tuple)):
            raise PropertyError(f"Value of property {path} must be of type List")
        return [fit(member, shape.member, f"{path}/{index}") for index, member in enumerate(value)]
    return _scalar(value, kind, path)


def _structure(value: Any, shape: Any, path: str) -> Any:
    if getattr(shape, "is_document_type", False):
        return value
    if not isinstance(value, Mapping):
        raise PropertyError(f"Value of property {path} must be an object")
    spelled = {name.lower(): name for name in shape.members}
    fitted: dict[str, Any] = {}
    for key, member in value.items():
        name = key if key in shape.members else spelled.get(str(key).lower())
        if name is None:
            raise PropertyError(f"Encountered unsupported property {path}/{key}")
        fitted[name] = fit(member, shape.members[name], f"{path}/{name}")
    return fitted


def _is_tag(shape: Any) -> bool:
    return shape.type_name == "structure" and {name.lower() for name in shape.members} == {"key", "value"}


def _scalar(value: Any, kind: str, path: str) -> Any:
    try:
        if kind in ("integer", "long"):
            return int(value)
        if kind in ("float", "double"):
            return float(value)
        if kind == "boolean":
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
    except (ValueError, TypeError, KeyError):
        raise PropertyError(
            f"Value of property {path} must be of type {kind.title()}, not {value!r}"
        ) from None
    if kind == "string":
        if isinstance(value, (Mapping, list)):
            return json.dumps(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)
    if kind == "blob" and isinstance(value, str):
        return value.encode()
    return value


def picked(properties: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of ``properties`` that are among ``names``."""
    return {name: properties[name] for name in names if name in properties}


def without(properties: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """``properties`` but for ``names``."""
    return {name: value for name, value in properties.items() if name not in names}


def tag_map(tags: Any) -> dict[str, str]:
    """Tags in either of the forms that templates have, as a mapping."""
    if not tags:
        return {}
    if isinstance(tags, Mapping):
        return {str(key): str(value) for key, value in tags.items()}
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def changed(properties: Mapping[str, Any], previous: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether any of ``names`` differs between the two."""
    return any(properties.get(name) != previous.get(name) for name in names)
