"""What a job is and how it ended: the words the job pool and its callers share."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

PoolName = Literal["jobs", "lambda"]
"""which fork server starts it; ``preload.py`` says what each has loaded"""

CHANNEL_VARIABLE = "TRIPTYCH_CHANNEL_FD"
"""The environment variable that tells a job the file descriptor of its ``JobSpec.channel``"""


@dataclass(frozen=True)
class ScriptEntry:
    """Run a Python file as ``__main__``; its folder is first on ``sys.path``, as ``python path`` has it."""

    path: Path | str
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class FunctionEntry:
    """Call ``function``, named ``module:attribute`` and imported from the project, with ``kwargs``.

    ``kwargs`` must be JSON. What the function returns is the exit code (None is 0). The project's own modules
    are gone from ``sys.modules`` when it runs, so it must not import them lazily.
    """

    function: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CommandEntry:
    """Replace the process by a program (``execvp``); nothing that the fork server has loaded is used."""

    argv: tuple[str, ...]


Entry = ScriptEntry | FunctionEntry | CommandEntry


@dataclass(frozen=True)
class JobSpec:
    """A process to start.

    ``env`` is its whole environment; ``python_path`` comes before site-packages. Past ``memory_limit_bytes``
    (resident memory of the process and its descendants) or ``timeout_seconds`` its whole group is killed.
    ``channel`` is passed on as a file descriptor named by ``TRIPTYCH_CHANNEL_FD``; the caller's end stays the
    caller's, and the pool closes ``channel`` itself once it is handed over.
    """

    name: str
    pool: PoolName
    entry: Entry
    env: Mapping[str, str]
    cwd: Path
    python_path: tuple[str, ...] = ()
    memory_limit_bytes: int | None = None
    timeout_seconds: float | None = None
    channel: socket.socket | None = None


@dataclass(frozen=True)
class JobExit:
    """How a job ended: exactly one of ``code`` and ``signal`` is set.

    ``peak_memory_bytes`` is the highest resident memory seen of the process with its descendants.
    """

    code: int | None
    signal: int | None
    timed_out: bool
    out_of_memory: bool
    duration_seconds: float
    peak_memory_bytes: int

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and not self.timed_out and not self.out_of_memory

    @property
    def reason(self) -> str:
        """One line a person understands: ``exit code 3``, ``out of memory``, ``killed by SIGSEGV`` …"""
        if self.out_of_memory:
            return f"out of memory (peak {self.peak_memory_bytes // 2**20} MiB)"
        if self.timed_out:
            return f"timed out after {self.duration_seconds:.0f} seconds"
        if self.signal is not None:
            try:
                return f"killed by {signal.Signals(self.signal).name}"
            except ValueError:
                return f"killed by signal {self.signal}"
        return f"exit code {self.code}"
