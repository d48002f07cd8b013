"""All that the deployment state machine needs to know, as one answer kept at ``$.deployment``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from triptych.core.deployment import CHALLENGER, SHADOW, STAGING_SUFFIX, Deployment
from triptych.core.names import job_prefix

if TYPE_CHECKING:
    from request import Request, Settings
    from served import Served

PACKAGE_TAG = "triptych:model-package"
PREVIOUS_TAGS = ("triptych:previous-configuration", "triptych:previous-model-package")
_POLICY_NAME = "triptych-invocations-per-instance"


class CannotTakeOver(Exception):
    """The strategy does not fit what the endpoint serves; the message says which one does."""


def resolve(
    request: Request,
    settings: Settings,
    deployment: Deployment,
    use_case: str,
    package: Mapping[str, Any],
    served: Served | None,
    traffic: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The answer; ``deployment`` has the execution's overrides in it. Raises CannotTakeOver."""
    container = package["InferenceSpecification"]["Containers"][0]
    strategy = deployment.strategy
    variant = deployment.variant_name
    if served is not None:
        _check(deployment, settings.endpoint_name, served)
    on_trial = {"ab": CHALLENGER, "shadow": SHADOW}.get(strategy) if served else None
    champion = asdict(served.variants[0]) if served and on_trial else None
    return {
        "name_prefix": job_prefix(use_case, request.execution_name),
        "model_package_arn": package["ModelPackageArn"],
        "serves_already": served is not None and served.model_package_arn == package["ModelPackageArn"],
        "image_uri": container["Image"],
        "model_uri": container["ModelDataUrl"],
        "environment": container.get("Environment") or {},
        "endpoint_name": settings.endpoint_name,
        "staging_endpoint_name": settings.endpoint_name + STAGING_SUFFIX,
        "variant_name": variant,
        "instance_type": deployment.instance_type,
        "instance_count": _instances(deployment, request, served),
        "capture": {
            "enabled": deployment.data_capture.enabled,
            "sampling_percentage": deployment.data_capture.sampling_percentage,
            "uri": f"s3://{settings.data_bucket}/capture",
        },
        "poll_seconds": settings.poll_seconds,
        "strategy": strategy,
        "traffic": traffic,
        "alarms": [*settings.alarm_names, *(settings.trial_alarm_names if on_trial == CHALLENGER else ())],
        "champion": champion,
        "trial": {
            "variant_name": on_trial,
            "look_seconds": settings.look_seconds,
            "ground_truth_uri": f"s3://{settings.data_bucket}/ground-truth/{settings.endpoint_name}",
            "experiment": asdict(deployment.ab),
            "champion_weight": 1 - deployment.ab.challenger_weight,
            "challenger_weight": deployment.ab.challenger_weight,
            "shadow": asdict(deployment.shadow),
            "shadow_weight": deployment.shadow.sampling_percent / 100,
        },
        "autoscaling": _autoscaling(deployment, settings.endpoint_name),
        "scaling": {
            "resource_id": _resource_id(
                settings.endpoint_name, served.variants[0].variant_name if served else variant
            ),
            # SageMaker refuses another instance type for a variant that is a target of autoscaling
            "lift": deployment.autoscaling is not None
            and served is not None
            and any(each.instance_type != deployment.instance_type for each in served.variants),
        },
        "tags": _tags(package["ModelPackageArn"], served),
        "test": _test(deployment, package, request),
        "report": {
            "variant_names": [
                champion["variant_name"] if champion else variant,
                *([on_trial] if on_trial else []),
            ],
            "prefix_uri": f"s3://{settings.data_bucket}/deployments/{request.execution_name}",
        },
    }


def _check(deployment: Deployment, endpoint_name: str, served: Served) -> None:
    names = [each.variant_name for each in served.variants]
    if deployment.strategy == "all_at_once":
        return
    shown = f"endpoint {endpoint_name} serves the variants {', '.join(names)} of {served.configuration}"
    if len(names) > 1:
        raise CannotTakeOver(
            f"{shown}, and strategy {deployment.strategy} replaces a single one; deploy with strategy all_at_once first"
        )
    if deployment.strategy in ("ab", "shadow") and served.variants[0].instance_type is None:
        raise CannotTakeOver(
            f"{shown} without instances of their own (serverless); strategy {deployment.strategy} sets a model beside "
            "one that has instances: deploy with strategy all_at_once"
        )
    if names != [deployment.variant_name]:
        raise CannotTakeOver(
            f"{shown}, and the contract's deployment.variant_name is {deployment.variant_name}; SageMaker shifts "
            "traffic only between variants of one name: deploy with strategy all_at_once first"
        )


def _instances(deployment: Deployment, request: Request, served: Served | None) -> int:
    """Where instances are scaled, the new model begins with as many as the old one has now."""
    scaling = deployment.autoscaling
    if scaling is None or served is None or request.overrides.get("instance_count") is not None:
        return deployment.instance_count
    now = sum(variant.instance_count or 0 for variant in served.variants)
    return max(scaling.min_instances, min(scaling.max_instances, max(now, deployment.instance_count)))


def _autoscaling(deployment: Deployment, endpoint_name: str) -> dict[str, Any] | None:
    scaling = deployment.autoscaling
    if scaling is None:
        return None
    return {
        "resource_id": _resource_id(endpoint_name, deployment.variant_name),
        "min_instances": scaling.min_instances,
        "max_instances": scaling.max_instances,
        "policy_name": _POLICY_NAME,
        "policy": {
            "TargetValue": float(scaling.invocations_per_instance),
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
            "ScaleInCooldown": scaling.scale_in_cooldown_seconds,
            "ScaleOutCooldown": scaling.scale_out_cooldown_seconds,
        },
    }


def _resource_id(endpoint_name: str, variant_name: str) -> str:
    """What Application Auto Scaling calls a variant."""
    return f"endpoint/{endpoint_name}/variant/{variant_name}"


def _tags(package_arn: str, served: Served | None) -> list[dict[str, str]]:
    """What the endpoint's tags say once the model serves; an earlier deployment's values are overwritten."""
    tags = {PACKAGE_TAG: package_arn}
    if served is not None:
        tags |= zip(PREVIOUS_TAGS, (served.configuration, served.model_package_arn or ""), strict=True)
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _test(deployment: Deployment, package: Mapping[str, Any], request: Request) -> dict[str, Any]:
    properties = package.get("CustomerMetadataProperties") or {}
    return {
        "batch_uri": request.batch_uri or properties.get("batch_uri"),
        "transform_uri": request.transform_uri or properties.get("transform_uri"),
        **asdict(deployment.test),
    }
