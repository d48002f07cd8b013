"""Trials: training jobs that repeat one that ran, but with other hyperparameters, features or data.

A trial's job is SageMaker's description of the job before it with a few members changed, so that it differs from the
champion in what was meant to differ, and in nothing else.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

_REPEATED = (
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "VpcConfig",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "Environment",
)
"""What a job's description and CreateTrainingJob's request have in common, besides the hyperparameters"""

_NAME = re.compile(r"[a-zA-Z0-9](-?[a-zA-Z0-9]){0,31}")


class TrialFailed(Exception):
    """A trial's training job did not complete; the message has its reason."""


class UnknownFeature(Exception):
    """A feature is named that the dataset does not have; the message lists what it has."""


@dataclass(frozen=True)
class Trial:
    """What is done otherwise. ``channels`` maps a channel's name to the S3 URI that replaces the job's own."""

    name: str
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A completed job; ``metrics`` by SageMaker's names, e.g. ``validation:auc``."""

    name: str
    job_name: str
    metrics: Mapping[str, float]
    seconds: float
    model_uri: str


def request(job: Mapping[str, Any], trial: Trial, job_name: str) -> dict[str, Any]:
    """CreateTrainingJob's parameters; ``job`` is what DescribeTrainingJob says of the job to repeat."""
    if not _NAME.fullmatch(trial.name):
        raise ValueError(
            f"'{trial.name}' cannot name a trial: letters, digits and single hyphens, at most 32"
        )
    made: dict[str, Any] = {name: deepcopy(job[name]) for name in _REPEATED if name in job}
    changes = {name: str(value) for name, value in trial.hyperparameters.items()}
    made |= {"TrainingJobName": job_name, "HyperParameters": {**job.get("HyperParameters", {}), **changes}}
    channels = {channel["ChannelName"]: channel for channel in made["InputDataConfig"]}
    for name, uri in trial.channels.items():
        if name not in channels:
            raise ValueError(
                f"trial '{trial.name}' changes the channel '{name}'; the job has {', '.join(channels)}"
            )
        channels[name]["DataSource"]["S3DataSource"]["S3Uri"] = uri
    return made


def run(sagemaker: Any, job_name: str, trials: Sequence[Trial], poll_seconds: float = 0.5) -> list[Result]:
    """Train all trials side by side, each like the job ``job_name``; their results, in the trials' order.

    Raises TrialFailed for the first that does not complete, once all have ended.
    """
    job = sagemaker.describe_training_job(TrainingJobName=job_name)
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"[:-3]
    requests = [request(job, trial, f"trial-{trial.name}-{stamp}") for trial in trials]
    for made in requests:
        sagemaker.create_training_job(**made)
    ended = [_ended(sagemaker, made["TrainingJobName"], poll_seconds) for made in requests]
    for trial, description in zip(trials, ended, strict=True):
        if description["TrainingJobStatus"] != "Completed":
            raise TrialFailed(
                f"trial '{trial.name}': job {description['TrainingJobName']} is "
                f"{description['TrainingJobStatus']}: {description.get('FailureReason', 'no reason given')}"
            )
    return [_result(trial.name, description) for trial, description in zip(trials, ended, strict=True)]


def result(sagemaker: Any, name: str, job_name: str) -> Result:
    """The result of a job that has completed, e.g. the champion's, to compare trials with."""
    return _result(name, sagemaker.describe_training_job(TrainingJobName=job_name))


def _ended(sagemaker: Any, job_name: str, poll_seconds: float) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=job_name)
        if found["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            return found
        time.sleep(poll_seconds)


def _result(name: str, description: Mapping[str, Any]) -> Result:
    metrics = {entry["MetricName"]: entry["Value"] for entry in description.get("FinalMetricDataList", [])}
    took = description["TrainingEndTime"] - description["TrainingStartTime"]
    return Result(
        name,
        description["TrainingJobName"],
        metrics,
        took.total_seconds(),
        description["ModelArtifacts"]["S3ModelArtifacts"],
    )


def history(s3: Any, model_uri: str) -> list[dict[str, float]]:
    """The evaluations during training, from the model archive's ``about/training.json``: round and metrics."""
    bucket, _, key = model_uri.removeprefix("s3://").partition("/")
    archive = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        report = files.extractfile("about/training.json")
        assert report is not None  # a file, by sagemaker_jobs/train
        found: list[dict[str, float]] = json.load(report)["history"]
    return found


def without(described: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """``features.json`` without these features: the training script reads only the columns it names."""
    known = [feature["name"] for feature in described["features"]]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownFeature(f"no feature {', '.join(unknown)}; the dataset has {', '.join(known)}")
    kept = [feature for feature in described["features"] if feature["name"] not in names]
    return {**described, "features": kept}


def added(described: Mapping[str, Any], name: str, description: str) -> dict[str, Any]:
    """``features.json`` with one more number, for splits that have its column."""
    return {
        **described,
        "features": [*described["features"], {"name": name, "type": "number", "description": description}],
    }


def read_split(s3: Any, uri: str) -> pyarrow.Table:
    """All Parquet files below ``uri`` as one table, in the order of their keys."""
    import pyarrow
    from pyarrow import parquet

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    keys = [
        entry["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for entry in page.get("Contents", [])
        if entry["Key"].endswith(".parquet")
    ]
    if not keys:
        raise FileNotFoundError(f"no Parquet file below {uri}; run the data engineering machine first")
    bodies = (s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys)
    return pyarrow.concat_tables([parquet.read_table(io.BytesIO(body)) for body in bodies])


def write_inputs(
    s3: Any,
    bucket: str,
    name: str,
    described: Mapping[str, Any],
    splits: Mapping[str, pyarrow.Table] | None = None,
) -> dict[str, str]:
    """Store a trial's ``features.json`` and splits below ``runs/trial-<name>/``; the channels for a Trial."""
    from pyarrow import parquet

    prefix = f"runs/trial-{name}"
    features_key = f"{prefix}/features.json"
    s3.put_object(Bucket=bucket, Key=features_key, Body=json.dumps(described).encode())
    channels = {"features": f"s3://{bucket}/{features_key}"}
    for split, table in (splits or {}).items():
        body = io.BytesIO()
        parquet.write_table(table, body)
        folder = f"{prefix}/splits/{split}/"
        s3.put_object(Bucket=bucket, Key=f"{folder}part-00000.parquet", Body=body.getvalue())
        channels[split] = f"s3://{bucket}/{folder}"
    return channels
