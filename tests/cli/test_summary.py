"""What a run's ending says to a person: where, why, what to do; and the advised commands work where they are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.histories import Event, arn, read
from triptych import cli, summary
from triptych.commands.run import exit_code
from triptych.place import Place
from triptych.states import ExecutionRun

PIPELINE = "triptych-flights-local-pipeline"
MODEL = "triptych-flights-local-model"
FAILED: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "ParallelStateEntered", "Evaluate and predict"),
    (2, "ParallelStateStarted"),
    (3, "TaskStateEntered", "Evaluate model"),
    (4, "TaskScheduled"),
    (5, "TaskFailed", "Broken"),
    (6, "ParallelStateFailed"),
]
PARENT: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "TaskStateEntered", "Run model"),
    (2, "TaskScheduled"),
    (3, "TaskSubmitted", {"output": json.dumps({"ExecutionArn": arn(MODEL)})}),
    (4, "TaskFailed", "Broken"),
]


def failed_run(
    status: str = "FAILED", error: str | None = "Broken", cause: str | None = "why"
) -> ExecutionRun:
    run = read(PARENT, status, PIPELINE)
    run.children[arn(MODEL)] = read(FAILED, "FAILED", MODEL)
    run.error, run.cause = error, cause
    return run


def place(*flags: str) -> Place:
    return Place(Path("/checkout"), Path("/home"), flags=flags)


def lines(run: ExecutionRun, where: Place | None = None) -> list[str]:
    where = where or place()
    return summary.failure_lines(where, run, summary.as_json(where, run))


def test_a_failure_says_where_why_and_what_to_do() -> None:
    assert lines(failed_run()) == [
        "",
        "run-1 failed after 5.0 s",
        f"  where     {MODEL}: Evaluate and predict > Evaluate model",
        "  why       Broken: why",
        "  its logs  triptych logs run-1 'Evaluate model'",
        "  go on     triptych resume run-1  (once it is mended)",
    ]


def test_a_rejection_is_no_failure_to_go_on_from() -> None:
    run = read(
        [(0, "ExecutionStarted"), (0, "FailStateEntered", "Data rejected")],
        "FAILED",
        "triptych-trains-local-pipeline",
    )
    run.error, run.cause = "DataRejected", "The files did not pass: raw/a.csv: header: missing hour"
    told = lines(run, place("--home", "/my home"))
    assert told[1:] == [
        "run-1 ended as rejected after 2.0 s",
        "  where     triptych-trains-local-pipeline: Data rejected",
        "  why       DataRejected: The files did not pass: raw/a.csv: header: missing hour",
        "  its logs  triptych logs run-1 --use-case trains --home '/my home'",
        "  what is in use stays in use; once the data or the limits are mended:",
        "            triptych run trains --home '/my home'",
    ]


def test_a_rollback_names_its_page_and_what_serves() -> None:
    run = failed_run(error="DeploymentRolledBack", cause="alarm errors went off")
    page = "s3://data/deployments/run-1/deployment.html"
    report = read([(0, "ExecutionStarted"), (0, "TaskStateEntered", "Report the rollback")], "FAILED", MODEL)
    report.states[0].output = json.dumps({"record": {"report": {"report_uri": page}}})
    run.children[arn(MODEL)] = report
    told = lines(run)
    assert told[1] == "run-1 was rolled back after 5.0 s"
    assert told[-3:] == [
        f"  report    deployment: {page}",
        "  the former model serves again; once the new one is mended:",
        "            triptych run flights",
    ]
    assert not [line for line in told if "resume" in line]


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        ("plain text", "plain text"),
        (
            json.dumps({"errorMessage": "State 'A': why", "errorType": "Broken", "stackTrace": []}),
            "State 'A': why",
        ),
        ('{"cut off', '{"cut off'),
        (None, None),
    ],
    ids=["text", "a function's exception", "cut JSON", "none"],
)
def test_causes(cause: str | None, shown: str | None) -> None:
    assert summary.as_json(place(), failed_run(cause=cause))["cause"] == shown


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (read([], "SUCCEEDED"), 0),
        (failed_run(), cli.EXIT_FAILED),
        (failed_run("ABORTED", None, None), cli.EXIT_FAILED),
        (failed_run("TIMED_OUT", "States.Timeout"), cli.EXIT_FAILED),
        (failed_run(error="ModelRejected"), 4),
        (failed_run(error="DeploymentRolledBack"), 4),
    ],
    ids=["succeeded", "failed", "aborted", "timed out", "rejected", "rolled back"],
)
def test_exit_codes(run: ExecutionRun, code: int) -> None:
    assert exit_code(run) == code


def test_a_stopped_run_without_a_reason_has_no_why() -> None:
    run = read(PARENT[:3], "ABORTED", PIPELINE)
    told = lines(run)
    assert told[1] == "run-1 aborted after 3.0 s"
    assert not [line for line in told if "why" in line]


RESULTS: dict[str, Any] = {
    "is_new": True,
    "dataset": {"dataset_version": "abc", "rows": {"train": 1000}},
    "model": {
        "training_job": "t-0",
        "checks": [{"check": "auc on test", "min": 0.73, "max": None, "value": 0.7422, "passed": True}],
        "model_package_arn": "arn:aws:sagemaker:us-east-1:1:model-package/g/2",
        "champion": {"model_package_arn": "arn:aws:sagemaker:us-east-1:1:model-package/g/1"},
    },
    "deployment": {
        "endpoint_name": "e",
        "outcome": "promoted",
        "strategy": "blue_green",
        "test": {"latency_ms": {"p50": 2.0}},
        "report_uri": "s3://data/deployments/run-1/deployment.html",
    },
}


def test_results_name_everything_that_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = [(0, "ExecutionStarted"), (0, "TaskStateEntered", "Train it"), (2, "TaskScheduled")]
    run = read(events, "SUCCEEDED", PIPELINE)
    run.states[0].resource = "sagemaker:createTrainingJob.sync"
    run.input = {"trigger": {"kind": "upload", "detail": {}}}
    run.output = RESULTS
    summary.print_ending(place("--home", "/h"), run)
    told = capsys.readouterr().out
    for part in (
        "run-1, 3.0 s, started by upload",
        "version abc",
        "train 1,000",
        "✓ auc on test 0.7422 (at least 0.73)",
        "package     g/2, champion before: g/1",
        "endpoint    e, promoted by blue green, answers in p50 2.0 ms",
        "report      deployment: s3://data/deployments/run-1/deployment.html",
        "triptych logs run-1 'Train it' --home /h",
    ):
        assert part in told


def test_a_trial_says_why_it_ended_as_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    run = read([], "SUCCEEDED", PIPELINE)
    decision = {"verdict": "keep", "reason": "the champion's Brier score is lower"}
    deployment = {**RESULTS["deployment"], "strategy": "ab", "outcome": "kept", "decision": decision}
    run.output = {**RESULTS, "deployment": deployment}
    summary.print_ending(place(), run)
    told = capsys.readouterr().out
    assert "endpoint    e, champion kept by A/B test" in told
    assert "  because the champion's Brier score is lower\n" in told


def test_nothing_new_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    run = read([], "SUCCEEDED", PIPELINE)
    run.output = {"is_new": False, "dataset": {"dataset_version": "abc"}}
    summary.print_ending(place(), run)
    assert capsys.readouterr().out == "nothing new: dataset abc was trained on already\n"
