"""What the model server reads and writes: every format, in Python and by pyarrow, with what it refuses."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from triptych.localcloud.sagemaker.containers import SERVE

CSV, JSON, LINES, PARQUET = (
    "text/csv",
    "application/json",
    "application/jsonlines",
    "application/x-parquet",
)
NAMES = ["a", "b", "c"]
MANY = 2000
"""rows that are more than a small body"""


@pytest.fixture(scope="module")
def formats() -> Iterator[Any]:
    sys.path.insert(0, str(SERVE))
    try:
        yield importlib.import_module("triptych_serve.formats")
    finally:
        sys.path.remove(str(SERVE))


@pytest.fixture
def without_pyarrow(formats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.columnar, "available", lambda: False)


def as_json(rows: np.ndarray) -> Any:
    return json.loads(json.dumps(rows.tolist()).replace("NaN", "null").replace("Infinity", "1e999"))


def parquet_bytes(table: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(table), sink, **options)
    return sink.getvalue()


CSV_BODIES = [
    pytest.param(b"1,2,3", [[1, 2, 3]], id="one-row"),
    pytest.param(b"1,2,3\r\n4,,6\r\n", [[1, 2, 3], [4, None, 6]], id="crlf"),
    pytest.param(b"1,2,\r\n,5,6\r\n", [[1, 2, None], [None, 5, 6]], id="crlf-after-missing"),
    pytest.param(b",,\n,,\n", [[None] * 3] * 2, id="all-missing"),
    pytest.param(b'"1"," 2 ",-.5e1\n', [[1, 2, -5]], id="quoted-and-spaced"),
    pytest.param(b"NA,null,NaN\nnone,nan,1\n", [[None] * 3, [None, None, 1]], id="words"),
    pytest.param(b"\n1,2,3\n\n  \n4,5,6\n\n", [[1, 2, 3], [4, 5, 6]], id="lines-without-anything"),
    pytest.param(b"\xef\xbb\xbf1,2,3\n", [[1, 2, 3]], id="byte-order-mark"),
    pytest.param(b"+1,1e3,.5", [[1, 1000, 0.5]], id="spellings"),
]


@pytest.mark.parametrize(("body", "expected"), CSV_BODIES)
@pytest.mark.parametrize("copies", [1, MANY], ids=["small", "large"])
def test_csv(formats: Any, body: bytes, expected: list[list[float]], copies: int) -> None:
    if copies > 1 and not body.endswith(b"\n"):
        body += b"\n"
    mark = b"\xef\xbb\xbf"
    text = mark + body[3:] * copies if body.startswith(mark) else body * copies
    rows = formats.decode(text, CSV, NAMES, 3)
    assert rows.dtype == np.float32
    assert as_json(rows) == expected * copies


@pytest.mark.usefixtures("without_pyarrow")
@pytest.mark.parametrize(("body", "expected"), CSV_BODIES)
def test_csv_without_pyarrow(formats: Any, body: bytes, expected: list[list[float]]) -> None:
    body = b"1,2,3\n" * MANY + body.removeprefix(b"\xef\xbb\xbf")
    assert as_json(formats.decode(body, CSV, NAMES, 3))[MANY:] == expected


@pytest.mark.parametrize("copies", [1, MANY * 10], ids=["small", "large"])
def test_with_one_column_a_line_without_anything_is_a_missing_value(formats: Any, copies: int) -> None:
    assert as_json(formats.decode(b"\n1\n\n" * copies, CSV, None, 1)) == [[None], [1], [None]] * copies


NUMBERS = st.one_of(st.none(), st.floats(width=32, allow_nan=False), st.integers(-(10**6), 10**6))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_csv_of_any_size_holds_the_same_numbers(formats: Any, rows: list[tuple[Any, ...]]) -> None:
    line = "".join(",".join("" if cell is None else repr(cell) for cell in row) + "\n" for row in rows)
    small = formats.decode(line.encode(), CSV, None, 3)
    copies = 17_000 // len(line) + 1
    large = formats.decode(line.encode() * copies, CSV, None, 3)
    quoted = formats.decode(b'"0",0,0\n' + line.encode(), CSV, None, 3)[1:]
    assert np.array_equal(large, np.tile(small, (copies, 1)), equal_nan=True)
    assert np.array_equal(quoted, small, equal_nan=True)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        pytest.param('{"instances": [[1, 2, null]]}', JSON, [[1, 2, None]], id="instances"),
        pytest.param("[[1, 2, 3], [4, 5, 6]]", JSON, [[1, 2, 3], [4, 5, 6]], id="rows"),
        pytest.param('{"c": 3, "a": 1, "b": null}', JSON, [[1, None, 3]], id="one-object"),
        pytest.param('[{"features": {"c": 3, "a": 1, "b": 2}}]', JSON, [[1, 2, 3]], id="features-object"),
        pytest.param('{"features": [1, 2, "nan"]}\n', LINES, [[1, 2, None]], id="features-list"),
        pytest.param(
            '\n[1, 2, true]\r\n\n{"a": 1, "c": 2, "b": "7"}', LINES, [[1, 2, 1], [1, 7, 2]], id="mixed"
        ),
    ],
)
def test_json(formats: Any, body: str, kind: str, expected: list[list[float]]) -> None:
    assert as_json(formats.decode(body.encode(), kind, NAMES, 3)) == expected


REFUSED_ROWS = [
    pytest.param(
        b"1,2,3\n1,2\n",
        CSV,
        "has 2 columns, but the model was trained on 3: a, b, c",
        2,
        id="columns-missing",
    ),
    pytest.param(b"1,2,3,4\n", CSV, "has 4 columns", 1, id="columns-extra"),
    pytest.param(b"\n1,2,3\n\n1,x,3\n", CSV, "column 2 (b): 'x' is not a number", 4, id="word"),
    pytest.param(b"1,1_0,3\n", CSV, "'1_0' is not a number", 1, id="digits-apart"),
    pytest.param(b'1,2,"3\n', CSV, "is not CSV: unexpected end of data", 1, id="open-quote"),
    pytest.param(b"1,2,3\n1,2,\xff\n", CSV, "not UTF-8: invalid start byte at byte", 2, id="not-utf8"),
    pytest.param(b"[1, 2, 3]\n\n[1, 2\n", LINES, "is not JSON", 3, id="broken-line"),
    pytest.param(b'[1, 2, 3]\n"x"\n', LINES, "is neither a list nor an object", 2, id="text-line"),
    pytest.param(b'{"a": 1, "b": 2, "d": 3}\n', LINES, "lacks c and has unknown d", 1, id="unknown-name"),
    pytest.param(b"\n\n[1, 2, [3]]\n", LINES, "column 3 (c): [3] is not a number", 3, id="nested"),
]


@pytest.mark.parametrize(("body", "kind", "message", "row"), REFUSED_ROWS)
@pytest.mark.parametrize("copies", [0, MANY], ids=["small", "large"])
def test_refused_rows(formats: Any, body: bytes, kind: str, message: str, row: int, copies: int) -> None:
    before = b"1,2,3\n" if kind == CSV else b"[1, 2, 3]\n"
    with pytest.raises(formats.RequestRefused) as caught:
        formats.decode(before * copies + body, kind, NAMES, 3)
    told = str(caught.value)
    assert message in told
    assert (caught.value.status_code, caught.value.row) == (400, row + copies)
    assert f" {row + copies}" in told or "UTF-8" in told


@pytest.mark.parametrize(
    ("body", "kind", "message", "row"),
    [
        pytest.param(b"", CSV, "empty", None, id="nothing"),
        pytest.param(b" \n \n", LINES, "empty", None, id="only-spaces"),
        pytest.param(b"a,b,c\n1,2,3\n", CSV, "row 1 holds no number ('a', …): send the rows without a header", 1,
                     id="header"),
        pytest.param(b"a,b,c\n" + b"1,2,3\n" * MANY * 2, CSV, "send the rows without a header", 1, id="large-header"),
        pytest.param(b"{", JSON, "the request is not JSON", 1, id="not-json"),
        pytest.param(b"[" * 100_000, JSON, "nested too deeply", None, id="deep"),
        pytest.param(b"[1]\n" + b"[" * 100_000, LINES, "line 2 is JSON nested too deeply", 2, id="deep-line"),
        pytest.param(b'{"instances": 3}', JSON, "'instances' must be a list", None, id="instances-number"),
        pytest.param(b"[]", JSON, "no rows", None, id="no-rows"),
        pytest.param(b"7", JSON, "a list of rows", None, id="a-number"),
        pytest.param(b"PAR1", PARQUET, "not Parquet that can be read", None, id="not-parquet"),
    ],
)  # fmt: skip
def test_refused_bodies(formats: Any, body: bytes, kind: str, message: str, row: int | None) -> None:
    with pytest.raises(formats.RequestRefused) as caught:
        formats.decode(body, kind, NAMES, 3)
    assert message in str(caught.value)
    assert (caught.value.status_code, caught.value.row) == (400, row)


@pytest.mark.parametrize("kind", ["image/png", "text/plain", "application/octet-stream"])
def test_other_content_types_are_refused(formats: Any, kind: str) -> None:
    with pytest.raises(formats.RequestRefused, match=f"cannot read '{kind}'; send one of text/csv") as caught:
        formats.decode(b"1,2,3", kind, NAMES, 3)
    assert caught.value.status_code == 415


@pytest.mark.parametrize(
    ("table", "names", "expected"),
    [
        pytest.param({"c": [3.5, None], "a": [1, 2], "b": [True, None]}, NAMES, [[1, 1, 3.5], [2, None, None]],
                     id="by-name"),
        pytest.param({"x": [1.0], "y": [2], "z": [None]}, NAMES, [[1, 2, None]], id="by-position"),
        pytest.param({"x": [1.0], "y": [2], "z": [3]}, None, [[1, 2, 3]], id="model-without-names"),
        pytest.param({name: list(range(40_000)) for name in NAMES}, NAMES, [[n] * 3 for n in range(40_000)],
                     id="several-batches"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [PARQUET, "application/vnd.apache.parquet"])
def test_parquet(formats: Any, table: dict[str, Any], names: Any, expected: Any, kind: str) -> None:
    rows = formats.decode(parquet_bytes(table, row_group_size=10_000), kind, names, 3)
    assert rows.dtype == np.float32
    assert as_json(rows) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param({"a": [1], "b": [1]}, "the Parquet file lacks c", id="lacks"),
        pytest.param({"late": [1], "a": [1], "b": [1], "c": [1]}, "has unknown late", id="label"),
        pytest.param({"x": [1], "y": [1]}, "has 2 columns, but the model was trained on 3: a, b, c", id="width"),
        pytest.param({"a": ["1"], "b": [1], "c": [1]}, "column 1 (a) of the Parquet file holds string", id="text"),
        pytest.param({"a": [[1]], "b": [1], "c": [1]}, "holds list<element: int64>, not numbers", id="list"),
        pytest.param({"a": pyarrow.array([], "float"), "b": pyarrow.array([], "float"),
                      "c": pyarrow.array([], "float")}, "no rows", id="no-rows"),
    ],
)  # fmt: skip
def test_parquet_refused(formats: Any, table: dict[str, Any], message: str) -> None:
    with pytest.raises(formats.RequestRefused) as caught:
        formats.decode(parquet_bytes(table), PARQUET, NAMES, 3)
    assert message in str(caught.value)


def test_parquet_cut_short_is_refused(formats: Any) -> None:
    body = parquet_bytes({name: np.random.default_rng(0).random(5000) for name in NAMES}, compression="none")
    spoiled = body[:20_000] + b"\xff" * 20_000 + body[40_000:]
    for wrong in (body[:-20], spoiled[: len(body) // 2] + body[-300:]):
        with pytest.raises(formats.RequestRefused, match="Parquet"):
            formats.decode(wrong, PARQUET, NAMES, 3)


@pytest.mark.usefixtures("without_pyarrow")
def test_parquet_without_pyarrow(formats: Any) -> None:
    with pytest.raises(formats.RequestRefused, match="cannot read") as caught:
        formats.decode(b"PAR1", PARQUET, NAMES, 3)
    assert (caught.value.status_code, PARQUET in str(caught.value).split(";", 1)[1]) == (415, False)
    with pytest.raises(formats.RequestRefused, match="cannot answer"):
        formats.choose_accept(PARQUET)
    assert formats.choose_accept(f"{PARQUET}, {JSON}") == JSON


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, CSV), ("", CSV), ("*/*", CSV), ("text/*", CSV), ("text/csv; charset=utf-8", CSV),
        ("image/png, application/jsonlines", LINES), ("Application/JSON", JSON), (PARQUET, PARQUET),
    ],
)  # fmt: skip
def test_accept(formats: Any, accept: str | None, expected: str) -> None:
    assert formats.choose_accept(accept) == expected


SCORES = np.array(
    [0.1, 1 / 3, 1, 0, -0.0, 1e-4, 1.5e-5, 1e7, 123456.7, 1e21, np.nan, np.inf, -np.inf], dtype=np.float32
)


@pytest.mark.parametrize("classes", [None, 1, 3])
@pytest.mark.parametrize("copies", [1, 100], ids=["small", "large"])
def test_answers_give_the_scores_again(formats: Any, classes: int | None, copies: int) -> None:
    scores = np.tile(SCORES, copies)
    if classes is not None:
        scores = np.stack([np.roll(scores, index) for index in range(classes)], axis=1)
    wanted = scores.tolist()
    csv = [
        [float(cell) for cell in line.split(",")]
        for line in formats.encode(scores, CSV).decode().splitlines()
    ]
    lines = [json.loads(line)["score"] for line in formats.encode(scores, LINES).splitlines()]
    whole = [entry["score"] for entry in json.loads(formats.encode(scores, JSON))["predictions"]]
    table = parquet.read_table(io.BytesIO(formats.encode(scores, PARQUET)))
    for found in (csv, lines, whole, np.stack([column.to_numpy() for column in table.columns], axis=1)):
        found_scores = np.array(found, dtype=np.float32).reshape(scores.shape)
        assert np.array_equal(found_scores, np.array(wanted, np.float32), equal_nan=True)
    assert formats.encode(scores[:0], CSV) == b""
    assert json.loads(formats.encode(scores[:0], JSON)) == {"predictions": []}


@pytest.mark.parametrize("kind", [CSV, JSON, LINES])
def test_a_row_is_written_alike_alone_and_among_many(formats: Any, kind: str) -> None:
    scores = np.tile(SCORES, 100)
    many = formats.encode(scores, kind)
    columnar = formats.columnar.available
    formats.columnar.available = lambda: False
    try:
        assert formats.encode(scores, kind) == many
    finally:
        formats.columnar.available = columnar


@pytest.mark.parametrize(
    ("made", "csv", "lines"),
    [
        pytest.param(["late", "punctual"], "late\npunctual\n", '{"score": "late"}\n{"score": "punctual"}\n', id="text"),
        pytest.param(0.5, "0.5\n", '{"score": 0.5}\n', id="single"),
        pytest.param([True, False], "True\nFalse\n", '{"score": true}\n{"score": false}\n', id="booleans"),
        pytest.param([3, 4], "3\n4\n", '{"score": 3}\n{"score": 4}\n', id="integers"),
        pytest.param([0.1, 0.25], "0.1\n0.25\n", '{"score": 0.1}\n{"score": 0.25}\n', id="doubles"),
    ],
)  # fmt: skip
def test_answers_of_other_models(formats: Any, made: Any, csv: str, lines: str) -> None:
    assert formats.encode(np.asarray(made), CSV).decode() == csv
    assert formats.encode(np.asarray(made), LINES).decode() == lines
