"""JSONata expressions (``{% … %}``) as Step Functions evaluates them: bindings, functions, error texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from triptych.localcloud.stepfunctions.failures import QueryFailure
from triptych.localcloud.stepfunctions.intrinsics import hash_text, uuid_text
from triptych.localcloud.stepfunctions.jsontext import decode, encode, is_number
from triptych.localcloud.stepfunctions.scope import Scope

MAX_STEPS = 400_000
"""subexpressions evaluated in one expression: a bound on runaways that a replay meets at the same place"""


class InvalidQuery(ValueError):
    """The text between ``{%`` and ``%}`` is not JSONata."""


def is_expression(text: str) -> bool:
    """Whether a string is an expression: ``{% … %}``."""
    return text.startswith("{%") and text.endswith("%}") and len(text) >= 4


def inner_text(text: str) -> str:
    return text[2:-2].strip()


@lru_cache(maxsize=2048)
def compile_query(text: str) -> Any:
    """Parse an expression (without its braces); raises InvalidQuery."""
    # Lazy: most machines are JSONPath, and the library takes 50 ms to load.
    from jsonata import Jsonata
    from jsonata.jexception import JException

    try:
        expression = Jsonata(text)
    except (JException, RecursionError) as error:
        raise InvalidQuery(str(error)) from error
    except Exception as error:  # the library lets IndexError, TypeError … of its parser through
        raise InvalidQuery(f"{type(error).__name__}: {error}") from error
    expression.set_output_convert_nulls(False)
    return expression


def evaluate(text: str, scope: Scope, states: dict[str, Any], location: str) -> Any:
    """The value of one expression; raises QueryFailure in AWS's words.

    ``states`` is what ``$states`` stands for, without ``context``, which is added.
    """
    from jsonata.jexception import JException
    from jsonata.utils import Utils

    def refuse(what: str) -> QueryFailure:
        return QueryFailure(
            f"The JSONata expression '{text}' specified for the field '{location}' {what}", location
        )

    expression = compile_query(text)
    bindings = _functions(scope)
    bindings["__evaluate_entry"] = _budget()
    for name, value in scope.variables.items():
        bindings[name] = Utils.NULL_VALUE if value is None else value
    bindings["states"] = {**states, "context": scope.context()} if "$states" in text else states
    try:
        value = expression.evaluate(None, bindings)
    except JException as error:
        raise refuse(f"threw an error during evaluation. {error.error}: {error}") from error
    except RecursionError as error:
        raise refuse("threw an error during evaluation. U1001: Stack overflow error") from error
    except Exception as error:
        if "function" in text and isinstance(error, TypeError):
            raise refuse("returned an unsupported result type.") from error
        raise refuse(f"threw an error during evaluation. {type(error).__name__}: {error}") from error
    if value is None:
        raise refuse("returned nothing (undefined).")
    try:
        return _plain(value, Utils.NULL_VALUE)
    except _Unsupported as error:
        raise refuse("returned an unsupported result type.") from error


def _budget() -> Callable[[Any, Any, Any], None]:
    """Called by the library before each subexpression."""
    from jsonata.jexception import JException

    left = MAX_STEPS

    def spend(expression: Any, value: Any, environment: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise JException("D1012", -1, MAX_STEPS)

    return spend


class _Unsupported(Exception):
    pass


def _plain(value: Any, null: Any) -> Any:
    """The library's value as plain JSON; a function, or a number that JSON cannot say, is refused."""
    if value is None or value is null:
        return None
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise _Unsupported
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if isinstance(value, dict):
        return {str(key): _plain(item, null) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(item, null) for item in value]
    raise _Unsupported


def _functions(scope: Scope) -> dict[str, Any]:
    """Step Functions' own functions, and those that must not look at this machine's clock or randomness."""
    from jsonata import Jsonata
    from jsonata.functions import Functions

    milliseconds = int(scope.now * 1000)
    source = scope.random

    def now(picture: str | None = None, timezone: str | None = None) -> Any:
        return Functions.datetime_from_millis(milliseconds, picture, timezone)

    def seeded(seed: Any = None) -> float:
        return (source if seed is None else random.Random(seed)).random()

    own: dict[str, Callable[..., Any]] = {
        "now": now,
        "millis": lambda: milliseconds,
        "random": seeded,
        "uuid": lambda: uuid_text(source),
        "partition": _partition,
        "range": _range,
        "hash": hash_text,
        "parse": lambda text: decode(text),
        "eval": _no_eval,
    }
    return {name: Jsonata.JLambda(function) for name, function in own.items()}


def _no_eval(*_: Any) -> Any:
    raise ValueError("the function $eval is not supported; use $parse")


def _partition(array: Any, size: Any) -> list[list[Any]]:
    items = array if isinstance(array, list) else [array]
    width = int(size)
    if width < 1:
        raise ValueError("the chunk size must be positive")
    return [list(items[start : start + width]) for start in range(0, len(items), width)]


def _range(first: Any, last: Any, step: Any) -> list[Any]:
    if not all(is_number(number) for number in (first, last, step)) or step == 0:
        raise ValueError(
            f"$range needs three numbers and a step that is not zero, not {encode([first, last, step])}"
        )
    out: list[Any] = []
    value = first
    while (value <= last if step > 0 else value >= last) and len(out) < 1_000_000:
        out.append(value)
        value += step
    return out


# ------------------------------------------------------------------------------------------------ templates

Query = Callable[[Scope, dict[str, Any]], Any]


def compile_json(template: Any, location: str) -> Query:
    """A JSON value whose strings may be expressions; raises InvalidQuery."""
    query = _compile(template, location)
    return query if query is not None else (lambda scope, states: template)


def _compile(template: Any, location: str) -> Query | None:
    if isinstance(template, str):
        if not is_expression(template):
            return None
        text = inner_text(template)
        compile_query(text)
        return lambda scope, states: evaluate(text, scope, states, location)
    if isinstance(template, dict):
        fields = [(key, _compile(value, f"{location}/{key}"), value) for key, value in template.items()]
        if all(query is None for _, query, _ in fields):
            return None
        return lambda scope, states: {
            key: value if query is None else query(scope, states) for key, query, value in fields
        }
    if isinstance(template, list):
        items = [(_compile(value, f"{location}[{index}]"), value) for index, value in enumerate(template)]
        if all(query is None for query, _ in items):
            return None
        return lambda scope, states: [
            value if query is None else query(scope, states) for query, value in items
        ]
    return None
