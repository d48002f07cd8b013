"""Templates as text become documents: YAML with CloudFormation's short forms, JSON, and the first checks."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import yaml

from triptych.localcloud.service import ServiceError

Document = dict[str, Any]

_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
}
_RESOURCE_ATTRIBUTES = {
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
}
MAX_BODY_BYTES = 1_048_576


def validation_error(message: str) -> ServiceError:
    """CloudFormation's error for everything that is wrong with a request or template."""
    return ServiceError("ValidationError", message)


class _Loader(yaml.SafeLoader):
    """YAML with ``!Ref``, ``!Sub`` …; dates stay text, as CloudFormation has them."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    return {name: value}


_Loader.add_multi_constructor("!", _short_form)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(body: str) -> Document:
    """The template's document. Raises ValidationError with CloudFormation's wording where it is none."""
    if len(body.encode()) > MAX_BODY_BYTES:
        raise validation_error(f"Template may not exceed {MAX_BODY_BYTES} bytes in size.")
    try:
        if body.lstrip().startswith("{"):
            document = json.loads(body)
        else:
            document = yaml.load(body, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise validation_error(f"Template format error: YAML not well-formed. {_where(error)}") from error
    if not isinstance(document, dict):
        raise validation_error("Template format error: unsupported structure.")
    _check(document)
    return document


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"(line {mark.line + 1}, column {mark.column + 1})" if mark is not None else f"({error})"


def _check(document: Document) -> None:
    unknown = sorted(set(document) - _SECTIONS)
    if unknown:
        raise validation_error(f"Invalid template property or properties [{', '.join(unknown)}]")
    if document.get("Transform"):
        raise validation_error(
            f"Transform {document['Transform']} is not supported by the local cloud: expand the template "
            "before deploying it (macros and SAM run on AWS only)."
        )
    resources = document.get("Resources")
    if not isinstance(resources, dict) or not resources:
        raise validation_error("Template format error: At least one Resources member must be defined.")
    for logical_id, resource in resources.items():
        if not str(logical_id).isalnum():
            raise validation_error(f"Template format error: Resource name {logical_id} is non alphanumeric.")
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            raise validation_error(
                f"Template format error: [/Resources/{logical_id}] Every resource must contain a Type member."
            )
        strange = sorted(set(resource) - _RESOURCE_ATTRIBUTES)
        if strange:
            raise validation_error(
                f"Invalid template resource property '{strange[0]}' of resource {logical_id}"
            )
    for section in ("Parameters", "Conditions", "Mappings", "Outputs"):
        if section in document and not isinstance(document[section], dict):
            raise validation_error(f"Template format error: {section} section is not an object.")
    names = set(resources) | set(document.get("Parameters", {}))
    for name, output in document.get("Outputs", {}).items():
        if not isinstance(output, dict) or "Value" not in output:
            raise validation_error(f"Template format error: Output {name} is malformed: it has no Value.")
    from triptych.localcloud.cloudformation.intrinsics import references

    conditions = set(document.get("Conditions", {}))
    for section in ("Resources", "Outputs"):
        for owner, part in document.get(section, {}).items():
            missing = sorted(references(part) - names)
            if missing:
                raise validation_error(
                    f"Template format error: Unresolved resource dependencies [{', '.join(missing)}] "
                    f"in the {section} block of the template (used by {owner})"
                )
            condition = part.get("Condition")
            if condition is not None and condition not in conditions:
                raise validation_error(
                    f"Template format error: Unresolved condition {condition} of {owner} in the "
                    f"{section} block"
                )
    for logical_id, resource in resources.items():
        for name in depends_on(resource):
            if name not in resources:
                raise validation_error(
                    "Template format error: Unresolved resource dependencies "
                    f"[{name}] in the Resources block of the template (DependsOn of {logical_id})"
                )


def depends_on(resource: Document) -> list[str]:
    value = resource.get("DependsOn", [])
    return [value] if isinstance(value, str) else list(value)


def plain(value: Any) -> Any:
    """A document with nothing that JSON lacks."""
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value
