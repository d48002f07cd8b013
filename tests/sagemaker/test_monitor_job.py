"""The data-quality monitor as processing jobs of the local cloud: a baseline, then windows as a schedule gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sagemaker_laptop import RESOURCES, ROLE, XGBOOST, Laptop

from triptych import packaging

INPUT, OUTPUT = "/opt/ml/processing/input", "/opt/ml/processing/output"


def job(
    laptop: Laptop, name: str, arguments: list[str], inputs: dict[str, str], **environment: str
) -> dict[str, Any]:
    """Run ``monitor.pyz`` to its end; ``inputs`` are S3 prefixes by the folder that they come to."""
    sources = [
        {
            "InputName": folder,
            "S3Input": {"S3Uri": uri, "LocalPath": f"{INPUT}/{folder}", "S3DataType": "S3Prefix"},
        }
        for folder, uri in {"code": "s3://data/monitor/code", **inputs}.items()
    ]
    output = {"S3Uri": f"s3://data/monitor/{name}", "LocalPath": OUTPUT, "S3UploadMode": "EndOfJob"}
    laptop.call(
        "CreateProcessingJob",
        ProcessingJobName=name,
        RoleArn=ROLE,
        ProcessingResources={"ClusterConfig": RESOURCES},
        AppSpecification={
            "ImageUri": XGBOOST,
            "ContainerEntrypoint": ["python3", f"{INPUT}/code/monitor.pyz"],
            "ContainerArguments": arguments,
        },
        ProcessingInputs=sources,
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": output}]},
        Environment=environment,
    )
    return laptop.end_of(name)


def rows(seed: int, count: int, shift: float = 0.0) -> str:
    rng = np.random.default_rng(seed)
    lines = (
        f"{value:.3f},{hour}"
        for value, hour in zip(rng.normal(shift, 1, count), rng.integers(0, 24, count), strict=True)
    )
    return "\n".join(["delay,hour", *lines]) + "\n"


@pytest.fixture(scope="module")
def baseline(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = Path(__file__).parents[2]
    archive = packaging.build(project, "flights", tmp_path_factory.mktemp("build")).sagemaker["monitor"]
    laptop.put("monitor/code/monitor.pyz", archive.read_bytes())
    laptop.put("monitor/train/rows.csv", rows(1, 5_000))
    arguments = ["baseline", "--data", f"{INPUT}/train", "--output", OUTPUT]
    done = job(laptop, "monitor-baseline", arguments, {"train": "s3://data/monitor/train"})
    assert done["ProcessingJobStatus"] == "Completed", done.get("FailureReason")
    return {"baseline": "s3://data/monitor/monitor-baseline"}


@pytest.mark.parametrize(
    ("shift", "message", "features"),
    [
        pytest.param(0.0, "Completed:", set(), id="quiet"),
        pytest.param(0.5, "CompletedWithViolations:", {"delay"}, id="drift"),
    ],
)
def test_a_window_is_checked(
    laptop: Laptop, baseline: dict[str, str], shift: float, message: str, features: set[str]
) -> None:
    name = f"monitor-{message.rstrip(':').lower()}"
    laptop.put(f"monitor/{name}-window/rows.csv", rows(2, 1_000, shift))
    done = job(
        laptop,
        name,
        ["check"],
        {**baseline, "window": f"s3://data/monitor/{name}-window"},
        dataset_source=f"{INPUT}/window",
        output_path=OUTPUT,
        baseline_statistics=f"{INPUT}/baseline/statistics.json",
        baseline_constraints=f"{INPUT}/baseline/constraints.json",
        publish_cloudwatch_metrics="Enabled",
        sagemaker_endpoint_name="flights",
        sagemaker_monitoring_schedule_name="quality",
    )
    assert done["ProcessingJobStatus"] == "Completed", done.get("FailureReason")
    assert done["ExitMessage"].startswith(message)
    found = laptop.cloud.store.get_bytes("data", f"monitor/{name}/constraint_violations.json")
    assert {one["feature_name"] for one in json.loads(found)["violations"]} == features
    assert laptop.cloud.store.head("data", f"monitor/{name}/drift.html").size_bytes > 1_000


def test_a_window_that_cannot_be_read_fails_with_the_reason(laptop: Laptop, baseline: dict[str, str]) -> None:
    laptop.put("monitor/torn-window/rows.jsonl", '{"captureData": {"endpointInput"')
    arguments = [
        "check",
        "--data",
        f"{INPUT}/window",
        "--statistics",
        f"{INPUT}/baseline",
        "--output",
        OUTPUT,
    ]
    done = job(laptop, "monitor-torn", arguments, {**baseline, "window": "s3://data/monitor/torn-window"})
    assert done["ProcessingJobStatus"] == "Failed"
    assert "none of the 1 captured lines can be read" in done["FailureReason"]
