"""The pipeline: data engineering, model and deployment as nested executions, each with its own history."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Chain, Choice, Pass, State, Succeed

from workflows.failure import failure_path
from workflows.steps import JsonObject, catch_all, definition, read_request, run_execution

MACHINE = "Pipeline"
_REQUEST = {
    "use_case.$": "$.request.use_case",
    "trigger.$": "$.request.trigger",
    "force.$": "$.request.force",
}


def build() -> JsonObject:
    """The machine's definition, with ``${Substitutions}`` for what the template knows."""
    failure = failure_path(MACHINE, "Pipeline failed")
    defaults, request = read_request(
        {
            "use_case": "${UseCase}",
            "trigger": {"kind": "person", "detail": {}},
            "force": False,
            "hyperparameters": {},
            "approval": "automatic",
        }
    )
    data = run_execution(
        "Run data engineering",
        "DataEngineeringArn",
        comment="From the raw objects to a registered dataset version",
        execution_input=_REQUEST,
        timeout_seconds=43_200,
        result_path="$.data",
        catch=catch_all(failure),
    )
    model = run_execution(
        "Run model",
        "ModelArn",
        comment="From the dataset version to an approved model package",
        execution_input={
            **_REQUEST,
            "dataset.$": "$.data.output",
            "hyperparameters.$": "$.request.hyperparameters",
            "approval.$": "$.request.approval",
        },
        timeout_seconds=691_200,
        result_path="$.model",
        catch=catch_all(failure),
    )
    deployment = run_execution(
        "Run deployment",
        "DeploymentArn",
        comment="From the model package to an endpoint that answers",
        execution_input={
            **_REQUEST,
            "model_package_arn.$": "$.model.output.model_package_arn",
            "batch_uri.$": "$.model.output.batch_uri",
            "transform_uri.$": "$.model.output.transform_uri",
        },
        timeout_seconds=14_400,
        result_path="$.deployment",
        catch=catch_all(failure),
    )
    report = Pass(
        "Report the run",
        comment="Why it ran, what it made, and what serves now",
        parameters={
            "trigger.$": "$.request.trigger",
            "is_new": True,
            "dataset.$": "$.data.output",
            "model.$": "$.model.output",
            "deployment.$": "$.deployment.output",
        },
    )
    Chain(
        [
            defaults,
            request,
            data,
            _anything_new(
                Chain(
                    [
                        model,
                        deployment,
                        report,
                        Succeed(
                            "Model in service",
                            comment="New data, a new model, and an endpoint that serves it",
                        ),
                    ]
                )
            ),
        ]
    )
    return definition(
        defaults, "Chains data engineering, model and deployment into one run", timeout_seconds=777_600
    )


def _anything_new(go_on: Chain) -> State:
    report = Pass(
        "Report that nothing is new",
        comment="The registered dataset version, as it was",
        parameters={"trigger.$": "$.request.trigger", "is_new": False, "dataset.$": "$.data.output"},
    )
    report.next(
        Succeed("Nothing new", comment="The model in service was trained on these objects' version already")
    )
    choice = Choice(
        "Anything new?", comment="Without new data there is nothing to train on, unless it is forced"
    )
    choice.add_choice(
        ChoiceRule.And(
            [
                ChoiceRule.BooleanEquals("$.data.output.is_new", False),
                ChoiceRule.BooleanEquals("$.request.force", False),
            ]
        ),
        report,
    )
    choice.default_choice(go_on)
    return choice
