"""Run a model's handlers over files, as batch transform sends a container its payloads.

``batch_transform.py TASK.json``; what the task holds is written by the local cloud's transform module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from record_filters import join, parse, render, selector
from triptych_serve.formats import format_of
from triptych_serve.handlers import Handlers, ModelUnusable, Request, Response, load_handlers

_RECORDS_AT_ONCE = 2000


class TransformFailed(Exception):
    """A payload that the model refused or a file that cannot be sent."""


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    code = Path(task["code_dir"]) if task["code_dir"] else None
    try:
        handlers = load_handlers(Path(task["model_dir"]), code, task["program"])
        for file in task["files"]:
            transform(handlers, task, file)
    except ModelUnusable as error:
        _fail(task, f"ClientError: the model cannot be loaded: {error}")
    except TransformFailed as error:
        _fail(task, str(error))


def _fail(task: dict[str, Any], message: str) -> None:
    Path(task["failure"]).write_text(message)
    print(message, file=sys.stderr)
    sys.exit(1)


def transform(handlers: Handlers, task: dict[str, Any], file: dict[str, str]) -> None:
    """Write one object's answers; raises TransformFailed."""
    output = Path(file["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as sink:
        rows = 0
        for line_number, lines in payloads(Path(file["input"]), task):
            for answer in _answers(handlers, task, file["uri"], line_number, lines):
                sink.write(answer)
            rows += len(lines)
    print(f"{file['uri']}: {rows} records", flush=True)


def payloads(path: Path, task: dict[str, Any]) -> Iterator[tuple[int, list[bytes]]]:
    """The file's records in groups that fit a payload, with the number of each group's first line.

    Without splitting, the one group holds the file's content as its one record.
    """
    limit = task["max_payload_bytes"] or None
    if task["split_type"] == "None":
        content = path.read_bytes()
        if limit is not None and len(content) > limit:
            raise TransformFailed(
                f"ClientError: {path.name} has {len(content)} bytes, more than MaxPayloadInMB allows; "
                "set SplitType "
                "to Line, or raise MaxPayloadInMB."
            )
        yield 1, [content]
        return
    single = task["strategy"] == "SingleRecord"
    group: list[bytes] = []
    size, first = 0, 1
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            record = line.rstrip(b"\r\n")
            if not record:
                continue
            if limit is not None and len(record) + 1 > limit:
                raise TransformFailed(f"ClientError: line {number} is larger than MaxPayloadInMB allows")
            full = (
                len(group) >= _RECORDS_AT_ONCE
                if single
                else limit is not None and size + len(record) + 1 > limit
            )
            if group and full:
                yield first, group
                group, size = [], 0
            if not group:
                first = number
            group.append(record)
            size += len(record) + 1
    if group:
        yield first, group


def _answers(
    handlers: Handlers, task: dict[str, Any], uri: str, line_number: int, lines: list[bytes]
) -> Iterator[bytes]:
    processing = task["data_processing"]
    split = task["split_type"] == "Line"
    filtered = bool(processing) and split
    sent = _filtered_input(lines, processing, task["content_type"]) if filtered else lines
    bodies = sent if not split or task["strategy"] == "SingleRecord" else [b"\n".join(sent) + b"\n"]
    requests = [Request(body, task["content_type"], task["accept"]) for body in bodies]
    responses = handlers.answer(requests)
    for offset, response in enumerate(responses):
        if response.status != 200:
            detail = response.body.decode("utf-8", "replace")[:500]
            kind = "ClientError" if response.status < 500 else "AlgorithmError"
            raise TransformFailed(
                f"{kind}: {uri}, payload from line {line_number + offset}: Bad HTTP status received from "
                f"algorithm: {response.status}. {detail}"
            )
    if filtered:
        yield from _joined(lines, responses, processing, task["content_type"], task["accept"])
        return
    for response in responses:
        body = response.body
        yield body if task["assemble_with"] != "Line" or body.endswith(b"\n") else body + b"\n"


def _kind(content_type: str | None) -> str:
    return "csv" if format_of(content_type) == "text/csv" else "json"


def _filtered_input(
    lines: Sequence[bytes], processing: dict[str, str], content_type: str | None
) -> list[bytes]:
    path = processing.get("InputFilter")
    if path in (None, "$"):
        return list(lines)
    select, kind = selector(path), _kind(content_type)
    return [render(_select(select, parse(line.decode(), kind), path), kind).encode() for line in lines]


def _joined(
    lines: Sequence[bytes],
    responses: Sequence[Response],
    processing: dict[str, str],
    content_type: str | None,
    accept: str | None,
) -> Iterator[bytes]:
    """Each record's answer, joined with its input where asked, filtered, one a line."""
    answers = [line for response in responses for line in response.body.decode().splitlines() if line]
    if len(answers) != len(lines):
        raise TransformFailed(
            f"AlgorithmError: {len(lines)} records got {len(answers)} answers; DataProcessing needs "
            "one line each."
        )
    source_kind, answer_kind = _kind(content_type), _kind(accept)
    joins = processing.get("JoinSource", "None") == "Input"
    path = processing.get("OutputFilter")
    select = selector(path)
    for line, answer in zip(lines, answers, strict=True):
        record = parse(answer, answer_kind)
        kind = answer_kind
        if joins:
            kind = source_kind
            record = join(parse(line.decode(), source_kind), record, source_kind)
        yield (render(_select(select, record, path), kind) + "\n").encode()


def _select(select: Any, record: Any, path: str | None) -> Any:
    try:
        return select(record)
    except (LookupError, TypeError) as error:
        raise TransformFailed(
            f"ClientError: the filter {path} finds nothing in {str(record)[:200]}: {error}"
        ) from error


if __name__ == "__main__":
    main()
