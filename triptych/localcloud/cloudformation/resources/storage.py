"""AWS::KMS, AWS::DynamoDB, AWS::ECR, AWS::Athena: keys, tables, image repositories, query workgroups."""

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
from triptych.localcloud.cloudformation.shapes import changed, picked, tag_list, without


class Key(ResourceType):
    type = "AWS::KMS::Key"
    replaced_by = frozenset({"KeySpec", "KeyUsage", "MultiRegion", "Origin"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        tags = [
            {"TagKey": key, "TagValue": value} for key, value in context.tags(properties.get("Tags")).items()
        ]
        given = picked(properties, "Description", "KeySpec", "KeyUsage", "MultiRegion", "Origin")
        policy = {"Policy": properties["KeyPolicy"]} if "KeyPolicy" in properties else {}
        metadata = context.call("kms", "CreateKey", {**given, **policy, "Tags": tags})["KeyMetadata"]
        made = Made(metadata["KeyId"], {"Arn": metadata["Arn"], "KeyId": metadata["KeyId"]})
        context.note(made)
        self._settings(context, made.physical_id, properties, {})
        return made

    @staticmethod
    def _settings(context: ResourceContext, key: str, properties: Properties, previous: Properties) -> None:
        if changed(properties, previous, ("EnableKeyRotation",)):
            wanted = str(properties.get("EnableKeyRotation", "false")).lower() == "true"
            context.call("kms", "EnableKeyRotation" if wanted else "DisableKeyRotation", {"KeyId": key})
        if changed(properties, previous, ("Enabled",)):
            enabled = str(properties.get("Enabled", "true")).lower() == "true"
            context.call("kms", "EnableKey" if enabled else "DisableKey", {"KeyId": key})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        key = {"KeyId": made.physical_id}
        if changed(properties, previous, ("KeyPolicy",)) and "KeyPolicy" in properties:
            policy = {"PolicyName": "default", "Policy": properties["KeyPolicy"]}
            context.call("kms", "PutKeyPolicy", {**key, **policy})
        if changed(properties, previous, ("Description",)):
            description = {"Description": properties.get("Description", "")}
            context.call("kms", "UpdateKeyDescription", {**key, **description})
        self._settings(context, made.physical_id, properties, previous)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        days = {"PendingWindowInDays": properties.get("PendingWindowInDays", 30)}
        context.quietly("kms", "ScheduleKeyDeletion", {"KeyId": made.physical_id, **days})


class Table(ResourceType):
    type = "AWS::DynamoDB::Table"
    replaced_by = frozenset({"TableName", "KeySchema", "LocalSecondaryIndexes"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("TableName"), longest=255)
        given = without(
            properties,
            "TableName",
            "Tags",
            "TimeToLiveSpecification",
            "PointInTimeRecoverySpecification",
            "StreamSpecification",
            "SSESpecification",
        )
        if "StreamSpecification" in properties:
            given["StreamSpecification"] = {**properties["StreamSpecification"], "StreamEnabled": True}
        if "SSESpecification" in properties:
            sse = dict(properties["SSESpecification"])
            given["SSESpecification"] = {"Enabled": sse.pop("SSEEnabled", True), **sse}
        tags = tag_list(context.tags(properties.get("Tags")))
        description = context.call("dynamodb", "CreateTable", {**given, "TableName": name, "Tags": tags})[
            "TableDescription"
        ]
        context.note(Made(name))
        self._settings(context, name, properties, {})
        attributes = {"Arn": description["TableArn"]}
        if "LatestStreamArn" in description:
            attributes["StreamArn"] = description["LatestStreamArn"]
        return Made(name, attributes)

    @staticmethod
    def _settings(context: ResourceContext, name: str, properties: Properties, previous: Properties) -> None:
        table = {"TableName": name}
        if changed(properties, previous, ("TimeToLiveSpecification",)):
            wanted = properties.get("TimeToLiveSpecification") or {
                **previous["TimeToLiveSpecification"],
                "Enabled": False,
            }
            context.call("dynamodb", "UpdateTimeToLive", {**table, "TimeToLiveSpecification": wanted})
        if changed(properties, previous, ("PointInTimeRecoverySpecification",)):
            recovery = properties.get("PointInTimeRecoverySpecification") or {
                "PointInTimeRecoveryEnabled": False
            }
            arguments = {**table, "PointInTimeRecoverySpecification": recovery}
            context.call("dynamodb", "UpdateContinuousBackups", arguments)

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        names = ("BillingMode", "ProvisionedThroughput", "DeletionProtectionEnabled")
        if changed(properties, previous, names):
            arguments = {"TableName": made.physical_id, **picked(properties, *names, "AttributeDefinitions")}
            context.call("dynamodb", "UpdateTable", arguments)
        self._indexes(context, made.physical_id, properties, previous)
        self._settings(context, made.physical_id, properties, previous)
        return made

    @staticmethod
    def _indexes(context: ResourceContext, name: str, properties: Properties, previous: Properties) -> None:
        wanted = {index["IndexName"]: index for index in properties.get("GlobalSecondaryIndexes", [])}
        had = {index["IndexName"]: index for index in previous.get("GlobalSecondaryIndexes", [])}
        updates: list[dict[str, Any]] = [
            {"Delete": {"IndexName": index}} for index in had if wanted.get(index) != had[index]
        ]
        updates += [{"Create": index} for key, index in wanted.items() if had.get(key) != index]
        for update in updates:  # DynamoDB takes one at a time
            context.call(
                "dynamodb",
                "UpdateTable",
                {
                    "TableName": name,
                    **picked(properties, "AttributeDefinitions"),
                    "GlobalSecondaryIndexUpdates": [update],
                },
            )

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("dynamodb", "DeleteTable", {"TableName": made.physical_id})


class Repository(ResourceType):
    type = "AWS::ECR::Repository"
    replaced_by = frozenset({"RepositoryName", "EncryptionConfiguration"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("RepositoryName"), longest=256, lower=True)
        given = picked(
            properties, "ImageTagMutability", "ImageScanningConfiguration", "EncryptionConfiguration"
        )
        tags = tag_list(context.tags(properties.get("Tags")))
        answer = context.call("ecr", "CreateRepository", {**given, "repositoryName": name, "tags": tags})
        context.note(Made(name))
        self._policies(context, name, properties, {})
        repository = answer["repository"]
        return Made(name, {"Arn": repository["repositoryArn"], "RepositoryUri": repository["repositoryUri"]})

    @staticmethod
    def _policies(context: ResourceContext, name: str, properties: Properties, previous: Properties) -> None:
        repository = {"repositoryName": name}
        if changed(properties, previous, ("LifecyclePolicy",)):
            text = (properties.get("LifecyclePolicy") or {}).get("LifecyclePolicyText")
            if text:
                context.call("ecr", "PutLifecyclePolicy", {**repository, "lifecyclePolicyText": text})
            else:
                context.quietly("ecr", "DeleteLifecyclePolicy", repository)
        if changed(properties, previous, ("RepositoryPolicyText",)):
            policy = properties.get("RepositoryPolicyText")
            if policy:
                context.call("ecr", "SetRepositoryPolicy", {**repository, "policyText": policy})
            else:
                context.quietly("ecr", "DeleteRepositoryPolicy", repository)

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        name = {"repositoryName": made.physical_id}
        if "ImageTagMutability" in properties:
            mutability = picked(properties, "ImageTagMutability")
            context.call("ecr", "PutImageTagMutability", {**name, **mutability})
        self._policies(context, made.physical_id, properties, previous)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        force = {"force": properties.get("EmptyOnDelete", False)}
        context.quietly("ecr", "DeleteRepository", {"repositoryName": made.physical_id, **force})


TYPES: tuple[ResourceType, ...] = (
    Key(),
    ApiResource(
        "AWS::KMS::Alias",
        "kms",
        create=Call("CreateAlias", lambda context, name, properties: properties),
        update=Call("UpdateAlias", lambda context, name, properties: properties),
        delete=Call("DeleteAlias", lambda context, name, properties: {"AliasName": name}),
        made=lambda context, name, properties, answer: Made(properties["AliasName"]),
        replaced_by=frozenset({"AliasName"}),
    ),
    Table(),
    Repository(),
    ApiResource(
        "AWS::Athena::WorkGroup",
        "athena",
        create=Call(
            "CreateWorkGroup",
            lambda context, name, properties: {
                **{
                    ("Configuration" if key == "WorkGroupConfiguration" else key): value
                    for key, value in without(properties, "State", "RecursiveDeleteOption").items()
                },
                "Name": name,
                "Tags": tag_list(context.tags(properties.get("Tags"))),
            },
        ),
        delete=Call(
            "DeleteWorkGroup",
            lambda context, name, properties: {"WorkGroup": name, "RecursiveDeleteOption": True},
        ),
        name="Name",
        longest_name=128,
    ),
)
