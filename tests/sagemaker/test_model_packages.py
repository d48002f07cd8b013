"""Model packages round-trip whole, and models are made of them."""

from __future__ import annotations

from typing import Any

import pytest
from sagemaker_laptop import ROLE, XGBOOST, Laptop


@pytest.fixture
def group(laptop: Laptop, request: pytest.FixtureRequest) -> str:
    name = f"group-{abs(hash(request.node.nodeid)) % 10**8}"
    laptop.clients.groups.add(name)
    return name


def package_params(group: str, model_uri: str) -> dict[str, Any]:
    return {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": "delays, trained in May",
        "InferenceSpecification": {
            "Containers": [{"Image": XGBOOST, "ModelDataUrl": model_uri, "Environment": {"A": "1"}}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://data/e.json"}}
        },
        "CustomerMetadataProperties": {"dataset_version": "abc", "auc": "0.74"},
        "ModelApprovalStatus": "PendingManualApproval",
    }


def test_versions_count_up_and_keep_everything(laptop: Laptop, group: str, model_uri: str) -> None:
    params = package_params(group, model_uri)
    arns = [laptop.call("CreateModelPackage", **params)["ModelPackageArn"] for _ in range(2)]
    assert [arn.rsplit("/", 1)[-1] for arn in arns] == ["1", "2"]
    described = laptop.call("DescribeModelPackage", ModelPackageName=arns[1])
    for member, value in params.items():
        assert described[member] == value
    assert described["ModelPackageVersion"] == 2
    assert described["ModelPackageStatus"] == "Completed"
    listed = laptop.call("ListModelPackages", ModelPackageGroupName=group, SortOrder="Descending")
    assert [item["ModelPackageVersion"] for item in listed["ModelPackageSummaryList"]] == [2, 1]


def test_a_deleted_version_is_not_given_again(laptop: Laptop, group: str, model_uri: str) -> None:
    params = package_params(group, model_uri)
    for wanted in ("1", "2", "3"):
        arn = laptop.call("CreateModelPackage", **params)["ModelPackageArn"]
        assert arn.endswith(f"/{wanted}")
        laptop.call("DeleteModelPackage", ModelPackageName=arn)


def test_an_update_changes_only_what_it_names(laptop: Laptop, group: str, model_uri: str) -> None:
    arn = laptop.call("CreateModelPackage", **package_params(group, model_uri))["ModelPackageArn"]
    laptop.call(
        "UpdateModelPackage",
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="better than the champion",
    )
    laptop.call(
        "UpdateModelPackage",
        ModelPackageArn=arn,
        CustomerMetadataProperties={"endpoint": "flights"},
        CustomerMetadataPropertiesToRemove=["auc"],
    )
    described = laptop.call("DescribeModelPackage", ModelPackageName=arn)
    assert described["ModelApprovalStatus"] == "Approved"
    assert described["ApprovalDescription"] == "better than the champion"
    assert described["CustomerMetadataProperties"] == {"dataset_version": "abc", "endpoint": "flights"}
    approved = laptop.call("ListModelPackages", ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    assert [item["ModelPackageArn"] for item in approved["ModelPackageSummaryList"]] == [arn]


def test_a_model_resolves_its_package(laptop: Laptop, group: str, model_uri: str) -> None:
    arn = laptop.call("CreateModelPackage", **package_params(group, model_uri))["ModelPackageArn"]
    container = {"ModelPackageName": arn, "Environment": {"B": "2"}}
    laptop.call("CreateModel", ModelName="packaged", Containers=[container], ExecutionRoleArn=ROLE)
    assert laptop.call("DescribeModel", ModelName="packaged")["Containers"] == [container]
    resolved = laptop.sagemaker.models.container("packaged")
    assert resolved.image.uri == XGBOOST
    assert (resolved.model_dir / "xgboost-model").is_file()
    assert resolved.environment == {"A": "1", "B": "2"}


def test_unversioned_and_deleted(laptop: Laptop, model_uri: str) -> None:
    params = package_params("", model_uri) | {"ModelPackageName": "alone"}
    del params["ModelPackageGroupName"]
    laptop.call("CreateModelPackage", **params)
    assert laptop.call("DescribeModelPackage", ModelPackageName="alone")["ModelPackageName"] == "alone"
    laptop.call("DeleteModelPackage", ModelPackageName="alone")
    assert "does not exist" in laptop.refused("DescribeModelPackage", ModelPackageName="alone").message


def test_refused(laptop: Laptop, group: str, model_uri: str) -> None:
    params = package_params("no-such-group", model_uri)
    assert "Group no-such-group does not exist" in laptop.refused("CreateModelPackage", **params).message
    params = package_params(group, model_uri) | {"ModelApprovalStatus": "Maybe"}
    assert "enum value set" in laptop.refused("CreateModelPackage", **params).message
    assert "Missing ARN" in laptop.refused("CreateModelPackage").message
