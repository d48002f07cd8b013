"""Which model package is deployed, as which names, with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triptych.core.contract import Contract
from triptych.core.names import job_prefix


class NoApprovedPackage(Exception):
    """Nothing may be deployed: no package is approved, or the one asked for is not."""


class SettingMissing(Exception):
    """An environment variable of the function is not set."""


@dataclass(frozen=True)
class Settings:
    """The function's environment."""

    data_bucket: str
    contract_uri: str
    model_package_group: str
    endpoint_name: str
    poll_seconds: int

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Settings:
        """Raises SettingMissing by name."""
        for name in Settings.__dataclass_fields__:
            if name.upper() not in environment:
                raise SettingMissing(f"the environment variable {name.upper()} is not set")
        return Settings(
            data_bucket=environment["DATA_BUCKET"],
            contract_uri=environment["CONTRACT_URI"],
            model_package_group=environment["MODEL_PACKAGE_GROUP"],
            endpoint_name=environment["ENDPOINT_NAME"],
            poll_seconds=int(environment["POLL_SECONDS"]),
        )


@dataclass(frozen=True)
class Request:
    """What was left out is None: then the latest approved package, and the batch output it came with."""

    execution_name: str
    model_package_arn: str | None
    batch_uri: str | None
    transform_uri: str | None

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Request:
        return Request(
            execution_name=event["execution_name"],
            model_package_arn=event.get("model_package_arn"),
            batch_uri=event.get("batch_uri"),
            transform_uri=event.get("transform_uri"),
        )


def find_package(sagemaker: Any, group: str, arn: str | None) -> dict[str, Any]:
    """DescribeModelPackage's answer; raises NoApprovedPackage."""
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


def resolve(
    request: Request, settings: Settings, contract: Contract, package: Mapping[str, Any]
) -> dict[str, Any]:
    """The answer that the deployment state machine keeps at ``$.deployment``."""
    container = package["InferenceSpecification"]["Containers"][0]
    properties = package.get("CustomerMetadataProperties") or {}
    deployment = contract.deployment
    return {
        "name_prefix": job_prefix(contract.use_case, request.execution_name),
        "model_package_arn": package["ModelPackageArn"],
        "image_uri": container["Image"],
        "model_uri": container["ModelDataUrl"],
        "environment": container.get("Environment") or {},
        "endpoint_name": settings.endpoint_name,
        "variant_name": deployment.variant_name,
        "instance_type": deployment.instance_type,
        "instance_count": deployment.instance_count,
        "capture": {
            "enabled": deployment.data_capture.enabled,
            "sampling_percentage": deployment.data_capture.sampling_percentage,
            "uri": f"s3://{settings.data_bucket}/capture",
        },
        "poll_seconds": settings.poll_seconds,
        "test": {
            "batch_uri": request.batch_uri or properties.get("batch_uri"),
            "transform_uri": request.transform_uri or properties.get("transform_uri"),
            "rows": deployment.test.rows,
            "max_latency_ms": deployment.test.max_latency_ms,
            "parity_tolerance": deployment.test.parity_tolerance,
        },
    }
