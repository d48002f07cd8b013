"""Records in the API's shapes, and pages of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from triptych.localcloud.autoscaling.records import Activity, Policy, ScheduledAction, Target
from triptych.localcloud.autoscaling.variants import DIMENSION, NAMESPACE
from triptych.localcloud.service import Params, ServiceError

Item = TypeVar("Item")

_SUSPENSIONS = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")


def page(items: Sequence[Item], params: Params) -> tuple[Sequence[Item], dict[str, str]]:
    """One page, and the member that leads to the next; raises InvalidNextTokenException."""
    size = min(int(params.get("MaxResults") or 50), 50)
    token = params.get("NextToken") or "0"
    if not token.isdecimal():
        raise ServiceError("InvalidNextTokenException", "The NextToken is not valid.")
    first = int(token)
    more = {"NextToken": str(first + size)} if first + size < len(items) else {}
    return items[first : first + size], more


def target_answer(target: Target) -> dict[str, Any]:
    return {
        **_identity(target.resource_id),
        "MinCapacity": target.minimum,
        "MaxCapacity": target.maximum,
        "RoleARN": target.role_arn,
        "CreationTime": _moment(target.created),
        "SuspendedState": {name: target.suspended.get(name, False) for name in _SUSPENSIONS},
        "ScalableTargetARN": target.arn,
    }


def policy_answer(policy: Policy, alarms: list[dict[str, str]]) -> dict[str, Any]:
    return {
        **_identity(policy.resource_id),
        "PolicyARN": policy.arn,
        "PolicyName": policy.name,
        "PolicyType": policy.type,
        configuration_member(policy.type): policy.configuration,
        "Alarms": alarms,
        "CreationTime": _moment(policy.created),
    }


def configuration_member(policy_type: str) -> str:
    """``TargetTrackingScalingPolicyConfiguration`` or ``StepScalingPolicyConfiguration``."""
    return f"{policy_type}PolicyConfiguration"


def scheduled_action_answer(action: ScheduledAction) -> dict[str, Any]:
    bounds = {"MinCapacity": action.minimum, "MaxCapacity": action.maximum}
    answer: dict[str, Any] = {
        **_identity(action.resource_id),
        "ScheduledActionName": action.name,
        "ScheduledActionARN": action.arn,
        "Schedule": action.schedule,
        "Timezone": action.timezone,
        "StartTime": None if action.start is None else _moment(action.start),
        "EndTime": None if action.end is None else _moment(action.end),
        "ScalableTargetAction": {name: value for name, value in bounds.items() if value is not None},
        "CreationTime": _moment(action.created),
    }
    return {name: value for name, value in answer.items() if value is not None}


def activity_answer(activity: Activity) -> dict[str, Any]:
    answer: dict[str, Any] = {
        **_identity(activity.resource_id),
        "ActivityId": activity.id,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": _moment(activity.started),
        "StatusCode": activity.status,
    }
    if activity.ended is not None:
        answer["EndTime"] = _moment(activity.ended)
    if activity.message:
        answer["StatusMessage"] = activity.message
    if activity.not_scaled is not None:
        answer["NotScaledReasons"] = [activity.not_scaled]
    return answer


def _identity(resource_id: str) -> dict[str, str]:
    return {"ServiceNamespace": NAMESPACE, "ResourceId": resource_id, "ScalableDimension": DIMENSION}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
