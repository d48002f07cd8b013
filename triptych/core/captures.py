"""Reading what an endpoint's data capture wrote, and the labels that arrive later, as streams.

Captured requests lie in ``<uri>/<endpoint>/<variant>/yyyy/mm/dd/hh/*.jsonl``; labels are Model Monitor's ground truth
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-merge.html). The id that joins the two is
the ``inferenceId`` that the caller gave, else the ``eventId`` that SageMaker made up.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.core.names import folder_uri, join_uri, split_uri

_CLOCKS_APART = timedelta(seconds=5)
"""a file's time is S3's, a request's is SageMaker's, and both lack fractions"""


class Unreadable(Exception):
    """A line that is no capture record or label, or that holds no number; the message says which."""


@dataclass(frozen=True)
class Captured:
    """One captured request: its id, when it was answered (UTC, whole seconds), one score a row of it."""

    id: str
    at: datetime
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Label:
    """The truth about the request with this id."""

    id: str
    value: float


@dataclass
class Skipped:
    """Lines that could not be used, and the first one's reason."""

    lines: int = 0
    first: str = ""

    def add(self, where: str, why: object) -> None:
        """Count one more."""
        self.lines += 1
        self.first = self.first or f"{where}: {why}"


def captured(
    s3: Any, uri: str, endpoint: str, variant: str, since: datetime, until: datetime, skipped: Skipped
) -> Iterator[Captured]:
    """Everything captured from ``since`` to the end of ``until``'s hour, and some of what was captured before.

    Files that were finished before ``since`` are not opened; the first ones opened may hold earlier requests too.
    One line is in memory at a time. What cannot be read is counted in ``skipped``.
    """
    oldest = since - _CLOCKS_APART
    for hour in _hours(since, until):
        folder = folder_uri(join_uri(uri, endpoint, variant, f"{hour:%Y/%m/%d/%H}"))
        for bucket, key, modified in _objects(s3, folder):
            # a file is written whole, after the last request in it was answered
            if modified < oldest:
                continue
            for line in _lines(s3, bucket, key):
                try:
                    found = parse_captured(line)
                except Unreadable as error:
                    skipped.add(f"s3://{bucket}/{key}", error)
                else:
                    yield found


def labels(s3: Any, uri: str, since: datetime, skipped: Skipped) -> Iterator[Label]:
    """Every label below ``uri`` in a file written at ``since`` or later, in the order of the files' times."""
    oldest = since.replace(microsecond=0)  # S3's times have no fractions
    found = [(modified, bucket, key) for bucket, key, modified in _objects(s3, uri) if modified >= oldest]
    for _, bucket, key in sorted(found):
        for line in _lines(s3, bucket, key):
            try:
                label = parse_label(line)
            except Unreadable as error:
                skipped.add(f"s3://{bucket}/{key}", error)
            else:
                yield label


def parse_captured(line: bytes | str) -> Captured:
    """One line of a capture file; raises Unreadable."""
    record = _record(line)
    try:
        metadata = record["eventMetadata"]
        identity = str(metadata.get("inferenceId") or metadata["eventId"])
        at = _time(metadata["inferenceTime"])
        output = record["captureData"]["endpointOutput"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unreadable(f"no capture record with an answer ({error!r})") from error
    return Captured(identity, at, _scores(output))


def parse_label(line: bytes | str) -> Label:
    """One line of Model Monitor's ground truth; raises Unreadable."""
    record = _record(line)
    try:
        identity = str(record["eventMetadata"]["eventId"])
        data = record["groundTruthData"]
        text = data["data"]
        if data.get("encoding", "CSV").upper() == "BASE64":
            text = base64.b64decode(text, validate=True).decode()
        value = float(text)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unreadable(f"no ground truth of one number ({error!r})") from error
    if not math.isfinite(value):
        raise Unreadable(f"the label {value} is no number")
    return Label(identity, value)


def _record(line: bytes | str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise Unreadable(f"no JSON ({error})") from error


def _scores(output: Any) -> tuple[float, ...]:
    try:
        text, encoding = output["data"], output["encoding"]
        kind = output.get("observedContentType", "").split(";", 1)[0].strip().lower()
        if encoding == "BASE64":
            text = base64.b64decode(text).decode()
            # types that the capture does not know come in Base64, JSON Lines among them
            encoding = "JSON" if "json" in kind else "CSV" if "csv" in kind else encoding
        if encoding == "CSV":
            values = [float(part) for part in text.replace("\n", ",").split(",") if part.strip()]
        elif encoding == "JSON" and "lines" in kind:
            values = [_number(json.loads(part)) for part in text.splitlines() if part.strip()]
        elif encoding == "JSON":
            values = _numbers(json.loads(text))
        else:
            raise ValueError(f"an answer of type {kind} cannot be read")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unreadable(f"no scores in the answer ({error!r})") from error
    if not values or not all(map(math.isfinite, values)):
        raise Unreadable("no scores in the answer (empty, or not finite)")
    return tuple(values)


def _numbers(answer: Any) -> list[float]:
    """The scores in a JSON answer: ``{"predictions": [...]}``, a list, one object or one number."""
    if isinstance(answer, dict) and "predictions" in answer:
        answer = answer["predictions"]
    return [_number(item) for item in answer] if isinstance(answer, list) else [_number(answer)]


def _number(item: Any) -> float:
    if isinstance(item, dict):
        item = item["score"]
    elif isinstance(item, list) and len(item) == 1:
        item = item[0]
    return float(item)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _hours(since: datetime, until: datetime) -> Iterator[datetime]:
    hour = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour <= until:
        yield hour
        hour += timedelta(hours=1)


def _objects(s3: Any, uri: str) -> Iterator[tuple[str, str, datetime]]:
    """Bucket, key and time of every object below a folder."""
    bucket, prefix = split_uri(folder_uri(uri))
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if entry["Size"]:
                yield bucket, entry["Key"], entry["LastModified"]


def _lines(s3: Any, bucket: str, key: str) -> Iterator[bytes]:
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    return (line for line in body.iter_lines(65_536) if line.strip())
