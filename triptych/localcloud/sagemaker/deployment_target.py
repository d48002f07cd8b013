"""What an endpoint configuration means in servers: the value that is kept in the endpoint's record.

``{"config": name, "variants": [VariantPlan's fields], "capture": DataCaptureConfig | None,
"asynchronous": AsyncInferenceConfig | None}``
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from triptych.localcloud.sagemaker.deployment_plan import VariantSize
from triptych.localcloud.sagemaker.fleet import VariantPlan
from triptych.localcloud.sagemaker.models import Models

Serving = dict[str, Any]
_MEBIBYTE = 2**20


def resolve_serving(models: Models, config_name: str) -> Serving:
    """Unpack the configuration's models and say what to run. Raises JobRefused, ServiceError."""
    config = models.find_config(config_name)
    variants = [
        _variant(models, variant, shadow)
        for member, shadow in (("ProductionVariants", False), ("ShadowProductionVariants", True))
        for variant in config.get(member) or []
    ]
    return {
        "config": config_name,
        "variants": variants,
        "capture": config.get("DataCaptureConfig"),
        "asynchronous": config.get("AsyncInferenceConfig"),
    }


def sizes_of_config(config: Mapping[str, Any]) -> list[VariantSize]:
    """The production variants of an endpoint configuration's record, before its models are looked at."""
    return [
        VariantSize(
            variant["VariantName"],
            int(variant.get("InitialInstanceCount") or 1),
            variant.get("ServerlessConfig") is not None,
            variant.get("InstanceType"),
        )
        for variant in config["ProductionVariants"]
    ]


def sizes_of_serving(serving: Serving) -> list[VariantSize]:
    return [
        VariantSize(
            variant["name"],
            variant["instances"],
            variant.get("max_concurrency") is not None,
            variant.get("instance_type"),
        )
        for variant in production(serving)
    ]


def production(serving: Serving) -> list[dict[str, Any]]:
    """The variants that answer requests."""
    return [variant for variant in serving["variants"] if not variant.get("shadow")]


def shadows(serving: Serving) -> list[dict[str, Any]]:
    """The variants that only get copies of requests."""
    return [variant for variant in serving["variants"] if variant.get("shadow")]


def retained(
    sizes: Iterable[VariantSize], serving: Serving, excluded: Collection[str]
) -> dict[str, dict[str, Any]]:
    """RetainAllVariantProperties: what variants of the same name keep; ``excluded`` are VariantPropertyTypes."""
    current = {variant["name"]: variant for variant in production(serving)}
    kept: dict[str, dict[str, Any]] = {}
    for size in sizes:
        if size.name not in current or size.serverless:
            continue
        old = current[size.name]
        changes: dict[str, Any] = {}
        if "DesiredInstanceCount" not in excluded and old.get("max_concurrency") is None:
            # Of a variant that is scaled in to none one is started: nothing goes into service untested.
            changes["instances"] = max(1, old["instances"])
        if "DesiredWeight" not in excluded:
            changes["weight"] = old["weight"]
        kept[size.name] = changes
    return kept


def plans(serving: Serving, instances: Mapping[str, int] | None = None) -> list[VariantPlan]:
    """The fleet to start; ``instances`` replaces variants' numbers of instances."""
    instances = instances or {}
    return [
        VariantPlan.from_record(variant | {"instances": instances.get(variant["name"], variant["instances"])})
        for variant in serving["variants"]
    ]


def _variant(models: Models, variant: Mapping[str, Any], shadow: bool) -> dict[str, Any]:
    container = models.container(variant["ModelName"])
    serverless = variant.get("ServerlessConfig")
    plan = asdict(
        VariantPlan(
            name=variant["VariantName"],
            weight=float(variant.get("InitialVariantWeight", 1.0)),
            instances=1 if serverless else int(variant.get("InitialInstanceCount") or 1),
            image=container.image.uri,
            model_dir=str(container.model_dir),
            code_dir=str(container.code_dir) if container.code_dir else None,
            environment=container.serving_environment(),
            instance_type=variant.get("InstanceType"),
            memory_bytes=serverless["MemorySizeInMB"] * _MEBIBYTE if serverless else None,
            shadow=shadow,
            max_concurrency=serverless["MaxConcurrency"] if serverless else None,
        )
    )
    seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
    return plan | ({"startup_seconds": float(seconds)} if seconds else {})
