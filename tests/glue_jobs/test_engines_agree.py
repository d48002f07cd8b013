"""Spark and DuckDB write the same rows for every job: on real months, with dirt thrown in."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from job_harness import JOBS, duckdb_engine, read_rows, run_jobs, spark_session
from test_clean_data import BAD_ROWS, GOOD, HEADER, clean

pytestmark = pytest.mark.spark

# The whole year would be slow on Spark; the windows are moved to the sample instead.
SPLITS = {
    "train: {from: 2013-01-01, before: 2013-09-01}": "train: {from: 2013-01-01, before: 2013-01-27}",
    "validation: {from: 2013-09-01, before: 2013-11-01}": "validation: {from: 2013-01-27, before: 2013-02-01}",
    "test: {from: 2013-11-01, before: 2014-01-01}": "test: {from: 2013-02-01, before: 2013-03-01}",
}
DIRT = (
    "2013,1,3,517,515,2,830,819,11,UA,99999,N14228,EWR,IAH,227,1400,5,15,2013-01-03T10:00:00Z",
    "2013,1,3,abc,515,2,830,819,11,UA,1545,N14228,XXX,IAH,227,1400,5,15,2013-01-03T10:00:00Z",
    "2013,1,3,517,515",
    "",
)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    session = spark_session()
    yield session
    session.stop()


def spark_engine(session: Any) -> Any:
    from glue_lib.spark_engine import SparkEngine

    session.catalog.clearCache()
    return SparkEngine(session)


@pytest.fixture(scope="module")
def runs(
    spark: Any, flights_raw: Path, contract_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Every job on both engines, over one month, and a second that repeats part of it."""
    base = tmp_path_factory.mktemp("agree")
    raw = base / "data"
    shutil.copytree(flights_raw / "raw", raw / "raw")
    for path in (raw / "raw" / "flights").glob("*.csv"):
        if path.stem not in ("2013-01", "2013-02"):
            path.unlink()
    first, february = (raw / "raw" / "flights" / f"2013-0{month}.csv" for month in (1, 2))
    january = first.read_bytes().splitlines()
    first.write_bytes(b"\n".join(january[:6000] + january[-4000:]) + b"\n")
    dirt = [line.encode() for line in DIRT]
    february.write_bytes(
        b"\n".join(february.read_bytes().splitlines()[:3000] + dirt + january[100:150]) + b"\n"
    )
    text = contract_path.read_text(encoding="utf-8")
    for old, new in SPLITS.items():
        assert old in text
        text = text.replace(old, new)
    contract = base / "contract.yaml"
    contract.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, engine in (("duckdb", duckdb_engine()), ("spark", spark_engine(spark))):
            run_jobs(engine, contract, raw, base / name, JOBS, monkeypatch)
    return {"duckdb": base / "duckdb", "spark": base / "spark"}


def normal(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value


def canonical(rows: list[dict[str, Any]], in_order: bool) -> list[tuple[Any, ...]]:
    found = [tuple((name, normal(value)) for name, value in sorted(row.items())) for row in rows]
    return found if in_order else sorted(found, key=repr)


FOLDERS = [
    *((f"clean/{table}", False) for table in ("flights", "weather", "planes", "airports", "airlines")),
    ("quarantine", True),
    ("features", False),
    *((f"{kind}/{split}", True) for kind in ("splits", "keys") for split in ("train", "validation", "test")),
]


@pytest.mark.parametrize(("folder", "in_order"), FOLDERS, ids=[folder for folder, _ in FOLDERS])
def test_same_rows(runs: dict[str, Path], folder: str, in_order: bool) -> None:
    duckdb_rows, spark_rows = (
        canonical(read_rows(runs[name] / folder), in_order) for name in ("duckdb", "spark")
    )
    assert len(duckdb_rows) == len(spark_rows)
    assert len(duckdb_rows) > 0
    different = [(one, other) for one, other in zip(duckdb_rows, spark_rows, strict=True) if one != other]
    assert different[:1] == []


@pytest.mark.parametrize("name", ["cleaning.json", "features.json", "splits.json"])
def test_same_documents(runs: dict[str, Path], name: str) -> None:
    one, other = (json.loads((runs[engine] / name).read_text()) for engine in ("duckdb", "spark"))
    assert one == other


def test_same_statistics(runs: dict[str, Path]) -> None:
    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.9g}")
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        return [rounded(part) for part in value] if isinstance(value, list) else value

    one, other = (
        rounded(json.loads((runs[engine] / "statistics.json").read_text())) for engine in ("duckdb", "spark")
    )
    assert one == other
    assert one["triptych"]["tables"]["flights"]["duplicate_rows"] == 50


def test_the_same_numbers_go_to_batch_transform(runs: dict[str, Path]) -> None:
    def read(engine: str) -> list[list[float]]:
        lines = (runs[engine] / "batch" / "test.csv").read_text().splitlines()
        return [[float(field) if field else math.nan for field in line.split(",")] for line in lines]

    one, other = read("duckdb"), read("spark")
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left == pytest.approx(right, rel=1e-6, nan_ok=True)


def test_spark_quarantines_the_same_bad_rows(spark: Any, tmp_path: Path) -> None:
    text = "\n".join([HEADER, GOOD, *(row for _, row, _ in BAD_ROWS)]) + "\n"
    answers = [
        clean(tmp_path / name, text, engine=engine)
        for name, engine in (("duckdb", duckdb_engine()), ("spark", spark_engine(spark)))
    ]
    assert answers[0][0] == answers[1][0]
    assert answers[0][2] == answers[1][2]
    assert len(answers[0][2]) == len(BAD_ROWS)
