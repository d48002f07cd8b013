"""The sample: the package's bytes, one file a month, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_harness import install

install()

from usecases.flights.sample import split_by_month, write_raw  # noqa: E402


def test_every_flight_lands_in_its_month(tmp_path: Path) -> None:
    paths = write_raw(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == sorted(names)
    flights = [path for path in paths if path.parent.name == "flights"]
    assert [path.name for path in flights] == [f"2013-{month:02d}.csv" for month in range(1, 13)]
    rows = 0
    for path in flights:
        lines = path.read_bytes().splitlines()
        rows += len(lines) - 1
        month = int(path.stem[-2:])
        assert {line.split(b",", 2)[1] for line in lines[1:]} == {str(month).encode()}
    assert rows == 336_776


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_raw(tmp_path / "a")}
    assert first == {path.name: path.read_bytes() for path in write_raw(tmp_path / "b")}


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (b"y,m,x\n", {}),
        (
            b"y,m,x\n2013,1,a\n2013,2,b\n2013,1,c",
            {"2013-01": b"y,m,x\n2013,1,a\n2013,1,c", "2013-02": b"y,m,x\n2013,2,b\n"},
        ),
    ],
    ids=["no rows", "months in turns"],
)
def test_splitting(table: bytes, parts: dict[str, bytes]) -> None:
    assert split_by_month(table) == parts
