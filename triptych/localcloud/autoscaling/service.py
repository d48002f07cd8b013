"""The service ``application-autoscaling``, for the instance counts of SageMaker's variants.

Targets of other services stay moto's records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from triptych.localcloud.autoscaling import answers
from triptych.localcloud.autoscaling.errors import invalid, not_found
from triptych.localcloud.autoscaling.records import Policy, Records, Target
from triptych.localcloud.autoscaling.scaler import Scaler
from triptych.localcloud.autoscaling.schedules import ScheduledActions
from triptych.localcloud.autoscaling.steps import check_steps
from triptych.localcloud.autoscaling.timing import Timing
from triptych.localcloud.autoscaling.tracking import alarms, check_tracking
from triptych.localcloud.autoscaling.variants import DIMENSION, NAMESPACE, VariantId, Variants
from triptych.localcloud.bus import AlarmChanged, ServiceEvent
from triptych.localcloud.service import Operation, Params, RequestContext

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud

_CHECKS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "TargetTrackingScaling": check_tracking,
    "StepScaling": check_steps,
}


class AutoScalingService:
    """Scalable targets, their policies, scheduled actions and activities.

    ``timing`` says how quickly target tracking looks; ``now`` is the time in seconds since the epoch.
    """

    service_id = "application-autoscaling"

    def __init__(
        self, cloud: Cloud, *, timing: Timing | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._cloud = cloud
        self._timing = timing or Timing()
        self._now = now
        self._records = Records(cloud.home)
        self._variants = Variants(cloud.clients)
        self.scaler = Scaler(cloud, self._records, self._timing, self._forget, now)
        self.schedules = ScheduledActions(cloud, self._records, self.scaler.bounds_changed, now)
        self.operations: Mapping[str, Operation] = {
            name: self._ours(operation)
            for name, operation in {
                "RegisterScalableTarget": self._register,
                "DeregisterScalableTarget": self._deregister,
                "DescribeScalableTargets": self._describe_targets,
                "PutScalingPolicy": self._put_policy,
                "DeleteScalingPolicy": self._delete_policy,
                "DescribeScalingPolicies": self._describe_policies,
                "DescribeScalingActivities": self._describe_activities,
                "PutScheduledAction": self.schedules.put,
                "DeleteScheduledAction": self.schedules.delete,
                "DescribeScheduledActions": self.schedules.describe,
            }.items()
        } | {
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }
        cloud.bus.subscribe(AlarmChanged, self._alarm_changed)
        cloud.bus.subscribe(ServiceEvent, self._service_event)

    def start(self) -> None:
        """Go on with the activities that were under way; make the alarms that a crash kept from being made."""
        for policy in self._records.policies():
            self._put_alarms(policy, only_missing=True)
        self.scaler.start()
        self.schedules.start()

    def stop(self) -> None:
        self.schedules.stop()
        self.scaler.stop()

    def registered_variants(self, endpoint_name: str) -> frozenset[str]:
        """The endpoint's variants that are scalable targets: they may not be taken from it."""
        found = (VariantId.parse(target.resource_id) for target in self._records.targets())
        return frozenset(item.variant for item in found if item.endpoint == endpoint_name)

    # Targets

    def _register(self, params: Params) -> Params:
        variant = VariantId.parse(params["ResourceId"])
        self._variants.state(variant)  # raises where it is not there

        def change(old: Target | None) -> Target:
            return self._changed(old, variant, params)

        _, target = self._records.put_target(variant.resource_id, change)
        self.scaler.bounds_changed(target.resource_id)
        return {"ScalableTargetARN": target.arn}

    def _changed(self, old: Target | None, variant: VariantId, params: Params) -> Target:
        if old is None:
            missing = [name for name in ("MinCapacity", "MaxCapacity") if params.get(name) is None]
            if missing:
                raise invalid(f"{' and '.join(missing)} must be given to register a new scalable target.")
            old = self._new_target(variant, params)
        elif params.get("Tags"):
            raise invalid(
                "The scalable target that you tried to tag already exists. To update tags on an existing "
                "scalable target, use the TagResource API."
            )
        minimum, maximum = params.get("MinCapacity"), params.get("MaxCapacity")
        target = replace(
            old,
            minimum=old.minimum if minimum is None else int(minimum),
            maximum=old.maximum if maximum is None else int(maximum),
        )
        if params.get("SuspendedState") is not None:
            target = replace(target, suspended={**old.suspended, **params["SuspendedState"]})
        if target.minimum < 0:
            raise invalid("Minimum capacity cannot be less than 0.")
        if target.maximum < target.minimum:
            raise invalid("Maximum capacity cannot be less than minimum capacity.")
        return target

    def _new_target(self, variant: VariantId, params: Params) -> Target:
        settings = self._cloud.settings
        role = params.get("RoleARN") or (
            f"arn:{settings.partition}:iam::{settings.account_id}:role/aws-service-role/"
            "sagemaker.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
        )
        return Target(
            resource_id=variant.resource_id,
            arn=self._arn("application-autoscaling", f"scalable-target/{uuid4().hex}"),
            minimum=0,
            maximum=0,
            role_arn=role,
            created=self._now(),
            tags=dict(params.get("Tags") or {}),
        )

    def _deregister(self, params: Params) -> Params:
        target = self._target(params, "No scalable target found")
        self._forget(target)
        return {}

    def _forget(self, target: Target) -> None:
        # The alarms first: of a target that is still there a repeated call can delete the rest.
        for policy in self._records.policies(target.resource_id):
            self._delete_alarms(policy)
        self._records.delete_target(target.resource_id)
        self.schedules.changed()

    def _describe_targets(self, params: Params) -> Params:
        wanted = params.get("ResourceIds")
        found = [item for item in self._records.targets() if not wanted or item.resource_id in wanted]
        shown, more = answers.page(found, params)
        return {"ScalableTargets": [answers.target_answer(item) for item in shown], **more}

    def _target(self, params: Params, complaint: str = "No scalable target registered") -> Target:
        target = self._records.target(VariantId.parse(params["ResourceId"]).resource_id)
        if target is None:
            raise not_found(complaint, params)
        return target

    # Policies

    def _put_policy(self, params: Params) -> Params:
        target = self._target(params)
        old = self._records.policy(target.resource_id, params["PolicyName"])
        kind = params.get("PolicyType") or (old.type if old else "StepScaling")
        if kind not in _CHECKS:
            raise invalid(
                f"The local cloud has no scaling policies of type {kind}; it has {', '.join(_CHECKS)}."
            )
        if old is not None and old.type != kind:
            raise invalid(f"Policy {old.name} is a {old.type} policy and cannot become a {kind} policy.")
        configuration = params.get(answers.configuration_member(kind)) or (old.configuration if old else {})
        others = {answers.configuration_member(name) for name in _CHECKS if name != kind}
        if others & params.keys():
            raise invalid(f"{', '.join(others & params.keys())} does not go with PolicyType {kind}.")
        _CHECKS[kind](configuration)
        policy = self._new_policy(target, params["PolicyName"], kind, configuration, old)
        self._records.put_policy(policy)
        try:
            self._put_alarms(policy)
        except BaseException:
            if old is None:
                self._delete_alarms(policy)
                self._records.delete_policy(policy.resource_id, policy.name)
            else:
                self._records.put_policy(old)
            raise
        if old is not None:
            gone = set(old.alarms.values()) - set(policy.alarms.values())
            self._delete_alarms(replace(old, alarms={name: name for name in gone}))
        self.scaler.policies_changed()
        return {"PolicyARN": policy.arn, "Alarms": self._alarms_of(policy)}

    def _new_policy(
        self, target: Target, name: str, kind: str, configuration: dict[str, Any], old: Policy | None
    ) -> Policy:
        """A policy's alarms keep their names as long as it has them."""
        alarm_names: dict[str, str] = {}
        if kind == "TargetTrackingScaling":
            sides = ["high"] if configuration.get("DisableScaleIn") else ["high", "low"]
            known = old.alarms if old else {}
            alarm_names = {
                side: known.get(side) or f"TargetTracking-{target.resource_id}-Alarm{side.title()}-{uuid4()}"
                for side in sides
            }
        if old is not None:
            return replace(old, configuration=configuration, alarms=alarm_names)
        resource = f"resource/{NAMESPACE}/{target.resource_id}"
        return Policy(
            resource_id=target.resource_id,
            name=name,
            arn=self._arn("autoscaling", f"scalingPolicy:{uuid4()}:{resource}:policyName/{name}"),
            type=kind,
            configuration=configuration,
            created=self._now(),
            alarms=alarm_names,
            creator=str(uuid4()),
        )

    def _put_alarms(self, policy: Policy, only_missing: bool = False) -> None:
        client = self._cloud.clients.get("cloudwatch")
        there: set[str] = set()
        if only_missing and policy.alarms:
            answer = client.describe_alarms(AlarmNames=list(policy.alarms.values()))
            there = {alarm["AlarmName"] for alarm in answer.get("MetricAlarms", [])}
        for alarm in alarms(policy, self._timing):
            if alarm["AlarmName"] not in there:
                self._cloud.clients.call("cloudwatch", "PutMetricAlarm", alarm)

    def _delete_alarms(self, policy: Policy) -> None:
        names = list(policy.alarms.values())
        if names:
            self._cloud.clients.call("cloudwatch", "DeleteAlarms", {"AlarmNames": names})

    def _alarms_of(self, policy: Policy) -> list[dict[str, str]]:
        return [
            {"AlarmName": name, "AlarmARN": self._arn("cloudwatch", f"alarm:{name}")}
            for name in policy.alarms.values()
        ]

    def _delete_policy(self, params: Params) -> Params:
        resource_id = VariantId.parse(params["ResourceId"]).resource_id
        policy = self._records.policy(resource_id, params["PolicyName"])
        if policy is None:
            raise not_found("No scaling policy found", params, f", policy name: {params['PolicyName']}")
        self._delete_alarms(policy)
        self._records.delete_policy(resource_id, policy.name)
        return {}

    def _describe_policies(self, params: Params) -> Params:
        names = params.get("PolicyNames")
        found = [
            policy
            for policy in self._records.policies(params.get("ResourceId"))
            if not names or policy.name in names
        ]
        shown, more = answers.page(found, params)
        return {
            "ScalingPolicies": [answers.policy_answer(item, self._alarms_of(item)) for item in shown],
            **more,
        }

    def _describe_activities(self, params: Params) -> Params:
        found = [
            activity
            for activity in self._records.activities(params.get("ResourceId"))
            if activity.not_scaled is None or params.get("IncludeNotScaledActivities")
        ]
        shown, more = answers.page(found, params)
        return {"ScalingActivities": [answers.activity_answer(item) for item in shown], **more}

    # Tags

    def _tag(self, context: RequestContext, params: Params) -> Params:
        return self._retag(context, params, lambda tags: {**tags, **params["Tags"]})

    def _untag(self, context: RequestContext, params: Params) -> Params:
        gone = set(params["TagKeys"])
        return self._retag(
            context, params, lambda tags: {key: value for key, value in tags.items() if key not in gone}
        )

    def _retag(
        self, context: RequestContext, params: Params, change: Callable[[dict[str, str]], dict[str, str]]
    ) -> Params:
        target = self._tagged(params)
        if target is None:
            return _forward(context, params)
        self._records.put_target(
            target.resource_id, lambda old: replace(old or target, tags=change((old or target).tags))
        )
        return {}

    def _list_tags(self, context: RequestContext, params: Params) -> Params:
        target = self._tagged(params)
        return _forward(context, params) if target is None else {"Tags": target.tags}

    def _tagged(self, params: Params) -> Target | None:
        return next((item for item in self._records.targets() if item.arn == params["ResourceARN"]), None)

    # What the bus tells

    def _alarm_changed(self, message: AlarmChanged) -> None:
        self.scaler.alarm_changed(message.name)

    def _service_event(self, message: ServiceEvent) -> None:
        """A deleted endpoint's variants are no scalable targets any more, as on AWS."""
        if message.source != "aws.sagemaker" or message.detail_type != "SageMaker Endpoint State Change":
            return
        if str(message.detail.get("EndpointStatus")).upper() != "DELETING":
            return
        self.scaler.endpoint_deleted(message.detail["EndpointName"], message.time.timestamp())

    # Inside

    def _ours(self, operation: Callable[[Params], Params]) -> Operation:
        """The operation for SageMaker's variants; moto keeps the other namespaces' records."""

        def serve(context: RequestContext, params: Params) -> Params:
            if params.get("ServiceNamespace") != NAMESPACE:
                return _forward(context, params)
            dimension = params.get("ScalableDimension")
            if dimension not in (None, DIMENSION):
                raise invalid(f"The local cloud scales {DIMENSION} only, not {dimension}.")
            return operation(params)

        return serve

    def _arn(self, service: str, resource: str) -> str:
        settings = self._cloud.settings
        return f"arn:{settings.partition}:{service}:{settings.region}:{settings.account_id}:{resource}"


def _forward(context: RequestContext, params: Params) -> Params:
    assert context.forward is not None
    return context.forward(params)
