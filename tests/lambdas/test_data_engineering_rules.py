"""The rules of the data engineering functions, without AWS: files, snapshots, verdicts, splits, records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from function_modules import load_function

from triptych.core.contract import Contract, load_contract

PROJECT = Path(__file__).parents[2]
HEADER = "origin,time_hour,temp\n"
GOOD = HEADER + "EWR,2013-01-01T06:00:00Z,39.02\nJFK,2013-01-01T07:00:00Z,NA\n"


@cache
def rules(function: str, module: str) -> ModuleType:
    found: ModuleType = getattr(load_function(function), module)
    return found


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(PROJECT / "usecases/flights/contract.yaml")


@pytest.fixture
def toy() -> Contract:
    """The flights contract with a weather table of three columns."""
    from triptych.core.contract import parse_contract

    text = (PROJECT / "usecases/flights/contract.yaml").read_text()
    start, end = text.index("  weather:\n"), text.index("  planes:\n")
    weather = """  weather:
    files: {prefix: raw/weather/, pattern: '.*', null_values: ['NA'], rows: {min: 1}, on_bad: stop}
    key: [origin, time_hour]
    columns:
      origin: {type: string}
      time_hour: {type: timestamp}
      temp: {type: number}
"""
    return parse_contract(text[:start] + weather + text[end:], check=False)


FILES = {
    "good": (GOOD.encode(), None),
    "no last line break but whole": (GOOD.rstrip("\n").encode(), None),
    "windows line breaks": (GOOD.replace("\n", "\r\n").encode(), None),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), None),
    "quoted delimiter and line break": ((HEADER + '"E,\nR",2013,1\n').encode(), None),
    "empty": (b"", "not_empty: the file is empty"),
    "header only": (HEADER.encode(), "rows: 0 rows; the contract wants at least 1"),
    "missing column": (b"origin,time_hour\nEWR,2013\n", "header: missing temp"),
    "unexpected column": (b"origin,time_hour,temp,wind\nE,2,1,1\n", "header: unexpected wind"),
    "reordered": (
        b"time_hour,origin,temp\n2,E,1\n",
        "header: out of order: column 1 is time_hour, not origin",
    ),
    "repeated column": (b"origin,time_hour,temp,temp\nE,2,1,1\n", "header: repeated temp"),
    "semicolons": (GOOD.replace(",", ";").encode(), "delimiter: fields are separated by ';', not by ','"),
    "not utf-8": (
        (HEADER + "EWR,2013,é\n").encode("latin-1"),
        "encoding: byte 31 (0xe9) is not utf-8",
    ),
    "cut in a character": (
        GOOD.encode() + "E,2,é".encode()[:-1],
        f"encoding: byte {len(GOOD) + 4} (0xc3) is not utf-8",
    ),
    "nul byte at the start": (b"\0" + GOOD.encode(), "no_nul_bytes: NUL at byte 0"),
    "nul byte": (GOOD.encode().replace(b"NA", b"\0"), "no_nul_bytes: NUL at byte 78"),
    "truncated": ((GOOD + "EWR,2013").encode(), "the last line ends in the middle: 2 of 3 fields"),
    "ragged": (
        (GOOD + "EWR,2013\nJFK,1,2,3\n").encode(),
        "2 of 4 lines do not have 3 fields, first at line 4, 5",
    ),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_file_checks(case: str, chunk_bytes: int, toy: Contract) -> None:
    content, problem = FILES[case]
    check = rules("validate_file", "checks").FileCheck(toy.tables["weather"], "raw/weather/w.csv")
    for start in range(0, len(content), chunk_bytes):
        check.feed(content[start : start + chunk_bytes])
    result = check.finish()
    failed = [f"{entry['name']}: {entry['detail']}" for entry in result["checks"] if not entry["passed"]]
    if problem is None:
        assert failed == []
        assert result["verdict"] == "pass"
        assert result["rows"] == content.count(b"2013")
    else:
        assert any(problem in text for text in failed), failed
        assert result["verdict"] == "stop"


def test_a_version_that_is_gone_is_told(toy: Contract) -> None:
    check = rules("validate_file", "checks").FileCheck(toy.tables["weather"], "raw/weather/w.csv")
    check.missing("v1")
    result = check.finish()
    assert [entry["name"] for entry in result["checks"]] == ["exists"]
    assert result["verdict"] == "stop"


def source(key: str, etag: str = "e", version: str = "v1") -> Any:
    return rules("ingest_sources", "manifest").SourceObject(
        "data", key, version, etag, 10, "2013-01-01T00:00:00"
    )


def all_sources(**changes: str) -> list[Any]:
    keys = [
        "raw/flights/2013-01.csv",
        *(f"raw/{t}/{t}.csv" for t in ("weather", "planes", "airports", "airlines")),
    ]
    return [source(key, changes.get(key.split("/")[1], "e")) for key in keys]


def snapshot(contract: Contract, found: list[Any], text: bytes = b"contract") -> Any:
    return rules("ingest_sources", "manifest").take_snapshot(contract, text, found, "data")


def test_the_version_is_the_hash_of_the_content(contract: Contract) -> None:
    base = snapshot(contract, all_sources()).dataset_version
    assert snapshot(contract, list(reversed(all_sources()))).dataset_version == base
    uploaded_again = [source(entry.key, entry.etag, "v2") for entry in all_sources()]
    assert snapshot(contract, uploaded_again).dataset_version == base
    assert snapshot(contract, all_sources(weather="other")).dataset_version != base
    assert snapshot(contract, all_sources(), b"another contract").dataset_version != base
    more = [*all_sources(), source("raw/flights/2013-02.csv")]
    assert snapshot(contract, more).dataset_version != base


@pytest.mark.parametrize(
    ("registered", "force", "is_new"),
    [("none", False, True), ("same", False, False), ("same", True, True), ("other", False, True)],
)
def test_is_new(contract: Contract, registered: str, force: bool, is_new: bool) -> None:
    taken = snapshot(contract, all_sources())
    latest = {
        "none": None,
        "same": {"dataset_version": taken.dataset_version},
        "other": {"dataset_version": "0"},
    }[registered]
    answer = taken.answer("run-1", latest, force)
    assert answer["is_new"] is is_new
    assert answer["objects"] == 5
    assert answer["objects_uri"] == "s3://data/runs/run-1/objects.json"


def test_a_table_without_objects_is_told_with_what_was_ignored(contract: Contract) -> None:
    found = [entry for entry in all_sources() if "weather" not in entry.key] + [source("raw/weather/old.txt")]
    error = rules("ingest_sources", "manifest").NoSourceObjects
    with pytest.raises(
        error, match=r"table weather has no source object.*raw/weather/.*ignored: raw/weather/old"
    ):
        snapshot(contract, found)


def result(entry: Mapping[str, Any], problems: tuple[str, ...] = (), sha: str | None = None) -> Any:
    file_result = rules("judge_files", "verdicts").FileResult
    return file_result(entry["key"], entry["table"], problems, sha or entry["key"])


def judged(contract: Contract, changes: Mapping[str, Any], extra: tuple[str, ...] = ()) -> Any:
    found = [*all_sources(), *(source(key) for key in extra)]
    objects = snapshot(contract, found).objects
    results = [result(entry, **changes.get(entry["key"], {})) for entry in objects]
    return rules("judge_files", "verdicts").judge(contract, objects, results)


JUDGEMENTS: dict[str, tuple[dict[str, Any], tuple[str, ...], str, int, str | None]] = {
    "all good": ({}, (), "pass", 5, None),
    "a bad month is left out": (
        {"raw/flights/2013-02.csv": {"problems": ("header: missing hour",)}},
        ("raw/flights/2013-02.csv",),
        "quarantine",
        5,
        "header: missing hour",
    ),
    "the only month is bad": (
        {"raw/flights/2013-01.csv": {"problems": ("not_empty",)}},
        (),
        "stop",
        4,
        "table flights is left without an acceptable file",
    ),
    "bad weather stops": (
        {"raw/weather/weather.csv": {"problems": ("encoding: byte 3",)}},
        (),
        "stop",
        4,
        "encoding: byte 3",
    ),
    "a month uploaded twice counts once": (
        {"raw/flights/2013-01.csv": {"sha": "same"}, "raw/flights/2013-02.csv": {"sha": "same"}},
        ("raw/flights/2013-02.csv",),
        "quarantine",
        5,
        "the same content as raw/flights/2013-01.csv",
    ),
}


@pytest.mark.parametrize("case", JUDGEMENTS)
def test_verdict_over_all_files(case: str, contract: Contract) -> None:
    changes, extra, verdict, accepted, reason = JUDGEMENTS[case]
    judgement = judged(contract, changes, extra)
    assert judgement.verdict == verdict
    assert len(judgement.accepted) == accepted
    reasons = [text for entry in judgement.rejected for text in entry["reasons"]]
    assert (reasons == []) if reason is None else any(reason in text for text in reasons)


def test_a_check_that_failed_or_is_missing_rejects_its_file(contract: Contract) -> None:
    verdicts = rules("judge_files", "verdicts")
    objects = snapshot(contract, all_sources()).objects
    results = [result(entry) for entry in objects if entry["table"] not in ("planes", "flights")]
    results.append(verdicts.FileResult.not_checked("raw/flights/2013-01.csv", "flights", "Sandbox.Timedout"))
    judgement = verdicts.judge(contract, objects, results)
    assert judgement.verdict == "stop"
    text = str(judgement.rejected)
    assert "Sandbox.Timedout" in text
    assert "no result was written" in text


def splits(**changes: Any) -> dict[str, Any]:
    split = {
        "train": {
            "rows": 5000,
            "positive": 1000,
            "label_rate": 0.2,
            "first": "2013-01-01",
            "last": "2013-08-31",
        },
        "validation": {
            "rows": 900,
            "positive": 200,
            "label_rate": 0.22,
            "first": "2013-09-01",
            "last": "2013-10-31",
        },
        "test": {
            "rows": 900,
            "positive": 200,
            "label_rate": 0.22,
            "first": "2013-11-01",
            "last": "2013-12-31",
        },
    }
    for name, values in changes.items():
        split[name] |= values
    return {"splits": split, "unlabelled": 0, "outside": 0}


SPLITS = {
    "good": (splits(), ["hour"], None),
    "too small": (splits(train={"rows": 3}), ["hour"], "split train has 3 rows"),
    "empty": (splits(test={"rows": 0, "positive": 0, "label_rate": None}), ["hour"], "split test has 0 rows"),
    "constant label": (
        splits(train={"positive": 0, "label_rate": 0.0}),
        ["hour"],
        "label late is constant in split train",
    ),
    "rate out of range": (splits(test={"label_rate": 0.9}), ["hour"], "90.00% of the rows have label late"),
    "a test row in training": (splits(train={"last": "2013-11-02"}), ["hour"], "split train holds rows from"),
    "a leaking feature": (splits(), ["hour", "dep_delay"], "feature dep_delay is not known 2 hours before"),
    "the label itself": (splits(), ["late"], "feature late is not known"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_split_rules(case: str, contract: Contract) -> None:
    document, names, message = SPLITS[case]
    features = {"features": [{"name": name} for name in names]}
    found = rules("validate_splits", "rules").check_splits(contract, document, features)
    if message is None:
        assert found == []
    else:
        assert [violation for violation in found if message in violation.message]
        assert {violation.severity for violation in found} == {"stop"}


def test_a_registration_repeated_changes_nothing_and_never_goes_back() -> None:
    record = rules("register_dataset", "record")
    request = {
        "run_uri": "s3://data/runs/a",
        "dataset_version": "v1",
        "manifest_uri": "s3://data/runs/a/manifest.json",
        "execution_name": "a",
    }
    noon, later = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)
    first = record.dataset_record(request, splits(), {"quarantined": 7}, noon, None)
    assert first["rows"] == {"train": 5000, "validation": 900, "test": 900}
    assert first["quarantined"] == 7
    assert record.dataset_record(request, splits(), {"quarantined": 7}, later, first) == first
    newer_request = request | {"run_uri": "s3://data/runs/b", "dataset_version": "v2"}
    newer = record.dataset_record(newer_request, splits(), {"quarantined": 0}, later, None)
    assert record.supersedes(first, None)
    assert record.supersedes(newer, first)
    assert not record.supersedes(first, newer)
    assert not record.supersedes(first, first)
