"""Batch transform's DataProcessing: which parts of a record are sent, and which of the answer are kept.

The JSONPath that SageMaker documents for it: ``$``, ``.name``, ``*``, ``['a','b']``, ``[1,3]``, ``[0,5:]``; for CSV,
whose rows are lists, only indexes.
https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html#data-processing-operators
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

Kind = Literal["csv", "json"]
OUTPUT_MEMBER, INPUT_MEMBER = "SageMakerOutput", "SageMakerInput"
_STEP = re.compile(r"\.?\[([^\]]+)\]|\.([A-Za-z_][\w-]*|\*)")
_SLICE = re.compile(r"(-?\d+)?\s*:\s*(-?\d+)?")
_INDEX = re.compile(r"-?\d+")
_NAMES = re.compile(r"\s*('[^']*'|\"[^\"]*\")\s*(,\s*('[^']*'|\"[^\"]*\")\s*)*")

Selector = Callable[[Any], Any]


class BadFilter(Exception):
    """A filter that is not JSONPath, or not the part of it that SageMaker has."""


class FindsNothing(Exception):
    """A record that has not what the filter names."""


def selector(path: str | None, kind: Kind = "json") -> Selector:
    """What takes a record's part out of it; the whole for ``$`` and None. Raises BadFilter."""
    if path is None or path == "$":
        return lambda record: record
    if not path.startswith("$"):
        raise BadFilter(f"'{path}' must begin with $")
    steps: list[Selector] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise BadFilter(f"'{path}' is not served; use $[1:], $[0,2], $.name, $.* or $['a','b']")
        steps.append(_bracket(match[1].strip(), path, kind) if match[1] else _name(match[2], path, kind))
        position = match.end()

    def select(record: Any) -> Any:
        try:
            for step in steps:
                record = step(record)
        except (LookupError, TypeError, AttributeError) as error:
            raise FindsNothing(f"the filter {path} finds nothing in {str(record)[:200]}: {error}") from error
        return record

    return select


def _name(name: str, path: str, kind: Kind) -> Selector:
    if name == "*":
        return _all
    _refuse_for_csv(path, kind)
    return lambda record: record[name]


def _all(record: Any) -> list[Any]:
    return list(record.values()) if isinstance(record, dict) else list(iter(record))


def _refuse_for_csv(path: str, kind: Kind) -> None:
    if kind == "csv":
        raise BadFilter(
            f"'{path}' names a member, but a CSV record has only indexes, such as $[1:] or $[0,2]"
        )


def _bracket(inside: str, path: str, kind: Kind) -> Selector:
    if inside == "*":
        return _all
    if _NAMES.fullmatch(inside):
        _refuse_for_csv(path, kind)
        wanted = [single or double for single, double in re.findall(r"'([^']*)'|\"([^\"]*)\"", inside)]
        if len(wanted) == 1:
            return lambda record: record[wanted[0]]
        return lambda record: {name: record[name] for name in wanted}
    parts = [part.strip() for part in inside.split(",")]
    if not all(_INDEX.fullmatch(part) or _SLICE.fullmatch(part) for part in parts):
        raise BadFilter(f"'[{inside}]' in '{path}' is not served; use indexes, slices or names in quotes")
    if len(parts) == 1 and _INDEX.fullmatch(parts[0]):
        index = int(parts[0])
        return lambda record: _list(record)[index]
    takers = [_taker(part) for part in parts]
    return lambda record: [item for taker in takers for item in taker(_list(record))]


def _taker(part: str) -> Callable[[list[Any]], list[Any]]:
    found = _SLICE.fullmatch(part)
    if found is None:
        index = int(part)
        return lambda record: [record[index]]
    bounds = slice(*(int(bound) if bound else None for bound in found.groups()))
    return lambda record: record[bounds]


def _list(record: Any) -> list[Any]:
    if not isinstance(record, list):
        raise TypeError("it is no list")
    return record


def parse_all(lines: Sequence[bytes], kind: Kind) -> list[Any]:
    """Records: a list of cells for CSV, JSON's value otherwise. Raises ValueError whose ``args`` are message, index."""
    if kind == "json":
        records: list[Any] = []
        try:
            records.extend(map(json.loads, lines))
        except ValueError as error:
            raise ValueError(f"the record is not JSON: {error}", len(records)) from error
        return records
    rows: list[Any] = []
    try:
        rows.extend(csv.reader([line.decode() for line in lines], strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"the record is not CSV: {error}", len(rows)) from error
    if len(rows) != len(lines):
        raise ValueError("a quote is not closed on its line, and lines are split first", _open_quote(lines))
    return rows


def _open_quote(lines: Sequence[bytes]) -> int:
    """The first line that does not end its quotes."""
    for index, line in enumerate(lines):
        try:
            next(csv.reader([line.decode()], strict=True))
        except csv.Error:
            return index
    return 0


def render_all(records: Sequence[Any], kind: Kind) -> bytes:
    """A line a record."""
    if kind == "json":
        return "".join(json.dumps(record) + "\n" for record in records).encode()
    text = io.StringIO()
    rows = [record if isinstance(record, list) else [record] for record in records]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def join(source: Any, output: Any, kind: Kind) -> Any:
    """Input and answer as one record: columns after columns, or the member ``SageMakerOutput``."""
    if kind == "csv":
        return [*source, *(output if isinstance(output, list) else [output])]
    if isinstance(source, dict):
        return {**source, OUTPUT_MEMBER: output}
    return {INPUT_MEMBER: source, OUTPUT_MEMBER: output}
