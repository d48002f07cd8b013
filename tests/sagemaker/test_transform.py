"""Batch transform: real predictions over objects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xgboost
from sagemaker_laptop import ROLE, XGBOOST, Laptop, booster_bytes, sample

RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1}


@pytest.fixture(scope="module")
def model(laptop: Laptop, model_uri: str) -> str:
    container = {"Image": XGBOOST, "ModelDataUrl": model_uri}
    laptop.call("CreateModel", ModelName="transformer", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return "transformer"


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.round(sample(20, seed=7)[0], 3)


@pytest.fixture(scope="module")
def expected(rows: np.ndarray) -> np.ndarray:
    booster = xgboost.Booster()
    booster.load_model(bytearray(booster_bytes(names=["a", "b", "c"])))
    return booster.inplace_predict(rows, validate_features=False)


def csv_text(rows: np.ndarray) -> str:
    return "".join(",".join(f"{cell:.3f}" for cell in row) + "\n" for row in rows)


def transform_params(name: str, model: str, uri: str, **changes: Any) -> dict[str, Any]:
    return {
        "TransformJobName": name,
        "ModelName": model,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        }
        | changes.pop("input", {}),
        "TransformOutput": {
            "S3OutputPath": f"s3://data/out/{name}",
            "AssembleWith": "Line",
            "Accept": "text/csv",
        }
        | changes.pop("output", {}),
        "TransformResources": RESOURCES,
    } | changes


def run(laptop: Laptop, params: dict[str, Any]) -> dict[str, Any]:
    laptop.call("CreateTransformJob", **params)
    return laptop.end_of(params["TransformJobName"])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="default"),
        pytest.param({"BatchStrategy": "SingleRecord"}, id="single-record"),
        pytest.param({"BatchStrategy": "MultiRecord", "MaxPayloadInMB": 0}, id="unlimited"),
        pytest.param({"input": {"SplitType": "None"}}, id="no-split"),
    ],
)
def test_predictions(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    model: str,
    rows: np.ndarray,
    expected: np.ndarray,
    changes: dict[str, Any],
) -> None:
    name = f"transform-{request.node.callspec.id}"
    laptop.put(f"{name}/part/a.csv", csv_text(rows[:12]))
    laptop.put(f"{name}/b.csv", csv_text(rows[12:]))
    job = run(laptop, transform_params(name, model, f"s3://data/{name}/", **changes))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    store = laptop.cloud.store
    assert [o.key for o in store.list("data", f"out/{name}/")] == [
        f"out/{name}/b.csv.out",
        f"out/{name}/part/a.csv.out",
    ]
    text = store.get_bytes("data", f"out/{name}/part/a.csv.out") + store.get_bytes(
        "data", f"out/{name}/b.csv.out"
    )
    assert np.array_equal(np.array(text.decode().split(), dtype=np.float32), expected)
    assert job["TransformStartTime"] <= job["TransformEndTime"]


def test_json_lines(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray) -> None:
    lines = "".join(json.dumps({"c": float(r[2]), "a": float(r[0]), "b": float(r[1])}) + "\n" for r in rows)
    uri = laptop.put("jsonl/rows.jsonl", lines)
    kind = "application/jsonlines"
    job = run(
        laptop,
        transform_params("transform-jsonl", model, uri, input={"ContentType": kind}, output={"Accept": kind}),
    )
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    body = laptop.cloud.store.get_bytes("data", "out/transform-jsonl/rows.jsonl.out").decode()
    assert [np.float32(json.loads(line)["score"]) for line in body.splitlines()] == list(expected)


def test_filters_and_join(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray) -> None:
    keyed = "".join(
        f"id-{number},{line}" for number, line in enumerate(csv_text(rows).splitlines(keepends=True))
    )
    uri = laptop.put("keyed/rows.csv", keyed)
    processing = {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    job = run(laptop, transform_params("transform-joined", model, uri, DataProcessing=processing))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    body = laptop.cloud.store.get_bytes("data", "out/transform-joined/rows.csv.out").decode()
    assert body.splitlines() == [f"id-{number},{score!s}" for number, score in enumerate(expected)]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        pytest.param(
            "1,2,3\n1,2\n", "row 2 has 2 columns, but the model was trained on 3: a, b, c", id="columns"
        ),
        pytest.param("1,x,3\n", "row 1, column 2 (b): 'x' is not a number", id="not-a-number"),
    ],
)
def test_bad_rows_fail_the_job_and_leave_nothing(
    laptop: Laptop, request: pytest.FixtureRequest, model: str, content: str, wanted: str
) -> None:
    name = f"transform-bad-{request.node.callspec.id}"
    laptop.put(f"{name}/a.csv", "1,2,3\n")
    laptop.put(f"{name}/b.csv", content)
    job = run(laptop, transform_params(name, model, f"s3://data/{name}/"))
    assert job["TransformJobStatus"] == "Failed"
    assert wanted in job["FailureReason"]
    assert f"s3://data/{name}/b.csv" in job["FailureReason"]
    assert laptop.cloud.store.list("data", f"out/{name}/") == []


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        pytest.param({"ModelName": "nobody"}, "Could not find model", id="no-model"),
        pytest.param({"DataProcessing": {"InputFilter": "$..x"}}, "InputFilter", id="bad-filter"),
        pytest.param({"BatchStrategy": "AllAtOnce"}, "enum value set", id="strategy"),
    ],
)
def test_create_refuses(laptop: Laptop, model: str, changes: dict[str, Any], wanted: str) -> None:
    params = transform_params("refused-transform", model, "s3://data/keyed/") | changes
    assert wanted in laptop.refused("CreateTransformJob", **params).message
