"""The process of one job run: choose the engine, run the script as it is, say why it failed."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from types import TracebackType

from triptych.localcloud.glue import duckdb_engine, spark_engine
from triptych.localcloud.glue.paths import JobPaths
from triptych.localcloud.jobs.child import run_script

FAILURE_FILE = "failure.json"
"""Written to the run's scratch folder: ``{"message", "trace"}`` of the exception that ended the script"""

SHIM = str(Path(__file__).parent / "shim")


def run(
    script: str,
    argv: list[str],
    engine: str,
    home_s3: str,
    scratch: str,
    threads: int,
    engine_memory_mb: int,
) -> int:
    """Run ``script`` with ``argv`` on ``engine`` (``duckdb`` or ``spark``); the answer is the exit code.

    What it writes to S3 stays below ``<scratch>/staging``. ``engine_memory_mb`` bounds DuckDB's buffers or
    Spark's heap.
    """
    folder = Path(scratch)
    paths = JobPaths(Path(home_s3), folder / "staging")
    try:
        start = spark_engine.activate if engine == "spark" else duckdb_engine.activate
        start(paths, folder, threads, engine_memory_mb)
        sys.argv = [script, *argv]
        run_script(script)
    except SystemExit as error:
        if error.code in (None, 0):
            return 0
        _explain(folder, f"SystemExit: {error.code}", "")
        raise
    except BaseException as error:
        trace = "".join(
            traceback.format_exception(type(error), error, _scripts_part(error.__traceback__, script))
        )
        print(trace, end="", file=sys.stderr)
        _explain(folder, f"{type(error).__name__}: {error}", trace)
        return 1
    return 0


def _scripts_part(trace: TracebackType | None, script: str) -> TracebackType | None:
    """The traceback from the script on; all of it when the script was not reached."""
    step = trace
    while step is not None:
        if step.tb_frame.f_code.co_filename == script:
            return step
        step = step.tb_next
    return trace


def _explain(scratch: Path, message: str, trace: str) -> None:
    (scratch / FAILURE_FILE).write_text(json.dumps({"message": message, "trace": trace}))
