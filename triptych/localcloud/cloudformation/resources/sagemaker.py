"""AWS::SageMaker: the registry, models, endpoints, feature groups."""

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
from triptych.localcloud.cloudformation.shapes import PropertyError, tag_list, without


def _tagged(name_key: str) -> Any:
    def arguments(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
        tags = tag_list(context.tags(properties.get("Tags")))
        return {**properties, name_key: name, **({"Tags": tags} if tags else {})}

    return arguments


_LONGEST_DEPLOYMENT_SECONDS = 28800
"""the most that a DeploymentConfig's MaximumExecutionTimeoutInSeconds allows"""


class Endpoint(ResourceType):
    """Complete when it is in service, as on AWS."""

    type = "AWS::SageMaker::Endpoint"
    replaced_by = frozenset({"EndpointName"})
    _OWN = ("ExcludeRetainedVariantProperties", "RetainAllVariantProperties", "RetainDeploymentConfig")

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("EndpointName"), longest=63)
        arguments = _tagged("EndpointName")(context, name, without(properties, *self._OWN))
        arn = context.call("sagemaker", "CreateEndpoint", arguments)["EndpointArn"]
        context.note(Made(arn, {"EndpointName": name}))
        return self._in_service(context, name, properties["EndpointConfigName"])

    @staticmethod
    def _in_service(context: ResourceContext, name: str, config: str) -> Made:
        """Wait until the endpoint serves ``config``; SageMaker may have rolled an update back."""
        import time

        deadline = time.monotonic() + _LONGEST_DEPLOYMENT_SECONDS
        while True:
            described = context.call("sagemaker", "DescribeEndpoint", {"EndpointName": name})
            state = described["EndpointStatus"]
            serves = described["EndpointConfigName"] == config
            if state == "InService" and serves:
                return Made(described["EndpointArn"], {"EndpointName": name})
            if state not in ("Creating", "Updating", "RollingBack") or time.monotonic() > deadline:
                reason = described.get("FailureReason", "no reason given")
                what = state if serves else f"{state} with {described['EndpointConfigName']}, not {config}"
                raise PropertyError(f"endpoint {name} is {what}: {reason}")
            time.sleep(0.05)

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        name = made.attributes["EndpointName"]
        arguments = without(properties, "Tags", "EndpointName")
        context.call("sagemaker", "UpdateEndpoint", {**arguments, "EndpointName": name})
        return self._in_service(context, name, properties["EndpointConfigName"])

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        name = made.physical_id.rsplit("/", 1)[-1]
        context.quietly("sagemaker", "DeleteEndpoint", {"EndpointName": name})


def _by_arn(type_name: str, thing: str, longest: int = 63) -> ResourceType:
    """A thing that is made once and never changed, and whose Ref is its ARN."""
    name_key = f"{thing}Name"
    return ApiResource(
        type_name,
        "sagemaker",
        create=Call(f"Create{thing}", _tagged(name_key)),
        delete=Call(f"Delete{thing}", lambda context, name, properties: {name_key: name.rsplit("/", 1)[-1]}),
        name=name_key,
        longest_name=longest,
        made=lambda context, name, properties, answer: Made(answer[f"{thing}Arn"], {name_key: name}),
    )


TYPES: tuple[ResourceType, ...] = (
    _by_arn("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroup"),
    Endpoint(),
    _by_arn("AWS::SageMaker::Model", "Model"),
    _by_arn("AWS::SageMaker::EndpointConfig", "EndpointConfig"),
    ApiResource(
        "AWS::SageMaker::FeatureGroup",
        "sagemaker",
        create=Call("CreateFeatureGroup", _tagged("FeatureGroupName")),
        delete=Call("DeleteFeatureGroup", lambda context, name, properties: {"FeatureGroupName": name}),
        name="FeatureGroupName",
        made=lambda context, name, properties, answer: Made(name, {"FeatureGroupStatus": "Created"}),
    ),
)
