"""What an endpoint serves before the deployment changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PACKAGE_TAG = "triptych:model-package"


@dataclass(frozen=True)
class ServedVariant:
    """A production variant as it stands now, not as it was configured."""

    variant_name: str
    model_name: str
    instance_type: str | None
    instance_count: int | None


@dataclass(frozen=True)
class Served:
    """The endpoint's configuration, its variants, and the package that the last deployment noted on its tags."""

    configuration: str
    variants: tuple[ServedVariant, ...]
    model_package_arn: str | None


def what_serves(sagemaker: Any, endpoint_name: str) -> Served | None:
    """None where there is no such endpoint, or none that serves."""
    try:
        endpoint = sagemaker.describe_endpoint(EndpointName=endpoint_name)
    except sagemaker.exceptions.ClientError as error:
        # DescribeEndpoint's "Could not find endpoint" has no code of its own
        if "Could not find" not in str(error):
            raise
        return None
    counts = {
        variant["VariantName"]: variant.get("DesiredInstanceCount") or variant.get("CurrentInstanceCount")
        for variant in endpoint.get("ProductionVariants") or []
    }
    if endpoint["EndpointStatus"] in ("Failed", "Deleting", "Creating") or not counts:
        return None
    name = endpoint["EndpointConfigName"]
    configuration = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=endpoint["EndpointArn"])
    tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    return Served(
        configuration=name,
        variants=tuple(
            ServedVariant(
                variant_name=variant["VariantName"],
                model_name=variant["ModelName"],
                instance_type=variant.get("InstanceType"),
                instance_count=counts.get(variant["VariantName"]) or variant.get("InitialInstanceCount"),
            )
            for variant in configuration["ProductionVariants"]
        ),
        model_package_arn=tags.get(PACKAGE_TAG) or None,
    )
