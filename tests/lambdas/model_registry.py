"""A model registry that is a list, and the packages in it."""

from __future__ import annotations

from typing import Any


class Registry:
    """ListModelPackages and DescribeModelPackage over packages given newest first."""

    def __init__(self, *packages: dict[str, Any]) -> None:
        self.packages = packages

    def list_model_packages(self, **asked: Any) -> dict[str, Any]:
        found = [
            item for item in self.packages if item["ModelApprovalStatus"] == asked["ModelApprovalStatus"]
        ]
        return {"ModelPackageSummaryList": found[: asked["MaxResults"]]}

    def describe_model_package(self, ModelPackageName: str) -> dict[str, Any]:
        return next(item for item in self.packages if item["ModelPackageArn"] == ModelPackageName)


def packaged(version: int, status: str = "Approved", **properties: str) -> dict[str, Any]:
    return {
        "ModelPackageArn": f"arn:aws:sagemaker:us-east-1:123456789012:model-package/g/{version}",
        "ModelApprovalStatus": status,
        "InferenceSpecification": {
            "Containers": [{"Image": "image", "ModelDataUrl": "s3://data/model.tar.gz"}]
        },
        "CustomerMetadataProperties": properties,
    }
