"""From a row's place in a Parquet written from CSV files back to its line: only the few rows that need it are sought.

DuckDB keeps the order of the files' rows when it writes them, and tells the lines that it could not read. So a row's
place says its line, and the line's bytes are read again: as text, for reasons that speak of the text.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_CHUNK = 1 << 24


@dataclass(frozen=True)
class FileLines:
    """What the bytes of a file say, independently of any CSV reader."""

    data: int
    """Lines that are neither the header nor empty"""
    blank: frozenset[int]
    """Numbers (1-based) of the empty lines"""
    underscores: bool
    """Whether a number may be written as 1_000, which DuckDB reads and a contract does not"""


def survey(path: Path) -> FileLines:
    """Count a file's lines."""
    if path.stat().st_size == 0:
        return FileLines(0, frozenset(), False)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        lines = sum(data[start : start + _CHUNK].count(b"\n") for start in range(0, len(data), _CHUNK))
        if data[-1:] != b"\n":
            lines += 1
        blank = frozenset(_empty_lines(data))
        return FileLines(lines - 1 - len(blank), blank, data.find(b"_") >= 0)


def _empty_lines(data: mmap.mmap) -> set[int]:
    starts: list[int] = []
    for mark in (b"\n\n", b"\n\r\n"):
        position = data.find(mark)
        while position >= 0:
            starts.append(position + 1)
            position = data.find(mark, position + 1)
    found: set[int] = set()
    counted_to, line = 0, 1
    for start in sorted(starts):
        line += data[counted_to:start].count(b"\n")
        counted_to = start
        found.add(line)
    return found


@dataclass(frozen=True)
class Places:
    """The lines of an ordered list of files that gave rows, and those that gave none."""

    files: Mapping[str, FileLines]
    unread: Mapping[str, frozenset[int]]
    """Lines (1-based), by path, that the reader refused"""

    def add_up_to(self, rows: int) -> bool:
        """Whether every line gave one row or was refused; if not, a row's place says nothing."""
        return rows == sum(self._rows(path) for path in self.files)

    def _rows(self, path: str) -> int:
        return self.files[path].data - len(self.unread.get(path, ()))

    def lines(self, rows: Sequence[int]) -> dict[str, list[int]]:
        """The lines of rows, given by their places (from 0, ascending) in all files together; by path."""
        found: dict[str, list[int]] = {}
        first = taken = 0
        for path, file in self.files.items():
            end = first + self._rows(path)
            skipped = sorted(file.blank | self.unread.get(path, frozenset()))
            passed = 0
            while taken < len(rows) and rows[taken] < end:
                line = rows[taken] - first + 2 + passed
                while passed < len(skipped) and skipped[passed] <= line:
                    passed += 1
                    line += 1
                found.setdefault(path, []).append(line)
                taken += 1
            first = end
        return found


def bytes_of(path: Path, lines: Iterable[int]) -> Iterator[bytes]:
    """The bytes of lines (1-based, ascending), without their ends."""
    with path.open("rb", buffering=1 << 20) as file:
        at = 1
        for line in lines:
            yield next(islice(file, line - at, None)).rstrip(b"\r\n")
            at = line + 1
