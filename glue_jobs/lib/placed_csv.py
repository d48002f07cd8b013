"""From a row's place in a Parquet written from CSV files back to its line: only the few rows that need it are sought.

DuckDB keeps the order of the files' rows when it writes them, and tells the lines that it could not read. So a row's
place says its line, and the line's bytes are read again: as text, for reasons that speak of the text.
"""

from __future__ import annotations

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
    ends = 0
    blank: set[int] = set()
    underscores = False
    in_header = True
    tail = b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            window = tail + chunk
            before = ends - tail.count(b"\n")
            blank.update(_empty_lines(window, len(tail), before))
            ends = before + window.count(b"\n")
            first = 0
            if in_header:  # the header's names are no numbers
                first = chunk.find(b"\n") + 1
                in_header = first == 0
            underscores = underscores or (not in_header and chunk.find(b"_", first) >= 0)
            tail = window[-2:]
    if not tail:
        return FileLines(0, frozenset(), False)
    lines = ends + (tail[-1:] != b"\n")
    return FileLines(lines - 1 - len(blank), frozenset(blank), underscores)


def _empty_lines(window: bytes, known: int, before: int) -> Iterator[int]:
    """The numbers of the empty lines in a part of a file, which ``before`` line ends come before.

    Of its first ``known`` bytes all has been told already.
    """
    starts: list[int] = []
    for mark in (b"\n\n", b"\n\r\n"):
        position = window.find(mark)
        while position >= 0:
            if position + len(mark) > known:
                starts.append(position + 1)
            position = window.find(mark, position + 1)
    counted_to, line = 0, before + 1
    for start in sorted(starts):
        line += window.count(b"\n", counted_to, start)
        counted_to = start
        yield line


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
