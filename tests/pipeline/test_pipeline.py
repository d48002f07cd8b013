"""The whole pipeline, really run: from raw files into an endpoint that answers, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import FinishedRun
from tests.pipeline.project import Project, wait_until

pytestmark = [pytest.mark.cloud]


def raw(project: Project, key: str) -> bytes:
    content: bytes = (
        project.client("s3").get_object(Bucket=project.outputs()["DataBucket"], Key=key)["Body"].read()
    )
    return content


def put(project: Project, key: str, content: bytes) -> None:
    project.client("s3").put_object(Bucket=project.outputs()["DataBucket"], Key=key, Body=content)


@pytest.fixture
def quiet(finished: FinishedRun) -> Any:
    """The project with the upload rule off, so that a test's uploads start nothing of their own."""
    project = finished.project
    rule = project.outputs()["UploadRuleName"]
    project.client("events").disable_rule(Name=rule)
    yield project
    project.client("events").enable_rule(Name=rule)  # a test may have restarted the cloud, elsewhere


def test_what_a_run_makes(finished: FinishedRun) -> None:
    project, summary = finished.project, finished.summary
    assert summary["status"] == "SUCCEEDED"
    rows = summary["dataset"]["rows"]
    assert rows["train"] > 10_000
    assert rows["test"] > 2_000
    cleaning = summary["cleaning"]
    assert cleaning["rows_in"] == cleaning["rows_out"] + cleaning["quarantined"]
    assert cleaning["tables"]["flights"]["rows_in"] == sum(rows.values()) + unlabelled(project, summary)
    assert 0.5 < summary["model"]["metrics"]["auc"] < 0.9
    assert summary["deployment"]["test"]["parity_difference"] < 1e-5
    for path in summary["reports"].values():
        page = Path(path).read_text()
        assert page.startswith("<!doctype html>")
        assert "<svg" in page
        assert not re.search(r"<(script|link|img)[^>]+(src|href)=.http", page)


def unlabelled(project: Project, summary: dict[str, Any]) -> int:
    splits = json.loads(raw(project, summary["dataset"]["splits_uri"].split("/", 3)[3]))
    return int(splits["unlabelled"]) + int(splits["outside"])


def test_a_run_starts_only_what_it_was_asked_for(finished: FinishedRun) -> None:
    assert [run["trigger"] for run in finished.project.runs()] == ["person"]


def test_the_endpoint_answers_like_the_batch(finished: FinishedRun) -> None:
    project, summary = finished.project, finished.summary
    batch = raw(project, summary["model"]["batch_uri"].split("/", 3)[3]).decode().splitlines()
    out = summary["model"]["transform_uri"].split("/", 3)[3] + "/test.csv.out"
    predictions = raw(project, out).decode().split()
    assert len(predictions) == len(batch)
    assert project.predict(batch[7]) == pytest.approx(float(predictions[7]), abs=1e-5)


def test_looking_at_a_run(finished: FinishedRun) -> None:
    project = finished.project
    shown = project.triptych("show", "last").stdout
    assert "✓ Train model" in shown
    assert "Clean data" in shown
    assert "[19]" in project.triptych("logs", "last", "Train model").stdout
    assert "REPORT RequestId" in project.triptych("logs", "last", "Judge files").stdout
    unknown = project.triptych("logs", "last", "Fly", code=2).stderr
    assert "it has: " in unknown
    assert "Train model" in unknown
    assert "there is no run 'x'" in project.triptych("show", "x", code=2).stderr
    assert "nothing to resume" in project.triptych("resume", "last", code=2).stderr
    name = finished.summary["run"]
    assert (
        f"a run named '{name}' already" in project.triptych("run", "flights", "--name", name, code=2).stderr
    )


def test_nothing_new_ends_early(finished: FinishedRun) -> None:
    summary = finished.project.run("--if-new")
    assert summary["is_new"] is False
    assert summary["dataset"]["dataset_version"] == finished.summary["dataset"]["dataset_version"]
    assert "model" not in summary


def test_the_aws_cli_sees_it_all(finished: FinishedRun, tmp_path: Path) -> None:
    project = finished.project
    arn = project.outputs()["PipelineStateMachineArn"]
    listed = json.loads(project.aws("stepfunctions", "list-executions", "--state-machine-arn", arn))[
        "executions"
    ]
    first = next(entry for entry in listed if entry["name"] == finished.summary["run"])
    described = json.loads(
        project.aws("stepfunctions", "describe-execution", "--execution-arn", first["executionArn"])
    )
    assert described["status"] == "SUCCEEDED"
    history = json.loads(
        project.aws("stepfunctions", "get-execution-history", "--execution-arn", first["executionArn"])
    )["events"]
    assert history[0]["type"] == "ExecutionStarted"
    assert history[-1]["type"] == "ExecutionSucceeded"
    jobs = json.loads(project.aws("sagemaker", "list-training-jobs"))["TrainingJobSummaries"]
    assert finished.summary["model"]["training_job"] in [job["TrainingJobName"] for job in jobs]
    body = tmp_path / "row.csv"
    body.write_text(finished.summary["deployment"]["test"]["sample"]["features"])
    project.aws(
        "sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "triptych-flights",
        "--content-type", "text/csv", "--body", f"fileb://{body}", str(tmp_path / "answer"),
    )  # fmt: skip
    expected = finished.summary["deployment"]["test"]["sample"]["score"]
    assert float((tmp_path / "answer").read_text()) == pytest.approx(expected, abs=1e-5)
    # what `aws logs tail` of version 2 calls; PyPI's version 1 has no such command
    events = project.aws(
        "logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs", "--interleaved",
        "--filter-pattern", '"validation-auc"',
    )  # fmt: skip
    assert "train-auc" in events


def test_an_upload_starts_the_pipeline_and_says_so(finished: FinishedRun, tmp_path: Path) -> None:
    project = finished.project
    bucket = project.outputs()["DataBucket"]
    month = tmp_path / "2014-01.csv"
    month.write_bytes(raw(project, "raw/flights/2013-12.csv").replace(b"2013,12,", b"2014,1,"))
    before = len(project.runs())
    project.aws("s3", "cp", str(month), f"s3://{bucket}/raw/flights/2014-01.csv")
    wait_until(lambda: len(project.runs()) > before, "the upload has started a run")
    started = project.runs()[0]
    assert started["trigger"] == "upload"
    shown = project.triptych("show", started["run"], "--json").stdout
    assert json.loads(shown)["input"]["trigger"]["detail"]["key"] == "raw/flights/2014-01.csv"
    project.triptych("resume", started["run"], code=None)
    wait_until(lambda: project.runs()[0]["status"] != "RUNNING", "that run has ended")
    project.client("s3").delete_object(Bucket=bucket, Key="raw/flights/2014-01.csv")


BAD_MONTHS = {
    "missing column": (lambda text: text.replace(b",hour,", b",stunde,", 1), "header: missing hour"),
    "not utf-8": (lambda text: text.replace(b"JFK", b"JF\xff", 1), "encoding: byte"),
    "empty": (lambda text: b"", "not_empty: the file is empty"),
    "truncated": (lambda text: text[: len(text) - 40], "truncated_last_line"),
}


@pytest.mark.parametrize("case", BAD_MONTHS)
def test_a_bad_month_is_left_out_and_told(case: str, quiet: Project) -> None:
    """The judgement only: the machine's first states, run for real, without training again."""
    damage, reason = BAD_MONTHS[case]
    good = raw(quiet, "raw/flights/2013-12.csv")
    put(quiet, "raw/flights/2014-02.csv", damage(good))
    try:
        arn = quiet.outputs()["DataEngineeringStateMachineArn"]
        stepfunctions = quiet.client("stepfunctions")
        execution = stepfunctions.start_execution(stateMachineArn=arn, input="{}")["executionArn"]
        wait_until(
            lambda: stepfunctions.describe_execution(executionArn=execution)["status"] != "RUNNING",
            "the data engineering machine has ended",
        )
        described = stepfunctions.describe_execution(executionArn=execution)
        assert described["status"] == "SUCCEEDED", described.get("cause")
        judged = json.loads(state_output(stepfunctions, execution, "Judge files"))["files"]
    finally:
        quiet.client("s3").delete_object(Bucket=quiet.outputs()["DataBucket"], Key="raw/flights/2014-02.csv")
    assert judged["verdict"] == "quarantine"
    assert [entry["key"] for entry in judged["rejected"]] == ["raw/flights/2014-02.csv"]
    assert any(reason in text for text in judged["rejected"][0]["reasons"]), judged["rejected"]


def state_output(stepfunctions: Any, execution: str, name: str) -> str:
    for page in stepfunctions.get_paginator("get_execution_history").paginate(executionArn=execution):
        for event in page["events"]:
            details = event.get("stateExitedEventDetails", {})
            if details.get("name") == name:
                output: str = details["output"]
                return output
    raise AssertionError(f"state {name} has no output")


def test_rejected_data_ends_with_a_reason_and_the_endpoint_goes_on_serving(
    finished: FinishedRun, quiet: Project
) -> None:
    sample = finished.summary["deployment"]["test"]["sample"]
    weather = raw(quiet, "raw/weather/weather.csv")
    put(quiet, "raw/weather/weather.csv", weather.replace(b"temp", b"heat", 1))
    try:
        rejected = quiet.run(code=4)
    finally:
        put(quiet, "raw/weather/weather.csv", weather)
    assert rejected["error"].endswith("Rejected")
    assert "raw/weather/weather.csv" in rejected["cause"]
    assert "missing temp" in rejected["cause"]
    assert quiet.predict(sample["features"]) == pytest.approx(sample["score"], abs=1e-5)


def test_a_model_below_its_gate_is_refused_and_the_champion_stays(
    finished: FinishedRun, quiet: Project
) -> None:
    packages = quiet.client("sagemaker").list_model_packages(ModelPackageGroupName="triptych-flights-local")
    quiet.change_contract(("{metric: auc, split: test, min: 0.5}", "{metric: auc, split: test, min: 0.99}"))
    try:
        rejected = quiet.run(code=4)
    finally:
        quiet.change_contract(
            ("{metric: auc, split: test, min: 0.99}", "{metric: auc, split: test, min: 0.5}")
        )
    assert rejected["error"].endswith("Rejected")
    assert "auc on test" in rejected["cause"]
    assert "0.99" in rejected["cause"]
    after = quiet.client("sagemaker").list_model_packages(ModelPackageGroupName="triptych-flights-local")
    assert len(after["ModelPackageSummaryList"]) == len(packages["ModelPackageSummaryList"])
    endpoint = quiet.client("sagemaker").describe_endpoint(EndpointName="triptych-flights")
    assert endpoint["EndpointStatus"] == "InService"


def test_a_training_script_that_raises_is_explained_and_resumed_once_mended(quiet: Project) -> None:
    script = quiet.root / "sagemaker_jobs" / "train" / "train.py"
    good = script.read_text()
    script.write_text(good + "\nraise RuntimeError('the learning rate flew away')\n")
    script.write_text(
        "raise RuntimeError('the learning rate flew away')\n"
        + good.replace("from __future__ import annotations", "")
    )
    failed = quiet.run(code=1)
    assert "the learning rate flew away" in failed["cause"]
    told = quiet.triptych("show", failed["run"]).stderr
    assert re.search("where .*-model: Train model", told)
    assert "Traceback" not in told
    script.write_text(good)
    quiet.triptych("up")
    resumed = json.loads(quiet.triptych("resume", failed["run"], "--json", code=None).stdout)
    assert resumed["run"] == failed["run"]


def test_kill_nine_in_the_middle_then_up_and_the_run_goes_on(quiet: Project) -> None:
    name = json.loads(quiet.triptych("run", "flights", "--no-follow", "--json").stdout)["run"]
    wait_until(
        lambda: '"Clean data"' in quiet.triptych("show", name, "--json").stdout,
        "the run is cleaning the data",
    )
    quiet.kill_cloud()
    quiet.triptych("up")
    done = quiet.triptych("resume", name, "--json")
    assert json.loads(done.stdout)["status"] == "SUCCEEDED"


def test_ctrl_c_leaves_the_run_going(quiet: Project) -> None:
    process = quiet.start("run", "flights", "--name", "interrupted")
    assert process.stderr is not None
    for line in process.stderr:
        if "Explore data" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "triptych resume interrupted" in errors
    assert json.loads(quiet.triptych("resume", "interrupted", "--json").stdout)["status"] == "SUCCEEDED"


def test_a_second_run_at_once_is_told_to_wait(quiet: Project) -> None:
    first = quiet.start("run", "flights", "--json", "--name", "first")
    wait_until(lambda: quiet.runs()[0]["run"] == "first", "the first run has started")
    second = quiet.triptych("run", "flights", code=1)
    assert "run first is going on; watch it with `triptych resume first " in second.stderr
    answer, _ = first.communicate(timeout=300)
    assert json.loads(answer)["status"] == "SUCCEEDED"
