"""Both notebooks, for real: what they print is what the local cloud did."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from tests.notebooks.conftest import Notebooks, execute
from triptych import trials
from triptych.trials import Trial, TrialFailed

pytestmark = [pytest.mark.cloud]


def champion_job(notebooks: Notebooks) -> str:
    sagemaker = notebooks.project.client("sagemaker")
    package = sagemaker.list_model_packages(
        ModelPackageGroupName=notebooks.project.outputs()["ModelPackageGroup"]
    )["ModelPackageSummaryList"][0]["ModelPackageArn"]
    job: str = sagemaker.describe_model_package(ModelPackageName=package)["CustomerMetadataProperties"][
        "training_job"
    ]
    return job


def test_the_first_runs_the_pipeline_and_shows_what_came_out(notebooks: Notebooks) -> None:
    project, first = notebooks.project, notebooks.first
    runs = project.runs()
    assert [(run["status"], run["trigger"]) for run in runs] == [("SUCCEEDED", "person")]
    assert "SUCCEEDED" in first.printed
    assert re.search(r"'check': 'auc on test', .*'passed': True", first.printed)
    titles = [re.search(r"<h1>(.*?)</h1>", unescape(page)) for page in first.pages]
    assert [title and title[1] for title in titles] == [
        runs[0]["run"], "The model on the test split", "Evaluation: flights", "Data exploration: flights",
        "The same flight, other delays",
    ]  # fmt: skip
    assert all(page.startswith("<iframe srcdoc=") for page in first.pages)


def test_the_first_shows_the_endpoints_own_prediction(notebooks: Notebooks) -> None:
    printed = notebooks.first.printed
    score = re.search(r"^probability of arriving late: ([\d.]+)$", printed, re.MULTILINE)
    assert score is not None
    for feature in features(notebooks):
        assert re.search(rf"^{feature['name']} .*{re.escape(feature['description'])}$", printed, re.MULTILINE)
    newest = notebooks.project.triptych("show", "last", "--json").stdout
    values = re.search(r'"sample": \{"features": "([^"]*)"', newest)
    assert values is not None
    assert notebooks.project.predict(values[1]) == pytest.approx(float(score[1]), abs=1e-5)


def features(notebooks: Notebooks) -> list[dict[str, Any]]:
    project = notebooks.project
    bucket = project.outputs()["DataBucket"]
    s3 = project.client("s3")
    latest = json.loads(s3.get_object(Bucket=bucket, Key="datasets/flights/latest.json")["Body"].read())
    key = latest["features_uri"].split("/", 3)[3]
    found: list[dict[str, Any]] = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())["features"]
    return found


def test_the_second_trains_variants_and_compares_them(notebooks: Notebooks) -> None:
    project = notebooks.project
    second = execute(project, "02_try_features_and_models.ipynb")
    lines = re.findall(r"^(\S+) +validation AUC ([\d.]+) .*?(\S+)$", second.printed, re.MULTILINE)
    assert {name for name, *_ in lines} == {
        "champion",
        "shallow",
        "deep",
        "slower",
        "no-waiting",
        "excess",
    }
    sagemaker = project.client("sagemaker")
    jobs = {name: sagemaker.describe_training_job(TrainingJobName=job) for name, _, job in lines}
    for name, auc, _ in lines:
        metrics = {entry["MetricName"]: entry["Value"] for entry in jobs[name]["FinalMetricDataList"]}
        assert float(auc) == pytest.approx(metrics["validation:auc"], abs=1e-4)
    assert jobs["shallow"]["HyperParameters"]["max_depth"] == "3"
    assert jobs["champion"]["TrainingJobName"] == champion_job(notebooks)
    assert len({auc for _, auc, _ in lines}) > 3, "other features and hyperparameters give other models"
    count = len(features(notebooks))
    logs = {name: log(project, job) for name, _, job in lines if name in ("champion", "no-waiting", "excess")}
    assert f"{count} features" in logs["champion"]
    assert f"{count + 1} features" in logs["excess"]
    assert int(re.search(r"(\d+) features", logs["no-waiting"])[1]) < count
    endpoint = sagemaker.describe_endpoint(EndpointName=project.outputs()["EndpointName"])
    assert endpoint["EndpointStatus"] == "InService"


def log(project: Any, job: str) -> str:
    events = project.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job}/"
    )["events"]
    return "\n".join(event["message"] for event in events)


def test_a_trial_that_fails_is_told_with_its_reason(notebooks: Notebooks) -> None:
    project = notebooks.project
    with pytest.raises(TrialFailed, match=r"(?s)trial 'bad': job trial-bad-.* is Failed: .*max_depth"):
        trials.run(project.client("sagemaker"), champion_job(notebooks), [Trial("bad", {"max_depth": -4})])
