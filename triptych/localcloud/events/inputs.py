"""What a target is given of an event: ``Input``, ``InputPath`` or ``InputTransformer``.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

from __future__ import annotations

import json
import re
from typing import Any

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']+)'\]|\[\"([^\"]+)\"\]|(\[\*\])")
_VARIABLE = re.compile(r"<([A-Za-z0-9_.-]+)>")
_ABSENT = object()


def target_input(target: dict[str, Any], event: dict[str, Any], rule_arn: str, ingested: str) -> str:
    """The text that is delivered to ``target`` (as ListTargetsByRule has it)."""
    if target.get("Input") is not None:
        return str(target["Input"])
    if path := target.get("InputPath"):
        found = find(event, path)
        return _text(None if found is _ABSENT else found)
    if transformer := target.get("InputTransformer"):
        return _transformed(transformer, event, rule_arn, ingested)
    return _text(event)


def find(document: Any, path: str) -> Any:
    """The value at a path like ``$.detail.object.key`` or ``$.resources[0]``; a marker when absent."""
    if not path.startswith("$"):
        return _ABSENT
    values, several = [document], False
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return _ABSENT
        position = step.end()
        name = step[1] or step[3] or step[4]
        following: list[Any] = []
        for value in values:
            if step[5]:
                several = True
                following.extend(value if isinstance(value, list) else [])
            elif step[2] is not None:
                index = int(step[2])
                following.extend(value[index : index + 1] if isinstance(value, list) else [])
            elif isinstance(value, dict) and name in value:
                following.append(value[name])
        values = following
    if several:
        return values
    return values[0] if values else _ABSENT


def _transformed(transformer: dict[str, Any], event: dict[str, Any], rule_arn: str, ingested: str) -> str:
    variables = {name: find(event, path) for name, path in (transformer.get("InputPathsMap") or {}).items()}
    variables |= {
        "aws.events.rule-arn": rule_arn,
        "aws.events.rule-name": rule_arn.rsplit("/", 1)[-1],
        "aws.events.event.ingestion-time": ingested,
        "aws.events.event": {name: value for name, value in event.items() if name != "detail"},
        "aws.events.event.json": event,
    }
    return fill_template(transformer["InputTemplate"], variables)


def fill_template(template: str, variables: dict[str, Any]) -> str:
    """The template with its ``<variables>`` filled in: JSON outside quotes, escaped text inside them.

    A variable without a value is empty inside quotes and ``null`` outside; unknown names stay as they are.
    """
    parts: list[str] = []
    in_string = False
    position = 0
    while position < len(template):
        character = template[position]
        if character == "\\" and in_string:
            parts.append(template[position : position + 2])
            position += 2
            continue
        if character == '"':
            in_string = not in_string
        elif character == "<" and (match := _VARIABLE.match(template, position)) and match[1] in variables:
            value = variables[match[1]]
            parts.append(_inside_quotes(value) if in_string else _text(None if value is _ABSENT else value))
            position = match.end()
            continue
        parts.append(character)
        position += 1
    return "".join(parts)


def _inside_quotes(value: Any) -> str:
    if value is _ABSENT:
        return ""
    return json.dumps(value if isinstance(value, str) else _text(value), ensure_ascii=False)[1:-1]


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
