"""AWS::StepFunctions: state machines from every kind of definition, versions, aliases, activities."""

from __future__ import annotations

import json
import re
from typing import Any

from triptych.localcloud.cloudformation.resources.base import (
    ApiResource,
    Call,
    Made,
    Properties,
    ResourceContext,
    ResourceType,
)
from triptych.localcloud.cloudformation.shapes import PropertyError, picked, tag_map

_SETTINGS = ("RoleArn", "LoggingConfiguration", "TracingConfiguration", "EncryptionConfiguration")
_SUBSTITUTION = re.compile(r"\$\{([A-Za-z0-9_.:-]+)\}")


def definition_of(context: ResourceContext, properties: Properties) -> str:
    """The Amazon States Language text: from one of the three properties, substitutions applied."""
    given = [
        name for name in ("Definition", "DefinitionString", "DefinitionS3Location") if name in properties
    ]
    if len(given) != 1:
        raise PropertyError(
            "exactly one of Definition, DefinitionString and DefinitionS3Location must be given, not "
            + (", ".join(given) or "none")
        )
    if "Definition" in properties:
        text = json.dumps(properties["Definition"])
    elif "DefinitionString" in properties:
        value = properties["DefinitionString"]
        text = value if isinstance(value, str) else json.dumps(value)
    else:
        place = properties["DefinitionS3Location"]
        text = context.engine.read_object(place["Bucket"], place["Key"], place.get("Version")).decode()
        if not text.lstrip().startswith("{"):
            import yaml

            text = json.dumps(yaml.safe_load(text))
    return substitute(text, properties.get("DefinitionSubstitutions", {}))


def substitute(text: str, values: dict[str, Any]) -> str:
    """``${name}`` in the definition's text replaced; a name without a value is an error, as on AWS."""
    missing: set[str] = set()

    def replaced(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            missing.add(name)
            return match.group(0)
        value = values[name]
        if isinstance(value, bool):
            return "true" if value else "false"
        # The placeholder stands inside a JSON string: what would end that string must be escaped.
        return json.dumps(str(value))[1:-1]

    if not values:
        return text
    result = _SUBSTITUTION.sub(replaced, text)
    if missing:
        raise PropertyError(
            f"the definition has placeholders without DefinitionSubstitutions: {', '.join(sorted(missing))}"
        )
    return result


class StateMachine(ResourceType):
    type = "AWS::StepFunctions::StateMachine"
    replaced_by = frozenset({"StateMachineName", "StateMachineType"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("StateMachineName"), longest=80)
        answer = context.call(
            "stepfunctions",
            "CreateStateMachine",
            {
                **picked(properties, *_SETTINGS),
                "name": name,
                "definition": definition_of(context, properties),
                "type": properties.get("StateMachineType", "STANDARD"),
                "tags": [
                    {"key": key, "value": value}
                    for key, value in context.tags(properties.get("Tags")).items()
                ],
            },
        )
        return self._made(context, answer["stateMachineArn"], name)

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        arn = {"stateMachineArn": made.physical_id}
        context.call(
            "stepfunctions",
            "UpdateStateMachine",
            {**arn, **picked(properties, *_SETTINGS), "definition": definition_of(context, properties)},
        )
        if properties.get("Tags") != previous.get("Tags"):
            old = set(tag_map(previous.get("Tags"))) - set(tag_map(properties.get("Tags")))
            if old:
                context.call(
                    "stepfunctions",
                    "UntagResource",
                    {"resourceArn": made.physical_id, "tagKeys": sorted(old)},
                )
            tags = [
                {"key": key, "value": value} for key, value in context.tags(properties.get("Tags")).items()
            ]
            context.call("stepfunctions", "TagResource", {"resourceArn": made.physical_id, "tags": tags})
        return self._made(context, made.physical_id, made.attributes["Name"])

    @staticmethod
    def _made(context: ResourceContext, arn: str, name: str) -> Made:
        described = context.call("stepfunctions", "DescribeStateMachine", {"stateMachineArn": arn})
        revision = described.get("revisionId") or "INITIAL"
        return Made(arn, {"Arn": arn, "Name": name, "StateMachineRevisionId": revision})

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("stepfunctions", "DeleteStateMachine", {"stateMachineArn": made.physical_id})


def _alias(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    preference = properties.get("DeploymentPreference")
    if preference is not None:  # the local cloud shifts all at once, which every preference ends in
        versions = [{"StateMachineVersionArn": preference["StateMachineVersionArn"], "Weight": 100}]
    else:
        versions = properties["RoutingConfiguration"]
    return {**picked(properties, "Description"), "RoutingConfiguration": versions}


TYPES: tuple[ResourceType, ...] = (
    StateMachine(),
    ApiResource(
        "AWS::StepFunctions::StateMachineVersion",
        "stepfunctions",
        create=Call(
            "PublishStateMachineVersion",
            lambda context, name, properties: {
                "stateMachineArn": properties["StateMachineArn"],
                **picked(properties, "Description"),
                **(
                    {"revisionId": properties["StateMachineRevisionId"]}
                    if properties.get("StateMachineRevisionId", "INITIAL") != "INITIAL"
                    else {}
                ),
            },
        ),
        delete=Call(
            "DeleteStateMachineVersion", lambda context, name, properties: {"stateMachineVersionArn": name}
        ),
        made=lambda context, name, properties, answer: Made(
            answer["stateMachineVersionArn"], {"Arn": answer["stateMachineVersionArn"]}
        ),
    ),
    ApiResource(
        "AWS::StepFunctions::StateMachineAlias",
        "stepfunctions",
        create=Call(
            "CreateStateMachineAlias",
            lambda context, name, properties: {
                **_alias(context, name, properties),
                "name": context.name(properties.get("Name"), longest=80),
            },
        ),
        update=Call(
            "UpdateStateMachineAlias",
            lambda context, name, properties: {
                **_alias(context, name, properties),
                "stateMachineAliasArn": name,
            },
        ),
        delete=Call(
            "DeleteStateMachineAlias", lambda context, name, properties: {"stateMachineAliasArn": name}
        ),
        made=lambda context, name, properties, answer: Made(
            answer.get("stateMachineAliasArn", name), {"Arn": answer.get("stateMachineAliasArn", name)}
        ),
        replaced_by=frozenset({"Name"}),
    ),
    ApiResource(
        "AWS::StepFunctions::Activity",
        "stepfunctions",
        create=Call("CreateActivity", lambda context, name, properties: {"name": name}),
        delete=Call("DeleteActivity", lambda context, name, properties: {"activityArn": name}),
        name="Name",
        made=lambda context, name, properties, answer: Made(
            answer["activityArn"], {"Arn": answer["activityArn"], "Name": name}
        ),
    ),
)
