"""Processing jobs: an entrypoint with inputs from S3 and outputs to S3."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sagemaker_laptop import RESOURCES, ROLE, XGBOOST, Laptop

from triptych.localcloud.sagemaker.layout import Layout

CODE = "/opt/ml/processing/input/code"
SCRIPT = """
import json, os, pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
out = pathlib.Path(given["--out"])
rows = sum(len(p.read_text().splitlines()) for p in pathlib.Path(given["--data"]).iterdir())
config = json.loads(pathlib.Path(os.environ["CONFIG"]).read_text())
(out / "nested").mkdir()
(out / "nested" / "answer.json").write_text(json.dumps({"rows": rows, "job": config["ProcessingJobName"]}))
print("counted", rows)
"""


def processing_params(laptop: Laptop, name: str, script: str = SCRIPT, **changes: Any) -> dict[str, Any]:
    laptop.put(f"processing/{name}/code/job.py", script)
    laptop.put(f"processing/{name}/rows/a.csv", "1\n2\n")
    laptop.put(f"processing/{name}/rows/b.csv", "3\n")

    def source(input_name: str, local: str) -> dict[str, Any]:
        s3 = {
            "S3Uri": f"s3://data/processing/{name}/{input_name}",
            "LocalPath": local,
            "S3DataType": "S3Prefix",
        }
        return {"InputName": input_name, "S3Input": s3}

    output = {"S3Uri": f"s3://data/processing/{name}/out", "LocalPath": "/opt/ml/processing/out"}
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "ProcessingResources": {"ClusterConfig": RESOURCES},
        "AppSpecification": {
            "ImageUri": XGBOOST,
            "ContainerEntrypoint": ["python3", f"{CODE}/job.py"],
            "ContainerArguments": ["--out", "/opt/ml/processing/out", "--data", "/opt/ml/processing/rows"],
        },
        "ProcessingInputs": [source("code", CODE), source("rows", "/opt/ml/processing/rows")],
        "ProcessingOutputConfig": {
            "Outputs": [{"OutputName": "out", "S3Output": output | {"S3UploadMode": "EndOfJob"}}]
        },
        "Environment": {"CONFIG": "/opt/ml/config/processingjobconfig.json"},
    } | changes


def run(laptop: Laptop, name: str, script: str = SCRIPT, **changes: Any) -> dict[str, Any]:
    laptop.call("CreateProcessingJob", **processing_params(laptop, name, script, **changes))
    return laptop.end_of(name)


def test_script_reads_its_inputs_and_its_outputs_are_adopted(laptop: Laptop) -> None:
    job = run(laptop, "counting")
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    answer = laptop.cloud.store.get_bytes("data", "processing/counting/out/nested/answer.json")
    assert json.loads(answer) == {"rows": 3, "job": "counting"}
    assert job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    assert "counted 3" in laptop.log("/aws/sagemaker/ProcessingJobs", "counting/")
    assert (
        laptop.call("ListProcessingJobs", NameContains="counting")["ProcessingJobSummaries"][0][
            "ProcessingJobStatus"
        ]
        == "Completed"
    )


@pytest.mark.parametrize(
    "entrypoint",
    [
        pytest.param(["python3", "-u", f"{CODE}/job.py"], id="unbuffered"),
        pytest.param(["/bin/sh", "-c", f'python3 {CODE}/job.py "$@"', "sh"], id="shell"),
    ],
)
def test_other_entrypoints(laptop: Laptop, request: pytest.FixtureRequest, entrypoint: list[str]) -> None:
    name = f"entry-{request.node.callspec.id}"
    params = processing_params(laptop, name)
    params["AppSpecification"]["ContainerEntrypoint"] = entrypoint
    laptop.call("CreateProcessingJob", **params)
    assert laptop.end_of(name)["ProcessingJobStatus"] == "Completed"


def test_zip_application(laptop: Laptop) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("__main__.py", "import job\n")
        target.writestr("job.py", SCRIPT)
    params = processing_params(laptop, "zipped")
    laptop.put("processing/zipped/code/job.pyz", archive.getvalue())
    params["AppSpecification"]["ContainerEntrypoint"] = ["python3", f"{CODE}/job.pyz"]
    laptop.call("CreateProcessingJob", **params)
    job = laptop.end_of("zipped")
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    answer = laptop.cloud.store.get_bytes("data", "processing/zipped/out/nested/answer.json")
    assert json.loads(answer)["rows"] == 3


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        pytest.param("raise KeyError('delay')", "KeyError: 'delay'", id="raises"),
        pytest.param("import sys; print('no champion'); sys.exit(4)", "exit code: 4", id="exits-4"),
    ],
)
def test_failure_tells_why_and_leaves_nothing(
    laptop: Laptop, request: pytest.FixtureRequest, script: str, wanted: str
) -> None:
    name = f"failing-{request.node.callspec.id}"
    write = "open('/opt/ml/processing/out/half', 'w')".replace(
        "/opt/ml/processing/out", "' + sys.argv[2] + '"
    )
    job = run(laptop, name, f"import sys\n{write}.write('x')\n{script}")
    assert job["ProcessingJobStatus"] == "Failed"
    assert wanted in job["FailureReason"]
    assert laptop.cloud.store.list("data", f"processing/{name}/out") == []


def test_exit_message(laptop: Laptop) -> None:
    script = "import pathlib, os\nroot = pathlib.Path(os.environ['CONFIG']).parents[1]\n"
    script += "(root / 'output' / 'message').write_text('all quiet')"
    assert run(laptop, "quiet", script)["ExitMessage"] == "all quiet"


def test_stop(laptop: Laptop) -> None:
    script = "import time\nprint('at work', flush=True)\ntime.sleep(600)"
    laptop.call("CreateProcessingJob", **processing_params(laptop, "stopped-processing", script))
    laptop.await_log("/aws/sagemaker/ProcessingJobs", "at work", "stopped-processing/")
    laptop.call("StopProcessingJob", ProcessingJobName="stopped-processing")
    assert laptop.end_of("stopped-processing")["ProcessingJobStatus"] == "Stopped"


def test_manifest_names_the_inputs(laptop: Laptop) -> None:
    params = processing_params(laptop, "by-manifest")
    manifest = json.dumps([{"prefix": "s3://data/processing/by-manifest/rows/"}, "b.csv"])
    uri = laptop.put("processing/by-manifest/manifest.json", manifest)
    params["ProcessingInputs"][1]["S3Input"] |= {"S3Uri": uri, "S3DataType": "ManifestFile"}
    laptop.call("CreateProcessingJob", **params)
    assert laptop.end_of("by-manifest")["ProcessingJobStatus"] == "Completed"
    answer = laptop.cloud.store.get_bytes("data", "processing/by-manifest/out/nested/answer.json")
    assert json.loads(answer)["rows"] == 1


@pytest.mark.parametrize(
    ("input_change", "wanted"),
    [
        pytest.param({"S3Uri": "s3://data/nothing/"}, "No S3 objects found", id="empty-input"),
        pytest.param({"LocalPath": "/etc/job"}, "not below /opt/ml", id="outside-the-container-root"),
        pytest.param({"LocalPath": "/opt/ml/../../etc"}, "not below /opt/ml", id="climbing-out"),
    ],
)
def test_bad_inputs(
    laptop: Laptop, request: pytest.FixtureRequest, input_change: dict[str, str], wanted: str
) -> None:
    name = f"input-{request.node.callspec.id}"
    params = processing_params(laptop, name)
    params["ProcessingInputs"][1]["S3Input"] |= input_change
    laptop.call("CreateProcessingJob", **params)
    job = laptop.end_of(name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert wanted in job["FailureReason"]


def test_an_entrypoint_is_needed(laptop: Laptop) -> None:
    params = processing_params(laptop, "no-entrypoint")
    del params["AppSpecification"]["ContainerEntrypoint"]
    assert "ContainerEntrypoint" in laptop.refused("CreateProcessingJob", **params).message


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/opt/ml/processing/a.csv", True),
        ("--path=/opt/ml/model", True),
        ("file:///opt/ml/input", True),
        ('{"in": "/opt/ml"}', True),
        ("/opt/mlflow", False),
        ("/home/opt/ml/x", False),
        ("s3://bucket/opt/ml/x", False),
    ],
)
def test_paths_of_the_container_are_rewritten(tmp_path: Path, text: str, rewritten: bool) -> None:
    layout = Layout(tmp_path)
    expected = text.replace("/opt/ml", str(layout.root)) if rewritten else text
    assert layout.rewrite(text) == expected
