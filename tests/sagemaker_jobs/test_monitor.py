"""The data-quality monitor as SageMaker starts it: the archive, its arguments, a schedule's environment."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monitor_data as data
import pytest

from triptych import packaging

PROJECT = Path(__file__).parents[2]
DRIFT, CATEGORIES, TYPE = "baseline_drift_check", "categorical_values_check", "data_type_check"
COMPLETE, MISSING, EXTRA = "completeness_check", "missing_column_check", "extra_column_check"


@dataclass(frozen=True)
class Job:
    """A processing job's container: ``/opt/ml`` is ``root / "opt/ml"``."""

    archive: Path
    root: Path

    @property
    def output(self) -> Path:
        return self.root / "opt" / "ml" / "processing" / "output"

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.archive), *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def check(self, window: Path, baseline: Path, *more: str, **environment: str) -> list[tuple[str, str]]:
        """Feature and check of every violation."""
        done = self.run(
            *("check", "--data", window, "--statistics", baseline, "--constraints", baseline),
            *("--output", self.output, *more),
            **environment,
        )
        assert done.returncode == 0, done.stderr
        found = self.read("constraint_violations.json")["violations"]
        assert all(one["description"] for one in found)
        return [(one["feature_name"], one["constraint_check_type"]) for one in found]

    def read(self, name: str) -> Any:
        return json.loads((self.output / name).read_text())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaging.build(PROJECT, "flights", tmp_path_factory.mktemp("build")).sagemaker["monitor"]


@pytest.fixture(scope="module")
def baseline(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made with ``features.json``, from Parquet."""
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "features.json").write_text(json.dumps(data.FEATURES))
    rows = data.write_parquet(folder / "train", {**data.rows_of(1, 12_000), "late": [0] * 12_000})
    arguments = ("baseline", "--data", rows, "--features", folder, "--output", folder / "out")
    done = Job(archive, folder).run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "12000 rows, 3 columns" in done.stdout
    return folder / "out"


@pytest.fixture
def job(archive: Path, tmp_path: Path) -> Job:
    return Job(archive, tmp_path / "container")


def test_the_baseline_describes_the_data(baseline: Path) -> None:
    statistics = json.loads((baseline / "statistics.json").read_text())
    rows = data.rows_of(1, 12_000)
    known = [value for value in rows["delay"] if value is not None]
    delay, hour, carrier = statistics["features"]
    numbers = delay["numerical_statistics"]
    assert (statistics["dataset"]["item_count"], delay["inferred_type"]) == (12_000, "Fractional")
    assert numbers["common"] == {"num_present": len(known), "num_missing": 12_000 - len(known)}
    assert numbers["mean"] == pytest.approx(sum(known) / len(known))
    mean = sum(known) / len(known)
    assert numbers["std_dev"] == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in known) / len(known)))
    assert (numbers["min"], numbers["max"]) == (min(known), max(known))
    buckets = numbers["distribution"]["kll"]["buckets"]
    assert sum(bucket["count"] for bucket in buckets) == len(known)
    assert (buckets[0]["lower_bound"], buckets[-1]["upper_bound"]) == (min(known), max(known))
    assert hour["inferred_type"] == "Integral"
    assert carrier["string_statistics"]["distinct_count"] == 3
    shown = carrier["string_statistics"]["distribution"]["categorical"]["buckets"]
    assert shown[0] == {"value": "UA", "count": rows["carrier"].count("UA")}


def test_constraints_are_suggested(baseline: Path) -> None:
    constraints = json.loads((baseline / "constraints.json").read_text())
    delay, hour, carrier = constraints["features"]
    assert 0.94 < delay["completeness"] < 0.96
    assert (hour["completeness"], hour["num_constraints"]) == (0.98, {"is_non_negative": True})
    assert carrier["string_constraints"] == {"domains": ["B6", "DL", "UA"]}
    assert constraints["monitoring_config"]["distribution_constraints"]["perform_comparison"] == "Enabled"


@pytest.mark.parametrize("kind", ["csv", "base64", "json", "lines", "table"])
def test_without_drift_nothing_is_violated(job: Job, baseline: Path, tmp_path: Path, kind: str) -> None:
    rows = data.rows_of(2, 2_000)
    if kind == "table":
        window = data.write_csv(tmp_path / "window", rows)
    else:
        window = data.write_captures(tmp_path / "window", rows, kind)
    assert job.check(window, baseline) == []
    statistics = job.read("statistics.json")
    assert statistics["dataset"]["item_count"] == 2_000
    assert statistics["triptych"]["drift"]["verdict"] == "stable"
    assert (job.root / "opt/ml/output/message").read_text().startswith("Completed:")


def moved(rows: data.Columns) -> None:
    rows["delay"] = [None if value is None else value + 8 for value in rows["delay"]]


def nulls(rows: data.Columns) -> None:
    rows["delay"][::5] = [None] * len(rows["delay"][::5])


def all_null(rows: data.Columns) -> None:
    rows["hour"] = [None] * len(rows["hour"])


def new_category(rows: data.Columns) -> None:
    rows["carrier"][:40] = ["<b>ZZ"] * 40


def lost_category(rows: data.Columns) -> None:
    rows["carrier"] = ["UA" if name == "B6" else name for name in rows["carrier"]]


def constant(rows: data.Columns) -> None:
    rows["hour"] = [9] * len(rows["hour"])


def texts(rows: data.Columns) -> None:
    rows["hour"] = [f"{value}h" if index % 3 == 0 else value for index, value in enumerate(rows["hour"])]


def negative(rows: data.Columns) -> None:
    rows["delay"][:60] = [-500.0] * 60


def other_columns(rows: data.Columns) -> None:
    rows["gate"] = rows.pop("hour")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(moved, {("delay", DRIFT)}, id="a mean that moved"),
        pytest.param(nulls, {("delay", COMPLETE)}, id="a fifth null"),
        pytest.param(all_null, {("hour", COMPLETE)}, id="all null"),
        pytest.param(new_category, {("carrier", CATEGORIES)}, id="a new category"),
        pytest.param(lost_category, {("carrier", DRIFT)}, id="a lost category"),
        pytest.param(constant, {("hour", DRIFT)}, id="a number became constant"),
        pytest.param(texts, {("hour", TYPE), ("hour", COMPLETE)}, id="texts for numbers"),
        pytest.param(negative, {("delay", TYPE)}, id="negative values"),
        pytest.param(other_columns, {("hour", MISSING), ("gate", EXTRA)}, id="a column renamed"),
    ],
)
def test_each_kind_of_violation(
    job: Job,
    baseline: Path,
    tmp_path: Path,
    spoil: Callable[[data.Columns], None],
    expected: set[tuple[str, str]],
) -> None:
    rows = data.rows_of(3, 2_000)
    spoil(rows)
    assert set(job.check(data.write_csv(tmp_path / "window", rows), baseline)) == expected
    page = (job.output / "drift.html").read_text()
    assert len(page) < 500_000
    assert "<b>ZZ" not in page
    assert (job.root / "opt/ml/output/message").read_text().startswith("CompletedWithViolations")


def test_lines_that_cannot_be_read_are_counted_and_left_out(job: Job, baseline: Path, tmp_path: Path) -> None:
    good = data.capture_line([[1.0, 6, "UA"]])
    bad = (
        good[:90],
        "[]",
        data.capture_line([[1.0, 6]]),
        good.replace('"CSV"', '"XML"'),
        '{"captureData": ' + "[" * 100_000,
    )
    window = data.write_captures(tmp_path / "window", data.rows_of(4, 1_000), lines=bad)
    assert job.check(window, baseline) == []
    statistics = job.read("statistics.json")
    skipped = statistics["triptych"]["skipped"]
    assert statistics["dataset"]["item_count"] == 1_000
    assert (skipped["lines"], skipped["read"]) == (5, 205)
    assert "line 201" in skipped["first"]
    assert "lines not readable" in (job.output / "drift.html").read_text()


def test_captures_outside_of_the_window_do_not_count(job: Job, baseline: Path, tmp_path: Path) -> None:
    late = data.capture_line([[1.0, 6, "UA"]] * 3, at="2026-01-05T11:00:00Z")
    window = data.write_captures(tmp_path / "window", data.rows_of(5, 500), lines=(late,))
    times = {"start_time": "2026-01-05T10:00:00Z", "end_time": "2026-01-05T11: 00: 00Z"}
    job.check(window, baseline, **times)
    statistics = job.read("statistics.json")
    assert (statistics["dataset"]["item_count"], statistics["triptych"]["skipped"]["outside"]) == (500, 1)


@pytest.mark.parametrize("window", ["no files", "an empty file", "no rows"])
def test_an_empty_window_is_no_violation(job: Job, baseline: Path, tmp_path: Path, window: str) -> None:
    folder = tmp_path / "window"
    if window == "no rows":
        data.write_csv(folder, data.rows_of(1, 0))
    else:
        folder.mkdir()
        if window == "an empty file":
            (folder / "0.jsonl").touch()
    assert job.check(folder, baseline) == []
    assert job.read("statistics.json")["dataset"]["item_count"] == 0
    assert "No data" in (job.output / "drift.html").read_text()
    assert "no data" in (job.root / "opt/ml/output/message").read_text()


def test_a_schedule_says_everything_by_its_environment(job: Job, baseline: Path, tmp_path: Path) -> None:
    window = data.write_captures(tmp_path / "window", data.rows_of(6, 500))
    done = job.run(
        "check",
        dataset_source=str(window),
        output_path=str(job.output),
        baseline_statistics=str(baseline / "statistics.json"),
        baseline_constraints=str(baseline / "constraints.json"),
        start_time="2026-01-05T10:00:00Z",
        end_time="2026-01-05T11:00:00Z",
        publish_cloudwatch_metrics="Enabled",
        sagemaker_endpoint_name="flights",
        sagemaker_monitoring_schedule_name="data-quality",
    )
    assert done.returncode == 0, done.stderr
    lines = (job.root / "opt/ml/output/metrics/cloudwatch/cloudwatch_metrics.jsonl").read_text().splitlines()
    metrics = {one["MetricName"]: one for one in map(json.loads, lines)}
    assert set(metrics) == {
        *(f"feature_{what}_{name}" for what in ("non_null", "baseline_drift") for name in data.NAMES),
        *("feature_data_delay", "feature_data_hour", "rows", "features_drifted", "constraint_violations"),
    }
    assert metrics["rows"]["Value"] == 500
    assert metrics["feature_data_hour"]["StatisticValues"]["SampleCount"] == 500
    assert {one["Timestamp"] for one in metrics.values()} == {"2026-01-05T11:00:00Z"}
    assert metrics["rows"]["Dimensions"] == [
        {"Name": "Endpoint", "Value": "flights"},
        {"Name": "MonitoringSchedule", "Value": "data-quality"},
    ]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(
            lambda c: c["monitoring_config"].update(evaluate_constraints="Disabled"), set(), id="all off"
        ),
        pytest.param(
            lambda c: c["features"][0].update(
                monitoringConfigOverrides={"distribution_constraints": {"perform_comparison": "Disabled"}}
            ),
            set(),
            id="one feature's comparison off",
        ),
        pytest.param(
            lambda c: c["triptych"]["tolerance"].update(ks=0.9, psi=9, js=0.9), set(), id="tolerant"
        ),
        pytest.param(lambda c: c["features"][0].update(completeness=0.999), {COMPLETE, DRIFT}, id="complete"),
        pytest.param(lambda c: c["features"].pop(0), set(), id="feature taken out"),
    ],
)
def test_a_person_edits_the_constraints(
    job: Job, baseline: Path, tmp_path: Path, edit: Callable[[Any], Any], expected: set[str]
) -> None:
    rows = data.rows_of(7, 2_000)
    moved(rows)
    constraints = json.loads((baseline / "constraints.json").read_text())
    edit(constraints)
    (tmp_path / "constraints.json").write_text(json.dumps(constraints))
    window = data.write_csv(tmp_path / "window", rows)
    found = job.check(window, baseline, "--constraints", str(tmp_path / "constraints.json"))
    assert {check for _, check in found} == expected
    assert job.read("constraints.json") == constraints


def test_predictions_are_watched_too(job: Job, tmp_path: Path) -> None:
    rows = data.rows_of(8, 3_000)
    scores = [(index % 100) / 100 for index in range(3_000)]
    train = data.write_parquet(tmp_path / "train", {**rows, "score": scores})
    done = job.run("baseline", "--data", train, "--output", tmp_path / "baseline")
    assert done.returncode == 0, done.stderr
    window = data.write_captures(tmp_path / "window", data.rows_of(9, 600))
    assert job.check(window, tmp_path / "baseline", "--score", "score") == [("score", DRIFT)]


def test_the_exploration_job_wrote_the_baseline(job: Job, tmp_path: Path) -> None:
    def column(kind: str, **values: Any) -> dict[str, Any]:
        return {"type": kind, "present": 2_000, "missing": 0, **values}

    statistics = {
        "triptych": {
            "use_case": "flights",
            "primary_table": "flights",
            "label": {"by_month": []},
            "tables": {
                "flights": {
                    "rows": 2_000,
                    "files": [],
                    "duplicate_rows": 0,
                    "duplicate_keys": 0,
                    "columns": {
                        "hour": column(
                            "integer", histogram={"width": 1.0, "counts": {"5": 1_000, "6": 1_000}}
                        ),
                        "carrier": column("string", categories={"UA": 1_500, "DL": 500}),
                        "time": column("timestamp"),
                    },
                }
            },
        }
    }
    (tmp_path / "statistics.json").write_text(json.dumps(statistics))
    window = data.write_csv(
        tmp_path / "window", {"hour": [5, 6] * 200, "carrier": ["UA", "UA", "DL", "DL"] * 100}
    )
    arguments = ("check", "--data", window, "--statistics", tmp_path, "--output", job.output)
    assert job.run(*arguments).returncode == 0
    found = job.read("constraint_violations.json")["violations"]
    assert [(one["feature_name"], one["constraint_check_type"]) for one in found] == [("carrier", DRIFT)]


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        pytest.param({}, [], "there is no", id="no data"),
        pytest.param({"window/a.txt": "x"}, [], "only .parquet, .csv, .jsonl", id="unknown files"),
        pytest.param({"window/a.jsonl": '{"torn'}, [], "none of the 1 captured lines", id="nothing readable"),
        pytest.param({"window/a.csv": "a,b\n1\n"}, [], "is not CSV with a header", id="broken CSV"),
        pytest.param({"statistics.json": "{"}, ["--statistics", "."], "is not JSON", id="torn baseline"),
        pytest.param(
            {"statistics.json": "{}"}, ["--statistics", "."], "has no profiles", id="another's baseline"
        ),
        pytest.param({}, ["--statistics", "absent"], "cannot be read", id="no baseline"),
        pytest.param({}, ["--start-time", "noon"], "'noon' is no time", id="no time"),
        pytest.param(
            {"c.json": '{"features": [], "triptych": {"tolerance": {"psi": "low"}}}'},
            ["--constraints", "c.json"],
            "triptych.tolerance.psi is 'low'",
            id="tolerance",
        ),
    ],
)
def test_what_cannot_be_monitored_is_said(
    job: Job, baseline: Path, tmp_path: Path, files: dict[str, str], arguments: list[str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    arguments = [str(tmp_path / one) if one in ("c.json", ".", "absent") else one for one in arguments]
    common = ["--statistics", baseline, "--data", tmp_path / "window", "--output", tmp_path / "out"]
    done = job.run("check", *common, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "constraint_violations.json").exists()


def test_the_page_begins_with_what_moved_most(job: Job, baseline: Path, tmp_path: Path) -> None:
    rows = data.rows_of(10, 2_000)
    moved(rows)
    constant(rows)
    job.check(data.write_csv(tmp_path / "window", rows), baseline)
    page = (job.output / "drift.html").read_text()
    table = page[page.index("All features") :]
    assert table.index("hour") < table.index("delay") < table.index("carrier")
    assert "&lt; 1e-99" in table
    assert page.count("<svg") == 3


def test_a_wide_data_set_makes_no_large_page(job: Job, tmp_path: Path) -> None:
    names = [f"feature_{number}" for number in range(400)]
    rows = {
        name: [(number * 7 + row * 13) % 101 / 7 for row in range(300)] for number, name in enumerate(names)
    }
    folder = data.write_parquet(tmp_path / "train", rows)
    done = job.run("baseline", "--data", folder, "--output", tmp_path / "baseline")
    assert done.returncode == 0, done.stderr
    window = data.write_parquet(tmp_path / "window", {name: [99.0] * 300 for name in names})
    assert len(job.check(window, tmp_path / "baseline")) == 400
    assert len((job.output / "drift.html").read_bytes()) < 500_000
