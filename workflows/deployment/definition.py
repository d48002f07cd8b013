"""The deployment state machine: from an approved model package to an endpoint that answers as it should.

The pieces are put together from the end: each gets the states that it leads to.
"""

from __future__ import annotations

from stepfunctions.steps.states import Chain, State

from workflows import retries
from workflows.deployment import rollback, verdicts
from workflows.deployment.completion import complete
from workflows.deployment.production import take_over
from workflows.deployment.staging import stage
from workflows.failure import failure_path, resumable
from workflows.steps import (
    JsonObject,
    ServiceTask,
    attempt_name,
    catch_all,
    definition,
    invoke_function,
    read_request,
)

MACHINE = "Deployment"
_TIMEOUT_SECONDS = 7 * 86_400  # an A/B test waits for labels, which may take days

RESOLVED = (
    "name_prefix",
    "model_package_arn",
    "serves_already",
    "image_uri",
    "model_uri",
    "environment",
    "endpoint_name",
    "staging_endpoint_name",
    "variant_name",
    "instance_type",
    "instance_count",
    "capture",
    "poll_seconds",
    "strategy",
    "traffic",
    "alarms",
    "champion",
    "trial",
    "autoscaling",
    "scaling",
    "tags",
    "test",
    "report",
)
"""What the function ``resolve_deployment`` answers"""


def build() -> JsonObject:
    """The machine's definition, with ``${Substitutions}`` for what the template knows."""
    failure = failure_path(MACHINE)
    ending = rollback.ending(MACHINE, failure)
    undo, put_back = rollback.undo(ending)
    production = take_over(complete(undo, failure), undo, put_back, failure)
    staging = stage(production, ending, failure)
    defaults, request = read_request(
        {
            "use_case": "${UseCase}",
            "trigger": {"kind": "person", "detail": {}},
            "force": False,
            "model_package_arn": None,
            "batch_uri": None,
            "transform_uri": None,
            "deployment": {},
        }
    )
    Chain([defaults, request, _resolve(failure), verdicts.open_record(), _create_model(failure), staging])
    built = definition(
        defaults,
        "Deploys an approved model package by the strategy that was chosen: staging, tests, production under the "
        "alarms' watch; what does not do well is taken back and rejected",
        timeout_seconds=_TIMEOUT_SECONDS,
    )
    return resumable(
        built, resume_at=_where_to_go_on(built, (undo.state_id, "Take the staging endpoint down"))
    )


def _where_to_go_on(built: JsonObject, undoing: tuple[str, ...]) -> dict[str, str]:
    """What a failure took back is done again from the start: the endpoint may serve something else by then."""
    return {
        name: verdicts.RESOLVE
        for name, state in built["States"].items()
        if any(catcher["Next"] in undoing for catcher in state.get("Catch", []))
    }


def _resolve(failure: State) -> ServiceTask:
    return invoke_function(
        verdicts.RESOLVE,
        "ResolveDeploymentFunction",
        comment="The package asked for, or the latest approved one; refuses any that is not approved, and a second "
        "deployment at a time",
        payload={
            "execution_id.$": "$$.Execution.Id",
            "execution_name.$": "$$.Execution.Name",
            "state_machine_id.$": "$$.StateMachine.Id",
            "model_package_arn.$": "$.request.model_package_arn",
            "batch_uri.$": "$.request.batch_uri",
            "transform_uri.$": "$.request.transform_uri",
            "deployment.$": "$.request.deployment",
        },
        result={name: name for name in RESOLVED},
        result_path="$.deployment",
        catch=catch_all(failure),
    )


def _create_model(failure: State) -> ServiceTask:
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
