"""The deployment state machine: from an approved model package to an endpoint that answers as it should."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Chain, Choice, Pass, State, Succeed

from workflows import retries
from workflows.deployment import endpoint
from workflows.failure import failure_path, notify, resumable
from workflows.steps import (
    JsonObject,
    ServiceTask,
    attempt_name,
    catch_all,
    definition,
    formatted,
    invoke_function,
    read_request,
)

MACHINE = "Deployment"

RESOLVED = (
    "name_prefix",
    "model_package_arn",
    "image_uri",
    "model_uri",
    "environment",
    "endpoint_name",
    "variant_name",
    "instance_type",
    "instance_count",
    "capture",
    "poll_seconds",
    "test",
)
"""What the function ``resolve_deployment`` answers"""


def build() -> JsonObject:
    """The machine's definition, with ``${Substitutions}`` for what the template knows."""
    failure = failure_path(MACHINE)
    defaults, request = read_request(
        {
            "use_case": "${UseCase}",
            "trigger": {"kind": "person", "detail": {}},
            "force": False,
            "model_package_arn": None,
            "batch_uri": None,
            "transform_uri": None,
        }
    )
    resolve = invoke_function(
        "Resolve model package",
        "ResolveDeploymentFunction",
        comment="The package asked for, or the latest approved one; refuses any that is not approved",
        payload={
            "execution_name.$": "$$.Execution.Name",
            "model_package_arn.$": "$.request.model_package_arn",
            "batch_uri.$": "$.request.batch_uri",
            "transform_uri.$": "$.request.transform_uri",
        },
        result={name: name for name in RESOLVED},
        result_path="$.deployment",
        catch=catch_all(failure),
    )
    after_change = _after_change(failure)
    Chain(
        [
            defaults,
            request,
            resolve,
            _create_model(failure),
            _create_configuration(failure),
            endpoint.create_or_update(failure, after_change),
        ]
    )
    return resumable(
        definition(
            defaults,
            "Deploys an approved model package, tests the endpoint, and puts the old one back if it fails",
            timeout_seconds=14_400,
        ),
        # their failure takes the change back, so going on means making the change again
        resume_at=dict.fromkeys(("Check endpoint", "Test endpoint"), endpoint.LOOK),
    )


def _create_model(failure: State) -> State:
    return ServiceTask(
        "Create model",
        integration="sagemaker:createModel",
        comment="The package's image, artefact and inference code as one name",
        timeout_seconds=300,
        retry=retries.SAGEMAKER_CALL,
        parameters={
            "ModelName.$": attempt_name("{}", "$.deployment.name_prefix"),
            "ExecutionRoleArn": "${ServingRoleArn}",
            "PrimaryContainer": {
                "Image.$": "$.deployment.image_uri",
                "ModelDataUrl.$": "$.deployment.model_uri",
                "Environment.$": "$.deployment.environment",
            },
        },
        result_selector={"name.$": "States.ArrayGetItem(States.StringSplit($.ModelArn, '/'), 1)"},
        result_path="$.model",
        catch=catch_all(failure),
    )


def _create_configuration(failure: State) -> State:
    return ServiceTask(
        "Create endpoint configuration",
        integration="sagemaker:createEndpointConfig",
        comment="Which model on what machines, and which share of the requests is captured",
        timeout_seconds=300,
        retry=retries.SAGEMAKER_CALL,
        parameters={
            "EndpointConfigName.$": attempt_name("{}", "$.deployment.name_prefix"),
            "ProductionVariants": [
                {
                    "VariantName.$": "$.deployment.variant_name",
                    "ModelName.$": "$.model.name",
                    "InitialInstanceCount.$": "$.deployment.instance_count",
                    "InstanceType.$": "$.deployment.instance_type",
                    "InitialVariantWeight": 1,
                }
            ],
            "DataCaptureConfig": {
                "EnableCapture.$": "$.deployment.capture.enabled",
                "InitialSamplingPercentage.$": "$.deployment.capture.sampling_percentage",
                "DestinationS3Uri.$": "$.deployment.capture.uri",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
            },
        },
        result_selector={"name.$": "States.ArrayGetItem(States.StringSplit($.EndpointConfigArn, '/'), 1)"},
        result_path="$.configuration",
        catch=catch_all(failure),
    )


def _after_change(failure: State) -> State:
    """Poll until the endpoint serves the new configuration, test it, and report or go back."""
    undo = endpoint.undo(failure)
    report = Pass(
        "Report the deployment",
        comment="What serves now, and what the test saw",
        parameters={
            "endpoint_name.$": "$.deployment.endpoint_name",
            "endpoint_configuration.$": "$.configuration.name",
            "model_name.$": "$.model.name",
            "model_package_arn.$": "$.deployment.model_package_arn",
            "test.$": "$.test",
        },
    )
    tell = notify(
        "Notify success",
        "Tell the operators",
        formatted("{} serves a new model", "$.endpoint_name"),
        formatted(
            "Endpoint {} serves model package {}. Test: {}",
            "$.endpoint_name",
            "$.model_package_arn",
            "States.JsonToString($.test)",
        ),
        # the endpoint serves: a message that could not be sent is no reason to fail
        catch=[
            Catch(
                error_equals=["States.ALL"],
                result_path=None,
                next_step=(
                    done := Succeed("Endpoint in service", comment="The endpoint serves the model package")
                ),
            )
        ],
    )
    test = invoke_function(
        "Test endpoint",
        "TestEndpointFunction",
        comment="Rows of the test split: the answers must equal the batch predictions, in time",
        payload={
            "endpoint_name.$": "$.deployment.endpoint_name",
            "test.$": "$.deployment.test",
        },
        result={
            "verdict": "verdict",
            "reasons": "reasons",
            "rows": "rows",
            "latency_ms": "latency_ms",
            "parity_difference": "parity_difference",
            "sample": "sample",
        },
        result_path="$.test",
        catch=catch_all(undo),
    )
    verdict = Choice("Does the endpoint answer well?", comment="Anything but pass takes the change back")
    verdict.add_choice(ChoiceRule.StringEquals("$.test.verdict", "pass"), Chain([report, tell, done]))
    verdict.default_choice(endpoint.test_failed(undo))
    test.next(verdict)
    return endpoint.poll_change(undo, test, failure)
