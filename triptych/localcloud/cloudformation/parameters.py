"""A stack's parameters: defaults, previous values, types and constraints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from triptych.localcloud.cloudformation.template import Document, validation_error

_SSM = re.compile(r"^AWS::SSM::Parameter::Value<(.+)>$")


def given_values(given: list[dict[str, Any]], previous: Mapping[str, str]) -> dict[str, str]:
    """The request's ``Parameters`` list as a mapping; UsePreviousValue looked up in ``previous``."""
    values: dict[str, str] = {}
    for entry in given:
        name = entry["ParameterKey"]
        if entry.get("UsePreviousValue"):
            if name not in previous:
                raise validation_error(
                    f"Invalid input for parameter key {name}. Cannot specify usePreviousValue as true"
                )
            values[name] = previous[name]
        else:
            values[name] = str(entry.get("ParameterValue", ""))
    return values


def texts(template: Document, given: Mapping[str, str]) -> dict[str, str]:
    """Each parameter's value as text, given or default; raises ValidationError on what is missing or
    unknown.
    """
    declared = template.get("Parameters", {})
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise validation_error(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    values: dict[str, str] = {}
    missing: list[str] = []
    for name, declaration in declared.items():
        if name in given:
            values[name] = given[name]
        elif "Default" in declaration:
            default = declaration["Default"]
            if isinstance(default, bool):
                values[name] = "true" if default else "false"
            elif isinstance(default, list):
                values[name] = ",".join(map(str, default))
            else:
                values[name] = str(default)
        else:
            missing.append(name)
    if missing:
        raise validation_error(f"Parameters: [{', '.join(missing)}] must have values")
    for name, value in values.items():
        _check(name, declared[name], value)
    return values


def _check(name: str, declaration: Mapping[str, Any], value: str) -> None:
    kind = str(declaration.get("Type", "String"))
    explanation = declaration.get("ConstraintDescription")

    def fail(reason: str) -> None:
        raise validation_error(f"Parameter {name} failed to satisfy constraint: {explanation or reason}")

    parts = (
        [part.strip() for part in value.split(",")]
        if kind.startswith(("List<", "CommaDelimited"))
        else [value]
    )
    allowed = [_plain(entry) for entry in declaration.get("AllowedValues", [])]
    pattern = declaration.get("AllowedPattern")
    for part in parts:
        if allowed and part not in allowed:
            raise validation_error(
                f"Parameter '{name}' must be one of AllowedValues"
                + (f": {explanation}" if explanation else f" [{', '.join(allowed)}]")
            )
        if pattern and not re.fullmatch(pattern, part):
            fail(f"must match pattern {pattern}")
        if "MinLength" in declaration and len(part) < int(declaration["MinLength"]):
            fail(f"must have at least {declaration['MinLength']} characters")
        if "MaxLength" in declaration and len(part) > int(declaration["MaxLength"]):
            fail(f"must have at most {declaration['MaxLength']} characters")
        if kind in ("Number", "List<Number>"):
            try:
                number = float(part)
            except ValueError:
                raise validation_error(f"Parameter '{name}' must be a number.") from None
            if "MinValue" in declaration and number < float(declaration["MinValue"]):
                fail(f"must be at least {declaration['MinValue']}")
            if "MaxValue" in declaration and number > float(declaration["MaxValue"]):
                fail(f"must be at most {declaration['MaxValue']}")


def _plain(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def resolved(template: Document, values: Mapping[str, str], ssm: Callable[[str], str]) -> dict[str, Any]:
    """The values that ``Ref`` gives: lists for list types, SSM parameters looked up by ``ssm``."""
    result: dict[str, Any] = {}
    for name, declaration in template.get("Parameters", {}).items():
        kind, value = str(declaration.get("Type", "String")), values[name]
        from_ssm = _SSM.match(kind)
        if from_ssm:
            kind, value = from_ssm.group(1), ssm(value)
        if kind == "CommaDelimitedList" or kind.startswith("List<"):
            result[name] = [part.strip() for part in value.split(",")] if value else []
        else:
            result[name] = value
    return result
