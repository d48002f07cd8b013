"""Intrinsic functions, pseudo parameters and dynamic references: a template's values, resolved."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triptych.localcloud.cloudformation.template import validation_error

NO_VALUE = object()
"""What ``Ref: AWS::NoValue`` resolves to: the property is left out"""

_SUB_NAME = re.compile(r"\$\{(!?)([^{}]*)\}")
_DYNAMIC = re.compile(r"\{\{resolve:(ssm|ssm-secure|secretsmanager):([^}]+)\}\}")
_FUNCTIONS = (
    "Base64", "Cidr", "FindInMap", "GetAtt", "GetAZs", "If", "ImportValue", "Join", "Length", "Select",
    "Split", "Sub", "ToJsonString", "Transform",
)  # fmt: skip


class AwsOnlyReference(Exception):
    """A value needs a resource that exists on AWS only."""

    def __init__(self, logical_id: str) -> None:
        super().__init__(logical_id)
        self.logical_id = logical_id


@dataclass
class Scope:
    """Everything a template's values can refer to."""

    pseudo: Mapping[str, Any]
    """AWS::Region and so on"""
    parameters: Mapping[str, Any]
    mappings: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """as in the template"""
    ref: Callable[[str], Any] = lambda name: None
    """a resource's Ref; raises KeyError where there is no such resource"""
    attribute: Callable[[str, str], Any] = lambda name, attribute: None
    import_value: Callable[[str], Any] = lambda name: None
    dynamic: Callable[[str, str], str] = lambda kind, reference: ""
    """{{resolve:ssm:…}}: kind and what follows"""
    _decided: dict[str, bool] = field(default_factory=dict)

    def condition(self, name: str) -> bool:
        """A condition of the template, by name."""
        if name not in self._decided:
            if name not in self.conditions:
                raise validation_error(f"Template error: unresolved condition dependency {name}")
            self._decided[name] = bool(self.resolve_condition(self.conditions[name]))
        return self._decided[name]

    def resolve_condition(self, expression: Any) -> Any:
        if isinstance(expression, dict) and len(expression) == 1:
            ((function, argument),) = expression.items()
            if function == "Fn::Equals":
                left, right = (self.resolve(value) for value in argument)
                return _text(left) == _text(right)
            if function == "Fn::And":
                return all(self.resolve_condition(part) for part in argument)
            if function == "Fn::Or":
                return any(self.resolve_condition(part) for part in argument)
            if function == "Fn::Not":
                return not self.resolve_condition(argument[0])
            if function == "Condition":
                return self.condition(argument)
        raise validation_error(f"Template error: {json.dumps(expression, default=str)} is no condition")

    def resolve(self, value: Any) -> Any:
        """``value`` with every function applied; NO_VALUE where it is to be left out."""
        if isinstance(value, dict):
            if len(value) == 1:
                ((name, argument),) = value.items()
                if name == "Ref":
                    return self._ref(argument)
                if isinstance(name, str) and name.startswith("Fn::"):
                    return self._function(name[4:], argument)
                if name == "Condition" and isinstance(argument, str) and argument in self.conditions:
                    return self.condition(argument)
            resolved = {key: self.resolve(member) for key, member in value.items()}
            return {key: member for key, member in resolved.items() if member is not NO_VALUE}
        if isinstance(value, list):
            return [member for member in map(self.resolve, value) if member is not NO_VALUE]
        if isinstance(value, str) and "{{resolve:" in value:
            return _DYNAMIC.sub(lambda match: self.dynamic(match.group(1), match.group(2)), value)
        return value

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        try:
            return self.ref(name)
        except AwsOnlyReference:
            return NO_VALUE

    def _function(self, name: str, argument: Any) -> Any:
        method = getattr(self, f"_fn_{name.lower()}", None)
        if method is None or name not in _FUNCTIONS:
            raise validation_error(f"Template error: Fn::{name} is not supported by the local cloud")
        try:
            return method(argument)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise validation_error(
                f"Template error: every Fn::{name} object requires well-formed arguments: "
                f"{json.dumps(argument, default=str)[:300]} ({type(error).__name__}: {error})"
            ) from error

    def _fn_getatt(self, argument: Any) -> Any:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        try:
            return self.attribute(name, self.resolve(attribute))
        except AwsOnlyReference:
            return NO_VALUE

    def _fn_sub(self, argument: Any) -> str:
        template, values = (argument, {}) if isinstance(argument, str) else argument

        def replaced(match: re.Match[str]) -> str:
            literal, name = match.group(1), match.group(2).strip()
            if literal:
                return "${" + match.group(2) + "}"
            if name in values:
                found = self.resolve(values[name])
            elif "." in name and name not in self.pseudo:
                found = self._fn_getatt(name)
            else:
                found = self._ref(name)
            if found is NO_VALUE:
                raise AwsOnlyReference(name)
            return _text(found)

        return str(self.resolve(_SUB_NAME.sub(replaced, template)))

    def _fn_join(self, argument: Any) -> str:
        separator, parts = argument
        return str(separator).join(_text(part) for part in self.resolve(parts))

    def _fn_split(self, argument: Any) -> list[str]:
        separator, text = argument
        return str(self.resolve(text)).split(separator)

    def _fn_select(self, argument: Any) -> Any:
        index, values = argument
        return self.resolve(values)[int(self.resolve(index))]

    def _fn_if(self, argument: Any) -> Any:
        name, when_true, when_false = argument
        return self.resolve(when_true if self.condition(name) else when_false)

    def _fn_findinmap(self, argument: Any) -> Any:
        name, first, second = (self.resolve(part) for part in argument[:3])
        try:
            return self.resolve(self.mappings[name][_text(first)][_text(second)])
        except KeyError:
            if len(argument) > 3 and "DefaultValue" in argument[3]:
                return self.resolve(argument[3]["DefaultValue"])
            raise validation_error(
                f"Template error: Unable to get mapping for {name}::{first}::{second}"
            ) from None

    def _fn_importvalue(self, argument: Any) -> Any:
        return self.import_value(str(self.resolve(argument)))

    def _fn_base64(self, argument: Any) -> str:
        return base64.b64encode(str(self.resolve(argument)).encode()).decode()

    def _fn_getazs(self, argument: Any) -> list[str]:
        region = self.resolve(argument) or self.pseudo["AWS::Region"]
        return [f"{region}{zone}" for zone in "abc"]

    def _fn_cidr(self, argument: Any) -> list[str]:
        block, count, *bits = (self.resolve(part) for part in argument)
        network = ipaddress.ip_network(block)
        prefix = network.max_prefixlen - int(bits[0] if bits else 8)
        return [
            str(subnet)
            for _, subnet in zip(range(int(count)), network.subnets(new_prefix=prefix), strict=False)
        ]

    def _fn_length(self, argument: Any) -> int:
        return len(self.resolve(argument))

    def _fn_tojsonstring(self, argument: Any) -> str:
        return json.dumps(self.resolve(argument), separators=(",", ":"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value)


def references(value: Any) -> set[str]:
    """Names of the parameters and resources that ``value`` refers to (no pseudo parameters)."""
    found: set[str] = set()
    if isinstance(value, dict):
        for name, argument in value.items():
            if name == "Ref" and isinstance(argument, str) and len(value) == 1:
                found.add(argument)
            elif name == "Fn::GetAtt" and len(value) == 1:
                found.add(argument.split(".", 1)[0] if isinstance(argument, str) else argument[0])
            elif name == "Fn::Sub" and len(value) == 1:
                template, values = (argument, {}) if isinstance(argument, str) else argument
                names = {name.strip() for literal, name in _SUB_NAME.findall(template) if not literal}
                found |= {name if "::" in name else name.split(".", 1)[0] for name in names - set(values)}
                found |= references(values)
            else:
                found |= references(argument)
    elif isinstance(value, list):
        for member in value:
            found |= references(member)
    return {name for name in found if not name.startswith("AWS::")}
