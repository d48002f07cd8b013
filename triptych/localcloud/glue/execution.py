"""One job run from its script in S3 to its outputs in S3: fetch, run in a process of its own, adopt."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.glue import spark_engine
from triptych.localcloud.glue.arguments import RunArguments
from triptych.localcloud.glue.paths import StagedWrite, split, staged_writes
from triptych.localcloud.jobs.environment import base_environment
from triptych.localcloud.jobs.pool import JobProcess, JobServerFailed
from triptych.localcloud.jobs.spec import FunctionEntry, JobExit, JobSpec
from triptych.localcloud.service import ServiceError

OUTPUT_GROUP = "/aws-glue/jobs/output"
ERROR_GROUP = "/aws-glue/jobs/error"

_SHIM = str(Path(__file__).parent / "shim")
_STOP_GRACE_SECONDS = 3.0
_ENGINE_MEMORY_MB = {"duckdb": 2048, "spark": 2048}
_PROCESS_MEMORY_BYTES = {"duckdb": 3 << 30, "spark": 6 << 30}
"""The engine's own bound (DuckDB spills to disk, Spark's heap) and that of the whole process group"""


@dataclass(frozen=True)
class RunOutcome:
    """A run's last state, and why if it is not SUCCEEDED."""

    state: str
    message: str = ""


class _CannotRun(Exception):
    """The run cannot start; the message is its ErrorMessage."""


class RunExecution:
    """``run`` starts it; ``on_end`` is called once, with nothing left of it but what it stored."""

    def __init__(
        self,
        cloud: Cloud,
        run_id: str,
        job: Mapping[str, Any],
        arguments: RunArguments,
        timeout_seconds: float,
        on_running: Callable[[], None],
        on_end: Callable[[RunOutcome], None],
    ) -> None:
        self._cloud = cloud
        self._run_id = run_id
        self._job = job
        self._arguments = arguments
        self._timeout_seconds = timeout_seconds
        self._on_running = on_running
        self._on_end = on_end
        self._scratch = cloud.home.scratch / "glue" / run_id
        self._lock = threading.Lock()
        self._process: JobProcess | None = None
        self._stopping = False

    def run(self) -> None:
        """Fetch the script and start its process; what prevents that ends the run as FAILED."""
        try:
            spec = self._prepare()
            with self._lock:
                stopping = self._stopping
                if not stopping:
                    self._process = self._cloud.jobs.start(spec, None, self._ended, on_lines=self._output)
        except (_CannotRun, JobServerFailed) as error:
            self._finish(RunOutcome("FAILED", str(error)))
            return
        except OSError as error:
            message = f"The run's folder {self._scratch} could not be prepared: {error}"
            self._finish(RunOutcome("FAILED", message))
            return
        if stopping:
            self._finish(RunOutcome("STOPPED"))
            return
        self._on_running()

    def stop(self) -> None:
        """End the process; the run becomes STOPPED."""
        with self._lock:
            self._stopping = True
            process = self._process
        if process is not None:
            process.terminate(_STOP_GRACE_SECONDS)

    def _prepare(self) -> JobSpec:
        arguments = self._arguments
        if missing := arguments.missing_modules():
            raise _CannotRun(
                f"--additional-python-modules: {', '.join(missing)} not installed in the local cloud's "
                "environment, which installs nothing by itself. Install it there with pip, or drop it "
                "from the job."
            )
        if arguments.engine == "spark" and (absent := spark_engine.missing_packages()):
            raise _CannotRun(
                f"The Spark engine needs {' and '.join(absent)}: run `pip install -r requirements-spark.txt` "
                "(`make run ENGINE=spark` does), or use the default engine, duckdb."
            )
        work = self._scratch / "work"
        work.mkdir(parents=True)
        script = self._fetch(self._job["Command"]["ScriptLocation"], self._scratch, "Command.ScriptLocation")
        for uri in arguments.extra_files:
            self._fetch(uri, work, "--extra-files")
        libraries = [
            str(self._fetch(uri, self._scratch / "lib" / str(number), "--extra-py-files"))
            for number, uri in enumerate(arguments.extra_py_files)
        ]
        # A zip is imported from as it is, and a module through its folder, as on Glue.
        python_path = [
            library if library.endswith((".zip", ".egg", ".whl")) else str(Path(library).parent)
            for library in libraries
        ]
        environment = base_environment(self._cloud.settings)
        environment |= {"TMPDIR": str(work), "GLUE_PYTHON_VERSION": "3"}
        return JobSpec(
            name=f"glue {self._job['Name']}",
            pool="jobs",
            entry=FunctionEntry(
                "triptych.localcloud.glue.runner:run",
                {
                    "script": str(script),
                    "argv": list(arguments.argv),
                    "engine": arguments.engine,
                    "home_s3": str(self._cloud.home.s3),
                    "scratch": str(self._scratch),
                    "threads": os.cpu_count() or 2,
                    "engine_memory_mb": _ENGINE_MEMORY_MB[arguments.engine],
                },
            ),
            env=environment,
            cwd=work,
            python_path=(*python_path, _SHIM),
            memory_limit_bytes=_PROCESS_MEMORY_BYTES[arguments.engine],
            timeout_seconds=self._timeout_seconds,
        )

    def _fetch(self, uri: str, folder: Path, what: str) -> Path:
        try:
            bucket, key = split(uri)
            content = self._cloud.store.get_bytes(bucket, key)
        except (ServiceError, ValueError) as error:
            raise _CannotRun(
                f"{what} {uri} of job {self._job['Name']} cannot be read: {error}. "
                "Deploy again: it uploads the files."
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / key.rsplit("/", 1)[-1]
        path.write_bytes(content)
        return path

    def _output(self, lines: Sequence[str]) -> None:
        self._log(OUTPUT_GROUP, lines)

    def _log(self, group: str, lines: Sequence[str]) -> None:
        now = datetime.now(UTC)
        self._cloud.logs.append(group, self._run_id, [(now, line) for line in lines])

    def _ended(self, how: JobExit) -> None:
        outcome = self._outcome(how)
        try:
            if outcome.state == "SUCCEEDED":
                self._adopt()
            else:
                text = self._failure().get("trace") or outcome.message or outcome.state
                self._log(ERROR_GROUP, text.splitlines())
        except (ServiceError, OSError, sqlite3.Error) as error:
            outcome = RunOutcome(
                "FAILED", outcome.message or f"The run's outputs could not be stored: {error}"
            )
        self._finish(outcome)

    def _outcome(self, how: JobExit) -> RunOutcome:
        if self._stopping:
            return RunOutcome("STOPPED")
        if how.timed_out:
            return RunOutcome("TIMEOUT", f"Job run timed out after {how.duration_seconds:.0f} seconds")
        if how.succeeded:
            return RunOutcome("SUCCEEDED")
        if how.out_of_memory:
            limit = _PROCESS_MEMORY_BYTES[self._arguments.engine] // 2**20
            return RunOutcome("FAILED", f"Command failed with exit code 137: {how.reason}, limit {limit} MiB")
        message = self._failure().get("message")
        if message:
            return RunOutcome("FAILED", message)
        code = how.code if how.code is not None else 128 + (how.signal or 0)
        return RunOutcome("FAILED", f"Command failed with exit code {code}: {how.reason}")

    def _failure(self) -> dict[str, str]:
        from triptych.localcloud.glue.runner import FAILURE_FILE

        try:
            failure: dict[str, str] = json.loads((self._scratch / FAILURE_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return failure

    def _adopt(self) -> None:
        for write in staged_writes(self._scratch / "staging"):
            _drop_markers(write)
            self._cloud.store.adopt_tree(
                write.bucket, write.prefix, Path(write.folder), replace=write.replace
            )

    def _finish(self, outcome: RunOutcome) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._on_end(outcome)


def _drop_markers(write: StagedWrite) -> None:
    """Remove what a committer leaves beside the data (``_SUCCESS``, ``_temporary``, checksums)."""
    for path in sorted(Path(write.folder).rglob("*"), reverse=True):
        if path.name.startswith(("_", ".")) and path.is_file():
            path.unlink()
