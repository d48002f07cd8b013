"""The pipeline: data engineering, model and deployment as nested executions, each with its own history."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Chain, Choice, Pass, State, Succeed

from workflows.failure import failure_path, resumable
from workflows.pipeline.nested import nested_run
from workflows.steps import JsonObject, definition, read_request

MACHINE = "Pipeline"
_REQUEST = {
    "use_case.$": "$.request.use_case",
    "trigger.$": "$.request.trigger",
    "force.$": "$.request.force",
}


def build() -> JsonObject:
    """The machine's definition, with ``${Substitutions}`` for what the template knows."""
    failure = failure_path(MACHINE)
    defaults, request = read_request(
        {
            "use_case": "${UseCase}",
            "trigger": {"kind": "person", "detail": {}},
            "force": False,
            "hyperparameters": {},
            "approval": "automatic",
            "deployment": {},
        }
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
    done = Succeed("Model in service", comment="New data, a new model, and an endpoint that serves it")
    deployment = nested_run(
        "deployment",
        "Deployment",
        comment="From the model package to an endpoint that answers",
        result="deployment",
        execution_input={
            **_REQUEST,
            "model_package_arn.$": "$.model.output.model_package_arn",
            "batch_uri.$": "$.model.output.batch_uri",
            "transform_uri.$": "$.model.output.transform_uri",
            "deployment.$": "$.request.deployment",
        },
        timeout_seconds=7 * 86_400,
        failure=failure,
        then=Chain([report, done]),
    )
    model = nested_run(
        "model",
        "Model",
        comment="From the dataset version to an approved model package",
        result="model",
        execution_input={
            **_REQUEST,
            "dataset.$": "$.data.output",
            "hyperparameters.$": "$.request.hyperparameters",
            "approval.$": "$.request.approval",
        },
        timeout_seconds=777_600,
        failure=failure,
        then=deployment,
    )
    data = nested_run(
        "data engineering",
        "DataEngineering",
        comment="From the raw objects to a registered dataset version",
        result="data",
        execution_input=_REQUEST,
        timeout_seconds=43_200,
        failure=failure,
        then=_anything_new(model),
    )
    Chain([defaults, request])
    request.next(data)
    return resumable(
        definition(
            defaults,
            "Chains data engineering, model and deployment into one run",
            timeout_seconds=18 * 86_400,
        )
    )


def _anything_new(go_on: State) -> State:
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
