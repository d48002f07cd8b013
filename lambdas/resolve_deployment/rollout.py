"""From a strategy to SageMaker's DeploymentConfig: how the traffic shifts, what it waits for, what takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from triptych.core.deployment import Deployment

_LEAST_LIMIT_SECONDS, _GREATEST_LIMIT_SECONDS = 600, 28_800
_PROVISIONING_SECONDS = 3600
"""what new instances may take to start, over the waits that are asked for"""


class WaitsTooLong(Exception):
    """The waits of a deployment add up to more than SageMaker lets one take."""


def traffic_shift(
    deployment: Deployment, shift_wait_seconds: int, bake_seconds: int, alarms: Sequence[str]
) -> dict[str, Any] | None:
    """The DeploymentConfig of UpdateEndpoint, or None where all requests go over at once; raises WaitsTooLong.

    A shadow test ends in a blue/green deployment. An A/B test does not: its winner has served real requests
    already, and SageMaker shifts traffic only between configurations whose variants have the same names.
    """
    strategy = deployment.strategy
    if strategy in ("all_at_once", "ab"):
        return None
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
    if strategy == "rolling":
        batches = ceil(100 / deployment.rolling.batch_percent)
        return {
            "RollingUpdatePolicy": {
                "MaximumBatchSize": _percent(deployment.rolling.batch_percent),
                "WaitIntervalInSeconds": shift_wait_seconds,
                "MaximumExecutionTimeoutInSeconds": _limit(batches * shift_wait_seconds),
                "RollbackMaximumBatchSize": _percent(100),
            },
            **rollback,
        }
    routing: dict[str, Any]
    if strategy == "canary":
        routing = {"Type": "CANARY", "CanarySize": _percent(deployment.canary.size_percent)}
        steps = 1
    elif strategy == "linear":
        routing = {"Type": "LINEAR", "LinearStepSize": _percent(deployment.linear.step_percent)}
        steps = ceil(100 / deployment.linear.step_percent)
    else:
        routing = {"Type": "ALL_AT_ONCE"}
        steps = 0
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                **routing,
                "WaitIntervalInSeconds": shift_wait_seconds if steps else 0,
            },
            "TerminationWaitInSeconds": bake_seconds,
            "MaximumExecutionTimeoutInSeconds": _limit(steps * shift_wait_seconds + bake_seconds),
        },
        **rollback,
    }


def _percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def _limit(waits_seconds: int) -> int:
    if waits_seconds >= _GREATEST_LIMIT_SECONDS:
        raise WaitsTooLong(
            f"the deployment would wait {waits_seconds} s in all, and SageMaker ends one after "
            f"{_GREATEST_LIMIT_SECONDS} s; take greater steps, or lower ShiftWaitSeconds or BakeSeconds of the stack"
        )
    return min(max(waits_seconds + _PROVISIONING_SECONDS, _LEAST_LIMIT_SECONDS), _GREATEST_LIMIT_SECONDS)
