"""Run a model over objects, as batch transform sends a container its payloads.

``batch_transform.py TASK.json``, a ``TransformTask``. An object whose answers are whole is in the outputs folder at
once; at the end there is a ``Report``. The exit code is 1 when an object failed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from transform_payloads import ObjectRefused, Payload, by_lines, each_line, unpack_gzip, whole
from transform_pool import ModelNotLoaded, WorkerPool
from transform_task import Failure, Report, SourceObject, TransformTask, read_task
from transform_worker import Answer, Loaded

_PAYLOAD_BYTES = 4 << 20
"""where the cut does not matter: enough rows to make a predict call worth its while, few enough for the caches"""
_WAITING_ANSWERS = 8
"""answers that may wait, a process, for an earlier one of their object"""


def main() -> int:
    task = read_task(Path(sys.argv[1]))
    report = Report()
    try:
        run(task, report)
    except ModelNotLoaded as error:
        print(f"ClientError: the model cannot be loaded: {error}", file=sys.stderr)
        # The log has the whole traceback; a FailureReason has room for what and why.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"
        report = Report(report.records, report.failures, f"ClientError: the model cannot be loaded: {told}")
    report.write(Path(task.report))
    return 1 if report.failures or report.trouble else 0


def run(task: TransformTask, report: Report) -> None:
    """Transform every object; raises ModelNotLoaded."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    scorers = min(cores, _estimate(task, _PAYLOAD_BYTES))
    pool = WorkerPool(task, threads=max(1, cores // scorers))
    try:
        assembly = Assembly(task, report, pool.loaded)
        count = _concurrency(task, cores) if pool.loaded.own_functions else scorers
        pool.grow(count)
        pool.run(assembly.payloads(), lambda: assembly.waiting < _WAITING_ANSWERS * count, assembly.take)
    finally:
        pool.close()


def _concurrency(task: TransformTask, cores: int) -> int:
    """How many requests are under way: as many as the job sends and the container's server has workers for."""
    workers = int(os.environ.get("SAGEMAKER_MODEL_SERVER_WORKERS") or cores)
    size = 1 if task.single_record else task.max_payload_bytes or sys.maxsize
    sent: int = task.max_concurrent
    return min(sent, workers, _estimate(task, size))


def _estimate(task: TransformTask, payload_bytes: int) -> int:
    """At most how many payloads of that size there are; at least one."""
    if not task.split:
        return max(1, len(task.objects))
    return max(1, sum(1 + os.path.getsize(source.input) // payload_bytes for source in task.objects))


class _Draft:
    """One object's answers, put in order as they come."""

    def __init__(self, source: SourceObject, path: Path) -> None:
        self.source = source
        self.path = path
        self.file: BinaryIO = path.open("wb")
        self.sent = self.answered = self.records = self._written = 0
        self.all_sent = False
        self.failures: dict[int, Failure] = {}
        self.waiting: dict[int, Answer] = {}

    def take(self, number: int, answer: Answer) -> None:
        self.answered += 1
        if answer.failure is not None:
            self.failures[number] = answer.failure
        self.waiting[number] = answer
        if self.failures:
            self.waiting.clear()
        while (ready := self.waiting.pop(self._written, None)) is not None:
            self.file.write(ready.body)
            self.records += ready.records
            self._written += 1

    @property
    def done(self) -> bool:
        return self.all_sent and self.answered == self.sent


class Assembly:
    """Cuts the objects into payloads and puts the answers together."""

    def __init__(self, task: TransformTask, report: Report, loaded: Loaded) -> None:
        self._task = task
        self._report = report
        self._loaded = loaded
        self._drafts: dict[int, _Draft] = {}
        Path(task.drafts).mkdir(parents=True, exist_ok=True)

    @property
    def waiting(self) -> int:
        """How many answers wait for an earlier one."""
        return sum(len(draft.waiting) for draft in self._drafts.values())

    def payloads(self) -> Iterator[Payload]:
        """Every object's payloads; no more of an object that has failed."""
        for index, source in enumerate(self._task.objects):
            draft = self._drafts[index] = _Draft(source, Path(self._task.drafts) / str(index))
            try:
                for payload in self._cut(index, source):
                    if draft.failures:
                        break
                    draft.sent += 1
                    yield payload
            except ObjectRefused as refused:
                draft.failures[draft.sent] = refused.failure
            draft.all_sent = True
            self._settle(index)

    def _cut(self, index: int, source: SourceObject) -> Iterator[Payload]:
        task, path, limit = self._task, Path(source.input), self._task.max_payload_bytes
        if task.gzip:
            path = self._unpacked(index)
            unpack_gzip(Path(source.input), path)
        if not task.split:
            yield from whole(index, path, limit)
        elif self._loaded.any_cut:
            yield from by_lines(index, path, min(_PAYLOAD_BYTES, limit or _PAYLOAD_BYTES), limit)
        elif task.single_record:
            yield from each_line(index, path, limit)
        else:
            yield from by_lines(index, path, limit or path.stat().st_size, limit)

    def take(self, payload: Payload, answer: Answer) -> None:
        """One payload's answer, in whatever order."""
        self._drafts[payload.index].take(payload.number, answer)
        self._settle(payload.index)

    def _settle(self, index: int) -> None:
        """Put a whole object's answers among the outputs, or drop those of one that failed."""
        draft = self._drafts[index]
        if not draft.done:
            return
        del self._drafts[index]
        draft.file.close()
        self._unpacked(index).unlink(missing_ok=True)
        uri = draft.source.uri
        if draft.failures:
            draft.path.unlink()
            failure = draft.failures[min(draft.failures)]
            self._report.failures[uri] = failure
            at = f", line {failure.line}" if failure.line else ""
            print(f"{uri}{at}: {failure.kind}: {failure.message}", file=sys.stderr, flush=True)
            return
        output = Path(self._task.outputs) / draft.source.output
        output.parent.mkdir(parents=True, exist_ok=True)
        draft.path.rename(output)
        self._report.records[uri] = draft.records
        print(f"{uri}: {draft.records} records", flush=True)

    def _unpacked(self, index: int) -> Path:
        return Path(self._task.drafts) / f"{index}.unpacked"


if __name__ == "__main__":
    sys.exit(main())
