"""Batch transform's DataProcessing: which parts of a record are sent, and which of the answer are kept.

The JSONPath that SageMaker documents for it: ``$``, ``$[1:]``, ``$[0,2]``, ``$[-1]`` for CSV, ``$.name``,
``$['a','b']`` and paths of names for JSON.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

OUTPUT_MEMBER = "SageMakerOutput"
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[([^\]]+)\]")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?")

Selector = Callable[[Any], Any]


class BadFilter(Exception):
    """A filter that is not JSONPath, or not the part of it that is served."""


def check_filter(path: str | None) -> None:
    """Raise BadFilter unless ``path`` is None or one that ``selector`` understands."""
    selector(path)


def selector(path: str | None) -> Selector:
    """What takes a record's part out of it; the whole for ``$`` and None."""
    if path is None or path == "$":
        return lambda record: record
    if not path.startswith("$"):
        raise BadFilter(f"'{path}' must begin with $")
    steps: list[Selector] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise BadFilter(f"'{path}' is not served; use $[1:], $[0,2], $.name or $['a','b']")
        steps.append(_member(match[1]) if match[1] else _bracket(match[2].strip(), path))
        position = match.end()

    def select(record: Any) -> Any:
        for step in steps:
            record = step(record)
        return record

    return select


def _member(name: str) -> Selector:
    return lambda record: record[name]


def _bracket(inside: str, path: str) -> Selector:
    if (found := _SLICE.fullmatch(inside)) is not None:
        part = slice(*(int(bound) if bound else None for bound in found.groups()))
        return lambda record: record[part]
    names = re.findall(r"'([^']*)'|\"([^\"]*)\"", inside)
    if names:
        wanted = [single or double for single, double in names]
        if len(wanted) == 1:
            return lambda record: record[wanted[0]]
        return lambda record: {name: record[name] for name in wanted}
    try:
        indexes = [int(part) for part in inside.split(",")]
    except ValueError:
        raise BadFilter(f"'[{inside}]' in '{path}' is not served") from None
    return lambda record: [record[index] for index in indexes]


def parse(line: str, kind: str) -> Any:
    """A record: a list of cells for CSV, JSON's value otherwise."""
    return next(csv.reader([line])) if kind == "csv" else json.loads(line)


def render(record: Any, kind: str) -> str:
    """One line without its end."""
    if kind != "csv":
        return json.dumps(record)
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(record if isinstance(record, list) else [record])
    return text.getvalue()


def join(source: Any, output: Any, kind: str) -> Any:
    """Input and answer as one record: columns after columns, or the member ``SageMakerOutput``."""
    if kind == "csv":
        return [*source, *(output if isinstance(output, list) else [output])]
    if isinstance(source, dict):
        return {**source, OUTPUT_MEMBER: output}
    return {"SageMakerInput": source, OUTPUT_MEMBER: output}
