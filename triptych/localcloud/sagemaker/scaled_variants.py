"""Variants that Application Auto Scaling scales may not be taken from an endpoint, nor change instance type.

https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.errors import invalid


def check_scaled_variants(
    cloud: Cloud, endpoint_name: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Raise ValidationException where an update would do so; ``old`` and ``new``: variant -> instance type."""
    autoscaling = cloud.services.get("application-autoscaling")
    if autoscaling is None:
        return
    for name in sorted(autoscaling.registered_variants(endpoint_name)):
        if name in new and (name not in old or new[name] == old[name]):
            continue
        what = f"change the instance type of variant {name}" if name in new else f"remove variant {name}"
        raise invalid(
            f"The update would {what}, which is a scalable target of Application Auto Scaling. Deregister "
            f"endpoint/{endpoint_name}/variant/{name} (DeregisterScalableTarget) and update the endpoint then."
        )
