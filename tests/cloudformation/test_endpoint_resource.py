"""AWS::SageMaker::Endpoint: an update counts only once the endpoint serves the configuration of the template."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.localcloud.cloudformation.resources.base import Made
from triptych.localcloud.cloudformation.resources.sagemaker import Endpoint
from triptych.localcloud.cloudformation.shapes import PropertyError

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"


class Scripted:
    """A ResourceContext whose SageMaker answers DescribeEndpoint by the script; the last answer stays."""

    def __init__(self, *states: tuple[str, str]) -> None:
        self._states = list(states)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, service: str, operation: str, properties: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, dict(properties)))
        if operation != "DescribeEndpoint":
            return {"EndpointArn": ARN}
        status, config = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return {
            "EndpointArn": ARN,
            "EndpointStatus": status,
            "EndpointConfigName": config,
            "FailureReason": "the alarm rang",
        }


def update(context: Scripted) -> Made:
    properties = {"EndpointName": "e", "EndpointConfigName": "new", "RetainAllVariantProperties": True}
    return Endpoint().update(context, Made(ARN, {"EndpointName": "e"}), properties, {})  # type: ignore[arg-type]


def test_an_update_waits_for_its_end() -> None:
    context = Scripted(("Updating", "old"), ("Updating", "old"), ("InService", "new"))
    assert update(context) == Made(ARN, {"EndpointName": "e"})
    assert context.calls[0] == (
        "UpdateEndpoint",
        {"EndpointName": "e", "EndpointConfigName": "new", "RetainAllVariantProperties": True},
    )


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        pytest.param(
            [("Updating", "old"), ("RollingBack", "old"), ("InService", "old")],
            "endpoint e is InService with old, not new: the alarm rang",
            id="rolled-back",
        ),
        pytest.param(
            [("RollingBack", "old"), ("UpdateRollbackFailed", "old")],
            "endpoint e is UpdateRollbackFailed with old, not new",
            id="rollback-failed",
        ),
        pytest.param([("Failed", "new")], "endpoint e is Failed: the alarm rang", id="failed"),
    ],
)
def test_an_update_that_is_not_carried_through_fails(states: list[tuple[str, str]], wanted: str) -> None:
    with pytest.raises(PropertyError, match=wanted):
        update(Scripted(*states))
