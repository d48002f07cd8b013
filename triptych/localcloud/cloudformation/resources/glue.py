"""AWS::Glue: jobs, crawlers, the catalog, security configurations."""

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
from triptych.localcloud.cloudformation.shapes import without


def _named(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {**properties, "Name": name, "Tags": context.tags(properties.get("Tags"))}


def _crawler(properties: Properties) -> dict[str, Any]:
    given = without(properties, "Tags")
    if isinstance(given.get("Schedule"), dict):
        given["Schedule"] = given["Schedule"].get("ScheduleExpression", "")
    return given


def _encryption(properties: Properties) -> dict[str, Any]:
    given = dict(properties["EncryptionConfiguration"])
    if "S3Encryptions" in given:
        given["S3Encryption"] = given.pop("S3Encryptions")
    return given


def _catalog(context: ResourceContext, properties: Properties) -> dict[str, Any]:
    return {"CatalogId": properties.get("CatalogId", context.account_id)}


class Database(ResourceType):
    type = "AWS::Glue::Database"
    replaced_by = frozenset({"CatalogId", "DatabaseName"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        given = dict(properties.get("DatabaseInput", {}))
        name = context.name(properties.get("DatabaseName") or given.get("Name"), longest=255, lower=True)
        context.call(
            "glue",
            "CreateDatabase",
            {**_catalog(context, properties), "DatabaseInput": {**given, "Name": name}},
        )
        return Made(name)

    def needs_replacement(self, properties: Properties, previous: Properties) -> bool:
        names = [value.get("DatabaseInput", {}).get("Name") for value in (properties, previous)]
        return super().needs_replacement(properties, previous) or names[0] != names[1]

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        given = {**properties.get("DatabaseInput", {}), "Name": made.physical_id}
        context.call(
            "glue",
            "UpdateDatabase",
            {**_catalog(context, properties), "Name": made.physical_id, "DatabaseInput": given},
        )
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("glue", "DeleteDatabase", {**_catalog(context, properties), "Name": made.physical_id})


class Table(ResourceType):
    type = "AWS::Glue::Table"
    replaced_by = frozenset({"CatalogId", "DatabaseName"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        given = dict(properties["TableInput"])
        name = context.name(given.get("Name") or properties.get("Name"), longest=255, lower=True)
        context.call("glue", "CreateTable", self._arguments(context, properties, {**given, "Name": name}))
        return Made(name)

    @staticmethod
    def _arguments(context: ResourceContext, properties: Properties, table: dict[str, Any]) -> dict[str, Any]:
        return {
            **_catalog(context, properties),
            "DatabaseName": properties["DatabaseName"],
            "TableInput": table,
        }

    def needs_replacement(self, properties: Properties, previous: Properties) -> bool:
        names = [value["TableInput"].get("Name") for value in (properties, previous)]
        return super().needs_replacement(properties, previous) or names[0] != names[1]

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        table = {**properties["TableInput"], "Name": made.physical_id}
        context.call("glue", "UpdateTable", self._arguments(context, properties, table))
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly(
            "glue",
            "DeleteTable",
            {
                **_catalog(context, properties),
                "DatabaseName": properties["DatabaseName"],
                "Name": made.physical_id,
            },
        )


TYPES: tuple[ResourceType, ...] = (
    ApiResource(
        "AWS::Glue::Job",
        "glue",
        create=Call("CreateJob", _named),
        update=Call(
            "UpdateJob",
            lambda context, name, properties: {
                "JobName": name,
                "JobUpdate": without(properties, "Name", "Tags"),
            },
        ),
        delete=Call("DeleteJob", lambda context, name, properties: {"JobName": name}),
        name="Name",
        longest_name=255,
    ),
    ApiResource(
        "AWS::Glue::Crawler",
        "glue",
        create=Call(
            "CreateCrawler",
            lambda context, name, properties: {
                **_crawler(properties),
                "Name": name,
                "Tags": context.tags(properties.get("Tags")),
            },
        ),
        update=Call(
            "UpdateCrawler", lambda context, name, properties: {**_crawler(properties), "Name": name}
        ),
        delete=Call("DeleteCrawler", lambda context, name, properties: {"Name": name}),
        name="Name",
        longest_name=255,
    ),
    ApiResource(
        "AWS::Glue::SecurityConfiguration",
        "glue",
        create=Call(
            "CreateSecurityConfiguration",
            lambda context, name, properties: {
                "Name": name,
                "EncryptionConfiguration": _encryption(properties),
            },
        ),
        delete=Call("DeleteSecurityConfiguration", lambda context, name, properties: {"Name": name}),
        name="Name",
        longest_name=255,
    ),
    ApiResource(
        "AWS::Glue::Trigger",
        "glue",
        create=Call("CreateTrigger", _named),
        delete=Call("DeleteTrigger", lambda context, name, properties: {"Name": name}),
        name="Name",
        longest_name=255,
    ),
    Database(),
    Table(),
)
