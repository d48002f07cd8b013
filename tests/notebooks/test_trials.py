"""A trial's request, its features, and what a notebook is told when nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from triptych import notebook, trials
from triptych.place import CommandFailed
from triptych.trials import Trial, UnknownFeature

DESCRIBED = {"use_case": "x", "features": [{"name": "a", "type": "number"}, {"name": "b", "type": "number"}]}


def channel(name: str) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "ContentType": "application/x-parquet",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://b/{name}/"}},
    }


JOB = {
    "TrainingJobName": "old",
    "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/old",
    "TrainingJobStatus": "Completed",
    "HyperParameters": {"eta": "0.1", "max_depth": "6"},
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/training",
    "InputDataConfig": [channel("train"), channel("features")],
    "OutputDataConfig": {"S3OutputPath": "s3://b/models"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
}


def test_a_request_differs_from_the_job_only_in_what_was_meant() -> None:
    trial = Trial("deep", {"max_depth": 9}, {"features": "s3://b/other.json"})
    made = trials.request(JOB, trial, "trial-deep-1")
    assert made.pop("TrainingJobName") == "trial-deep-1"
    assert made.pop("HyperParameters") == {"eta": "0.1", "max_depth": "9"}
    uris = [entry["DataSource"]["S3DataSource"]["S3Uri"] for entry in made.pop("InputDataConfig")]
    assert uris == ["s3://b/train/", "s3://b/other.json"]
    assert made == {name: JOB[name] for name in made}
    assert {"RoleArn", "VpcConfig", "StoppingCondition"} <= set(made)
    assert JOB["InputDataConfig"][1] == channel("features"), "the job's description stays as it is"


def test_a_request_is_one_that_sagemaker_takes() -> None:
    import botocore.session
    from botocore.validate import validate_parameters

    model = botocore.session.get_session().get_service_model("sagemaker")
    made = trials.request(JOB, Trial("deep", {"max_depth": 9}), "trial-deep-1")
    validate_parameters(made, model.operation_model("CreateTrainingJob").input_shape)


@pytest.mark.parametrize(
    ("trial", "told"),
    [
        (Trial("two words"), "'two words' cannot name a trial"),
        (Trial("x" * 33), "at most 32"),
        (Trial("ok", channels={"tset": "s3://b/x"}), "'tset'; the job has train, features"),
    ],
    ids=["space", "too long", "unknown channel"],
)
def test_a_wrong_trial_is_told(trial: Trial, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        trials.request(JOB, trial, "job")


def test_features_are_left_out_and_added() -> None:
    assert [feature["name"] for feature in trials.without(DESCRIBED, ["a"])["features"]] == ["b"]
    more = trials.added(DESCRIBED, "c", "The third")["features"]
    assert [feature["name"] for feature in more] == ["a", "b", "c"]
    assert more[-1] == {"name": "c", "type": "number", "description": "The third"}
    assert len(DESCRIBED["features"]) == 2
    with pytest.raises(UnknownFeature, match="no feature z; the dataset has a, b"):
        trials.without(DESCRIBED, ["a", "z"])


def test_without_a_local_cloud_a_notebook_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPTYCH_HOME", str(tmp_path / "home"))
    with pytest.raises(CommandFailed, match="start it with `triptych up`"):
        notebook.connect()
    with pytest.raises(notebook.CommandEnded, match="`triptych show last` ended with exit code 3"):
        notebook.triptych("show last")


def test_a_page_is_framed_so_that_it_cannot_break_out() -> None:
    shown = notebook.Page('<p title="x">a & b</p>', height=99)._repr_html_()
    assert 'srcdoc="&lt;p title=&quot;x&quot;&gt;a &amp; b&lt;/p&gt;"' in shown
    assert "height:99px" in shown
