"""Deployments, really run: the alarms' watch, what never leaves staging, and requests that go on all the while."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
from typing import Any
from uuid import uuid4

import pytest

from tests.pipeline.conftest import FinishedRun
from tests.pipeline.project import Project, wait_until

pytestmark = [pytest.mark.cloud]
ENDPOINT = "triptych-flights"


def start(project: Project, name: str, **given: Any) -> str:
    """Start the deployment machine; the execution's ARN."""
    started = project.client("stepfunctions").start_execution(
        stateMachineArn=project.outputs()["DeploymentStateMachineArn"], name=name, input=json.dumps(given)
    )
    return str(started["executionArn"])


def ended(project: Project, execution: str) -> dict[str, Any]:
    """DescribeExecution once it has ended, with the output parsed."""
    client = project.client("stepfunctions")
    wait_until(
        lambda: client.describe_execution(executionArn=execution)["status"] != "RUNNING",
        f"{execution} has ended",
    )
    found: dict[str, Any] = client.describe_execution(executionArn=execution)
    return {**found, "output": json.loads(found.get("output", "null"))}


def deploy(project: Project, **given: Any) -> dict[str, Any]:
    return ended(project, start(project, f"deploy-{uuid4().hex[:8]}", **given))


def serves(project: Project) -> tuple[str, str, list[tuple[str, float, int]]]:
    """Status, configuration, and the variants with their weights and instances."""
    found = project.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    variants = [
        (each["VariantName"], each["CurrentWeight"], each["CurrentInstanceCount"])
        for each in found["ProductionVariants"]
    ]
    return found["EndpointStatus"], found["EndpointConfigName"], variants


class Asking:
    """Asks the endpoint the same row again and again until it is stopped; remembers every answer."""

    def __init__(self, project: Project, row: str) -> None:
        self.answers: list[float] = []
        self.problems: list[str] = []
        self._project, self._row = project, row
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        runtime = self._project.client("sagemaker-runtime")
        while not self._stop.wait(0.02):
            try:
                answer = runtime.invoke_endpoint(
                    EndpointName=ENDPOINT, ContentType="text/csv", Body=self._row
                )
                self.answers.append(float(answer["Body"].read()))
            except Exception as error:
                self.problems.append(repr(error))


def test_a_canary_takes_over_without_losing_a_request(finished: FinishedRun) -> None:
    project = finished.project
    sample = finished.summary["deployment"]["test"]["sample"]
    _, before, _ = serves(project)
    with Asking(project, sample["features"]) as asking:
        found = deploy(project, deployment={"strategy": "canary"})
    assert (found["status"], found["output"]["outcome"]) == ("SUCCEEDED", "promoted")
    assert asking.problems == []
    assert len(asking.answers) > 20
    assert asking.answers == pytest.approx([sample["score"]] * len(asking.answers), abs=1e-5)
    status, now, variants = serves(project)
    assert (status, now) == ("InService", found["output"]["endpoint_configuration"])
    assert variants == [("AllTraffic", 1.0, 2)]
    arn = project.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    tags = {
        tag["Key"]: tag["Value"] for tag in project.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]
    }
    assert tags["triptych:previous-configuration"] == before
    assert tags["triptych:model-package"] == found["output"]["model_package_arn"]
    report = project.home / "s3" / found["output"]["report_uri"].removeprefix("s3://")
    assert report.read_text().startswith("<!doctype html>")


def test_the_variant_is_scaled_between_the_contracts_limits(finished: FinishedRun) -> None:
    targets = finished.project.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{ENDPOINT}/variant/AllTraffic"]
    )["ScalableTargets"]
    assert [(target["MinCapacity"], target["MaxCapacity"]) for target in targets] == [(2, 4)]


def test_the_alarms_have_the_contracts_limits(finished: FinishedRun) -> None:
    found = finished.project.client("cloudwatch").describe_alarms(
        AlarmNamePrefix="triptych-flights-local-endpoint-"
    )
    alarms = {alarm["AlarmName"].rpartition("-")[2]: alarm for alarm in found["MetricAlarms"]}
    assert {name: alarm["Threshold"] for name, alarm in alarms.items()} == {
        "errors": 0.01,
        "latency": 500_000,
        "business": 0.4,
    }
    assert {each["Name"]: each["Value"] for each in alarms["latency"]["Dimensions"]} == {
        "EndpointName": ENDPOINT,
        "VariantName": "AllTraffic",
    }
    assert (alarms["business"]["Namespace"], alarms["business"]["ComparisonOperator"]) == (
        "Triptych/flights",
        "GreaterThanThreshold",
    )


def package_like_the_one_in_service(project: Project, archive: bytes) -> str:
    """Register an approved package whose model archive is something else; its ARN."""
    sagemaker, bucket = project.client("sagemaker"), project.outputs()["DataBucket"]
    group = project.outputs()["ModelPackageGroup"]
    newest = sagemaker.list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    package = sagemaker.describe_model_package(
        ModelPackageName=newest["ModelPackageSummaryList"][0]["ModelPackageArn"]
    )
    key = f"odd/{uuid4().hex}/model.tar.gz"
    project.client("s3").put_object(Bucket=bucket, Key=key, Body=archive)
    container = package["InferenceSpecification"]["Containers"][0]
    made = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [
                {
                    "Image": container["Image"],
                    "ModelDataUrl": f"s3://{bucket}/{key}",
                    "Environment": container.get("Environment") or {},
                }
            ],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        ModelApprovalStatus="Approved",
        CustomerMetadataProperties=package["CustomerMetadataProperties"],
    )
    return str(made["ModelPackageArn"])


def archive_with(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


ARCHIVES = {
    "no archive": b"this is no archive",
    "no model": archive_with("readme.txt", b"nothing here"),
    "a broken model": archive_with("xgboost-model", b"{not a booster"),
}


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=ARCHIVES)
def test_a_model_that_does_not_start_never_leaves_staging(finished: FinishedRun, archive: bytes) -> None:
    project = finished.project
    before = serves(project)
    arn = package_like_the_one_in_service(project, archive)
    found = deploy(project, model_package_arn=arn, deployment={"strategy": "canary"})
    assert (found["status"], found["error"]) == ("FAILED", "DeploymentRolledBack"), found
    assert "triptych-flights-staging failed" in found["cause"]
    assert serves(project) == before
    package = project.client("sagemaker").describe_model_package(ModelPackageName=arn)
    assert package["ModelApprovalStatus"] == "Rejected"
    assert "triptych-flights-staging failed" in package["ApprovalDescription"]
    names = [each["EndpointName"] for each in project.client("sagemaker").list_endpoints()["Endpoints"]]
    assert [name for name in names if name != ENDPOINT] == []


def test_a_second_deployment_is_refused_while_the_first_goes_on(finished: FinishedRun) -> None:
    project = finished.project
    first = start(project, "the-first", deployment={"strategy": "blue_green"})
    refused = deploy(project)
    assert (refused["status"], refused["error"]) == ("FAILED", "DeploymentUnderWay")
    assert "execution the-first has been deploying since" in refused["cause"]
    assert ended(project, first)["output"]["outcome"] == "promoted"


def test_a_model_that_is_bad_in_production_only_is_taken_back_under_load(finished: FinishedRun) -> None:
    project = finished.project
    before = serves(project)
    done = project.triptych("demo", "rollback", "--model", "errors", "--json", code=None)
    (found,) = json.loads(done.stdout)
    assert found["error"] == "DeploymentRolledBack", done.stderr
    assert "triptych-flights-local-endpoint-errors" in found["cause"]
    assert "was greater than the threshold (0.01)" in found["cause"]
    assert found["rolled_back"] is True
    assert found["traffic"]["lost"] == found["traffic"]["wrong"] == 0
    assert serves(project) == before


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "outcome"), [("shadow", "promoted"), ("ab", "kept")])
def test_a_trial_of_the_same_model_under_traffic_with_labels(
    finished: FinishedRun, strategy: str, outcome: str
) -> None:
    project = finished.project
    _, before, _ = serves(project)
    traffic = project.start("traffic", "flights", "--rate", "60", "--labels", "--json")
    try:
        found = deploy(project, deployment={"strategy": strategy})
    finally:
        os.killpg(traffic.pid, signal.SIGINT)
        told, _ = traffic.communicate(timeout=60)
    assert (found["status"], found["output"]["outcome"]) == ("SUCCEEDED", outcome), found
    tally = json.loads(told)
    assert tally["sent"] > 500
    assert tally["lost"] == tally["wrong"] == 0
    _, now, variants = serves(project)
    assert (now == before) is (outcome == "kept")
    assert variants == [("AllTraffic", 1.0, 2)]
    decision = found["output"]["decision"]
    if strategy == "shadow":
        assert decision["mean_difference"] == pytest.approx(0, abs=1e-6)
    else:
        assert {name: side["labelled"] > 100 for name, side in decision["variants"].items()} == {
            "AllTraffic": True,
            "Challenger": True,
        }
