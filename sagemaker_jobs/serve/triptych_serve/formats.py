"""What clients send and get: CSV, JSON and JSON Lines to rows of numbers, and scores back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
_ALIASES = {
    "text/csv": CSV,
    "application/csv": CSV,
    "application/json": JSON,
    "application/jsonlines": JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
}
_NAN = float("nan")
_MISSING = {"", "na", "nan", "null", "none"}

Rows = np.ndarray
"""float32, (rows, columns), NaN where a value is missing"""


class RequestRefused(Exception):
    """The client's mistake; answered with ``status_code`` (4xx) and the message."""

    def __init__(self, message: str, status_code: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code


def format_of(content_type: str | None) -> str | None:
    """The format a Content-Type or Accept value names; None when it is none of ours."""
    return _ALIASES.get((content_type or CSV).split(";", 1)[0].strip().lower())


def choose_accept(accept: str | None, default: str = CSV) -> str:
    """The format to answer in; raises RequestRefused (406)."""
    if not accept:
        return default
    for wanted in accept.split(","):
        name = wanted.split(";", 1)[0].strip().lower()
        if name in ("*/*", "text/*"):
            return default
        if name in _ALIASES:
            return _ALIASES[name]
    raise RequestRefused(f"cannot answer as '{accept}'; accept one of {CSV}, {JSON}, {JSON_LINES}", 406)


def decode(body: bytes, content_type: str | None, names: Sequence[str] | None, columns: int | None) -> Rows:
    """The rows in ``body``.

    ``names`` (in the model's order) let JSON records name their features; ``columns`` is how many the model
    was trained on. Raises RequestRefused: 415 for an unknown content type, 400 for what cannot be read.
    """
    kind = format_of(content_type)
    if kind is None:
        raise RequestRefused(f"cannot read '{content_type}'; send one of {CSV}, {JSON}, {JSON_LINES}", 415)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestRefused(
            f"the request body is not UTF-8: {error.reason} at byte {error.start}"
        ) from error
    if not text.strip():
        raise RequestRefused("the request body is empty; send at least one row")
    if kind == CSV:
        return _decode_csv(text, names, columns)
    records = _json_records(text) if kind == JSON else _json_lines(text)
    if not records:
        raise RequestRefused("the request holds no rows")
    return _rows_of(records, names, columns)


def _decode_csv(text: str, names: Sequence[str] | None, columns: int | None) -> Rows:
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    width = lines[0].count(",") + 1
    expected = columns or width
    for number, line in enumerate(lines, 1):
        found = line.count(",") + 1
        if found != expected:
            raise RequestRefused(_wrong_width(number, found, expected, names))
    joined = ",".join(lines) if len(lines) > 1 else lines[0]
    cells = joined.split(",")
    try:
        values = list(map(float, cells))
    except ValueError:
        values = [_number(cell, index, expected, names) for index, cell in enumerate(cells)]
    return np.array(values, dtype=np.float32).reshape(len(lines), expected)


def _number(cell: str, index: int, width: int, names: Sequence[str] | None) -> float:
    stripped = cell.strip().strip('"')
    if stripped.lower() in _MISSING:
        return _NAN
    try:
        return float(stripped)
    except ValueError:
        row, column = index // width + 1, index % width
        raise RequestRefused(
            f"row {row}, {_column(column, names)}: '{stripped[:40]}' is not a number"
        ) from None


def _column(index: int, names: Sequence[str] | None) -> str:
    return f"column {index + 1} ({names[index]})" if names and index < len(names) else f"column {index + 1}"


def _wrong_width(row: int, found: int, expected: int, names: Sequence[str] | None) -> str:
    wanted = f": {', '.join(names)}" if names else ""
    return f"row {row} has {found} columns, but the model was trained on {expected}{wanted}"


def _json_records(text: str) -> list[Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestRefused(f"the request is not JSON: {error}") from error
    if isinstance(parsed, dict):
        records = parsed.get("instances")
        if records is None:
            return [parsed]
        if not isinstance(records, list):
            raise RequestRefused("'instances' must be a list of rows")
        return records
    if not isinstance(parsed, list):
        raise RequestRefused('send {"instances": [...]}, a list of rows, or one row as a list')
    return parsed if any(isinstance(row, list | dict) for row in parsed) else [parsed]


def _json_lines(text: str) -> list[Any]:
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise RequestRefused(f"line {number} is not JSON: {error}") from error
    return records


def _rows_of(records: list[Any], names: Sequence[str] | None, columns: int | None) -> Rows:
    rows = [_values(record, number, names) for number, record in enumerate(records, 1)]
    expected = columns or len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != expected:
            raise RequestRefused(_wrong_width(number, len(row), expected, names))
    try:
        return np.array(rows, dtype=np.float32)
    except (TypeError, ValueError):
        numbers = [
            [_json_number(cell, n, c, names) for c, cell in enumerate(row)] for n, row in enumerate(rows, 1)
        ]
        return np.array(numbers, dtype=np.float32)


def _values(record: Any, number: int, names: Sequence[str] | None) -> list[Any]:
    """One row's cells from ``[1, 2]``, ``{"features": [1, 2]}`` or ``{"name": 1, …}``."""
    if isinstance(record, dict) and isinstance(record.get("features"), list | dict):
        record = record["features"]
    if isinstance(record, list):
        return record
    if not isinstance(record, dict):
        raise RequestRefused(f"row {number} is neither a list nor an object")
    if not names:
        raise RequestRefused(f"row {number} names its features, but the model keeps no names; send lists")
    unknown = [name for name in record if name not in set(names)]
    missing = [name for name in names if name not in record]
    if unknown or missing:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise RequestRefused(f"row {number} {' and '.join(parts)}")
    return [record[name] for name in names]


def _json_number(cell: Any, row: int, column: int, names: Sequence[str] | None) -> float:
    if cell is None:
        return _NAN
    if isinstance(cell, str) and cell.strip().lower() in _MISSING:
        return _NAN
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise RequestRefused(f"row {row}, {_column(column, names)}: {cell!r:.40} is not a number") from None


def encode(predictions: np.ndarray, kind: str) -> bytes:
    """The predictions, (rows,) or (rows, classes), in one of our formats; CSV has one line a row."""
    if kind == CSV:
        if predictions.ndim == 1:
            return ("\n".join(map(str, predictions)) + "\n").encode()
        return "".join(",".join(map(str, row)) + "\n" for row in predictions).encode()
    scores = [{"score": score} for score in predictions.tolist()]
    if kind == JSON:
        return json.dumps({"predictions": scores}).encode()
    return "".join(json.dumps(score) + "\n" for score in scores).encode()
