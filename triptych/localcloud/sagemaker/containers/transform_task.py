"""What a batch transform job does, as the local cloud writes it down for the job's processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SourceObject:
    """One object: its file here, and where its answers go, ``output`` below the task's output folder."""

    uri: str
    input: str
    output: str


@dataclass(frozen=True)
class TransformTask:
    """A job's request with this machine's paths. Sizes are bytes; ``max_payload_bytes`` 0 is unlimited.

    ``outputs`` gets each object's answers once it is whole, ``drafts`` what is being written; ``report`` says at the
    end how each object went.
    """

    objects: tuple[SourceObject, ...]
    outputs: str
    drafts: str
    report: str
    model_dir: str
    code_dir: str | None
    program: str | None
    content_type: str | None
    accept: str | None
    split: bool
    single_record: bool
    gzip: bool
    assemble_lines: bool
    max_payload_bytes: int
    max_concurrent: int
    timeout_seconds: float
    max_retries: int
    input_filter: str | None = None
    output_filter: str | None = None
    join_source: bool = False

    @property
    def processes_data(self) -> bool:
        """Whether records are looked into: filtered, or joined with their answers."""
        return self.join_source or any(
            path not in (None, "$") for path in (self.input_filter, self.output_filter)
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read_task(path: Path) -> TransformTask:
    """What ``TransformTask.write`` wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    objects = tuple(SourceObject(**entry) for entry in content.pop("objects"))
    return TransformTask(objects=objects, **content)


@dataclass(frozen=True)
class Failure:
    """Why a payload, and with it an object, has no answer.

    ``kind`` is ``ClientError`` or ``AlgorithmError``; ``status`` the answer's HTTP status, None where none came;
    ``line`` the line of the object that it is about, counted from 1, None where that is not known.
    """

    kind: str
    message: str
    status: int | None = None
    line: int | None = None

    @property
    def may_pass(self) -> bool:
        """Whether another attempt might succeed: not when the request itself is at fault."""
        return self.kind == "AlgorithmError"


@dataclass(frozen=True)
class Report:
    """How the job went: the records answered by object, the objects that failed; ``trouble`` ended it early."""

    records: dict[str, int] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    trouble: str | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read_report(path: Path) -> Report | None:
    """The report; None when the job died before it could write one."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    failures = {uri: Failure(**entry) for uri, entry in content["failures"].items()}
    return Report(content["records"], failures, content["trouble"])
