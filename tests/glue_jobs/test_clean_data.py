"""Cleaning: every bad row is quarantined with its place and reasons, and no row is lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from job_harness import duckdb_engine, load_job, read_rows

from triptych.core.contract import Column, Files, Table

TABLE = Table(
    name="visits",
    description="",
    files=Files(prefix="raw/visits/", pattern=r".*\.csv", null_values=("NA", "")),
    key=("id",),
    columns={
        column.name: column
        for column in (
            Column("id", "integer", nullable=False, min=1, max=1000),
            Column("city", "string", allowed=("Ulm", "Köln")),
            Column("price", "number", min=0, max=100),
            Column("at", "timestamp", nullable=False),
            Column("code", "string", pattern="[A-Z]{2}"),
            Column("speed", "number", min=0, max=200, on_bad="make_null"),
        )
    },
)
HEADER = "id,city,price,at,code,speed"
GOOD = "1,Ulm,9.5,2013-01-01T10:00:00Z,AB,10"


def clean(
    tmp_path: Path, *files: str, engine: Any = None
) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """Counts, clean rows and quarantined rows of files given as text."""
    job = load_job("clean_data")
    from glue_lib.engine_io import SourceFile

    sources = []
    for index, text in enumerate(files):
        path = tmp_path / "raw" / "visits" / f"{index}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        sources.append(SourceFile(str(path), f"raw/visits/{index}.csv"))
    engine = engine or duckdb_engine()
    counts = job.clean_table(engine, TABLE, sources, str(tmp_path / "clean"))
    bad = []
    if counts.quarantined:
        bad = engine.rows("SELECT source_file, line, reasons, row FROM visits_bad ORDER BY source_file, line")
    return counts, read_rows(tmp_path / "clean"), bad


BAD_ROWS = [
    ("number missing where it must be", "NA,Ulm,9.5,2013-01-01T10:00:00Z,AB,1", "id: missing"),
    ("text for a number", "2,Ulm,cheap,2013-01-01T10:00:00Z,AB,1", "price: not a number"),
    ("underscore in a number", "2,Ulm,1_0,2013-01-01T10:00:00Z,AB,1", "price: not a number"),
    ("two signs", "2,Ulm,+-1,2013-01-01T10:00:00Z,AB,1", "price: not a number"),
    ("infinity", "2,Ulm,inf,2013-01-01T10:00:00Z,AB,1", "price: not a number"),
    ("not a number", "2,Ulm,NaN,2013-01-01T10:00:00Z,AB,1", "price: not a number"),
    ("fraction for an integer", "2.5,Ulm,9.5,2013-01-01T10:00:00Z,AB,1", "id: not an integer"),
    ("below", "0,Ulm,9.5,2013-01-01T10:00:00Z,AB,1", "id: below 1"),
    ("above", "2,Ulm,101,2013-01-01T10:00:00Z,AB,1", "price: above 100"),
    ("not allowed", "2,Bonn,9.5,2013-01-01T10:00:00Z,AB,1", "city: not an allowed value"),
    ("pattern matches only a part", "2,Ulm,9.5,2013-01-01T10:00:00Z,ABC,1", "code: not of the pattern"),
    ("date without a time", "2,Ulm,9.5,2013-01-01,AB,1", "at: not a timestamp"),
    ("no such day", "2,Ulm,9.5,2013-02-30T10:00:00Z,AB,1", "at: not a timestamp"),
    ("two reasons", "0,Bonn,9.5,2013-01-01T10:00:00Z,AB,1", "id: below 1; city: not an allowed value"),
    ("too few fields", "2,Ulm,9.5", "wrong number of fields"),
    ("too many fields", "2,Ulm,9.5,2013-01-01T10:00:00Z,AB,1,2", "wrong number of fields"),
    ("same row again", GOOD, "duplicate row"),
    ("same key again", "1,Köln,9.5,2013-01-01T10:00:00Z,AB,10", "duplicate key"),
]


@pytest.mark.parametrize(
    ("row", "reasons"), [case[1:] for case in BAD_ROWS], ids=[case[0] for case in BAD_ROWS]
)
def test_a_bad_row_is_quarantined_with_its_place(tmp_path: Path, row: str, reasons: str) -> None:
    counts, rows, bad = clean(tmp_path, f"{HEADER}\n{GOOD}\n{row}\n7,Ulm,1,2013-01-01T11:00:00Z,,\n")
    assert [(item["source_file"], item["line"], item["reasons"]) for item in bad] == [
        ("raw/visits/0.csv", 3, reasons)
    ]
    assert bad[0]["row"] == row
    assert (counts.rows_in, counts.rows_out, counts.quarantined) == (3, 2, 1)
    assert sorted(item["id"] for item in rows) == [1, 7]
    assert counts.by_reason == dict.fromkeys(reasons.split("; "), 1)


def test_good_values_are_typed_trimmed_and_nulled(tmp_path: Path) -> None:
    _, rows, _ = clean(
        tmp_path,
        f'{HEADER}\n 3 , "Köln" ,NA,2013-01-01 10:00:00,NA,\n4,"Ulm", 7 ,2013-01-01T10:00:00Z,AB,900\n',
    )
    assert [(row["id"], row["city"], row["price"], row["code"], row["speed"]) for row in rows] == [
        (3, "Köln", None, None, None),
        (4, "Ulm", 7.0, "AB", None),  # speed 900 is above its limit: the contract says make it null
    ]
    assert rows[0]["at"] == rows[1]["at"]


def test_lines_are_physical_lines_whatever_stands_between(tmp_path: Path) -> None:
    text = "\n".join(
        [
            HEADER,
            GOOD,
            "",
            "short",
            "0,Ulm,1,2013-01-01T10:00:00Z,AB,1",
            "",
            "",
            "also,short",
            "5000,Ulm,1,2013-01-01T10:00:00Z,AB,1",
        ]
    )
    counts, _, bad = clean(
        tmp_path, f"{HEADER}\n{GOOD.replace('1,', '2,', 1)}\n-5,Ulm,1,2013-01-01T10:00:00Z,AB,1\n", text
    )
    assert [(item["source_file"], item["line"]) for item in bad] == [
        ("raw/visits/0.csv", 3),
        ("raw/visits/1.csv", 4),
        ("raw/visits/1.csv", 5),
        ("raw/visits/1.csv", 8),
        ("raw/visits/1.csv", 9),
    ]
    assert counts.rows_in == 7


@pytest.mark.parametrize("batch_bytes", [0, 192_000_000], ids=["a file a batch", "one batch"])
def test_a_file_uploaded_twice_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    load_job("clean_data")
    from glue_lib import duckdb_batches

    monkeypatch.setattr(duckdb_batches, "BATCH_BYTES", batch_bytes)
    text = HEADER + "".join(f"\n{number},Ulm,1,2013-01-01T10:00:00Z,AB,1" for number in range(1, 501))
    counts, rows, bad = clean(tmp_path, text, text)
    assert (counts.rows_in, counts.rows_out, counts.quarantined) == (1000, 500, 500)
    assert counts.by_reason == {"duplicate row": 500}
    assert {item["source_file"] for item in bad} == {"raw/visits/1.csv"}
    assert sorted(row["id"] for row in rows) == list(range(1, 501))


def test_of_bad_and_good_rows_with_one_key_the_good_stays(tmp_path: Path) -> None:
    bad_first = "1,Bonn,9.5,2013-01-01T10:00:00Z,AB,10"
    counts, rows, bad = clean(tmp_path, f"{HEADER}\n{bad_first}\n{GOOD}\n{GOOD}\n")
    assert [item["reasons"] for item in bad] == ["city: not an allowed value", "duplicate row"]
    assert counts.rows_out == 1
    assert rows[0]["city"] == "Ulm"


def test_windows_line_ends_and_a_missing_last_one(tmp_path: Path) -> None:
    counts, rows, _ = clean(tmp_path, f"{HEADER}\r\n{GOOD}\r\n2,Köln,1,2013-01-01T10:00:00Z,AB,5")
    assert (counts.rows_in, counts.rows_out) == (2, 2)
    assert [row["speed"] for row in rows] == [10.0, 5.0]


def test_lost_rows_stop_the_job(tmp_path: Path) -> None:
    # A field with a line break: two physical lines, one row. Nothing may pass as if it were complete.
    job = load_job("clean_data")
    with pytest.raises(job.RowsLost, match=r"visits.*rows in.*raw/visits/0.csv"):
        clean(tmp_path, f'{HEADER}\n1,"Ulm\n",9.5,2013-01-01T10:00:00Z,AB,10\n{GOOD}\n')


FIELDS = {
    "id": (*map(str, range(1, 60)), " 3 ", "1_0", "inf", "2.0", "1e1", "NA", '"7"', "x", "5000"),
    "city": ("Ulm", "Ulm", " Ulm ", '"Köln"', "NA", "Bonn"),
    "price": ("9", "9", "9", "1_0", "inf", "nan", " NA ", "101", ""),
    "at": ("2013-01-01T10:00:00Z",) * 9 + ("2013-01-01", ""),
    "code": ("AB", "AB", "", "ABC"),
    "speed": ("1", "900", "x", "inf", " NA", ""),
}


@pytest.mark.parametrize(
    "underscores", [False, True], ids=["numbers read as doubles", "numbers read as text"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("batch_bytes", [0, 192_000_000], ids=["a file a batch", "one batch"])
def test_picked_lines_are_judged_as_numbered_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, underscores: bool, batch_bytes: int
) -> None:
    job = load_job("clean_data")
    from glue_lib import duckdb_batches

    monkeypatch.setattr(duckdb_batches, "BATCH_BYTES", batch_bytes)
    chance = random.Random(7)
    files = []
    for rows in (0, 40, 400, 3, 200):
        lines = [
            chance.choice(("", "short", "a,b,c,d,e,f,g"))
            if chance.random() < 0.06
            else ",".join(chance.choice(values) for values in FIELDS.values())
            for _ in range(rows)
        ]
        text = end.join([HEADER, *lines, ""])
        files.append(text if underscores else text.replace("_", ""))
    by_places = job.clean_by_places
    answers: list[int | None] = []

    def watched(*given: Any) -> int | None:
        answers.append(by_places(*given))
        return answers[-1]

    monkeypatch.setattr(job, "clean_by_places", watched)
    picked = clean(tmp_path / "picked", *files)
    assert answers == [picked[0].rows_in]
    monkeypatch.setattr(job, "clean_by_places", lambda *given: None)
    numbered = clean(tmp_path / "numbered", *files)
    assert picked[0] == numbered[0]
    assert picked[0].rows_out > 0
    assert sorted(map(repr, picked[1])) == sorted(map(repr, numbered[1]))
    assert picked[2] == numbered[2]
