"""The committed definitions run in the real engine; the services are played."""

from __future__ import annotations

import json

import played_answers as played
import pytest
from rendered_machines import Failure, Runner

NOT_FOUND = Failure("SageMaker.SageMakerException", 'Could not find endpoint "triptych-flights".')
FAILED = Failure(
    "States.TaskFailed", json.dumps({"TrainingJobName": "t", "FailureReason": "ExecuteUserScriptError"})
)
NEW = "flights-run-1-0-0"


def test_data_engineering_registers_a_dataset(runner: Runner) -> None:
    played.play_data_engineering(runner)
    ended = runner.run("data_engineering", use_case="flights", trigger={"kind": "person", "detail": {}})
    assert ended["status"] == "SUCCEEDED", ended
    assert ended["output"] == {**played.DATASET, "is_new": True}
    assert runner.services.calls["IngestSources"] == [{"execution_name": "run-1", "force": False}]
    assert runner.services.calls["read_items"] == [{"Bucket": "data", "Key": "runs/run-1/objects.json"}]
    assert [asked["object"]["key"][-11:] for asked in runner.services.calls["ValidateFile"]] == [
        "2013-01.csv",
        "2013-02.csv",
    ]
    details = runner.services.calls["JudgeFiles"][0]["result_writer_details"]
    assert details == {"Bucket": "data", "Key": "runs/run-1/file_checks/uuid/manifest.json"}
    assert runner.services.calls["the-CleanDataJob"][0]["Arguments"] == {
        "--contract_uri": "s3://code/contract.yaml",
        "--run_uri": played.RUN,
        "--accepted_uri": f"{played.RUN}/accepted.json",
    }


def test_nothing_new_ends_early_with_the_registered_dataset(runner: Runner) -> None:
    played.play_data_engineering(runner)
    answer = runner.services.answers["IngestSources"][0]
    runner.services.answer("IngestSources", {**answer, "is_new": False, "latest": played.DATASET})
    ended = runner.run("data_engineering")
    assert ended["status"] == "SUCCEEDED"
    assert ended["output"] == {**played.DATASET, "is_new": False}
    assert ended["visited"][-1] == "Nothing new"


@pytest.mark.parametrize(
    ("function", "changed", "cause"),
    [
        pytest.param(
            "JudgeFiles",
            {"verdict": "stop", "rejected": [{"key": "raw/weather/weather.csv", "reasons": ["empty file"]}]},
            "The files did not pass: raw/weather/weather.csv: empty file",
            id="files",
        ),
        pytest.param(
            "ValidateStatistics",
            {"verdict": "stop", "violations": [{"check": "completeness", "limit": 0.9, "value": 0.2}]},
            "The statistics did not pass: check completeness, limit 0.9, value 0.2",
            id="statistics",
        ),
        pytest.param(
            "ValidateSplits",
            {"verdict": "stop", "violations": [{"message": "the label of the test split is constant"}]},
            "The splits did not pass: the label of the test split is constant",
            id="splits",
        ),
    ],
)
def test_rejected_data_ends_with_the_reason(
    runner: Runner, function: str, changed: dict[str, object], cause: str
) -> None:
    played.play_data_engineering(runner)
    answer = runner.services.answers[function][0]
    runner.services.answer(function, {**answer, **changed})
    ended = runner.run("data_engineering")
    assert (ended["status"], ended["error"], ended["cause"]) == ("FAILED", "DataRejected", cause)
    assert ended["visited"][-1] == "Data rejected"
    assert runner.services.calls["RegisterDataset"] == []
    assert cause in runner.services.calls["sns:publish"][0]["Message"]


def test_a_model_is_packaged_and_approved(runner: Runner) -> None:
    played.play_model(runner)
    ended = runner.run("model", dataset=played.DATASET)
    assert ended["status"] == "SUCCEEDED", ended
    assert ended["output"]["training_job"] == "flights-run-1-train-0-0"
    assert ended["output"]["model_package_arn"].endswith("/g/1")
    assert ended["output"]["metrics"] == {"auc": 0.74}
    package = runner.services.calls["aws-sdk:sagemaker:createModelPackage"][0]
    assert package["CustomerMetadataProperties"] == {"test_auc": "0.74"}
    update = runner.services.calls["aws-sdk:sagemaker:updateModelPackage"][0]
    assert update["ModelApprovalStatus"] == "Approved"


def test_the_managed_algorithm_gets_no_metric_definitions(runner: Runner) -> None:
    played.play_model(runner)
    runner.services.answer("ResolveTraining", played.resolved_training("xgboost"))
    assert runner.run("model")["status"] == "SUCCEEDED"
    asked = runner.services.calls["sagemaker:createTrainingJob.sync"][0]
    assert "MetricDefinitions" not in asked["AlgorithmSpecification"]


def test_a_model_below_its_gates_is_never_packaged(runner: Runner) -> None:
    played.play_model(runner)
    runner.services.answer(
        "JudgeModel", played.judged("stop", ["auc on test is 0.7000, must be at least 0.73"])
    )
    ended = runner.run("model")
    assert (ended["status"], ended["error"]) == ("FAILED", "ModelRejected")
    assert ended["cause"] == "The model did not pass: auc on test is 0.7000, must be at least 0.73"
    assert runner.services.calls["aws-sdk:sagemaker:createModelPackage"] == []


@pytest.mark.parametrize(
    ("answer", "status", "approval"),
    [
        pytest.param({"approved": True, "reason": "looks right"}, "SUCCEEDED", "Approved", id="approved"),
        pytest.param({"approved": False, "reason": "not before May"}, "FAILED", "Rejected", id="refused"),
    ],
)
def test_a_person_approves(runner: Runner, answer: dict[str, object], status: str, approval: str) -> None:
    played.play_model(runner)
    runner.services.answer("sns:publish.waitForTaskToken", answer)
    ended = runner.run("model", approval="manual")
    assert ended["status"] == status
    message = runner.services.calls["sns:publish.waitForTaskToken"][0]["Message"]
    assert message["task_token"]
    updates = runner.services.calls["aws-sdk:sagemaker:updateModelPackage"]
    assert [update["ModelApprovalStatus"] for update in updates] == [approval]
    if status == "FAILED":
        assert "not before May" in ended["cause"]


def test_a_failed_training_goes_on_after_a_redrive(runner: Runner) -> None:
    played.play_model(runner)
    trained = runner.services.answers["sagemaker:createTrainingJob.sync"][0]
    runner.services.answer("sagemaker:createTrainingJob.sync", FAILED, FAILED, trained)
    ended = runner.run("model")
    assert (ended["status"], ended["error"]) == ("FAILED", "TaskFailed")
    assert ended["cause"] == "State 'Train model': States.TaskFailed: training job t: ExecuteUserScriptError"
    assert runner.services.calls["sns:publish"][0]["Subject"] == "Model: Train model failed (run-1)"
    assert runner.redrive("model")["status"] == "FAILED"
    ended = runner.redrive("model")
    assert ended["status"] == "SUCCEEDED"
    names = [asked["TrainingJobName"] for asked in runner.services.calls["sagemaker:createTrainingJob.sync"]]
    assert names == ["flights-run-1-train-0-0", "flights-run-1-train-1-0", "flights-run-1-train-2-0"]
    assert len(runner.services.calls["ResolveTraining"]) == 1


def test_the_first_failure_is_told_even_if_it_cannot_be_explained(runner: Runner) -> None:
    played.play_model(runner)
    runner.services.answer("sagemaker:createTrainingJob.sync", Failure("States.TaskFailed", "no space"))
    runner.services.answer("ExplainFailure", Failure("Lambda.Unknown", "it broke"))
    ended = runner.run("model")
    assert (ended["error"], ended["cause"]) == ("TaskFailed", "no space")


def test_the_pipeline_chains_the_three(runner: Runner) -> None:
    played.play_all(runner)
    trigger = {"kind": "upload", "detail": {"key": "raw/flights/2013-12.csv"}}
    ended = runner.run("pipeline", trigger=trigger)
    assert ended["status"] == "SUCCEEDED", ended
    assert ended["output"]["trigger"] == trigger
    assert ended["output"]["dataset"]["dataset_version"] == "v1"
    assert ended["output"]["deployment"]["endpoint_name"] == "triptych-flights"
    inputs = [asked["Input"] for asked in runner.services.calls["states:startExecution"]]
    assert [given["trigger"] for given in inputs] == [trigger] * 3
    assert inputs[2]["model_package_arn"].endswith("/g/1")
    assert [asked["Name"] for asked in runner.services.calls["states:startExecution"]] == ["run-1"] * 3


@pytest.mark.parametrize("force", [False, True])
def test_without_new_data_the_pipeline_goes_on_only_when_forced(runner: Runner, force: bool) -> None:
    played.play_all(runner)
    answer = runner.services.answers["IngestSources"][0]
    runner.services.answer("IngestSources", {**answer, "is_new": False, "latest": played.DATASET})
    ended = runner.run("pipeline", force=force)
    assert ended["status"] == "SUCCEEDED"
    assert ended["output"]["dataset"]["dataset_version"] == "v1"
    assert bool(runner.services.calls["ResolveTraining"]) is force


def test_a_redriven_pipeline_goes_on_inside_the_nested_run(runner: Runner) -> None:
    played.play_all(runner)
    trained = runner.services.answers["sagemaker:createTrainingJob.sync"][0]
    runner.services.answer("sagemaker:createTrainingJob.sync", FAILED, trained)
    ended = runner.run("pipeline")
    assert (ended["status"], ended["error"]) == ("FAILED", "TaskFailed")
    assert ended["cause"].startswith("State 'Train model'")
    assert "ExecuteUserScriptError" in ended["cause"]
    ended = runner.redrive("pipeline")
    assert ended["status"] == "SUCCEEDED", ended
    assert len(runner.services.calls["IngestSources"]) == 1
    assert len(runner.services.calls["ResolveTraining"]) == 1
    assert runner.services.calls["RedriveExecution"] == [
        "arn:aws:states:us-east-1:123456789012:execution:triptych-flights-test-model:run-1"
    ]


def test_a_nested_run_that_was_redriven_by_hand_is_not_run_twice(runner: Runner) -> None:
    played.play_all(runner)
    trained = runner.services.answers["sagemaker:createTrainingJob.sync"][0]
    runner.services.answer("sagemaker:createTrainingJob.sync", FAILED, trained)
    assert runner.run("pipeline")["status"] == "FAILED"
    assert runner.redrive("model")["status"] == "SUCCEEDED"
    assert runner.redrive("pipeline")["status"] == "SUCCEEDED"
    assert len(runner.services.calls["sagemaker:createTrainingJob.sync"]) == 2
    assert runner.services.calls["RedriveExecution"] == []


def test_a_pipeline_passes_the_strategy_on_and_ends_as_its_deployment_does(runner: Runner) -> None:
    played.play_all(runner)
    runner.services.answer("TestEndpoint", played.tested("stop", ["row 3 differs"]))
    ended = runner.run("pipeline", deployment={"strategy": "canary", "instance_count": 3})
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert "row 3 differs" in ended["cause"]
    asked = runner.services.calls["ResolveDeployment"][0]
    assert asked["deployment"] == {"strategy": "canary", "instance_count": 3}


def test_a_pipeline_ends_as_rejected_when_a_nested_run_does(runner: Runner) -> None:
    played.play_all(runner)
    runner.services.answer(
        "JudgeModel", played.judged("stop", ["auc on test is 0.7000, must be at least 0.73"])
    )
    ended = runner.run("pipeline")
    assert (ended["status"], ended["error"]) == ("FAILED", "ModelRejected")
    assert "must be at least 0.73" in ended["cause"]
