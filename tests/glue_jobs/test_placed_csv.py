"""What the bytes of a CSV file say: lines, empty lines, and whether a number could hold an underscore."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_harness import install

install()
from glue_lib import placed_csv  # noqa: E402
from glue_lib.placed_csv import FileLines, bytes_of, survey  # noqa: E402

FILES = {
    "empty file": (b"", FileLines(0, frozenset(), False)),
    "header only": (b"a_b,c\n", FileLines(0, frozenset(), False)),
    "header without an end": (b"a_b,c", FileLines(0, frozenset(), False)),
    "last line without an end": (b"a,b\n1,2\n3,4", FileLines(2, frozenset(), False)),
    "an underscore in the header is in no number": (b"dep_time\n1\n", FileLines(1, frozenset(), False)),
    "an underscore in a row": (b"dep_time\n1_000\n", FileLines(1, frozenset(), True)),
    "empty lines": (b"a\n\n1\n\n\n2\n", FileLines(2, frozenset({2, 4, 5}), False)),
    "empty lines of Windows": (b"a\r\n\r\n1\r\n\r\n", FileLines(1, frozenset({2, 4}), False)),
    "a carriage return at the end is a line": (b"a\n1\n\r", FileLines(2, frozenset(), False)),
}


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1 << 24], ids=lambda size: f"chunks of {size}")
@pytest.mark.parametrize(("content", "expected"), FILES.values(), ids=FILES.keys())
def test_a_file_is_surveyed_whatever_the_chunks(
    content: bytes, expected: FileLines, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placed_csv, "_CHUNK", chunk)
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    assert survey(path) == expected


def test_lines_are_read_again_by_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"a\n1\r\n\n3")
    assert list(bytes_of(path, [1, 2, 4])) == [b"a", b"1", b"3"]
