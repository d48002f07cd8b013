"""AWS::Events and AWS::Scheduler: rules with their targets, event buses, schedules."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.cloudformation.resources.base import (
    ApiResource,
    Call,
    Made,
    Properties,
    ResourceContext,
    ResourceType,
)
from triptych.localcloud.cloudformation.shapes import PropertyError, picked, tag_list, without

_RULE = ("Description", "EventBusName", "EventPattern", "RoleArn", "ScheduleExpression", "State")


class Rule(ResourceType):
    type = "AWS::Events::Rule"
    replaced_by = frozenset({"Name", "EventBusName"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("Name"))
        physical_id = name if not _bus(properties) else f"{properties['EventBusName']}|{name}"
        context.note(Made(physical_id))
        return Made(physical_id, self._put(context, name, properties, {}))

    @staticmethod
    def _put(
        context: ResourceContext, name: str, properties: Properties, previous: Properties
    ) -> dict[str, Any]:
        answer = context.call(
            "events",
            "PutRule",
            {
                **picked(properties, *_RULE),
                "Name": name,
                "Tags": tag_list(context.tags(properties.get("Tags"))),
            },
        )
        targets = properties.get("Targets", [])
        gone = {target["Id"] for target in previous.get("Targets", [])} - {target["Id"] for target in targets}
        if gone:
            context.call("events", "RemoveTargets", {"Rule": name, **_bus(properties), "Ids": sorted(gone)})
        if targets:
            put = context.call("events", "PutTargets", {"Rule": name, **_bus(properties), "Targets": targets})
            if put.get("FailedEntryCount"):
                raise PropertyError(f"targets were refused: {put['FailedEntries']}")
        return {"Arn": answer["RuleArn"]}

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        return Made(
            made.physical_id, self._put(context, made.physical_id.rpartition("|")[2], properties, previous)
        )

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        name = made.physical_id.rpartition("|")[2]
        targets = [target["Id"] for target in properties.get("Targets", [])]
        if targets:
            context.quietly("events", "RemoveTargets", {"Rule": name, **_bus(properties), "Ids": targets})
        context.quietly("events", "DeleteRule", {"Name": name, **_bus(properties)})


def _bus(properties: Properties) -> dict[str, Any]:
    return picked(properties, "EventBusName")


def _schedule(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {**properties, "Name": name}


def _schedule_made(
    context: ResourceContext, name: str, properties: Properties, answer: dict[str, Any]
) -> Made:
    return Made(name, {"Arn": answer["ScheduleArn"]})


TYPES: tuple[ResourceType, ...] = (
    Rule(),
    ApiResource(
        "AWS::Events::EventBus",
        "events",
        create=Call(
            "CreateEventBus",
            lambda context, name, properties: {
                **without(properties, "Policy"),
                "Tags": tag_list(context.tags(properties.get("Tags"))),
            },
        ),
        delete=Call("DeleteEventBus", lambda context, name, properties: {"Name": name}),
        name="Name",
        made=lambda context, name, properties, answer: Made(
            name, {"Arn": answer["EventBusArn"], "Name": name}
        ),
    ),
    ApiResource(
        "AWS::Scheduler::Schedule",
        "scheduler",
        create=Call("CreateSchedule", _schedule),
        update=Call("UpdateSchedule", _schedule),
        delete=Call(
            "DeleteSchedule",
            lambda context, name, properties: {"Name": name, **picked(properties, "GroupName")},
        ),
        name="Name",
        made=_schedule_made,
        replaced_by=frozenset({"GroupName"}),
    ),
    ApiResource(
        "AWS::Scheduler::ScheduleGroup",
        "scheduler",
        create=Call(
            "CreateScheduleGroup",
            lambda context, name, properties: {
                "Name": name,
                "Tags": tag_list(context.tags(properties.get("Tags"))),
            },
        ),
        delete=Call("DeleteScheduleGroup", lambda context, name, properties: {"Name": name}),
        name="Name",
        made=lambda context, name, properties, answer: Made(
            name, {"Arn": answer["ScheduleGroupArn"], "State": "ACTIVE"}
        ),
    ),
)
