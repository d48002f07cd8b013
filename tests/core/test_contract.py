"""The contract: the shipped one loads, and every mistake is reported with file, line and path."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from triptych.core.contract import ContractError, Limits, load_contract, parse_contract

PATH = Path(__file__).resolve().parents[2] / "usecases" / "flights" / "contract.yaml"
TEXT = PATH.read_text(encoding="utf-8")


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_flights_contract_says_what_the_project_promises() -> None:
    contract = load_contract(PATH)
    assert contract.primary.key == ("time_hour", "carrier", "flight", "origin")
    assert contract.label.column == "arr_delay"
    assert contract.label.above == 15
    assert {"dep_delay", "arr_time", "air_time", "dep_time", "arr_delay"} <= set(contract.label.leakage)
    assert contract.splits.windows["train"].last == date(2013, 8, 31)
    assert contract.splits.windows["test"].start == date(2013, 11, 1)
    assert any(gate.metric == "auc" and gate.limits == Limits(min=0.73) for gate in contract.gates.metrics)
    assert contract.prediction_time.hours_before == 2


def test_unchecked_and_checked_reading_give_the_same() -> None:
    assert parse_contract(TEXT, check=False) == parse_contract(TEXT, check=True)


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("raw/flights/2013-01.csv", "flights"),
        ("raw/flights/2013-1.csv", None),
        ("raw/flights/archive/2013-01.csv", None),
        ("raw/weather/weather.csv", "weather"),
        ("raw/other/2013-01.csv", None),
    ],
)
def test_objects_belong_to_tables(key: str, table: str | None) -> None:
    found = load_contract(PATH).table_of(key)
    assert (found.name if found else None) == table


MISTAKES = [
    (
        "own container in AWS's image",
        "algorithm: script",
        "algorithm: container",
        "model.image",
        "trains in the project's own image: triptych, or an image's URI; not xgboost-3.0-5",
    ),
    (
        "script in the own image",
        "image: xgboost-3.0-5",
        "image: triptych",
        "model.algorithm",
        "trains with the script that it holds: algorithm container, not script",
    ),
    (
        "unknown type",
        "flight: {type: integer",
        "flight: {type: intger",
        "tables.flights.columns.flight.type",
        "'intger' is not one of string, integer",
    ),
    (
        "unknown field",
        "max_bad_rows: 0.02",
        "max_bad_row: 0.02",
        "tables.flights.max_bad_row",
        "is not known here; valid names are",
    ),
    (
        "key is no column",
        "key: [faa]",
        "key: [fa]",
        "tables.airports.key[0]",
        "'fa' is not a column of airports",
    ),
    (
        "primary table unknown",
        "primary_table: flights",
        "primary_table: flight",
        "primary_table",
        "is not a table",
    ),
    (
        "reference to nowhere",
        "{table: planes,",
        "{table: plains,",
        "tables.flights.columns.tailnum.references.table",
        "is not a table",
    ),
    (
        "range upside down",
        "month: {type: integer, nullable: false, min: 1, max: 12}",
        "month: {type: integer, nullable: false, min: 13, max: 12}",
        "tables.flights.columns.month.min",
        "13 is above max 12",
    ),
    (
        "bad regular expression",
        r"pattern: 'weather.*\.csv'",
        r"pattern: 'weather(.csv'",
        "tables.weather.files.pattern",
        "is not a regular expression",
    ),
    (
        "splits overlap",
        "before: 2013-11-01",
        "before: 2013-12-01",
        "splits.test.from",
        "overlaps the split before it",
    ),
    (
        "empty split",
        "test: {from: 2013-11-01, before: 2014-01-01}",
        "test: {from: 2014-11-01, before: 2014-01-01}",
        "splits.test",
        "is empty",
    ),
    ("no such day", "before: 2014-01-01", "before: 2014-02-31", "splits.test", "is not a date"),
    (
        "label may leak",
        "leakage: [dep_time, dep_delay, arr_time, arr_delay, air_time]",
        "leakage: [dep_time]",
        "label.leakage",
        "must list 'arr_delay'",
    ),
    (
        "gate without a limit",
        "{metric: auc, split: test, min: 0.73}",
        "{metric: auc, split: test}",
        "gates.metrics[0]",
        "needs 'min' or 'max'",
    ),
    (
        "unknown metric",
        "champion: {metric: auc",
        "champion: {metric: acu",
        "gates.champion.metric",
        "'acu' is not one of",
    ),
    (
        "instance type",
        "instance_type: ml.m5.large",
        "instance_type: m5.large",
        "deployment.instance_type",
        "does not match",
    ),
    (
        "limit on a string",
        "type: {type: string}",
        "type: {type: string, min: 3}",
        "tables.planes.columns.type",
        "min and max are for numbers",
    ),
    (
        "share above one",
        "max_bad_rows: 0.01",
        "max_bad_rows: 1.5",
        "tables.weather.max_bad_rows",
        "1.5 is greater than the maximum of 1",
    ),
    (
        "drift of no column",
        "    distance: 0.2\n",
        "    distanze: 0.2\n",
        "drift.columns.distanze",
        "is not a column of the primary table",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "path", "message"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_mistakes_name_file_line_and_path(old: str, new: str, path: str, message: str) -> None:
    assert old in TEXT
    wrong = TEXT.replace(old, new, 1)
    with pytest.raises(ContractError) as caught:
        parse_contract(wrong, "usecases/flights/contract.yaml")
    problem = next(line for line in caught.value.problems if f" {path}: " in line)
    assert message in problem
    file, line, _ = problem.split(":", 2)
    assert file == "usecases/flights/contract.yaml"
    # A flow mapping stands on its key's line; a block's key may stand above the change.
    assert abs(line_of(wrong, new.strip()) - int(line)) <= 4


def test_a_missing_part_is_named() -> None:
    with pytest.raises(ContractError, match=r"contract.yaml:\d+: tables.airlines: 'key' is missing"):
        parse_contract(TEXT.replace("    key: [carrier]\n", "", 1))


def test_all_mistakes_are_reported_at_once() -> None:
    wrong = TEXT.replace("key: [faa]", "key: [fa]").replace("primary_table: flights", "primary_table: flight")
    with pytest.raises(ContractError) as caught:
        parse_contract(wrong)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "image",
    ["triptych", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ml/triptych@sha256:0123"],
    ids=["the stack's", "a URI"],
)
def test_the_own_container_is_chosen(image: str) -> None:
    text = TEXT.replace("algorithm: script", "algorithm: container").replace(
        "image: xgboost-3.0-5", f"image: {image}"
    )
    model = parse_contract(text).model
    assert (model.algorithm, model.image) == ("container", image)


@pytest.mark.parametrize(
    "text", ["version: [1", "", "- a\n- b\n", "version: 1\n"], ids=["broken", "empty", "list", "almost empty"]
)
def test_what_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match=r"contract.yaml"):
        parse_contract(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        load_contract(tmp_path / "none.yaml")


def test_importing_the_core_imports_no_parser() -> None:
    code = "import sys, triptych.core.contract; print(sorted({'yaml', 'jsonschema'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
