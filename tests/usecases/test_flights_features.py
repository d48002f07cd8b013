"""The flights' features: nothing after the prediction time moves them, and they predict as promised."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_harness import JOBS, ROOT, duckdb_engine, install, load_job, read_rows, run_jobs

from triptych.core.contract import load_contract
from triptych.core.features import Step

install()

from usecases.flights.features import FEATURES, KEYS  # noqa: E402
from usecases.flights.sample import write_raw  # noqa: E402

CONTRACT = ROOT / "usecases" / "flights" / "contract.yaml"
FEATURE_NAMES = [feature.name for feature in FEATURES]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four jobs on all the shipped data."""
    base = tmp_path_factory.mktemp("flights")
    write_raw(base)
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_jobs(duckdb_engine(), CONTRACT, base, base / "run", JOBS, monkeypatch)
    return base / "run"


def feature_rows(clean: Path) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The features by key over the clean flights and weather of February."""
    job = load_job("engineer_features")
    contract = load_contract(CONTRACT)
    engine = duckdb_engine()
    for table in ("flights", "weather", "planes"):
        engine.open_parquet(f"{table}_stored", str(clean / table))
    february = [
        Step(table, f"SELECT * FROM {table}_stored WHERE month = 2", keep=True)
        for table in ("flights", "weather")
    ]
    planes = Step("planes", "SELECT * FROM planes_stored")
    engine.run([*february, planes, *job.transform(job.features_module(contract), contract)])
    rows = engine.rows("SELECT * FROM coded_rows")
    return {
        tuple(row[f"key_{name}"] for name in KEYS): tuple(row[name] for name in FEATURE_NAMES) for row in rows
    }


# Prediction times (UTC) to cut the world at: a rush hour, a night, just after midnight EST, around a storm.
CUTS = [
    "2013-02-08T19:00:00",
    "2013-02-09T03:30:00",
    "2013-02-14T05:05:00",
    "2013-02-20T11:59:00",
    "2013-02-27T22:15:00",
]


@pytest.mark.parametrize("cut", CUTS)
def test_no_feature_looks_past_the_prediction_time(run: Path, cut: str) -> None:
    """Every fact after the cut is changed: features of flights predicted up to the cut must not notice.

    When a fact is known is stated here on its own: a departure when the plane leaves, an arrival's facts after
    the time in the air, a weather observation within the hour it is filed under. A schedule is always known.
    """
    duckdb = pytest.importorskip("duckdb")
    clean = run / "clean"
    at = datetime.fromisoformat(cut)
    changed = duckdb.connect()
    changed.execute("SET TimeZone = 'UTC'")
    changed.execute(
        f"""CREATE TABLE flights AS SELECT *, time_hour + to_minutes(minute::INT) AS sched,
              time_hour + to_minutes((minute + coalesce(dep_delay, 0))::INT) AS left_at
            FROM read_parquet('{clean}/flights/*.parquet') WHERE month = 2"""
    )
    left_later = f"(dep_delay IS NULL OR left_at > TIMESTAMP '{at}')"
    landed_later = (
        f"(dep_delay IS NULL OR left_at + to_minutes(coalesce(air_time, 0)::INT) > TIMESTAMP '{at}')"
    )
    # Who has not left by the cut may leave any time after it, or never, or with the greatest delay.
    delay = f"greatest(date_diff('minute', sched, TIMESTAMP '{at}') + 1 + (flight % 300), 1)"
    flights = f"""SELECT * EXCLUDE (sched, left_at) REPLACE (
        CASE WHEN NOT {left_later} THEN dep_delay WHEN flight % 5 > 0 THEN {delay} END AS dep_delay,
        CASE WHEN {left_later} THEN 777 ELSE dep_time END AS dep_time,
        CASE WHEN {landed_later} THEN 999 ELSE arr_delay END AS arr_delay,
        CASE WHEN {landed_later} THEN 888 ELSE arr_time END AS arr_time,
        CASE WHEN {landed_later} THEN 600 + flight % 90 ELSE air_time END AS air_time) FROM flights"""
    seen_later = f"time_hour + INTERVAL 59 MINUTE > TIMESTAMP '{at}'"
    weather = f"""SELECT * REPLACE (
        CASE WHEN {seen_later} THEN 0.0 ELSE visib END AS visib,
        CASE WHEN {seen_later} THEN 5.0 ELSE precip END AS precip,
        CASE WHEN {seen_later} THEN 99.0 ELSE wind_speed END AS wind_speed,
        CASE WHEN {seen_later} THEN NULL ELSE wind_dir END AS wind_dir)
        FROM read_parquet('{clean}/weather/*.parquet') WHERE month = 2"""
    other = run.parent / f"changed-{at:%d%H}"
    for table, sql in (
        ("flights", flights),
        ("weather", weather),
        ("planes", f"FROM read_parquet('{clean}/planes/*')"),
    ):
        (other / table).mkdir(parents=True)
        changed.execute(f"COPY ({sql}) TO '{other / table / 'part-0.parquet'}' (FORMAT parquet)")
    before, after = feature_rows(clean), feature_rows(other)
    assert before.keys() == after.keys()
    scheduled = dict(
        changed.execute(
            "SELECT (make_date(year::INT, month::INT, day::INT), month::INT, hour::INT, carrier, flight::INT, "
            "origin, dest), sched FROM flights"
        ).fetchall()
    )
    limit = at + timedelta(hours=load_contract(CONTRACT).prediction_time.hours_before)
    predicted = [key for key in before if scheduled[key] <= limit]
    later = [key for key in before if limit < scheduled[key] <= limit + timedelta(hours=12)]
    assert len(predicted) > 3000
    for key in predicted:
        moved = [
            name for name, one, two in zip(FEATURE_NAMES, before[key], after[key], strict=True) if one != two
        ]
        assert moved == [], f"{key} scheduled {scheduled[key]}, predicted by {at}"
    # The change must be one that features would notice, or the test proves nothing.
    noticed = {
        name
        for key in later
        for name, one, two in zip(FEATURE_NAMES, before[key], after[key], strict=True)
        if one != two
    }
    assert {"airport_delay", "airport_waiting", "visibility", "rain", "plane_delay"} <= noticed


def test_every_feature_is_described_and_none_leaks() -> None:
    leakage = set(load_contract(CONTRACT).label.leakage)
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    for feature in FEATURES:
        assert feature.description
        assert feature.name not in leakage


def test_every_clean_flight_has_one_feature_row(run: Path) -> None:
    splits = json.loads((run / "splits.json").read_text())
    rows = sum(split["rows"] for split in splits["splits"].values())
    assert rows + splits["unlabelled"] + splits["outside"] == 336_776
    assert rows == 327_346


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits_keep_to_their_days_and_to_their_keys(run: Path, split: str) -> None:
    window = load_contract(CONTRACT).splits.windows[split]  # type: ignore[index]
    keys, rows = read_rows(run / "keys" / split), read_rows(run / "splits" / split)
    assert len(keys) == len(rows) == json.loads((run / "splits.json").read_text())["splits"][split]["rows"]
    days = [key["flight_date"] for key in keys]
    assert days == sorted(days)
    assert window.start <= days[0]
    assert days[-1] < window.before
    described = json.loads((run / "features.json").read_text())
    assert list(rows[0]) == ["late", *(feature["name"] for feature in described["features"])]
    categories = {feature["name"]: feature.get("categories") for feature in described["features"]}
    for key, row in list(zip(keys, rows, strict=True))[::997]:
        assert categories["carrier"][int(row["carrier"])] == key["carrier"]
        assert categories["origin"][int(row["origin"])] == key["origin"]
        assert row["hour"] == key["hour"]


def test_categories_unknown_to_train_have_no_code(run: Path) -> None:
    described = json.loads((run / "features.json").read_text())
    known = next(feature for feature in described["features"] if feature["name"] == "dest")["categories"]
    train = {key["dest"] for key in read_rows(run / "keys" / "train")}
    assert set(known) >= train
    for split in ("validation", "test"):
        for key, row in zip(read_rows(run / "keys" / split), read_rows(run / "splits" / split), strict=True):
            assert (row["dest"] is None) == (key["dest"] not in known)


def test_the_batch_file_holds_the_test_features(run: Path) -> None:
    rows = read_rows(run / "splits" / "test")
    lines = (run / "batch" / "test.csv").read_text().splitlines()
    assert len(lines) == len(rows)
    for line, row in list(zip(lines, rows, strict=True))[::501]:
        values = [float(field) if field else np.nan for field in line.split(",")]
        expected = [np.nan if value is None else value for value in list(row.values())[1:]]
        assert values == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_november_and_december_are_predicted_as_promised(run: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    import pyarrow.parquet as pq

    contract = load_contract(CONTRACT)

    def matrix(split: str) -> tuple[Any, Any]:
        table = pq.read_table(run / "splits" / split)
        columns = [column.to_numpy(zero_copy_only=False) for column in table.columns]
        return xgboost.DMatrix(np.column_stack(columns[1:])), columns[0]

    parameters = dict(contract.model.hyperparameters)
    rounds = int(parameters.pop("num_round"))
    data, label = matrix("train")
    data.set_label(label)
    model = xgboost.train({**parameters, "objective": contract.model.objective, "nthread": 2}, data, rounds)
    data, label = matrix("test")
    auc = _auc(label, model.predict(data))
    gate = next(gate for gate in contract.gates.metrics if gate.metric == "auc")
    assert gate.limits.min == 0.73
    assert auc >= gate.limits.min
    assert auc < 0.8, "too good to be true two hours ahead: is something leaking?"


def _auc(label: Any, score: Any) -> float:
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    positives = label.sum()
    return float(
        (ranks[label == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(label) - positives))
    )
