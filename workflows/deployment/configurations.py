"""The endpoint configurations: staging, production, and those of a trial with two models."""

from __future__ import annotations

from typing import Any

from stepfunctions.steps.states import Catch

from workflows import retries
from workflows.steps import JsonObject, ServiceTask, attempt_name

_NEW_MODEL: JsonObject = {
    "ModelName.$": "$.model.name",
    "InstanceType.$": "$.deployment.instance_type",
}
_CAPTURE: JsonObject = {
    "DestinationS3Uri.$": "$.deployment.capture.uri",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}
_CAPTURE_EVERYTHING: JsonObject = {"EnableCapture": True, "InitialSamplingPercentage": 100, **_CAPTURE}
_AGAINST: list[JsonObject] = [
    {"Key": "triptych:champion-configuration", "Value.$": "$.previous.EndpointConfigName"}
]
"""What serves again when a person ends the trial: ``triptych rollback`` reads it"""
_CHAMPION: JsonObject = {
    "VariantName.$": "$.deployment.champion.variant_name",
    "ModelName.$": "$.deployment.champion.model_name",
    "InitialInstanceCount.$": "$.deployment.champion.instance_count",
    "InstanceType.$": "$.deployment.champion.instance_type",
}


def staging(catch: list[Catch]) -> ServiceTask:
    return _configuration(
        "Create staging configuration",
        "One instance with the new model; what the tests ask is not captured",
        "staging",
        "$.staging_configuration",
        catch,
        ProductionVariants=[
            {
                "VariantName.$": "$.deployment.variant_name",
                **_NEW_MODEL,
                "InitialInstanceCount": 1,
                "InitialVariantWeight": 1,
            }
        ],
    )


def production(catch: list[Catch]) -> ServiceTask:
    return _configuration(
        "Create endpoint configuration",
        "Which model on what machines, and which share of the requests is captured",
        "",
        "$.configuration",
        catch,
        ProductionVariants=[
            {
                "VariantName.$": "$.deployment.variant_name",
                **_NEW_MODEL,
                "InitialInstanceCount.$": "$.deployment.instance_count",
                "InitialVariantWeight": 1,
            }
        ],
        DataCaptureConfig={
            "EnableCapture.$": "$.deployment.capture.enabled",
            "InitialSamplingPercentage.$": "$.deployment.capture.sampling_percentage",
            **_CAPTURE,
        },
    )


def experiment(catch: list[Catch]) -> ServiceTask:
    return _configuration(
        "Create experiment configuration",
        "Champion and challenger share the requests; all are captured, for the labels to be joined",
        "ab",
        "$.trial_configuration",
        catch,
        ProductionVariants=[
            {**_CHAMPION, "InitialVariantWeight.$": "$.deployment.trial.champion_weight"},
            {
                **_on_trial(),
                "InitialVariantWeight.$": "$.deployment.trial.challenger_weight",
            },
        ],
        DataCaptureConfig=_CAPTURE_EVERYTHING,
        Tags=_AGAINST,
    )


def shadow(catch: list[Catch]) -> ServiceTask:
    return _configuration(
        "Create shadow configuration",
        "The champion answers; the new model gets copies of its requests, and both answers are captured",
        "shadow",
        "$.trial_configuration",
        catch,
        ProductionVariants=[{**_CHAMPION, "InitialVariantWeight": 1}],
        ShadowProductionVariants=[
            {**_on_trial(), "InitialVariantWeight.$": "$.deployment.trial.shadow_weight"}
        ],
        DataCaptureConfig=_CAPTURE_EVERYTHING,
        Tags=_AGAINST,
    )


def _on_trial() -> JsonObject:
    return {
        "VariantName.$": "$.deployment.trial.variant_name",
        **_NEW_MODEL,
        "InitialInstanceCount.$": "$.deployment.instance_count",
    }


def _configuration(
    name: str, comment: str, kind: str, result_path: str, catch: list[Catch], **parameters: Any
) -> ServiceTask:
    template = f"{{}}-{kind}" if kind else "{}"
    return ServiceTask(
        name,
        # the optimised integration knows no shadow variants
        integration="aws-sdk:sagemaker:createEndpointConfig",
        comment=comment,
        timeout_seconds=300,
        retry=retries.SAGEMAKER_SDK,
        parameters={
            "EndpointConfigName.$": attempt_name(template, "$.deployment.name_prefix"),
            **parameters,
        },
        result_selector={"name.$": "States.ArrayGetItem(States.StringSplit($.EndpointConfigArn, '/'), 1)"},
        result_path=result_path,
        catch=catch,
    )
