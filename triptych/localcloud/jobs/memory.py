"""Memory that a process and all its descendants hold and the kernel cannot take back.

Why watching, and no rlimit: ``RLIMIT_AS`` counts what is only reserved (DuckDB, OpenMP stacks and the JVM
reserve many times what they use), ``RLIMIT_RSS`` does nothing on Linux, and cgroups need root. What counts is
resident anonymous memory: pages of mapped files can be dropped at any time. Pages that a forked process
shares with its fork server count too, as the same libraries would on AWS.
"""

from __future__ import annotations

import os
import sys

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def held_bytes(pid: int) -> int:
    """Memory held by the process ``pid`` and its descendants, in bytes; 0 when it is gone."""
    if sys.platform != "linux":
        return _held_bytes_portable(pid)
    return sum(_held_by(member) for member in (pid, *descendants(pid)))


def descendants(pid: int) -> list[int]:
    """Children of ``pid``, their children and so on (Linux)."""
    found = []
    for child in children(pid):
        found.append(child)
        found.extend(descendants(child))
    return found


def children(pid: int) -> list[int]:
    """The direct children of every thread of ``pid`` (Linux)."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found.extend(int(child) for child in file.read().split())
    except OSError:
        pass  # it ended while we looked
    return found


def _held_by(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * _PAGE_BYTES


def _held_bytes_portable(pid: int) -> int:
    import psutil

    try:
        process = psutil.Process(pid)
        return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0
