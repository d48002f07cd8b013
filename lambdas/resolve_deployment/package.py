"""Which model package is deployed."""

from __future__ import annotations

from typing import Any


class NoApprovedPackage(Exception):
    """Nothing may be deployed: no package is approved, or the one asked for is not."""


def find_package(sagemaker: Any, group: str, arn: str | None) -> dict[str, Any]:
    """DescribeModelPackage of ``arn``, or of the group's latest approved one; raises NoApprovedPackage."""
    if arn is None:
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=1,
        )["ModelPackageSummaryList"]
        if not found:
            raise NoApprovedPackage(
                f"model package group {group} has no approved package; run the model state machine first"
            )
        arn = found[0]["ModelPackageArn"]
    package: dict[str, Any] = sagemaker.describe_model_package(ModelPackageName=arn)
    status = package.get("ModelApprovalStatus")
    if status != "Approved":
        raise NoApprovedPackage(
            f"model package {arn} is {status}, not Approved; approve it before it is deployed"
        )
    return package
