"""What the bytes of a CSV file say: lines, empty lines, and whether a number could hold an underscore."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_harness import install

install()
from glue_lib import placed_csv  # noqa: E402
from glue_lib.placed_csv import FileLines, bytes_of, places_of, survey  # noqa: E402

NONE: frozenset[int] = frozenset()
FILES = {
    "empty file": (b"", FileLines(0, NONE), False),
    "header only": (b"a_b,c\n", FileLines(0, NONE), False),
    "header without an end": (b"a_b,c", FileLines(0, NONE), False),
    "last line without an end": (b"a,b\n1,2\n3,4", FileLines(2, NONE), False),
    "an underscore in the header is in no number": (b"dep_time\n1\n", FileLines(1, NONE), False),
    "an underscore in a row": (b"dep_time\n1_000\n", FileLines(1, NONE), True),
    "two signs": (b"a\n1\n+-1\n", FileLines(2, NONE), True),
    "one sign": (b"a\n-1\n+1\n-1+\n", FileLines(3, NONE), False),
    "empty lines": (b"a\n\n1\n\n\n2\n", FileLines(2, frozenset({2, 4, 5})), False),
    "empty lines of Windows": (b"a\r\n\r\n1\r\n\r\n", FileLines(1, frozenset({2, 4})), False),
    "a carriage return at the end is a line": (b"a\n1\n\r", FileLines(2, NONE), False),
}


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1 << 15], ids=lambda size: f"chunks of {size}")
@pytest.mark.parametrize(("content", "lines", "odd_numbers"), FILES.values(), ids=FILES.keys())
def test_a_file_is_surveyed_whatever_the_chunks(
    content: bytes,
    lines: FileLines,
    odd_numbers: bool,
    chunk: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placed_csv, "_CHUNK", chunk)
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    found = survey(path)
    assert found.file_lines() == lines
    assert found.odd_numbers == odd_numbers


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1 << 15], ids=lambda size: f"chunks of {size}")
@pytest.mark.parametrize("wanted", [[2, 3, 5], [5], [3, 4], [2, 7]], ids=str)
def test_lines_are_read_again_by_their_numbers(
    wanted: list[int], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placed_csv, "_CHUNK", chunk)
    path = tmp_path / "file.csv"
    path.write_bytes(b"a\n1\r\n\n333333\n4\n\n55")
    lines = [b"a", b"1", b"", b"333333", b"4", b"", b"55"]
    assert list(bytes_of(path, wanted, survey(path))) == [lines[number - 1] for number in wanted]


@pytest.mark.parametrize(
    ("content", "rows", "unread", "places", "lines"),
    [
        (b"a,b\n1,2\n3,4\n", 2, [], [0, 1], [2, 3]),
        (b"a,b\n\n1,2\n\n3,4\n", 2, [], [0, 1], [3, 5]),
        (b"a,b\r\n1,2\r\n\r\n3,4\r\n", 2, [], [0, 1], [2, 4]),
        (b"a,b\n1,2\nx\n\n3,4\n", 2, [3], [1], [5]),
        (b"a,b\n1,2\r3,4\n\n", 2, [], [], None),
    ],
    ids=[
        "plain",
        "empty lines",
        "empty lines of Windows",
        "a refused line",
        "a return that makes up for an empty line",
    ],
)
def test_places_lead_back_to_lines(
    content: bytes, rows: int, unread: list[int], places: list[int], lines: list[int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    found = places_of({"f": survey(path)}, {"f": unread}, rows, empty_lines_are_missed=True)
    assert (found and found.lines(places)["f"]) == lines


def test_an_empty_line_that_is_a_row_makes_places_unknown(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"a\n1\n\n2\n")
    assert places_of({"f": survey(path)}, {}, 3, empty_lines_are_missed=False) is None
