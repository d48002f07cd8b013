"""Captured requests and labels: what is read, what is skipped, and the table that joins them."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from triptych.core.captures import Captured, Label, Unreadable, parse_captured, parse_label
from triptych.core.idtable import IdTable

AT = datetime(2026, 11, 21, 9, 30, 1, tzinfo=UTC)


def record(**changed: Any) -> dict[str, Any]:
    output = {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.25\n", "encoding": "CSV"}
    metadata = {"eventId": "e-1", "inferenceTime": "2026-11-21T09:30:01Z"}
    return {
        "captureData": {"endpointOutput": output | changed.get("output", {})},
        "eventMetadata": metadata | changed.get("metadata", {}),
        "eventVersion": "0",
    }


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("e-1", (0.25,))),
        ({"metadata": {"inferenceId": "mine"}}, ("mine", (0.25,))),
        ({"metadata": {"inferenceId": ""}}, ("e-1", (0.25,))),
        ({"output": {"data": "0.1\n0.2\n"}}, ("e-1", (0.1, 0.2))),
        ({"output": {"data": "0.1,0.2"}}, ("e-1", (0.1, 0.2))),
        ({"output": {"data": '{"predictions": [{"score": 0.5}]}', "encoding": "JSON"}}, ("e-1", (0.5,))),
        ({"output": {"data": "[0.5, [0.75]]", "encoding": "JSON"}}, ("e-1", (0.5, 0.75))),
        ({"output": {"data": "0.5", "encoding": "JSON"}}, ("e-1", (0.5,))),
        (
            {
                "output": {
                    "data": packed('{"score": 0.5}\n{"score": 1}\n'),
                    "encoding": "BASE64",
                    "observedContentType": "application/jsonlines",
                }
            },
            ("e-1", (0.5, 1.0)),
        ),
    ],
    ids=[
        "csv",
        "the caller's id",
        "an empty id of the caller",
        "several rows",
        "joined by commas",
        "json",
        "json list",
        "json number",
        "json lines",
    ],
)
def test_captured_requests_are_read(changed: dict[str, Any], expected: tuple[str, tuple[float, ...]]) -> None:
    assert parse_captured(json.dumps(record(**changed))) == Captured(expected[0], AT, expected[1])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON"),
        ("[]", "no capture record"),
        ("null", "no capture record"),
        ('{"eventMetadata": {"eventId": "1"}}', "no capture record"),
        (json.dumps(record(output={"data": "late"})), "no scores"),
        (json.dumps(record(output={"data": "nan"})), "not finite"),
        (json.dumps(record(output={"data": ""})), "empty"),
        (json.dumps(record(output={"data": None})), "no scores"),
        (json.dumps(record(output={"data": '{"label": 1}', "encoding": "JSON"})), "no scores"),
        (
            json.dumps(
                record(
                    output={
                        "data": packed("PAR1"),
                        "encoding": "BASE64",
                        "observedContentType": "application/x-parquet",
                    }
                )
            ),
            "application/x-parquet cannot be read",
        ),
        (json.dumps(record(metadata={"inferenceTime": "yesterday"})), "no capture record"),
    ],
)
def test_what_is_no_captured_answer_is_told(line: str, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        parse_captured(line)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"data": "1", "encoding": "CSV"}, 1.0),
        ({"data": "0\n", "encoding": "CSV"}, 0.0),
        ({"data": "1.0"}, 1.0),
        ({"data": packed("1"), "encoding": "BASE64"}, 1.0),
        ({"data": 1, "encoding": "JSON"}, 1.0),
    ],
)
def test_labels_are_read(data: dict[str, Any], value: float) -> None:
    line = {"groundTruthData": data, "eventMetadata": {"eventId": "e-1"}, "eventVersion": "0"}
    assert parse_label(json.dumps(line)) == Label("e-1", value)


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "7",
        '{"groundTruthData": {"data": "1"}}',
        '{"groundTruthData": {"data": "late"}, "eventMetadata": {"eventId": "1"}}',
        '{"groundTruthData": {"data": "nan"}, "eventMetadata": {"eventId": "1"}}',
        '{"groundTruthData": {"data": "?", "encoding": "BASE64"}, "eventMetadata": {"eventId": "1"}}',
        '{"groundTruthData": "1", "eventMetadata": {"eventId": "1"}}',
    ],
)
def test_what_is_no_label_is_told(line: str) -> None:
    with pytest.raises(Unreadable):
        parse_label(line)


def test_a_table_finds_what_was_put_last() -> None:
    chance = random.Random(4)
    table, expected = IdTable(100_000), {}
    for _ in range(20_000):
        key, value = f"id-{chance.randrange(12_000)}", float(chance.randrange(3))
        assert table.put(key, value)
        expected[key] = value
    table.seal()
    assert table.duplicate == 20_000 - len(expected)
    assert 0 < table.conflicting < table.duplicate
    assert table.untaken == len(expected)
    assert all(table.take(key) == (value, 0) for key, value in expected.items())
    assert table.untaken == 0
    assert table.take("id-1") == (expected["id-1"], 1)
    assert table.take("id-12001") is None
    assert table.take("") is None


def test_a_full_table_says_so() -> None:
    table = IdTable(2)
    assert [table.put(key, 1.0) for key in ("a", "b", "c", "a")] == [True, True, False, False]
    table.seal()
    assert table.take("c") is None
    assert table.take("b") == (1.0, 0)


def test_ids_of_any_kind_can_be_kept() -> None:
    table = IdTable(10)
    for key in ("", "ü", "\ud800", "x" * 10_000):
        table.put(key, 1.0)
    table.seal()
    assert table.take("\ud800") == (1.0, 0)
