"""Payload templates of JSONPath states: ``Parameters``, ``ResultSelector``, ``ItemSelector``, ``Assign`` …

Values are never changed in place anywhere in the engine, so a template's constant parts are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triptych.localcloud.stepfunctions.intrinsics import Call, compile_intrinsic
from triptych.localcloud.stepfunctions.jsonpath import JsonPath, compile_path
from triptych.localcloud.stepfunctions.scope import Scope

Evaluator = Callable[[Scope], Any]


def compile_expression(text: str) -> JsonPath | Call:
    """What may stand in a field whose name ends in ``.$``; raises InvalidPath or InvalidIntrinsic."""
    return compile_path(text) if text.startswith("$") else compile_intrinsic(text)


def compile_template(template: Any) -> Evaluator:
    """A function that fills the template in; raises InvalidPath, InvalidIntrinsic."""
    evaluator = _compile(template)
    return evaluator if evaluator is not None else (lambda scope: template)


def expression_evaluator(text: str, field: str) -> Evaluator:
    """The evaluator of one path or intrinsic call; ``field`` is named when it fails."""
    expression = compile_expression(text)
    if isinstance(expression, Call):
        return expression.evaluate
    path = expression
    return lambda scope: scope.find_for_field(path, field)


def _compile(template: Any) -> Evaluator | None:
    """``None`` when nothing in the template needs filling in."""
    if isinstance(template, dict):
        fields: list[tuple[str, Evaluator | None, Any]] = []
        for key, value in template.items():
            if key.endswith(".$"):
                fields.append((key[:-2], expression_evaluator(value, key), None))
            else:
                fields.append((key, _compile(value), value))
        if all(evaluator is None for _, evaluator, _ in fields):
            return None
        return lambda scope: {
            key: value if evaluator is None else evaluator(scope) for key, evaluator, value in fields
        }
    if isinstance(template, list):
        items = [(_compile(value), value) for value in template]
        if all(evaluator is None for evaluator, _ in items):
            return None
        return lambda scope: [value if evaluator is None else evaluator(scope) for evaluator, value in items]
    return None
