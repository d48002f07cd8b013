"""The rows that an endpoint was asked about, from the lines of its data capture."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


class Unreadable(Exception):
    """A line that holds no rows of the expected columns; the message says why."""


@dataclass
class Skipped:
    """Lines that could not be used, the first one's reason, and lines outside the window."""

    lines: int = 0
    first: str = ""
    read: int = 0
    outside: int = 0

    def add(self, where: str, why: object) -> None:
        """Count one more."""
        self.lines += 1
        self.first = self.first or f"{where}: {why}"


def captured_rows(
    path: Path,
    names: Sequence[str],
    score: str | None,
    window: tuple[datetime | None, datetime | None],
    skipped: Skipped,
) -> Iterator[list[str | None]]:
    """Each row in the order of ``names`` as texts (None is missing), with its score at the end where one is asked for.

    One line of the file is in memory at a time. Its rows are used whole or, when one does not fit, not at all.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            skipped.read += 1
            try:
                at, rows = parse_captured_rows(line, names, score)
            except Unreadable as error:
                skipped.add(f"{path.name}, line {number}", error)
                continue
            start, end = window
            if (start and at < start) or (end and at >= end):
                skipped.outside += 1
            else:
                yield from rows


def parse_captured_rows(
    line: bytes | str, names: Sequence[str], score: str | None
) -> tuple[datetime, list[list[str | None]]]:
    """When the request was answered, and its rows; raises Unreadable."""
    try:
        record = json.loads(line)
        at = parse_time(record["eventMetadata"]["inferenceTime"])
        captured = record["captureData"]
        rows = _rows(captured["endpointInput"], names)
        scores = _scores(captured["endpointOutput"]) if score else []
    except RecursionError:
        raise Unreadable("JSON nested too deeply") from None
    except (KeyError, TypeError, AttributeError, ValueError, csv.Error) as error:
        raise Unreadable(f"no captured request that can be read ({error!r})") from error
    wrong = next((row for row in rows if len(row) != len(names)), None)
    if wrong is not None:
        raise Unreadable(f"a row has {len(wrong)} values; the model has {len(names)} features")
    if score:
        if len(scores) != len(rows):
            raise Unreadable(f"{len(rows)} rows were answered with {len(scores)} scores")
        rows = [[*row, answer] for row, answer in zip(rows, scores, strict=True)]
    return at, rows


def parse_time(text: str) -> datetime:
    """A time as SageMaker writes it; UTC where it names no zone."""
    moment = datetime.fromisoformat(text.replace(" ", "").replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)  # noqa: UP017 (Python 3.10)


def _body(part: Any) -> tuple[str, str]:
    """``CSV``, ``LINES`` or ``JSON``, and the text."""
    text, encoding = part["data"], part["encoding"]
    kind = part.get("observedContentType", "").split(";", 1)[0].strip().lower()
    if encoding == "BASE64":
        text = base64.b64decode(text, validate=True).decode()
        # types that the capture was not told of come in Base64
        encoding = "JSON" if "json" in kind else "CSV" if "csv" in kind else encoding
    if (encoding == "JSON" and "lines" in kind) or kind == "application/jsonl":
        encoding = "LINES"
    if encoding not in ("CSV", "JSON", "LINES"):
        raise ValueError(f"a body of type {kind} cannot be read")
    return encoding, text


def _records(kind: str, text: str, key: str) -> list[Any]:
    if kind == "LINES":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    parsed = json.loads(text)
    if isinstance(parsed, dict) and key in parsed:
        parsed = parsed[key]
    return parsed if isinstance(parsed, list) else [parsed]


def _rows(part: Any, names: Sequence[str]) -> list[list[str | None]]:
    kind, text = _body(part)
    if kind == "CSV":
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if rows and [cell.strip() for cell in rows[0]] == list(names):
            del rows[0]  # a header
        return [list(row) for row in rows]
    records = _records(kind, text, "instances")
    if kind == "JSON" and records and not any(isinstance(record, (list, dict)) for record in records):
        records = [records]
    return [[_cell(value) for value in _values(record, names)] for record in records]


def _values(record: Any, names: Sequence[str]) -> Sequence[Any]:
    if isinstance(record, dict) and isinstance(record.get("features"), (list, dict)):
        record = record["features"]
    if isinstance(record, dict):
        return [record[name] for name in names]
    if not isinstance(record, list):
        raise ValueError("a row is neither a list nor an object")
    return record


def _scores(part: Any) -> list[str | None]:
    kind, text = _body(part)
    if kind == "CSV":
        return [cell for cell in text.replace("\n", ",").split(",") if cell.strip()]
    answers = _records(kind, text, "predictions")
    return [_cell(answer["score"] if isinstance(answer, dict) else answer) for answer in answers]


def _cell(value: Any) -> str | None:
    if isinstance(value, (list, dict)):
        raise ValueError("a value is a list or an object")
    return None if value is None else str(value)
