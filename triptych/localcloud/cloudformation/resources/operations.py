"""AWS::Logs, AWS::CloudWatch and AWS::SSM: what operators look at and set."""

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
from triptych.localcloud.cloudformation.shapes import tag_list, without


class LogGroup(ResourceType):
    type = "AWS::Logs::LogGroup"
    replaced_by = frozenset({"LogGroupName", "LogGroupClass"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("LogGroupName"), longest=512)
        given = without(properties, "RetentionInDays", "DataProtectionPolicy", "FieldIndexPolicies", "Tags")
        tags = context.tags(properties.get("Tags"))
        context.call(
            "logs", "CreateLogGroup", {**given, "logGroupName": name, **({"tags": tags} if tags else {})}
        )
        context.note(Made(name))
        self._retention(context, name, properties)
        return Made(name, {"Arn": context.arn("logs", f"log-group:{name}:*")})

    @staticmethod
    def _retention(context: ResourceContext, name: str, properties: Properties) -> None:
        if "RetentionInDays" in properties:
            days = {"retentionInDays": properties["RetentionInDays"]}
            context.call("logs", "PutRetentionPolicy", {"logGroupName": name, **days})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        if "RetentionInDays" in previous and "RetentionInDays" not in properties:
            context.call("logs", "DeleteRetentionPolicy", {"logGroupName": made.physical_id})
        self._retention(context, made.physical_id, properties)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("logs", "DeleteLogGroup", {"logGroupName": made.physical_id})


def _metric_filter(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    transformations = []
    for given in properties["MetricTransformations"]:
        made = dict(given)
        if isinstance(made.get("Dimensions"), list):
            made["Dimensions"] = {entry["Key"]: entry["Value"] for entry in made["Dimensions"]}
        transformations.append(made)
    return {**properties, "FilterName": name, "MetricTransformations": transformations}


def _alarm(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {**properties, "AlarmName": name, "Tags": tag_list(context.tags(properties.get("Tags")))}


def _parameter(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {**without(properties, "Tags"), "Name": name}


def _parameter_made(context: ResourceContext, name: str, properties: Properties, answer: Any) -> Made:
    return Made(name, {"Type": properties["Type"], "Value": properties["Value"]})


TYPES: tuple[ResourceType, ...] = (
    LogGroup(),
    ApiResource(
        "AWS::Logs::MetricFilter",
        "logs",
        create=Call("PutMetricFilter", _metric_filter),
        update=Call("PutMetricFilter", _metric_filter),
        delete=Call(
            "DeleteMetricFilter",
            lambda context, name, properties: {
                "logGroupName": properties["LogGroupName"],
                "filterName": name,
            },
        ),
        name="FilterName",
        longest_name=512,
        replaced_by=frozenset({"LogGroupName"}),
    ),
    ApiResource(
        "AWS::CloudWatch::Alarm",
        "cloudwatch",
        create=Call("PutMetricAlarm", _alarm),
        update=Call("PutMetricAlarm", _alarm),
        delete=Call("DeleteAlarms", lambda context, name, properties: {"AlarmNames": [name]}),
        name="AlarmName",
        longest_name=255,
        made=lambda context, name, properties, answer: Made(
            name, {"Arn": context.arn("cloudwatch", f"alarm:{name}")}
        ),
    ),
    ApiResource(
        "AWS::CloudWatch::CompositeAlarm",
        "cloudwatch",
        create=Call("PutCompositeAlarm", _alarm),
        update=Call("PutCompositeAlarm", _alarm),
        delete=Call("DeleteAlarms", lambda context, name, properties: {"AlarmNames": [name]}),
        name="AlarmName",
        longest_name=255,
        made=lambda context, name, properties, answer: Made(
            name, {"Arn": context.arn("cloudwatch", f"alarm:{name}")}
        ),
    ),
    ApiResource(
        "AWS::CloudWatch::Dashboard",
        "cloudwatch",
        create=Call("PutDashboard", lambda context, name, properties: {**properties, "DashboardName": name}),
        update=Call("PutDashboard", lambda context, name, properties: {**properties, "DashboardName": name}),
        delete=Call("DeleteDashboards", lambda context, name, properties: {"DashboardNames": [name]}),
        name="DashboardName",
        longest_name=255,
    ),
    ApiResource(
        "AWS::SSM::Parameter",
        "ssm",
        create=Call(
            "PutParameter",
            lambda context, name, properties: {
                **_parameter(context, name, properties),
                "Tags": tag_list(context.tags(properties.get("Tags"))),
            },
        ),
        update=Call(
            "PutParameter",
            lambda context, name, properties: {**_parameter(context, name, properties), "Overwrite": True},
        ),
        delete=Call("DeleteParameter", lambda context, name, properties: {"Name": name}),
        name="Name",
        longest_name=1011,
        made=_parameter_made,
        replaced_by=frozenset({"Type"}),
    ),
)
