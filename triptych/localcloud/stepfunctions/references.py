"""ResultPath: putting a result into a document, without changing the document itself."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.stepfunctions.failures import RESULT_PATH, ProcessingFailure
from triptych.localcloud.stepfunctions.jsonpath import JsonPath
from triptych.localcloud.stepfunctions.jsontext import encode


def insert(document: Any, path: JsonPath, value: Any) -> Any:
    """A document like the given one with ``value`` at ``path``; missing objects on the way are made.

    Raises ProcessingFailure (States.ResultPathMatchFailure) where the way leads through something else.
    """
    return _insert(document, path.keys or (), value, path, document)


def _insert(node: Any, keys: tuple[str | int, ...], value: Any, path: JsonPath, document: Any) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(key, str):
        if isinstance(node, dict):
            return {**node, key: _insert(node.get(key, {}), rest, value, path, document)}
    elif isinstance(node, list) and 0 <= key < len(node):
        return [*node[:key], _insert(node[key], rest, value, path, document), *node[key + 1 :]]
    raise ProcessingFailure(
        f"Unable to apply ReferencePath {path.text} to input {encode(document)}", RESULT_PATH
    )
