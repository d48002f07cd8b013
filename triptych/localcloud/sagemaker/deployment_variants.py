"""What CreateEndpointConfig refuses of its variants, as a pure function.

Sources: the shapes ProductionVariant and CreateEndpointConfigInput of botocore's service model, and
https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html#serverless-endpoints-how-it-works-exclusions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.localcloud.sagemaker.errors import invalid

_MOST_VARIANTS = 10
_MEMORY_SIZES_MB = range(1024, 6145, 1024)
_MOST_CONCURRENCY = 200
_NOT_SERVERLESS = ("DataCaptureConfig", "ShadowProductionVariants", "AsyncInferenceConfig", "VpcConfig")


def check_variants(params: Mapping[str, Any]) -> None:
    """Raises ValidationException when an endpoint configuration's variants do not go together."""
    variants = params.get("ProductionVariants") or []
    shadows = params.get("ShadowProductionVariants") or []
    if not variants:
        raise invalid("ProductionVariants must hold at least one variant.")
    if len(variants) > _MOST_VARIANTS:
        raise invalid(f"ProductionVariants holds {len(variants)} variants, more than {_MOST_VARIANTS}.")
    if shadows and (len(shadows) > 1 or len(variants) > 1):
        raise invalid(
            "With ShadowProductionVariants there must be one variant in ProductionVariants and one in "
            f"ShadowProductionVariants; there are {len(variants)} and {len(shadows)}."
        )
    names = [variant["VariantName"] for variant in [*variants, *shadows]]
    if len(set(names)) < len(names):
        raise invalid("Variant names must be unique within an endpoint configuration.")
    for variant in [*variants, *shadows]:
        _check_variant(variant)
    if any(variant.get("ServerlessConfig") is not None for variant in [*variants, *shadows]):
        unsupported = [member for member in _NOT_SERVERLESS if params.get(member)]
        if unsupported:
            raise invalid(f"A serverless endpoint does not support {', '.join(unsupported)}.")
        if len(variants) > 1:
            raise invalid("A serverless endpoint has one production variant.")


def _check_variant(variant: Mapping[str, Any]) -> None:
    name = variant["VariantName"]
    if not variant.get("ModelName"):
        raise invalid(f"Variant '{name}' has no ModelName; inference components are not served.")
    if variant.get("InitialVariantWeight", 1) < 0:
        raise invalid(f"Variant '{name}': InitialVariantWeight must not be negative.")
    serverless = variant.get("ServerlessConfig")
    if serverless is None:
        if not variant.get("InstanceType"):
            raise invalid(f"Variant '{name}' needs an InstanceType, or a ServerlessConfig.")
        if (variant.get("InitialInstanceCount") or 0) < 1:
            raise invalid(f"Variant '{name}' needs an InitialInstanceCount of at least 1.")
        return
    for member in ("InstanceType", "InitialInstanceCount"):
        if variant.get(member) is not None:
            raise invalid(f"Variant '{name}' is serverless: {member} cannot be given with ServerlessConfig.")
    if serverless.get("MemorySizeInMB") not in _MEMORY_SIZES_MB:
        raise invalid(
            f"Variant '{name}': ServerlessConfig.MemorySizeInMB is {serverless.get('MemorySizeInMB')}; it is "
            "1024, 2048, 3072, 4096, 5120 or 6144."
        )
    most = serverless.get("MaxConcurrency") or 0
    if not 1 <= most <= _MOST_CONCURRENCY:
        raise invalid(
            f"Variant '{name}': ServerlessConfig.MaxConcurrency is {most}; it is between 1 and {_MOST_CONCURRENCY}."
        )
    provisioned = serverless.get("ProvisionedConcurrency")
    if provisioned is not None and not 1 <= provisioned <= most:
        raise invalid(
            f"Variant '{name}': ServerlessConfig.ProvisionedConcurrency is {provisioned}; it is between 1 and "
            f"MaxConcurrency, {most}."
        )
