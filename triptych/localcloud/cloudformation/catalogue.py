"""Every resource type the local cloud makes, by its CloudFormation name."""

from __future__ import annotations

from collections.abc import Mapping

from triptych.localcloud.cloudformation.resources import (
    autoscaling,
    events,
    glue,
    iam,
    lambdas,
    messaging,
    nested,
    operations,
    s3,
    sagemaker,
    stepfunctions,
    storage,
)
from triptych.localcloud.cloudformation.resources.base import ResourceType

_MODULES = (
    autoscaling,
    events,
    glue,
    iam,
    lambdas,
    messaging,
    nested,
    operations,
    s3,
    sagemaker,
    stepfunctions,
    storage,
)


def catalogue() -> Mapping[str, ResourceType]:
    """Type name -> its maker. A new type is one more entry in the ``TYPES`` of its service's module."""
    return {kind.type: kind for module in _MODULES for kind in module.TYPES}
