"""Training jobs in the project's own image: its ``train`` command runs, with what it gets on AWS and no more."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from sagemaker_laptop import Laptop, channel, sample, training_params

OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com/triptych@sha256:0123"
NAMES = ["a", "b", "c"]
HYPERPARAMETERS = {"num_round": "5", "max_depth": "3", "objective": "binary:logistic"}


@pytest.fixture(scope="module")
def channels(laptop: Laptop) -> list[dict[str, Any]]:
    for seed, split in enumerate(("train", "validation")):
        features, label = sample(300, seed)
        table = pa.table({"late": label, **{name: features[:, i] for i, name in enumerate(NAMES)}})
        buffer = io.BytesIO()
        parquet.write_table(table, buffer)
        laptop.put(f"own/{split}/part-0.parquet", buffer.getvalue())
    described = {"label": {"name": "late"}, "features": [{"name": name} for name in NAMES]}
    uri = laptop.put("own/features.json", json.dumps(described))
    return [
        channel("train", "s3://data/own/train/", "application/x-parquet"),
        channel("validation", "s3://data/own/validation/", "application/x-parquet"),
        channel("features", uri, "application/json"),
    ]


def run(laptop: Laptop, name: str, channels: list[dict[str, Any]], **hyperparameters: str) -> dict[str, Any]:
    params = training_params(name) | {
        "AlgorithmSpecification": {"TrainingImage": OWN, "TrainingInputMode": "File"},
        "HyperParameters": HYPERPARAMETERS | hyperparameters,
        "InputDataConfig": channels,
    }
    laptop.call("CreateTrainingJob", **params)
    return laptop.end_of(name)


def test_it_trains_and_serves(laptop: Laptop, channels: list[dict[str, Any]]) -> None:
    job = run(laptop, "own", channels)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    archive = laptop.cloud.store.get_bytes("data", uri.removeprefix("s3://data/"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = set(tar.getnames())
        report = json.loads(tar.extractfile("about/training.json").read())
    assert {"xgboost-model", "compiled/model.onnx", "about/features.json"} <= names
    assert report["hyperparameters"] == {"num_round": 5, "max_depth": 3, "objective": "binary:logistic"}
    laptop.await_log("/aws/sagemaker/TrainingJobs", "trained 5 rounds", "own/")
    laptop.call(
        "CreateModel",
        ModelName="own",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/serving",
        PrimaryContainer={"Image": OWN, "ModelDataUrl": uri},
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "own",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    laptop.call("CreateEndpointConfig", EndpointConfigName="own", ProductionVariants=[variant])
    laptop.call("CreateEndpoint", EndpointName="own", EndpointConfigName="own")
    try:
        assert laptop.await_endpoint("own")["EndpointStatus"] == "InService"
        answer = laptop.call("InvokeEndpoint", EndpointName="own", Body=b"1,-1,0", ContentType="text/csv")
        assert 0.5 < float(answer["Body"]) < 1
    finally:
        laptop.call("DeleteEndpoint", EndpointName="own")


def test_a_failure_is_told_in_the_containers_words(laptop: Laptop, channels: list[dict[str, Any]]) -> None:
    job = run(laptop, "own-without", channels[:1] + channels[2:])
    assert job["TrainingJobStatus"] == "Failed"
    assert "SM_CHANNEL_VALIDATION is missing" in job["FailureReason"]
    assert "ExecuteUserScriptError" not in job["FailureReason"]


def test_another_script_is_refused_as_on_aws(laptop: Laptop, channels: list[dict[str, Any]]) -> None:
    """AWS takes the request, whatever the image does with it."""
    source = laptop.archive("code/own.tar.gz", {"train.py": "print('never')"})
    job = run(
        laptop,
        "own-script",
        channels,
        sagemaker_program='"train.py"',
        sagemaker_submit_directory=f'"{source}"',
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert "trains with the one that it holds" in job["FailureReason"]
