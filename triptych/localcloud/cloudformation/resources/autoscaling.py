"""AWS::ApplicationAutoScaling: scalable targets with their scheduled actions, and scaling policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.localcloud.cloudformation.resources.base import Made, Properties, ResourceContext, ResourceType
from triptych.localcloud.cloudformation.shapes import PropertyError, picked, without

_SERVICE = "application-autoscaling"
_IDENTITY = ("ResourceId", "ScalableDimension", "ServiceNamespace")


class ScalableTarget(ResourceType):
    """Its Ref names all three parts of its identity, so that a policy can take it as ScalingTargetId."""

    type = "AWS::ApplicationAutoScaling::ScalableTarget"
    replaced_by = frozenset(_IDENTITY)

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        physical_id = "|".join(_needed(properties, name) for name in _IDENTITY)
        made = Made(physical_id, {"Id": physical_id})
        tags = context.tags()
        context.call(
            _SERVICE,
            "RegisterScalableTarget",
            {**without(properties, "ScheduledActions"), **({"Tags": tags} if tags else {})},
        )
        context.note(made)
        self._schedule(context, properties, {})
        return made

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        context.call(_SERVICE, "RegisterScalableTarget", without(properties, "ScheduledActions"))
        self._schedule(context, properties, previous)
        return made

    @staticmethod
    def _schedule(context: ResourceContext, properties: Properties, previous: Properties) -> None:
        actions = {item["ScheduledActionName"]: item for item in properties.get("ScheduledActions") or []}
        identity = picked(properties, *_IDENTITY)
        for old in previous.get("ScheduledActions") or []:
            if old["ScheduledActionName"] not in actions:
                gone = {**identity, "ScheduledActionName": old["ScheduledActionName"]}
                context.quietly(_SERVICE, "DeleteScheduledAction", gone)
        for action in actions.values():
            context.call(_SERVICE, "PutScheduledAction", {**identity, **action})

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        identity = dict(zip(_IDENTITY, made.physical_id.split("|"), strict=True))
        context.quietly(_SERVICE, "DeregisterScalableTarget", identity)


class ScalingPolicy(ResourceType):
    type = "AWS::ApplicationAutoScaling::ScalingPolicy"
    replaced_by = frozenset({*_IDENTITY, "ScalingTargetId", "PolicyName"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        arguments = {**without(properties, "ScalingTargetId"), **_identity(properties)}
        arn = context.call(_SERVICE, "PutScalingPolicy", arguments)["PolicyARN"]
        return Made(arn, {"Arn": arn})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        self.create(context, properties)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        named = {**_identity(properties), **picked(properties, "PolicyName")}
        context.quietly(_SERVICE, "DeleteScalingPolicy", named)


def _identity(properties: Properties) -> Mapping[str, Any]:
    """The target that a policy belongs to, by its Ref or in three parts."""
    target = properties.get("ScalingTargetId")
    if target is None:
        return {name: _needed(properties, name) for name in _IDENTITY}
    parts = str(target).split("|")
    if len(parts) != len(_IDENTITY):
        raise PropertyError(f"ScalingTargetId must be the Ref of a scalable target, not {target!r}")
    return dict(zip(_IDENTITY, parts, strict=True))


def _needed(properties: Properties, name: str) -> str:
    if not properties.get(name):
        raise PropertyError(f"Property {name} is required")
    return str(properties[name])


TYPES: tuple[ResourceType, ...] = (ScalableTarget(), ScalingPolicy())
