"""What clients send and get: CSV, JSON, JSON Lines and Parquet to rows of numbers, and scores back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from triptych_serve import columnar

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
PARQUET = "application/x-parquet"
_ALIASES = {
    "text/csv": CSV,
    "application/csv": CSV,
    "application/json": JSON,
    "application/jsonlines": JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/x-parquet": PARQUET,
    "application/vnd.apache.parquet": PARQUET,
}
_NAN = float("nan")
_MISSING = {"", "na", "nan", "null", "none"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGE_BYTES = 16_384
"""from here on pyarrow's reader is quicker than Python's, and worth its import"""
_LARGE_ROWS = 256
_ROWS_AT_ONCE = 1 << 20
"""rows that are written at once; their text must stay under Arrow's 2 GB"""

Rows = np.ndarray
"""float32, (rows, columns), NaN where a value is missing"""


class RequestRefused(Exception):
    """The client's mistake; answered with ``status_code`` (4xx) and the message.

    ``row`` is the line of a text body that the message is about, counted from 1; None when it is about the whole.
    """

    def __init__(self, message: str, status_code: int = 400, row: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.row = row


def format_of(content_type: str | None) -> str | None:
    """The format a Content-Type or Accept value names; None when it is none of ours."""
    if content_type in _ALIASES:
        return _ALIASES[content_type]
    return _ALIASES.get((content_type or CSV).split(";", 1)[0].strip().lower())


def is_text(content_type: str | None) -> bool:
    """Whether a body of this type is text to the functions of a user's script."""
    return format_of(content_type) in (CSV, JSON, JSON_LINES)


def served() -> str:
    """The formats that can be read and written here, for messages."""
    return ", ".join((CSV, JSON, JSON_LINES, *([PARQUET] if columnar.available() else [])))


def choose_accept(accept: str | None, default: str = CSV) -> str:
    """The format to answer in; raises RequestRefused (406)."""
    if not accept:
        return default
    for wanted in accept.split(","):
        name = wanted.split(";", 1)[0].strip().lower()
        if name in ("*/*", "text/*"):
            return default
        kind = _ALIASES.get(name)
        if kind is not None and (kind != PARQUET or columnar.available()):
            return kind
    raise RequestRefused(f"cannot answer as '{accept}'; accept one of {served()}", 406)


def decode(body: bytes, content_type: str | None, names: Sequence[str] | None, columns: int | None) -> Rows:
    """The rows in ``body``.

    ``names`` (in the model's order) let JSON records and Parquet columns name their features; ``columns`` is how
    many the model was trained on. Raises RequestRefused: 415 for an unknown content type, 400 for what cannot be
    read.
    """
    kind = format_of(content_type)
    if kind is None or (kind == PARQUET and not columnar.available()):
        raise RequestRefused(f"cannot read '{content_type}'; send one of {served()}", 415)
    if not body or body.isspace():
        raise RequestRefused("the request body is empty; send at least one row")
    if kind == CSV:
        return _decode_csv(body, names, columns)
    if kind == PARQUET:
        return np.concatenate(list(decode_parquet(body, names, columns)))
    text = _text_of(body)
    records, lines = _json_records(text) if kind == JSON else _json_lines(text)
    if not records:
        raise RequestRefused("the request holds no rows")
    return _rows_of(records, lines, names, columns)


def decode_parquet(source: bytes | Path, names: Sequence[str] | None, columns: int | None) -> Iterator[Rows]:
    """The rows of a Parquet body, or of a file, in blocks of some thousands; raises RequestRefused."""
    count = 0
    try:
        for rows in columnar.read_parquet(source, names, columns):
            count += len(rows)
            yield rows
    except columnar.Unreadable as error:
        raise RequestRefused(str(error)) from error
    if not count:
        raise RequestRefused("the Parquet file holds no rows; send at least one")


def _text_of(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestRefused(
            f"the request body is not UTF-8: {error.reason} at byte {error.start}",
            row=body.count(b"\n", 0, error.start) + 1,
        ) from error


def _decode_csv(body: bytes, names: Sequence[str] | None, columns: int | None) -> Rows:
    if body.startswith(_BYTE_ORDER_MARK):
        body = body[len(_BYTE_ORDER_MARK) :]
    if len(body) >= _LARGE_BYTES and columnar.available():
        rows = columnar.read_csv(body, columns or _first_line(body).count(b",") + 1)
        if rows is not None and len(rows):
            return rows
    rows = _plain_csv(body, columns)
    return _careful_csv(_text_of(body), names, columns) if rows is None else rows


def _first_line(body: bytes) -> bytes:
    return body.lstrip(b"\r\n").split(b"\n", 1)[0]


def _plain_csv(body: bytes, columns: int | None) -> Rows | None:
    """Rows of nothing but numbers and empty cells, the shortest way; None for anything else."""
    if b"_" in body:  # which float() takes for a separator of digits
        return None
    lines = body.split(b"\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    expected = columns or lines[0].count(b",") + 1
    values: list[float] = []
    try:
        for line in lines:
            cells = line.split(b",")
            if len(cells) != expected:
                return None
            values += [float(cell) if cell else _NAN for cell in cells]
    except ValueError:
        return None
    return np.array(values, dtype=np.float32).reshape(len(lines), expected)


def _careful_csv(text: str, names: Sequence[str] | None, columns: int | None) -> Rows:
    """Quotes, spaces, words for missing values and lines without anything; raises RequestRefused for the rest."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    expected = columns
    rows: list[list[float]] = []
    try:
        for cells in reader:
            if expected != 1 and not any(cell.strip() for cell in cells) and len(cells) < 2:
                continue  # with one column, such a line is a missing value
            cells = cells or [""]
            expected = expected or len(cells)
            if len(cells) != expected:
                message = _wrong_width(reader.line_num, len(cells), expected, names)
                raise RequestRefused(message, row=reader.line_num)
            if not rows and expected > 1 and not any(map(_is_number, cells)):
                raise RequestRefused(
                    f"row {reader.line_num} holds no number ('{cells[0].strip()[:40]}', …): send the rows "
                    "without a header line",
                    row=reader.line_num,
                )
            rows.append([_number(cell, reader.line_num, index, names) for index, cell in enumerate(cells)])
    except csv.Error as error:
        raise RequestRefused(
            f"row {reader.line_num} is not CSV: {error}", row=max(reader.line_num, 1)
        ) from error
    if not rows:
        raise RequestRefused("the request holds no rows")
    return np.array(rows, dtype=np.float32)


def _is_number(cell: str) -> bool:
    try:
        _number(cell, 0, 0, None)
    except RequestRefused:
        return False
    return True


def _number(cell: str, row: int, column: int, names: Sequence[str] | None) -> float:
    stripped = cell.strip()
    if stripped.lower() in _MISSING:
        return _NAN
    try:
        if "_" in stripped:
            raise ValueError
        return float(stripped)
    except ValueError:
        raise RequestRefused(
            f"row {row}, {_column(column, names)}: '{stripped[:40]}' is not a number", row=row
        ) from None


def _column(index: int, names: Sequence[str] | None) -> str:
    return f"column {index + 1} ({names[index]})" if names and index < len(names) else f"column {index + 1}"


def _wrong_width(row: int, found: int, expected: int, names: Sequence[str] | None) -> str:
    wanted = f": {', '.join(names)}" if names else ""
    return f"row {row} has {found} columns, but the model was trained on {expected}{wanted}"


def _json_records(text: str) -> tuple[list[Any], Sequence[int]]:
    """The records, and the number each has in messages."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise RequestRefused(f"the request is not JSON: {error}", row=error.lineno) from error
    except RecursionError as error:
        raise RequestRefused("the request is JSON nested too deeply") from error
    if isinstance(parsed, dict) and "instances" in parsed:
        parsed = parsed["instances"]
        if not isinstance(parsed, list):
            raise RequestRefused("'instances' must be a list of rows")
    elif isinstance(parsed, dict):
        parsed = [parsed]
    elif not isinstance(parsed, list):
        raise RequestRefused('send {"instances": [...]}, a list of rows, or one row as a list')
    elif not any(isinstance(row, list | dict) for row in parsed):
        parsed = [parsed] if parsed else []
    return parsed, range(1, len(parsed) + 1)


def _json_lines(text: str) -> tuple[list[Any], Sequence[int]]:
    """The records and their lines."""
    records: list[Any] = []
    lines = [number for number, line in enumerate(text.split("\n"), 1) if line and not line.isspace()]
    try:
        records += map(json.loads, (line for line in text.split("\n") if line and not line.isspace()))
    except json.JSONDecodeError as error:
        number = lines[len(records)]
        raise RequestRefused(f"line {number} is not JSON: {error}", row=number) from error
    except RecursionError as error:
        number = lines[len(records)]
        raise RequestRefused(f"line {number} is JSON nested too deeply", row=number) from error
    return records, lines


def _rows_of(
    records: list[Any], lines: Sequence[int], names: Sequence[str] | None, columns: int | None
) -> Rows:
    wanted = frozenset(names or ())
    in_order = itemgetter(*names) if names and len(names) > 1 else None
    rows = [
        # One turn for the usual record; _values explains the others.
        in_order(record)
        if in_order is not None and isinstance(record, dict) and record.keys() == wanted
        else _values(record, line, names)
        for record, line in zip(records, lines, strict=True)
    ]
    expected = columns or len(rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != expected:
            raise RequestRefused(_wrong_width(line, len(row), expected, names), row=line)
    try:
        return np.array(rows, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        numbers = [
            [_json_number(cell, line, index, names) for index, cell in enumerate(row)]
            for row, line in zip(rows, lines, strict=True)
        ]
        return np.array(numbers, dtype=np.float32)


def _values(record: Any, line: int, names: Sequence[str] | None) -> Sequence[Any]:
    """One row's cells from ``[1, 2]``, ``{"features": [1, 2]}`` or ``{"name": 1, …}``."""
    if isinstance(record, dict) and isinstance(record.get("features"), list | dict):
        record = record["features"]
    if isinstance(record, list):
        return record
    if not isinstance(record, dict):
        raise RequestRefused(f"row {line} is neither a list nor an object", row=line)
    if not names:
        raise RequestRefused(
            f"row {line} names its features, but the model keeps no names; send lists", row=line
        )
    known = set(names)
    unknown = [name for name in record if name not in known]
    missing = [name for name in names if name not in record]
    if unknown or missing:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise RequestRefused(f"row {line} {' and '.join(parts)}", row=line)
    return [record[name] for name in names]


def _json_number(cell: Any, line: int, column: int, names: Sequence[str] | None) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _MISSING):
        return _NAN
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        message = f"row {line}, {_column(column, names)}: {cell!r:.40} is not a number"
        raise RequestRefused(message, row=line) from None


def encode(predictions: np.ndarray, kind: str) -> bytes:
    """The predictions, (rows,) or (rows, classes), in one of our formats; CSV and JSON Lines have a line a row.

    A float32 is written with the fewest digits that give it again.
    """
    if kind == PARQUET:
        return columnar.write_parquet(predictions)
    if predictions.dtype.kind not in "fiu" or predictions.ndim not in (1, 2):
        return _encode_anything(predictions, kind)
    if kind == CSV:
        return _lines(predictions, "", ",", "\n", str)
    before, after = ('{"score": [', "]}") if predictions.ndim == 2 else ('{"score": ', "}")
    if kind == JSON_LINES:
        return _lines(predictions, before, ", ", f"{after}\n", _json_text)
    scores = _lines(predictions, before, ", ", f"{after}, ", _json_text)
    return b'{"predictions": [' + scores[:-2] + b"]}"


def _lines(
    predictions: np.ndarray, before: str, between: str, after: str, write: Callable[[Any], str]
) -> bytes:
    if len(predictions) >= _LARGE_ROWS and predictions.dtype == np.float32 and columnar.available():
        starts = range(0, len(predictions), _ROWS_AT_ONCE)
        parts = [predictions[start : start + _ROWS_AT_ONCE] for start in starts]
        return b"".join(columnar.lines_of(part, before, between, after, write) for part in parts)
    if predictions.ndim == 1:
        return "".join([before + write(score) + after for score in predictions]).encode()
    return "".join([before + between.join(map(write, row)) + after for row in predictions]).encode()


def _json_text(score: Any) -> str:
    return str(score) if np.isfinite(score) else json.dumps(float(score))


def _encode_anything(predictions: np.ndarray, kind: str) -> bytes:
    """What a user's predict_fn returned: labels as text, a single value, tensors."""
    values = np.atleast_1d(predictions).tolist()
    if kind == CSV:
        lines = [value if isinstance(value, list) else [value] for value in values]
        return "".join(",".join(map(str, line)) + "\n" for line in lines).encode()
    scores = [{"score": value} for value in values]
    if kind == JSON:
        return json.dumps({"predictions": scores}).encode()
    return "".join(json.dumps(score) + "\n" for score in scores).encode()
