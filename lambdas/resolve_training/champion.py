"""The champion: the latest approved model package of the group."""

from __future__ import annotations

from typing import Any


class Registry:
    """A model package group, read through a SageMaker client."""

    def __init__(self, sagemaker: Any, group: str) -> None:
        self._sagemaker = sagemaker
        self._group = group

    def champion(self) -> dict[str, Any]:
        """``{model_package_arn, evaluation_uri, metrics}``; the ARN is None where nothing is approved yet.

        ``metrics`` are those that the package's properties hold as ``test_<metric>``, as numbers.
        """
        found = self._sagemaker.list_model_packages(
            ModelPackageGroupName=self._group,
            ModelApprovalStatus="Approved",
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=1,
        )["ModelPackageSummaryList"]
        if not found:
            return {"model_package_arn": None, "evaluation_uri": None, "metrics": {}}
        package = self._sagemaker.describe_model_package(ModelPackageName=found[0]["ModelPackageArn"])
        properties = package.get("CustomerMetadataProperties") or {}
        quality = package.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {})
        return {
            "model_package_arn": package["ModelPackageArn"],
            "evaluation_uri": quality.get("S3Uri"),
            "metrics": {
                name.removeprefix("test_"): float(value)
                for name, value in properties.items()
                if name.startswith("test_")
            },
        }
