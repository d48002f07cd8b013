"""How batch transform cuts objects into payloads, and what its filters select: without a job around them."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.localcloud.sagemaker.containers import BATCH_TRANSFORM


@pytest.fixture(scope="module")
def cuts() -> Iterator[Any]:
    """``transform_payloads`` as a job imports it."""
    sys.path.insert(0, str(BATCH_TRANSFORM.parent))
    try:
        yield importlib.import_module("transform_payloads")
    finally:
        sys.path.remove(str(BATCH_TRANSFORM.parent))


@pytest.fixture(scope="module")
def filters(cuts: Any) -> Any:
    return importlib.import_module("record_filters")


LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20)


@settings(max_examples=150, deadline=None)
@example(lines=[b""], last_end=True, wanted=1)
@example(lines=[b"x" * 30, b"y"], last_end=False, wanted=1)
@given(lines=LINES, last_end=st.booleans(), wanted=st.integers(1, 100))
def test_payloads_are_whole_lines_and_all_of_them(
    cuts: Any, lines: list[bytes], last_end: bool, wanted: int
) -> None:
    content = b"\n".join(lines) + (b"\n" if last_end and lines else b"")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object"
        path.write_bytes(content)
        payloads = list(cuts.by_lines(0, path, wanted, 0))
        parts = [payload.read() for payload in payloads]
        first_lines = [payload.first_line() for payload in payloads]
        each = [payload.read() for payload in cuts.each_line(0, path, 0)]
    assert b"".join(parts) == content
    assert [payload.number for payload in payloads] == list(range(len(payloads)))
    before = 0
    for index, part in enumerate(parts):
        assert first_lines[index] == content[:before].count(b"\n") + 1
        assert part.endswith(b"\n") or index == len(parts) - 1
        assert len(part) <= wanted + 1 or part.rstrip(b"\n").count(b"\n") == 0
        following = parts[index + 1].split(b"\n")[0] if index + 1 < len(parts) else b"x" * 200
        assert len(part) + len(following) + 1 > wanted + 1, "another line would have fitted"
        before += len(part)
    assert [line.rstrip(b"\n") for line in each] == [
        line for line in content.split(b"\n") if line and not line.isspace()
    ]


def test_lines_longer_than_the_reading_windows(cuts: Any, tmp_path: Path) -> None:
    path = tmp_path / "object"
    lines = [b"a" * 3_000_000, b"b" * 10, b"c" * 200_000, b"d" * 70_000]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert [payload.length for payload in cuts.by_lines(0, path, 300_000, 0)] == [3_000_001, 270_013]
    with pytest.raises(cuts.ObjectRefused) as caught:
        list(cuts.by_lines(0, path, 1000, 100_000))
    assert caught.value.failure.line == 1


def test_a_file_that_shrank_is_told(cuts: Any, tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"1,2,3\n" * 10)
    (payload,) = cuts.whole(0, path, 0)
    path.write_bytes(b"1,2,3\n")
    with pytest.raises(OSError, match="ends before byte 60"):
        payload.read()


RECORD = {"id": 7, "row": {"a": 1, "b": [10, 20, 30]}, "SageMakerOutput": {"score": 0.5}, "odd-name": 1}
ROW = ["x", "1", "2", "3"]


@pytest.mark.parametrize(
    ("path", "record", "expected"),
    [
        (None, ROW, ROW),
        ("$", RECORD, RECORD),
        ("$[1:]", ROW, ["1", "2", "3"]),
        ("$[:2]", ROW, ["x", "1"]),
        ("$[1:3]", ROW, ["1", "2"]),
        ("$[-2:]", ROW, ["2", "3"]),
        ("$[:]", ROW, ROW),
        ("$[0]", ROW, "x"),
        ("$[-1]", ROW, "3"),
        ("$[3,0]", ROW, ["3", "x"]),
        ("$[0, 2:]", ROW, ["x", "2", "3"]),
        ("$[*]", ROW, ROW),
        ("$.*", ROW, ROW),
        ("$.id", RECORD, 7),
        ("$.odd-name", RECORD, 1),
        ("$.row.b[1]", RECORD, 20),
        ("$.row.b[0,2]", RECORD, [10, 30]),
        ("$.row.*", RECORD, [1, [10, 20, 30]]),
        ("$['row']['a']", RECORD, 1),
        ("$.['id','SageMakerOutput']", RECORD, {"id": 7, "SageMakerOutput": {"score": 0.5}}),
        ('$["id"]', RECORD, 7),
        ("$.row['a','b']", RECORD, {"a": 1, "b": [10, 20, 30]}),
    ],
)
def test_filters_select(filters: Any, path: str | None, record: Any, expected: Any) -> None:
    assert filters.selector(path)(record) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "id",
        "$..id",
        "$[?(@.a)]",
        "$[(@.length-1)]",
        "$['a',1]",
        "$[1:2:3]",
        "$.",
        "$[]",
        "$['a.b'",
        "$.a b",
    ],
)
def test_filters_refused(filters: Any, path: str) -> None:
    with pytest.raises(filters.BadFilter):
        filters.selector(path)


@pytest.mark.parametrize("path", ["$.id", "$['id']", "$['id','x']"])
def test_names_are_refused_for_csv(filters: Any, path: str) -> None:
    with pytest.raises(filters.BadFilter, match="a CSV record has only indexes"):
        filters.selector(path, "csv")


@pytest.mark.parametrize(
    ("path", "record"),
    [("$[4]", ROW), ("$[0,9]", ROW), ("$.name", RECORD), ("$.id.x", RECORD), ("$[0]", RECORD), ("$['a']", ROW),
     ("$[1:]", RECORD), ("$.row.b.c", RECORD), ("$.id.*", RECORD)],
)  # fmt: skip
def test_filters_that_find_nothing(filters: Any, path: str, record: Any) -> None:
    with pytest.raises(filters.FindsNothing, match="finds nothing in"):
        filters.selector(path)(record)


def test_the_report_keeps_what_was_written(tmp_path: Path) -> None:
    from triptych.localcloud.sagemaker.containers.transform_task import Failure, Report, read_report

    failures = {
        "s3://a/b": Failure("ClientError", "no", 400, 3),
        "s3://a/c": Failure("AlgorithmError", "gone"),
    }
    report = Report({"s3://a/d": 5}, failures, "trouble")
    report.write(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    assert read_report(tmp_path / "none.json") is None
