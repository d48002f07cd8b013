"""Training jobs through the service's operations: they really train."""

from __future__ import annotations

import io
import tarfile
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import xgboost
from sagemaker_laptop import XGBOOST, Laptop, channel, sample, training_params

from triptych.localcloud.sagemaker.images import resolve_image
from triptych.localcloud.service import ServiceError

NO_OP = "print('nothing to do')"


def model_files(laptop: Laptop, job: dict[str, Any]) -> dict[str, bytes]:
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://data/")
    with tarfile.open(fileobj=io.BytesIO(laptop.cloud.store.get_bytes("data", key))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def csv_of(features: np.ndarray, label: np.ndarray) -> bytes:
    text = io.BytesIO()
    np.savetxt(text, np.column_stack([label, features]), delimiter=",", fmt="%.6g")
    return text.getvalue()


@pytest.fixture(scope="module")
def csv_channels(laptop: Laptop) -> list[dict[str, Any]]:
    features, label = sample(600)
    laptop.put("csv/train/a.csv", csv_of(features[:200], label[:200]))
    laptop.put("csv/train/b.csv", csv_of(features[200:400], label[200:400]))
    laptop.put("csv/validation/a.csv", csv_of(features[400:], label[400:]))
    return [
        channel("train", "s3://data/csv/train/", "text/csv"),
        channel("validation", "s3://data/csv/validation/", "text/csv"),
    ]


CONTRACT_SCRIPT = """
import argparse, json, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int); parser.add_argument("--name"); parser.add_argument("--flag")
parser.add_argument("-x", type=float)
args = parser.parse_args()
from companion import WORD
env = os.environ
def config(name): return json.loads((pathlib.Path(env["SM_INPUT_CONFIG_DIR"]) / f"{name}.json").read_text())
seen = {
    "args": vars(args), "hps": json.loads(env["SM_HPS"]), "hp_depth": env["SM_HP_DEPTH"],
    "channels": json.loads(env["SM_CHANNELS"]), "word": WORD,
    "train": sorted(p.name for p in pathlib.Path(env["SM_CHANNEL_TRAIN"]).iterdir()),
    "host": env["SM_CURRENT_HOST"], "own": env["OWN"], "job": env["TRAINING_JOB_NAME"],
    "raw": config("hyperparameters")["depth"],
    "input": config("inputdataconfig"),
    "hosts": config("resourceconfig")["hosts"],
    "entry": env["SM_USER_ENTRY_POINT"], "cwd_has": sorted(os.listdir(".")),
    "env": sorted(json.loads(env["SM_TRAINING_ENV"]))[:3], "cpus": int(env["SM_NUM_CPUS"]),
}
pathlib.Path(env["SM_MODEL_DIR"], "seen.json").write_text(json.dumps(seen))
pathlib.Path(env["SM_OUTPUT_DATA_DIR"], "report.txt").write_text("a report")
"""


def test_script_mode_follows_the_container_contract(
    laptop: Laptop, csv_channels: list[dict[str, Any]]
) -> None:
    source = laptop.archive(
        "code/contract.tar.gz", {"train.py": CONTRACT_SCRIPT, "companion.py": "WORD = 'hello'"}
    )
    params = training_params("contract") | {
        "HyperParameters": {
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"{source}"',
            "depth": "6",
            "name": '"a b"',
            "flag": "true",
            "x": "0.5",
        },
        "InputDataConfig": csv_channels,
        "Environment": {"OWN": "yes"},
        "Tags": [{"Key": "team", "Value": "ml"}],
    }
    arn = laptop.call("CreateTrainingJob", **params)["TrainingJobArn"]
    job = laptop.end_of("contract")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    files = model_files(laptop, job)
    import json

    seen = json.loads(files["seen.json"])
    assert seen == {
        "args": {"depth": 6, "name": "a b", "flag": "True", "x": 0.5},
        "hps": {"depth": 6, "name": "a b", "flag": True, "x": 0.5},
        "hp_depth": "6",
        "channels": ["train", "validation"],
        "word": "hello",
        "train": ["a.csv", "b.csv"],
        "host": "algo-1",
        "own": "yes",
        "job": "contract",
        "raw": "6",
        "input": {
            name: {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
                "ContentType": "text/csv",
            }
            for name in ("train", "validation")
        },
        "hosts": ["algo-1"],
        "entry": "train.py",
        "cwd_has": ["companion.py", "train.py"],
        "env": ["channel_input_dirs", "current_host", "current_instance_type"],
        "cpus": seen["cpus"],
    }
    assert laptop.cloud.store.head("data", "models/contract/output/output.tar.gz").size_bytes > 0
    assert laptop.call("ListTags", ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "ml"}]
    assert not (laptop.cloud.home.scratch / "sagemaker" / "training-contract").exists()


def test_description_tells_what_happened(laptop: Laptop) -> None:
    job = laptop.train_script("told", NO_OP)
    statuses = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(step["EndTime"] >= step["StartTime"] for step in job["SecondaryStatusTransitions"])
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["TrainingTimeInSeconds"] == job["BillableTimeInSeconds"] >= 1
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == "s3://data/models/told/output/model.tar.gz"
    assert "nothing to do" in laptop.log("/aws/sagemaker/TrainingJobs", "told/algo-1-")
    event = laptop.wait_event("TrainingJobName", "told", "TrainingJobStatus", "Completed")
    assert isinstance(event["CreationTime"], int)
    assert event["SecondaryStatus"] == "Completed"


def test_metrics_are_read_from_the_output(laptop: Laptop) -> None:
    script = "for n in range(3): print(f'epoch {n} loss={1 / (n + 1):.3f};')"
    algorithm = {
        "TrainingImage": XGBOOST,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+);"}],
    }
    laptop.clients.pushed.clear()
    job = laptop.train_script("measured", script, AlgorithmSpecification=algorithm)
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("loss", 0.333)]
    assert laptop.clients.pushed.wait(10)
    pushed = [m["Value"] for m in laptop.clients.metrics if m["MetricName"] == "loss"]
    assert pushed == [1.0, 0.5, 0.333]


def test_checkpoints_are_kept_and_restored(laptop: Laptop) -> None:
    script = (
        "import os, pathlib\nfolder = pathlib.Path(os.environ['CHECKPOINTS'])\n"
        "found = folder / 'round'\nrounds = int(found.read_text()) if found.exists() else 0\n"
        "print('found', rounds)\nfound.write_text(str(rounds + 5))"
    )
    config = {"S3Uri": "s3://data/checkpoints/run", "LocalPath": "/opt/ml/checkpoints"}
    for name in ("checkpoint-first", "checkpoint-second"):
        changes = {"CheckpointConfig": config, "Environment": {"CHECKPOINTS": "/opt/ml/checkpoints"}}
        assert laptop.train_script(name, script, **changes)["TrainingJobStatus"] == "Completed"
    assert laptop.cloud.store.get_bytes("data", "checkpoints/run/round") == b"10"


@pytest.mark.parametrize("content_type", ["text/csv", "application/x-parquet", "text/libsvm"])
def test_managed_xgboost_trains_on(
    laptop: Laptop, csv_channels: list[dict[str, Any]], content_type: str
) -> None:
    kind = content_type.rsplit("/", 1)[-1]
    features, label = sample(600)
    channels = csv_channels
    if kind == "x-parquet":
        import pyarrow
        from pyarrow import parquet

        for name, rows in (("train", slice(0, 400)), ("validation", slice(400, 600))):
            columns = {"label": label[rows]} | {f"f{i}": features[rows, i] for i in range(3)}
            buffer = io.BytesIO()
            parquet.write_table(pyarrow.table(columns), buffer)
            laptop.put(f"parquet/{name}/part-0.parquet", buffer.getvalue())
        channels = [channel(n, f"s3://data/parquet/{n}/", content_type) for n in ("train", "validation")]
    elif kind == "libsvm":
        for name, rows in (("train", slice(0, 400)), ("validation", slice(400, 600))):
            lines = [
                f"{y:g} " + " ".join(f"{i}:{v:.6g}" for i, v in enumerate(x))
                for y, x in zip(label[rows], features[rows], strict=True)
            ]
            laptop.put(f"libsvm/{name}/part-0", "\n".join(lines))
        channels = [channel(n, f"s3://data/libsvm/{n}/", content_type) for n in ("train", "validation")]
    name = f"managed-{kind}"
    params = training_params(name) | {
        "InputDataConfig": channels,
        "HyperParameters": {
            "num_round": "20",
            "max_depth": "3",
            "objective": "binary:logistic",
            "eval_metric": "auc",
            "early_stopping_rounds": "5",
        },
    }
    laptop.call("CreateTrainingJob", **params)
    job = laptop.end_of(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    booster = xgboost.Booster()
    booster.load_model(bytearray(model_files(laptop, job)["xgboost-model"]))
    scores = booster.inplace_predict(features[400:])
    assert scores[label[400:] == 1].mean() > scores[label[400:] == 0].mean() + 0.3
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    assert set(metrics) == {"train:auc", "validation:auc"}
    assert metrics["validation:auc"] > 0.85
    assert "#011train-auc:" in laptop.log("/aws/sagemaker/TrainingJobs", f"{name}/")


def fail(name: str, script: str, *wanted: str, **changes: Any) -> Any:
    return pytest.param(script, wanted, changes, id=name)


@pytest.mark.parametrize(
    ("script", "wanted", "changes"),
    [
        fail(
            "script-raises",
            "def inner():\n    raise ValueError('label is constant')\ninner()",
            "AlgorithmError: ExecuteUserScriptError",
            "ValueError: label is constant",
            "exit code: 1",
        ),
        fail("exits-3", "import sys; print('giving up'); sys.exit(3)", "giving up", "exit code: 3"),
        fail(
            "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", "exit code: 137"
        ),
        fail(
            "failure-file",
            "import os, sys\nopen(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('no rows in "
            "May')\nsys.exit(1)",
            "AlgorithmError: no rows in May, exit code: 1",
        ),
        fail("module-missing", "import no_such_module", "No module named 'no_such_module'"),
        fail("syntax-error", "def broken(:", "SyntaxError"),
    ],
)
def test_a_failing_script(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    script: str,
    wanted: tuple[str, ...],
    changes: dict[str, Any],
) -> None:
    name = request.node.callspec.id
    job = laptop.train_script(name, script, **changes)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    for text in wanted:
        assert text in job["FailureReason"]
    assert not laptop.cloud.store.list("data", f"models/{name}/output/model")


def test_out_of_memory_is_told(laptop: Laptop) -> None:
    laptop.sagemaker.training._memory_limit_bytes = 400 * 2**20
    try:
        job = laptop.train_script(
            "hungry",
            "import time\nx = bytearray(700 * 2**20)\nx[::4096] = b'1' * len(x[::4096])\ntime.sleep(60)",
        )
    finally:
        laptop.sagemaker.training._memory_limit_bytes = None
    assert job["TrainingJobStatus"] == "Failed"
    assert "more memory" in job["FailureReason"]
    assert "400 MiB" in job["FailureReason"]


def test_no_model_completes_with_a_warning_and_no_archive(laptop: Laptop) -> None:
    job = laptop.train_script("modelless", NO_OP)
    assert job["TrainingJobStatus"] == "Completed"
    assert laptop.cloud.store.list("data", "models/modelless/") == []
    assert "no model artifact was saved" in laptop.log("/aws/sagemaker/TrainingJobs", "modelless/")


ENDLESS = """
import os, signal, sys, time
def leave(*_):
    open(os.environ["SM_MODEL_DIR"] + "/partial", "w").write("so far")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("training on", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("stubborn", "artefact"),
    [pytest.param(False, True, id="sigterm"), pytest.param(True, False, id="sigkill")],
)
def test_stop(laptop: Laptop, stubborn: bool, artefact: bool) -> None:
    name = f"stopped-{'kill' if stubborn else 'term'}"
    script = (
        ENDLESS
        if not stubborn
        else ENDLESS.replace("leave)", "lambda *_: None)").replace("600", "2") + "while True: time.sleep(1)"
    )
    laptop.train_script(name, script, wait=False)
    laptop.await_log("/aws/sagemaker/TrainingJobs", "training on", f"{name}/")
    laptop.call("StopTrainingJob", TrainingJobName=name)
    assert laptop.call("DescribeTrainingJob", TrainingJobName=name)["TrainingJobStatus"] in (
        "Stopping",
        "Stopped",
    )
    job = laptop.end_of(name)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert bool(laptop.cloud.store.list("data", f"models/{name}/output/model.tar.gz")) is artefact
    assert "rejected" in laptop.refused("StopTrainingJob", TrainingJobName=name).message


def test_maximum_runtime_stops_the_job(laptop: Laptop) -> None:
    job = laptop.train_script("too-long", ENDLESS, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert job["TrainingEndTime"] - job["TrainingStartTime"] < timedelta(seconds=30)
    assert laptop.cloud.store.list("data", "models/too-long/output/model.tar.gz")


@pytest.mark.parametrize(
    ("files", "program", "wanted"),
    [
        pytest.param({"other.py": "x = 1"}, "train.py", "'train.py' is not in", id="script-not-in-archive"),
        pytest.param(None, "train.py", "cannot be read from", id="archive-missing"),
        pytest.param(b"this is no archive", "train.py", "is not a readable .tar.gz archive", id="bad-tar"),
    ],
)
def test_code_that_cannot_be_found(
    laptop: Laptop, request: pytest.FixtureRequest, files: Any, program: str, wanted: str
) -> None:
    name = request.node.callspec.id
    uri = f"s3://data/code/{name}.tar.gz"
    if isinstance(files, dict):
        laptop.archive(f"code/{name}.tar.gz", files)
    elif files is not None:
        laptop.put(f"code/{name}.tar.gz", files)
    hyperparameters = {"sagemaker_program": f'"{program}"', "sagemaker_submit_directory": f'"{uri}"'}
    laptop.call("CreateTrainingJob", **training_params(name), HyperParameters=hyperparameters)
    job = laptop.end_of(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError:")
    assert wanted in job["FailureReason"]


@pytest.mark.parametrize(
    ("hyperparameters", "data", "content_type", "wanted"),
    [
        pytest.param(
            {}, "1,2\n0,3\n", "text/csv", "Missing required hyperparameter 'num_round'", id="no-rounds"
        ),
        pytest.param(
            {"num_round": "x"}, "1,2\n", "text/csv", "'x' is not an integer", id="rounds-not-a-number"
        ),
        pytest.param({"num_round": "2"}, "label,a\n1,2\n", "text/csv", "is not a number", id="header"),
        pytest.param(
            {"num_round": "2"}, "1,2\n1,2,3\n", "text/csv", "Expected 2 columns, got 3", id="ragged"
        ),
        pytest.param({"num_round": "2"}, ",2\n1,3\n", "text/csv", "no label in row 1", id="label-missing"),
        pytest.param({"num_round": "2"}, "1,2\n", "image/png", "content type 'image/png'", id="content-type"),
        pytest.param(
            {"num_round": "2", "objective": "no:such"}, "1,2\n0,3\n", "text/csv", "no:such", id="objective"
        ),
        pytest.param(
            {"num_round": "2", "early_stopping_rounds": "2"},
            "1,2\n0,3\n",
            "text/csv",
            "validation",
            id="early-stopping",
        ),
    ],
)
def test_managed_xgboost_refuses(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    hyperparameters: dict[str, str],
    data: str,
    content_type: str,
    wanted: str,
) -> None:
    name = f"bad-{request.node.callspec.id}"
    uri = laptop.put(f"bad/{name}/train.csv", data)
    params = training_params(name) | {
        "HyperParameters": hyperparameters,
        "InputDataConfig": [channel("train", uri, content_type)],
    }
    laptop.call("CreateTrainingJob", **params)
    job = laptop.end_of(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError:")
    assert wanted in job["FailureReason"]


@pytest.mark.parametrize(
    ("changes", "code", "wanted"),
    [
        pytest.param(
            {"AlgorithmSpecification": {"TrainingImage": "acme/secret:1", "TrainingInputMode": "File"}},
            "ValidationException",
            "sagemaker-xgboost",
            id="unknown-image-lists-the-known",
        ),
        pytest.param(
            {"TrainingJobName": "under_score"}, "ValidationException", "regular expression", id="name"
        ),
        pytest.param({"RoleArn": None}, "ValidationException", "roleArn", id="no-role"),
        pytest.param({"TrainingJobName": "taken"}, "ResourceInUse", "already exists", id="name-taken"),
        pytest.param(
            {"InputDataConfig": [channel("train", "s3://data/nothing/here/")]},
            "ValidationException",
            "No S3 objects found",
            id="empty-channel",
        ),
        pytest.param(
            {"InputDataConfig": [channel("train", "s3://nobucket/x")]},
            "ValidationException",
            "No S3 objects found",
            id="no-bucket",
        ),
        pytest.param(
            {
                "AlgorithmSpecification": {
                    "TrainingImage": XGBOOST,
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "loss", "Regex": "loss=("}],
                }
            },
            "ValidationException",
            "regular expression",
            id="bad-regex",
        ),
    ],
)
def test_create_refuses(laptop: Laptop, changes: dict[str, Any], code: str, wanted: str) -> None:
    if (
        changes.get("TrainingJobName") == "taken"
        and laptop.sagemaker._records.get("training_job", "taken") is None
    ):
        laptop.train_script("taken", NO_OP)
    params = training_params("refused") | {"HyperParameters": {"num_round": "1"}} | changes
    error = laptop.refused("CreateTrainingJob", **params)
    assert error.code == code
    assert wanted in error.message


def begun(laptop: Laptop, name: str, **changes: Any) -> None:
    """The record of a job that ran when its local cloud was killed."""
    from triptych.localcloud.sagemaker.records import now

    laptop.train_script(f"{name}-before", NO_OP)
    before = laptop.call("DescribeTrainingJob", TrainingJobName=f"{name}-before")
    record = before | {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Training",
        "SecondaryStatusTransitions": [{"Status": "Training", "StartTime": now(), "StatusMessage": ""}],
    }
    del record["TrainingEndTime"]
    status = changes.get("TrainingJobStatus", "InProgress")
    laptop.sagemaker._records.insert("training_job", name, record | changes, status)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, "Completed", ""),
        ({"_rerun": True}, "Failed", "InternalServerError: The local cloud stopped twice"),
        ({"TrainingJobStatus": "Stopping"}, "Stopped", ""),
    ],
    ids=["begins anew", "lost twice", "was being stopped"],
)
def test_jobs_found_running_after_a_restart(
    laptop: Laptop, changes: dict[str, Any], status: str, reason: str, request: pytest.FixtureRequest
) -> None:
    name = "lost-" + request.node.callspec.id.replace(" ", "-")
    begun(laptop, name, **changes)
    laptop.sagemaker.training.recover()
    job = laptop.end_of(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == (status, status)
    assert job.get("FailureReason", "").startswith(reason)
    assert laptop.call("DescribeTrainingJob", TrainingJobName=name) == job
    assert not [member for member in job if member.startswith("_")]


def test_listing_filters_sorts_and_pages(laptop: Laptop) -> None:
    for index in range(3):
        laptop.train_script(f"listed-{index}", NO_OP)
    first = laptop.call(
        "ListTrainingJobs", NameContains="LISTED", SortBy="Name", SortOrder="Ascending", MaxResults=2
    )
    rest = laptop.call(
        "ListTrainingJobs",
        NameContains="LISTED",
        SortBy="Name",
        SortOrder="Ascending",
        MaxResults=2,
        NextToken=first["NextToken"],
    )
    names = [
        job["TrainingJobName"] for job in [*first["TrainingJobSummaries"], *rest["TrainingJobSummaries"]]
    ]
    assert names == ["listed-0", "listed-1", "listed-2"]
    assert "NextToken" not in rest
    assert (
        laptop.call("ListTrainingJobs", NameContains="listed", StatusEquals="Failed")["TrainingJobSummaries"]
        == []
    )
    assert (
        laptop.refused("DescribeTrainingJob", TrainingJobName="nobody").message
        == "Requested resource not found."
    )


@pytest.mark.parametrize(
    ("uri", "runner"),
    [
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1", "xgboost"),
        ("141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:1.5-1-cpu-py3", "xgboost"),
        ("451049120500.dkr.ecr.cn-north-1.amazonaws.com.cn/sagemaker-xgboost:1.7-1", "xgboost"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3", "scikit-learn"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/triptych@sha256:abc123", "triptych"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/triptych:latest", "triptych"),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.1", None),
        ("sagemaker-xgboost-but-not:1", None),
    ],
)
def test_images(uri: str, runner: str | None) -> None:
    if runner is None:
        with pytest.raises(ServiceError, match="no runner"):
            resolve_image(uri)
    else:
        assert resolve_image(uri).runner.name == runner
