"""From a row's place among the rows of CSV files back to its line: only the few rows that need it are sought.

DuckDB keeps the order of the files' rows and tells the lines that it could not read. So a row's place says its line,
and the line's bytes are read again: as text, for reasons that speak of the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_CHUNK = 1 << 15


@dataclass(frozen=True)
class FileLines:
    """The lines of a file that matter."""

    data: int
    """Lines that are neither the header nor empty"""
    blank: frozenset[int]
    """Numbers (1-based) of the empty lines"""


@dataclass(frozen=True)
class FileSurvey:
    """What a first look at the bytes of a file says, independently of any CSV reader."""

    path: Path
    lines: int
    """All of them"""
    odd_numbers: bool
    """Whether a number may be written as 1_000 or +-1, which DuckDB reads and a contract does not"""
    returns: bool
    """Whether there are carriage returns: as parts of line ends, or as something that a reader may take for one"""
    ends_before: tuple[int, ...]
    """How many lines ended before each part of ``_CHUNK`` bytes"""

    def file_lines(self) -> FileLines:
        """Seek the empty lines, too: that takes longer than counting all."""
        blank = _empty_lines(self.path)
        return FileLines(max(0, self.lines - 1 - len(blank)), blank)


def survey(path: Path) -> FileSurvey:
    """Count a file's lines."""
    ends = 0
    ends_before: list[int] = []
    odd_numbers = returns = False
    in_header = True
    last = b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            ends_before.append(ends)
            ends += chunk.count(b"\n")
            first = 0
            if in_header:  # the header's names are no numbers
                first = chunk.find(b"\n") + 1
                in_header = first == 0
            if not (odd_numbers or in_header):
                signs = b"+" in chunk or last == b"+"
                odd_numbers = chunk.find(b"_", first) >= 0 or (signs and b"+-" in last + chunk)
            returns = returns or b"\r" in chunk
            last = chunk[-1:]
    lines = ends + (last not in (b"", b"\n"))
    return FileSurvey(path, lines, odd_numbers, returns, tuple(ends_before))


def _empty_lines(path: Path) -> frozenset[int]:
    """The numbers (1-based) of the empty lines; what follows the last line end is none."""
    blank: set[int] = set()
    ends = 0
    tail = b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK << 5):
            window = tail + chunk
            before = ends - tail.count(b"\n")
            blank.update(_empty_lines_of(window, len(tail), before))
            ends = before + window.count(b"\n")
            tail = window[-2:]
    return frozenset(blank)


def _empty_lines_of(window: bytes, known: int, before: int) -> Iterator[int]:
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


def places_of(
    surveys: Mapping[str, FileSurvey],
    unread: Mapping[str, Collection[int]],
    rows: int,
    *,
    empty_lines_are_missed: bool,
) -> Places | None:
    """The places of the ``rows`` that a reader made of files, in order; None if they and the lines do not add up.

    ``empty_lines_are_missed``: an empty line gives no row, so that none is empty where as many rows as lines are
    there already; only a lone carriage return could make up for one.
    """
    refused = {path: frozenset(lines) for path, lines in unread.items()}
    if empty_lines_are_missed and not any(file.returns for file in surveys.values()):
        lines = {path: FileLines(max(0, file.lines - 1), frozenset()) for path, file in surveys.items()}
        places = Places(lines, refused)
        if places.add_up_to(rows):
            return places
    places = Places({path: file.file_lines() for path, file in surveys.items()}, refused)
    return places if places.add_up_to(rows) else None


def bytes_of(path: Path, lines: Iterable[int], file_survey: FileSurvey) -> Iterator[bytes]:
    """The bytes of lines below the header (numbers from 2, ascending), without their ends."""
    starts = file_survey.ends_before
    at = 1
    with path.open("rb", buffering=1 << 14) as file:
        for line in lines:
            # The part in which the line before it ends: no line of it need be read for those in parts before.
            part = bisect_left(starts, line - 1) - 1
            if starts[part] >= at:
                file.seek(part * _CHUNK)
                at = starts[part] + 1  # what is left of this line
            yield next(islice(file, line - at, None)).rstrip(b"\r\n")
            at = line + 1
