"""The rules of the model's functions and of those that explain and end failures, by tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from function_modules import load_function
from model_registry import Registry, packaged

from triptych.core.contract import ChampionGate, Gates, Limits, MetricGate, SliceGate, load_contract

PROJECT = Path(__file__).parents[2]
CONTRACT = load_contract(PROJECT / "usecases" / "flights" / "contract.yaml")


training = load_function("resolve_training")
inputs, champion = training.inputs, training.champion
gates = load_function("judge_model").gates
explanation = load_function("explain_failure").explanation
ending = load_function("fail_execution").ending

ENVIRONMENT = {
    "DATA_BUCKET": "data",
    "CONTRACT_URI": "s3://code/contract.yaml",
    "MODEL_PACKAGE_GROUP": "triptych-flights-local",
    "XGBOOST_IMAGE_URI": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
    "CONTAINER_IMAGE_URI": "123456789012.dkr.ecr.us-east-1.amazonaws.com/triptych@sha256:0123",
    "TRAIN_SOURCE_URI": "s3://code/sagemaker/train/1/train.tar.gz",
    "EVALUATE_SOURCE_URI": "s3://code/sagemaker/evaluate/1/evaluate.pyz",
}
RUN = "s3://data/runs/run-1"
DATASET = {
    "dataset_version": "v1",
    "run_uri": RUN,
    "train_uri": f"{RUN}/splits/train/",
    "validation_uri": f"{RUN}/splits/validation/",
    "test_uri": f"{RUN}/splits/test/",
    "batch_uri": f"{RUN}/batch/test.csv",
    "features_uri": f"{RUN}/features.json",
}


def resolved(dataset: dict[str, Any] | None = DATASET, **given: Any) -> dict[str, Any]:
    request = inputs.Request("run-1", "arn:execution", dataset, given)
    settings = inputs.Settings.from_environment(ENVIRONMENT)
    return inputs.resolve(
        request, settings, CONTRACT, {"model_package_arn": None}, lambda uri: json.dumps(DATASET)
    )


def test_training_answer_makes_a_valid_request() -> None:
    answer = resolved(num_round=3, eta=0.5)
    request = {
        "TrainingJobName": f"{answer['job_prefix']}-train-0-0",
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "AlgorithmSpecification": {
            "TrainingImage": answer["image_uri"],
            "TrainingInputMode": "File",
            "MetricDefinitions": answer["metric_definitions"],
        },
        "HyperParameters": answer["hyperparameters"],
        "InputDataConfig": answer["channels"],
        "OutputDataConfig": {"S3OutputPath": answer["output_uri"]},
        "ResourceConfig": answer["resources"],
        "StoppingCondition": {"MaxRuntimeInSeconds": answer["max_runtime_seconds"]},
    }
    model = botocore.session.get_session().get_service_model("sagemaker")
    report = ParamValidator().validate(request, model.operation_model("CreateTrainingJob").input_shape)
    assert not report.has_errors(), report.generate_report()
    assert answer["hyperparameters"]["num_round"] == "3"
    assert answer["hyperparameters"]["eta"] == "0.5"
    assert answer["hyperparameters"]["max_depth"] == CONTRACT.model.hyperparameters["max_depth"]
    assert (
        json.loads(answer["hyperparameters"]["sagemaker_submit_directory"]) == ENVIRONMENT["TRAIN_SOURCE_URI"]
    )
    assert answer["evaluation"]["entrypoint"] == ["python3", "/opt/ml/processing/input/code/evaluate.pyz"]
    assert answer["evaluation"]["splits_uri"] == f"{RUN}/splits/"


def test_the_latest_dataset_is_taken_where_none_is_given() -> None:
    assert resolved(None)["dataset"] == DATASET


def test_no_dataset_says_what_to_do() -> None:
    class NoSuchKey(Exception):
        pass

    def read(uri: str) -> str:
        raise NoSuchKey(uri)

    request = inputs.Request("run-1", "arn", None, {})
    with pytest.raises(inputs.NoDataset, match="run the data engineering state machine first"):
        inputs.resolve(request, inputs.Settings.from_environment(ENVIRONMENT), CONTRACT, {}, read)


def test_a_missing_variable_is_named() -> None:
    for name in inputs.Settings.__dataclass_fields__:
        some = {key: value for key, value in ENVIRONMENT.items() if key != name.upper()}
        with pytest.raises(Exception, match=f"{name.upper()} is not set"):
            inputs.Settings.from_environment(some)


@pytest.mark.parametrize(
    ("image", "uri"),
    [
        ("xgboost-3.0-5", "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"),
        ("1.dkr.ecr.x.amazonaws.com/own:2", "1.dkr.ecr.x.amazonaws.com/own:2"),
        ("triptych", ENVIRONMENT["CONTAINER_IMAGE_URI"]),
    ],
)
def test_images(image: str, uri: str) -> None:
    assert inputs.image_uri(image, inputs.Settings.from_environment(ENVIRONMENT)) == uri


def test_an_own_image_that_was_never_pushed_says_what_to_do() -> None:
    settings = inputs.Settings.from_environment({**ENVIRONMENT, "CONTAINER_IMAGE_URI": ""})
    with pytest.raises(inputs.ImageMissing, match="ContainerImageUri is empty: build the image, push it"):
        inputs.image_uri("triptych", settings)


def test_the_own_container_trains_without_a_script_and_serves_from_the_same_image() -> None:
    model = replace(CONTRACT.model, algorithm="container", image="triptych")
    request = inputs.Request("run-1", "arn:execution", DATASET, {})
    answer = inputs.resolve(
        request,
        inputs.Settings.from_environment(ENVIRONMENT),
        replace(CONTRACT, model=model),
        {"model_package_arn": None},
        lambda uri: json.dumps(DATASET),
    )
    assert answer["hyperparameters"] == {
        "objective": CONTRACT.model.objective,
        **CONTRACT.model.hyperparameters,
    }
    assert [channel["ChannelName"] for channel in answer["channels"]] == ["train", "validation", "features"]
    images = {answer["image_uri"], answer["evaluation"]["image_uri"], answer["serving"]["image_uri"]}
    assert images == {ENVIRONMENT["CONTAINER_IMAGE_URI"]}


@pytest.mark.parametrize(
    ("packages", "arn_end", "metrics"),
    [
        pytest.param([], None, {}, id="none"),
        pytest.param([packaged(1, "PendingManualApproval", test_auc="0.8")], None, {}, id="none approved"),
        pytest.param(
            [
                packaged(3, "Rejected"),
                packaged(2, test_auc="0.74", git_commit="abc"),
                packaged(1, test_auc="0.9"),
            ],
            "g/2",
            {"auc": 0.74},
            id="the latest approved",
        ),
    ],
)
def test_champion(packages: list[dict[str, Any]], arn_end: str | None, metrics: dict[str, float]) -> None:
    found = champion.Registry(Registry(*packages), "g").champion()
    assert found["metrics"] == metrics
    assert (found["model_package_arn"] or "none").endswith(arn_end or "none")


def evaluation(**test: float | None) -> Any:
    slices = [
        {"value": "EWR", "rows": 5000, "auc": 0.7},
        {"value": "LGA", "rows": 5000, "auc": 0.6},
        {"value": "XXX", "rows": 3, "auc": None},
    ]
    splits = {"test": {"rows": 10000, "auc": 0.75, "brier": 0.1, **test}, "validation": {"auc": 0.76}}
    return gates.Evaluation.from_document({"triptych": {"splits": splits, "slices": {"origin": slices}}})


@pytest.mark.parametrize(
    ("contract_gates", "test", "rival", "reasons"),
    [
        pytest.param(Gates((MetricGate("auc", "test", Limits(min=0.75)),)), {}, {}, [], id="at the limit"),
        pytest.param(
            Gates((MetricGate("auc", "test", Limits(min=0.76)),)),
            {},
            {},
            ["auc on test is 0.7500, must be at least 0.76"],
            id="below",
        ),
        pytest.param(
            Gates((MetricGate("brier", "test", Limits(max=0.09)),)),
            {},
            {},
            ["brier on test is 0.1000, must be at most 0.09"],
            id="above",
        ),
        pytest.param(
            Gates((MetricGate("auc", "test", Limits(min=0.5)),)),
            {"auc": None},
            {},
            ["auc on test is not defined (one class only), must be at least 0.5"],
            id="not defined",
        ),
        pytest.param(
            Gates((), None, (SliceGate("origin", "auc", Limits(min=0.65), 1000),)),
            {},
            {},
            ["slice origin=LGA: auc is 0.6000, must be at least 0.65"],
            id="a slice, small ones left out",
        ),
        pytest.param(Gates((), ChampionGate("auc")), {}, {}, [], id="no champion yet"),
        pytest.param(Gates((), ChampionGate("auc")), {}, {"auc": 0.75}, [], id="as good as the champion"),
        pytest.param(
            Gates((), ChampionGate("auc", "test", 0.01)),
            {},
            {"auc": 0.745},
            ["auc on test against the champion's 0.7450 is 0.7500, must be at least 0.755"],
            id="not better by the margin",
        ),
        pytest.param(
            Gates((), ChampionGate("brier")),
            {},
            {"brier": 0.09},
            ["brier on test against the champion's 0.0900 is 0.1000, must be at most 0.09"],
            id="lower is better",
        ),
    ],
)
def test_gates(
    contract_gates: Gates, test: dict[str, Any], rival: dict[str, float], reasons: list[str]
) -> None:
    verdict = gates.judge(contract_gates, evaluation(**test), rival)
    assert verdict.reasons == reasons
    assert verdict.verdict == ("stop" if reasons else "pass")


@pytest.mark.parametrize(
    ("contract_gates", "message"),
    [
        (Gates((MetricGate("f1", "test", Limits(min=0.1)),)), "no f1 of the test split"),
        (Gates((MetricGate("auc", "train", Limits(min=0.1)),)), "no auc of the train split"),
        (Gates((), None, (SliceGate("dest", "auc", Limits(min=0.1)),)), "no slices by dest"),
    ],
    ids=["metric", "split", "slice"],
)
def test_a_gate_on_what_was_not_measured_is_an_error(contract_gates: Gates, message: str) -> None:
    with pytest.raises(gates.NotMeasured, match=message):
        gates.judge(contract_gates, evaluation(), {})


def test_package_properties_are_text_with_the_lineage() -> None:
    event = {
        "dataset_version": "v1",
        "training_job": "t",
        "execution_name": "run-1",
        "trigger": {"kind": "schedule"},
        "batch_uri": "s3://b",
        "transform_uri": "s3://t",
        "champion": {"model_package_arn": None},
    }
    found = gates.properties(event, evaluation(), "abc123", "flights")
    assert found["test_auc"] == "0.75"
    assert found["git_commit"] == "abc123"
    assert found["trigger"] == "schedule"
    assert found["champion"] == "none"
    assert all(isinstance(value, str) for value in found.values())


JOB = {
    "TrainingJobName": "t-0",
    "TrainingJobStatus": "Failed",
    "FailureReason": "AlgorithmError: exit code 1",
}


@pytest.mark.parametrize(
    ("error", "cause", "expected"),
    [
        pytest.param(
            "States.TaskFailed",
            json.dumps(JOB),
            "training job t-0: AlgorithmError: exit code 1",
            id="SageMaker job",
        ),
        pytest.param(
            "States.TaskFailed",
            json.dumps({"JobName": "clean", "JobRunState": "FAILED", "ErrorMessage": "no such column"}),
            "Glue job clean: no such column",
            id="Glue job",
        ),
        pytest.param(
            "NoDataset",
            json.dumps({"errorType": "NoDataset", "errorMessage": "there is none"}),
            "there is none",
            id="function",
        ),
        pytest.param(
            "SageMaker.SageMakerException", "Could not find it", "Could not find it", id="plain text"
        ),
        pytest.param(
            "States.Timeout", None, "no cause was given It took longer than the state allows.", id="timeout"
        ),
        pytest.param("Broken", "{not json", "{not json", id="broken JSON"),
        pytest.param("Odd", json.dumps({"other": 1}), '{"other": 1}', id="JSON without a reason"),
    ],
)
def test_failures_are_explained(error: str, cause: str | None, expected: str) -> None:
    found = explanation.explain(event(failure={"Error": error, "Cause": cause}))
    assert found["error"] == error
    assert found["cause"] == f"State 'Train model': {error}: {expected}"
    assert found["subject"] == "Model: Train model failed (run-1)"
    assert "arn:execution" in found["message"]


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("auc is too low", "State 'Train model': ModelRejected: auc is too low"),
        (json.dumps({"errorMessage": "State 'Deep': E: why"}), "State 'Deep': E: why"),
    ],
    ids=["a rejection", "a failure that says where"],
)
def test_a_nested_executions_error_is_the_parents(inner: str, expected: str) -> None:
    cause = json.dumps({"ExecutionArn": "arn", "Error": "ModelRejected", "Cause": inner})
    found = explanation.explain(event(failure={"Error": "States.TaskFailed", "Cause": cause}))
    assert (found["error"], found["cause"]) == ("ModelRejected", expected)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], "no reason was given"),
        (["too few rows"], "too few rows"),
        (
            [{"message": "label is constant"}, {"check": "range", "limit": 3, "value": 4}],
            "label is constant; check range, limit 3, value 4",
        ),
        ([{"key": "raw/a.csv", "reasons": ["empty", "no header"]}], "raw/a.csv: empty, no header"),
    ],
    ids=["none", "text", "objects", "files"],
)
def test_rejections_are_explained(findings: list[Any], expected: str) -> None:
    rejection = {"subject": "statistics", "error": "DataRejected", "findings": findings}
    found = explanation.explain(event(rejection=rejection))
    assert found["error"] == "DataRejected"
    assert found["cause"] == f"The statistics did not pass: {expected}"


def test_subjects_fit_sns_and_causes_step_functions() -> None:
    long = event(failure={"Error": "E", "Cause": "x" * 100_000})
    found = explanation.explain({**long, "execution_name": "é" * 300})
    assert len(found["subject"]) == 100
    assert found["subject"].isascii()
    assert len(found["cause"]) == 2000


def event(**what: Any) -> dict[str, Any]:
    return {
        "machine": "Model",
        "execution_id": "arn:execution",
        "execution_name": "run-1",
        "redrive_count": 2,
        "failed_state": "Train model",
        **what,
    }


@pytest.mark.parametrize(
    ("failure", "redrives", "name"),
    [
        pytest.param(
            {"Error": "ModelError", "Cause": "c", "RedriveCount": 0}, 0, "ModelError", id="first end"
        ),
        pytest.param(
            {"Error": "States.TaskFailed", "Cause": "c", "RedriveCount": 2},
            2,
            "TaskFailed",
            id="reserved name",
        ),
        pytest.param({"Error": "E", "Cause": "c"}, 0, "E", id="unexplained"),
        pytest.param({"Error": "E", "Cause": "c", "RedriveCount": 0}, 1, None, id="redriven"),
        pytest.param({"Error": "E", "Cause": "c"}, 1, None, id="unexplained and redriven"),
        pytest.param({"Error": "", "Cause": ""}, 0, "UnknownError", id="nothing known"),
    ],
)
def test_endings(failure: dict[str, Any], redrives: int, name: str | None) -> None:
    found = ending.ending({"failure": failure, "redrive_count": redrives})
    assert (type(found).__name__ if found else None) == name
