"""A process that has the model loaded and answers payloads, as a container's ``/invocations`` would."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from record_filters import FindsNothing, Kind, join, parse_all, render_all, selector
from transform_payloads import Payload
from transform_task import Failure, TransformTask
from triptych_serve.formats import (
    CSV,
    JSON,
    JSON_LINES,
    PARQUET,
    RequestRefused,
    choose_accept,
    decode_parquet,
    encode,
    format_of,
)
from triptych_serve.handlers import Handlers, ModelUnusable, Request, default_input_fn, load_handlers
from triptych_serve.xgboost_model import XGBoostModel

_LINE_FORMATS = (CSV, JSON_LINES)
_DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class Loaded:
    """The model is ready. ``own_functions``: the user's script answers; ``any_cut``: the answers are the same
    however the lines are grouped into payloads, so that the sizes may be chosen for speed."""

    own_functions: bool
    any_cut: bool


@dataclass(frozen=True)
class NotLoaded:
    """The model cannot be loaded; no process will load it."""

    reason: str


@dataclass(frozen=True)
class Answer:
    """A payload's part of the output, or why there is none; ``records`` is how many it answers."""

    body: bytes = b""
    records: int = 0
    failure: Failure | None = None


class _Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def serve(connection: Connection, task: TransformTask, threads: int) -> None:
    """Load the model, say so, and answer payloads until None comes. ``threads`` is for a model of ours."""
    code = Path(task.code_dir) if task.code_dir else None
    try:
        handlers = load_handlers(Path(task.model_dir), code, task.program)
    except ModelUnusable as error:
        connection.send(NotLoaded(str(error)))
        return
    own = not isinstance(handlers.model, XGBoostModel) or bool(handlers.own.keys() - {"model_fn"})
    if not own:
        # The booster scores all rows: the compiled model, which is for few, might differ in the last digit.
        handlers.model.booster.set_param({"nthread": threads})
        handlers = Handlers(replace(handlers.model, compiled=None), handlers.own)
    answering = Answering(task, handlers, own)
    connection.send(Loaded(own, answering.any_cut))
    while (payload := connection.recv()) is not None:
        connection.send(answering.answer(payload))


class Answering:
    """Payloads to their parts of the output."""

    def __init__(self, task: TransformTask, handlers: Handlers, own_functions: bool) -> None:
        self._task = task
        self._handlers = handlers
        self._own = own_functions
        self._source_format = format_of(task.content_type)
        self._source: Kind = _kind(self._source_format)
        self._answer_format = _answer_format(task.accept)
        self._answered: Kind = _kind(self._answer_format)
        self._select_input = selector(task.input_filter)
        self._select_output = selector(task.output_filter)

    @property
    def any_cut(self) -> bool:
        """Whether the answers of lines do not depend on which lines come together."""
        formats = (self._source_format, self._answer_format)
        return not self._own and self._task.split and all(kind in _LINE_FORMATS for kind in formats)

    def answer(self, payload: Payload) -> Answer:
        """The payload's answer."""
        try:
            if self._streams:
                return self._stream(payload)
            content = payload.read()
            if self._task.split and (not content or content.isspace()):
                return Answer()
            if self._task.processes_data:
                return self._process(payload, content)
            body = self._ask(content, payload, None)
            if self._task.assemble_lines and not body.endswith(b"\n"):
                body += b"\n"
            return Answer(body, _count_lines(content) if self._task.split else 1)
        except _Refused as refused:
            return Answer(failure=refused.failure)

    @property
    def _streams(self) -> bool:
        """Whether a Parquet object is scored block by block, which no one can tell from the answer."""
        return not self._own and self._source_format == PARQUET and self._answer_format in _LINE_FORMATS

    def _stream(self, payload: Payload) -> Answer:
        model, parts, count = self._handlers.model, [], 0
        try:
            for rows in decode_parquet(Path(payload.path), model.names, model.columns):
                parts.append(encode(model.predict(rows), self._answer_format))
                count += len(rows)
        except RequestRefused as error:
            raise _Refused(_bad_status(error.status_code, str(error), None)) from error
        return Answer(b"".join(parts), count)

    def _ask(self, body: bytes, payload: Payload, lines: Sequence[int] | None) -> bytes:
        """The answer to a request; ``lines`` are the payload's lines that it was made of, when not all of them."""
        response = self._handlers.answer([Request(body, self._task.content_type, self._task.accept)])[0]
        answer: bytes = response.body
        if response.status == 200:
            return answer
        row = self._row_at_fault(body)
        line = payload.first_line() + ((lines[row - 1] if lines else row) - 1 if row else 0)
        detail = answer.decode("utf-8", "replace")
        raise _Refused(_bad_status(response.status, detail, line if self._task.split or row else None))

    def _row_at_fault(self, body: bytes) -> int | None:
        """Which row of the request our own functions refused; a user's do not tell."""
        if self._own:
            return None
        try:
            default_input_fn(self._handlers.model, body, self._task.content_type)
        except RequestRefused as error:
            row: int | None = error.row
            return row
        return None

    def _process(self, payload: Payload, content: bytes) -> Answer:
        """Filter and join: of a JSON object that is not split as a whole, else line by line."""
        one_value = not self._task.split and self._source_format == JSON
        numbered = [(1, content)] if one_value else _numbered(content)
        numbers, lines = [number for number, _ in numbered], [line for _, line in numbered]
        sources = self._parse(lines, self._source, payload, numbers, "ClientError")
        if self._task.input_filter in (None, "$"):
            body = self._ask(content, payload, None)
        else:
            chosen = self._select(self._select_input, sources, payload, numbers)
            body = self._ask(render_all(chosen, self._source), payload, numbers)
        single = one_value or (self._answered == "json" and len(lines) == 1)
        parts = [body] if single else [line for _, line in _numbered(body)]
        if len(parts) != len(lines):
            raise _Refused(
                Failure(
                    "AlgorithmError",
                    f"{len(lines)} records got {len(parts)} answers; DataProcessing needs one line each",
                    line=payload.first_line(),
                )
            )
        records = self._parse(parts, self._answered, payload, numbers, "AlgorithmError")
        kind = self._answered
        if self._task.join_source:
            kind = self._source
            pairs = zip(sources, records, strict=True)
            records = [join(source, answer, kind) for source, answer in pairs]
        rendered = render_all(self._select(self._select_output, records, payload, numbers), kind)
        if one_value and not self._task.assemble_lines:
            rendered = rendered.removesuffix(b"\n")
        return Answer(rendered, len(lines))

    def _parse(
        self, lines: Sequence[bytes], kind: Kind, payload: Payload, numbers: Sequence[int], at_fault: str
    ) -> list[Any]:
        try:
            records: list[Any] = parse_all(lines, kind)
        except ValueError as error:
            message, index = error.args
            line = payload.first_line() + numbers[index] - 1
            raise _Refused(Failure(at_fault, message, line=line)) from error
        return records

    def _select(
        self, select: Any, records: Sequence[Any], payload: Payload, numbers: Sequence[int]
    ) -> list[Any]:
        chosen: list[Any] = []
        try:
            chosen.extend(map(select, records))
        except FindsNothing as error:
            line = payload.first_line() + numbers[len(chosen)] - 1
            raise _Refused(Failure("ClientError", str(error), line=line)) from error
        return chosen


def _bad_status(status: int, detail: str, line: int | None) -> Failure:
    kind = "ClientError" if status < 500 else "AlgorithmError"
    told = detail.strip()[:_DETAIL_CHARACTERS]
    return Failure(kind, f"Bad HTTP status received from algorithm: {status}. {told}", status, line)


def _answer_format(accept: str | None) -> str | None:
    try:
        default = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or CSV
        chosen: str = choose_accept(accept, default)
    except RequestRefused:
        return None  # a user's output_fn may know it
    return chosen


def _kind(format: str | None) -> Kind:
    return "csv" if format == CSV else "json"


def _numbered(content: bytes) -> list[tuple[int, bytes]]:
    """The lines that hold anything, without their ends, and their numbers from 1."""
    lines = enumerate(content.split(b"\n"), 1)
    return [(number, line.removesuffix(b"\r")) for number, line in lines if line and not line.isspace()]


def _count_lines(content: bytes) -> int:
    return content.count(b"\n") + (not content.endswith(b"\n"))
