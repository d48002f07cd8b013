"""A template with parameters, read as a plan: which resources, in which order, with which checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.cloudformation import parameters as stack_parameters
from triptych.localcloud.cloudformation import template as templates
from triptych.localcloud.cloudformation.intrinsics import references
from triptych.localcloud.cloudformation.template import Document, validation_error
from triptych.localcloud.service import ServiceError

_NAMED_IAM = {
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Policy": None,
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
}


@dataclass(frozen=True)
class Plan:
    """What a stack shall be."""

    body: str
    template: Document
    texts: dict[str, str]
    """every parameter's value as text, defaults filled in"""

    @property
    def resources(self) -> Document:
        return dict(self.template["Resources"])

    def aws_only(self, logical_id: str) -> str | None:
        """Why a resource is left to AWS, where its metadata say so."""
        metadata = self.resources[logical_id].get("Metadata") or {}
        ours = metadata.get("Triptych") if isinstance(metadata, dict) else None
        return str(ours["AwsOnly"]) if isinstance(ours, dict) and "AwsOnly" in ours else None

    def dependencies(self, logical_id: str) -> list[str]:
        resource = self.resources[logical_id]
        wanted = references(resource.get("Properties", {})) | set(templates.depends_on(resource))
        return [name for name in self.resources if name in wanted and name != logical_id]


def make_plan(body: str, given: Mapping[str, str], supported: Iterable[str]) -> Plan:
    """Raises ValidationError: malformed, unsupported resource types (by name), parameters, circles."""
    template = templates.plain(templates.parse(body))
    plan = Plan(body, template, stack_parameters.texts(template, given))
    _check_types(plan, set(supported))
    creation_order(plan)
    return plan


def _check_types(plan: Plan, supported: set[str]) -> None:
    unknown = {
        f"{resource['Type']} ({logical_id})"
        for logical_id, resource in plan.resources.items()
        if resource["Type"] not in supported and plan.aws_only(logical_id) is None
    }
    if unknown:
        raise validation_error(
            f"Template format error: Unrecognized resource types: [{', '.join(sorted(unknown))}]. The local "
            "cloud does not make these. Either mark each with `Metadata: {Triptych: {AwsOnly: "
            '"why it is not needed here"}}` so that it is left out locally and made on AWS, or put it under '
            "a Condition that is false in parameters/local.json, or add its type under "
            "triptych/localcloud/cloudformation/resources/."
        )


def creation_order(plan: Plan) -> list[str]:
    """Logical ids so that each comes after what it depends on, else as in the template."""
    remaining = {name: set(plan.dependencies(name)) for name in plan.resources}
    ordered: list[str] = []
    while remaining:
        free = [name for name, wanted in remaining.items() if not wanted & set(remaining)]
        if not free:
            raise validation_error(f"Circular dependency between resources: [{', '.join(sorted(remaining))}]")
        ordered += free
        for name in free:
            del remaining[name]
    return ordered


def required_capabilities(template: Document) -> list[str]:
    """CAPABILITY_IAM or CAPABILITY_NAMED_IAM, where the template has IAM resources."""
    needed: set[str] = set()
    for resource in template["Resources"].values():
        if resource["Type"] in _NAMED_IAM:
            name = _NAMED_IAM[resource["Type"]]
            named = name is not None and name in resource.get("Properties", {})
            needed.add("CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM")
    return ["CAPABILITY_NAMED_IAM"] if "CAPABILITY_NAMED_IAM" in needed else sorted(needed)


def check_capabilities(template: Document, granted: Iterable[str]) -> None:
    """Raises InsufficientCapabilitiesException."""
    have = set(granted)
    missing = [
        one
        for one in required_capabilities(template)
        if one not in have and not (one == "CAPABILITY_IAM" and "CAPABILITY_NAMED_IAM" in have)
    ]
    if missing:
        raise ServiceError(
            "InsufficientCapabilitiesException", f"Requires capabilities : [{', '.join(missing)}]"
        )


def changes(plan: Plan, old: Plan | None, physical_ids: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """What executing ``plan`` over ``old`` would do to each resource, as DescribeChangeSet lists it."""
    found: list[dict[str, Any]] = []

    def add(action: str, logical_id: str, kind: str, replacement: str | None = None) -> None:
        change: dict[str, Any] = {
            "Action": action,
            "LogicalResourceId": logical_id,
            "ResourceType": kind,
            "Scope": [],
            "Details": [],
        }
        if physical_ids.get(logical_id):
            change["PhysicalResourceId"] = physical_ids[logical_id]
        if replacement:
            change |= {"Replacement": replacement, "Scope": ["Properties"]}
        found.append({"Type": "Resource", "ResourceChange": change})

    before = old.resources if old is not None else {}
    changed_parameters = {
        name for name, value in plan.texts.items() if old is None or old.texts.get(name) != value
    }
    for logical_id, resource in plan.resources.items():
        if logical_id not in before:
            add("Add", logical_id, resource["Type"])
        elif _text(resource) != _text(before[logical_id]) or references(resource) & changed_parameters:
            add("Modify", logical_id, resource["Type"], "Conditional")
    for logical_id, resource in before.items():
        if logical_id not in plan.resources:
            add("Remove", logical_id, resource["Type"])
    return found


def unchanged(plan: Plan, old: Plan) -> bool:
    """Whether updating from ``old`` to ``plan`` would have nothing to do (tags aside)."""
    sections = ("Resources", "Outputs", "Conditions", "Mappings")
    return plan.texts == old.texts and all(
        _text(plan.template.get(section, {})) == _text(old.template.get(section, {})) for section in sections
    )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
