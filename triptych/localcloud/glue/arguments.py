"""A run's arguments: the job's defaults, the run's own over them, and those that Glue itself understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from triptych.localcloud.service import ServiceError

ENGINES = ("duckdb", "spark")


@dataclass(frozen=True)
class RunArguments:
    """What a run is to do with its arguments."""

    argv: tuple[str, ...]
    """all of them, as the script sees them after its own name"""
    engine: str
    extra_py_files: tuple[str, ...] = ()
    extra_files: tuple[str, ...] = ()
    python_modules: tuple[str, ...] = field(default=())

    def missing_modules(self) -> list[str]:
        """Of ``--additional-python-modules``, what the environment does not have."""
        return [module for module in self.python_modules if not _is_installed(module)]


def resolve(job: Mapping[str, Any], given: Mapping[str, str], run_id: str, engine: str) -> RunArguments:
    """The run's arguments; raises InvalidInputException for an engine that does not exist.

    The job's NonOverridableArguments win over the run's, and those over the job's DefaultArguments.
    """
    merged = {
        **(job.get("DefaultArguments") or {}),
        **given,
        **(job.get("NonOverridableArguments") or {}),
    }
    engine = merged.get("--triptych_engine", engine)
    if engine not in ENGINES:
        raise ServiceError(
            "InvalidInputException",
            f"--triptych_engine {engine!r}: the local cloud has {' and '.join(ENGINES)}.",
        )
    argv = ["--JOB_NAME", job["Name"], "--JOB_ID", f"j_{run_id[3:]}", "--JOB_RUN_ID", run_id]
    for name, value in merged.items():
        if name != "--JOB_NAME":
            argv += [name if name.startswith("--") else f"--{name}", value]
    return RunArguments(
        argv=tuple(argv),
        engine=engine,
        extra_py_files=_items(merged.get("--extra-py-files")),
        extra_files=_items(merged.get("--extra-files")),
        python_modules=_items(merged.get("--additional-python-modules")),
    )


def _items(text: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


def _is_installed(requirement: str) -> bool:
    name, exact, version = requirement.partition("==")
    for mark in (">", "<", "~", "!", "["):
        name = name.split(mark)[0]
    try:
        installed = metadata.version(name.strip())
    except metadata.PackageNotFoundError:
        return False
    return not exact or installed == version.strip()
