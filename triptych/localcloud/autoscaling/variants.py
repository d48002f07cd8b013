"""The variants of SageMaker's endpoints, as Application Auto Scaling names, sees and changes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.clients import Clients
from triptych.localcloud.service import ServiceError

NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")


@dataclass(frozen=True)
class VariantId:
    """An endpoint's variant: ``endpoint/<endpoint>/variant/<variant>``."""

    endpoint: str
    variant: str

    @staticmethod
    def parse(resource_id: str) -> VariantId:
        """Raises ValidationException."""
        match = _RESOURCE.fullmatch(resource_id)
        if match is None:
            raise ServiceError(
                "ValidationException", "Unsupported service namespace, resource type or scalable dimension"
            )
        return VariantId(*match.groups())

    @property
    def resource_id(self) -> str:
        return f"endpoint/{self.endpoint}/variant/{self.variant}"


@dataclass(frozen=True)
class VariantState:
    """What DescribeEndpoint says."""

    endpoint_status: str
    count: int
    wanted: int
    may_be_empty: bool
    """asynchronous endpoints may have no instance"""
    failure: str = ""

    @property
    def stable(self) -> bool:
        """Nothing is changing the endpoint."""
        return self.endpoint_status == "InService"


class Variants:
    """Looks at variants and sets their counts, through SageMaker's API."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def state(self, variant: VariantId) -> VariantState:
        """Raises ValidationException where the endpoint or its variant is not there."""
        described = self._clients.call("sagemaker", "DescribeEndpoint", {"EndpointName": variant.endpoint})
        found: dict[str, Any] | None = next(
            (
                item
                for item in described.get("ProductionVariants") or []
                if item["VariantName"] == variant.variant
            ),
            None,
        )
        if found is None:
            raise ServiceError(
                "ValidationException",
                f"Endpoint {variant.endpoint} ({described['EndpointStatus']}) has no variant "
                f"{variant.variant} in service.",
            )
        count = int(found.get("CurrentInstanceCount") or 0)
        return VariantState(
            described["EndpointStatus"],
            count,
            int(found.get("DesiredInstanceCount", count)),
            described.get("AsyncInferenceConfig") is not None,
            described.get("FailureReason") or "",
        )

    def set_count(self, variant: VariantId, count: int) -> None:
        """Begin the change; raises ServiceError where SageMaker refuses it."""
        wanted = {"VariantName": variant.variant, "DesiredInstanceCount": count}
        self._clients.call(
            "sagemaker",
            "UpdateEndpointWeightsAndCapacities",
            {"EndpointName": variant.endpoint, "DesiredWeightsAndCapacities": [wanted]},
        )
