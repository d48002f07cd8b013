"""AWS::Lambda: functions, permissions, layers, versions, aliases, event source mappings."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from triptych.localcloud.cloudformation.resources.base import (
    ApiResource,
    Call,
    Made,
    Properties,
    ResourceContext,
    ResourceType,
)
from triptych.localcloud.cloudformation.shapes import changed, picked, tag_map, without

_CONFIGURATION = (
    "DeadLetterConfig", "Description", "Environment", "EphemeralStorage", "FileSystemConfigs", "Handler",
    "ImageConfig", "KmsKeyArn", "Layers", "LoggingConfig", "MemorySize", "Role", "Runtime", "SnapStart",
    "Timeout",
    "TracingConfig", "VpcConfig",
)  # fmt: skip


def _code(properties: Properties) -> dict[str, Any]:
    code = dict(properties["Code"])
    if "ZipFile" in code:
        name = "index.py" if str(properties.get("Runtime", "")).startswith("python") else "index.js"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), code["ZipFile"])
        code["ZipFile"] = buffer.getvalue()
    return code


class Function(ResourceType):
    type = "AWS::Lambda::Function"
    replaced_by = frozenset({"FunctionName", "PackageType"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("FunctionName"))
        given = without(properties, "Code", "Tags", "ReservedConcurrentExecutions", "RecursiveLoop")
        tags = context.tags(properties.get("Tags"))
        answer = context.call(
            "lambda",
            "CreateFunction",
            {**given, "FunctionName": name, "Code": _code(properties), "Tags": tags},
        )
        made = Made(name, {"Arn": answer["FunctionArn"]})
        context.note(made)
        self._concurrency(context, name, properties, {})
        return made

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        name = {"FunctionName": made.physical_id}
        if changed(properties, previous, ("Code", "Architectures")):
            code = {**_code(properties), **picked(properties, "Architectures")}
            context.call("lambda", "UpdateFunctionCode", {**name, **code})
        if changed(properties, previous, _CONFIGURATION):
            gone = {"Environment": {"Variables": {}}, "Layers": [], "Description": ""}
            cleared = {key: value for key, value in gone.items() if key in previous and key not in properties}
            context.call(
                "lambda",
                "UpdateFunctionConfiguration",
                {**name, **cleared, **picked(properties, *_CONFIGURATION)},
            )
        self._concurrency(context, made.physical_id, properties, previous)
        if changed(properties, previous, ("Tags",)):
            arn = {"Resource": made.attributes["Arn"]}
            old = set(tag_map(previous.get("Tags"))) - set(tag_map(properties.get("Tags")))
            if old:
                context.call("lambda", "UntagResource", {**arn, "TagKeys": sorted(old)})
            context.call("lambda", "TagResource", {**arn, "Tags": context.tags(properties.get("Tags"))})
        return made

    @staticmethod
    def _concurrency(
        context: ResourceContext, name: str, properties: Properties, previous: Properties
    ) -> None:
        key = "ReservedConcurrentExecutions"
        if properties.get(key) == previous.get(key):
            return
        if key in properties:
            context.call("lambda", "PutFunctionConcurrency", {"FunctionName": name, key: properties[key]})
        else:
            context.quietly("lambda", "DeleteFunctionConcurrency", {"FunctionName": name})

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("lambda", "DeleteFunction", {"FunctionName": made.physical_id})


def _permission(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {**properties, "StatementId": name}


def _layer(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {**properties, "LayerName": context.name(properties.get("LayerName"))}


def _layer_version(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    layer, _, version = name.rpartition(":")
    return {"LayerName": layer, "VersionNumber": version}


def _alias(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return without(properties, "ProvisionedConcurrencyConfig")


def _function_of(properties: Properties) -> str:
    """A function's name, from its name or its ARN (without a qualifier)."""
    given = str(properties["FunctionName"])
    return given.split(":")[6] if given.startswith("arn:") else given


TYPES: tuple[ResourceType, ...] = (
    Function(),
    ApiResource(
        "AWS::Lambda::Permission",
        "lambda",
        create=Call(
            "AddPermission",
            lambda context, name, properties: _permission(
                context, context.name(None, longest=100), properties
            ),
        ),
        delete=Call(
            "RemovePermission",
            lambda context, name, properties: {"FunctionName": _function_of(properties), "StatementId": name},
        ),
        made=lambda context, name, properties, answer: Made(context.name(None, longest=100)),
    ),
    ApiResource(
        "AWS::Lambda::LayerVersion",
        "lambda",
        create=Call("PublishLayerVersion", _layer),
        delete=Call("DeleteLayerVersion", _layer_version),
        made=lambda context, name, properties, answer: Made(
            answer["LayerVersionArn"], {"LayerVersionArn": answer["LayerVersionArn"]}
        ),
    ),
    ApiResource(
        "AWS::Lambda::Version",
        "lambda",
        create=Call(
            "PublishVersion",
            lambda context, name, properties: picked(properties, "FunctionName", "CodeSha256", "Description"),
        ),
        delete=Call(
            "DeleteFunction",
            lambda context, name, properties: {
                "FunctionName": _function_of(properties),
                "Qualifier": name.rsplit(":", 1)[-1],
            },
        ),
        made=lambda context, name, properties, answer: Made(
            answer["FunctionArn"], {"FunctionArn": answer["FunctionArn"], "Version": answer["Version"]}
        ),
    ),
    ApiResource(
        "AWS::Lambda::Alias",
        "lambda",
        create=Call("CreateAlias", _alias),
        update=Call("UpdateAlias", _alias),
        delete=Call(
            "DeleteAlias", lambda context, name, properties: picked(properties, "FunctionName", "Name")
        ),
        made=lambda context, name, properties, answer: Made(
            answer["AliasArn"], {"AliasArn": answer["AliasArn"]}
        ),
        replaced_by=frozenset({"FunctionName", "Name"}),
    ),
    ApiResource(
        "AWS::Lambda::EventSourceMapping",
        "lambda",
        create=Call("CreateEventSourceMapping", lambda context, name, properties: properties),
        update=Call(
            "UpdateEventSourceMapping",
            lambda context, name, properties: {
                **without(properties, "EventSourceArn", "StartingPosition", "StartingPositionTimestamp"),
                "UUID": name,
            },
        ),
        delete=Call("DeleteEventSourceMapping", lambda context, name, properties: {"UUID": name}),
        made=lambda context, name, properties, answer: Made(answer["UUID"], {"Id": answer["UUID"]}),
        replaced_by=frozenset({"EventSourceArn", "StartingPosition"}),
    ),
)
