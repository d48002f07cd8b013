"""The errors Application Auto Scaling answers with, in AWS's words."""

from __future__ import annotations

from triptych.localcloud.autoscaling.variants import DIMENSION, NAMESPACE
from triptych.localcloud.service import Params, ServiceError


def invalid(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def not_found(complaint: str, params: Params, more: str = "") -> ServiceError:
    """An ObjectNotFoundException about the target that ``params`` name."""
    return ServiceError(
        "ObjectNotFoundException",
        f"{complaint} for service namespace: {NAMESPACE}, resource ID: {params['ResourceId']}, scalable "
        f"dimension: {DIMENSION}{more}",
    )
