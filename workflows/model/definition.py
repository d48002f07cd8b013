"""The model state machine: from a registered dataset version to an approved model package."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Chain, Choice, Pass, State, Succeed

from workflows import retries
from workflows.failure import failure_path, rejection, rejection_path, resumable
from workflows.model import jobs
from workflows.steps import (
    JsonObject,
    ParallelWithSelector,
    ServiceTask,
    catch_all,
    definition,
    formatted,
    invoke_function,
    read_request,
)

MACHINE = "Model"

RESOLVED = (
    "algorithm",
    "job_prefix",
    "client_token",
    "image_uri",
    "hyperparameters",
    "channels",
    "output_uri",
    "resources",
    "max_runtime_seconds",
    "metric_definitions",
    "dataset",
    "champion",
    "evaluation",
    "transform",
    "serving",
)
"""What the function ``resolve_training`` answers; every job's parameters come from it"""


def build() -> JsonObject:
    """The machine's definition, with ``${Substitutions}`` for what the template knows."""
    failure = failure_path(MACHINE)
    rejected = rejection("Model rejected", "ModelRejected")
    defaults, request = read_request(
        {
            "use_case": "${UseCase}",
            "trigger": {"kind": "person", "detail": {}},
            "force": False,
            "dataset": None,
            "hyperparameters": {},
            "approval": "automatic",
        }
    )
    Chain([defaults, request, _resolve(failure), _train(failure, _after_training(failure, rejected))])
    return resumable(
        definition(
            defaults,
            "Trains and evaluates a model on a registered dataset version; packages it if it passes the gate",
            timeout_seconds=777_600,
        )
    )


def _after_training(failure: State, rejected: State) -> Chain:
    gate = invoke_function(
        "Judge model",
        "JudgeModelFunction",
        comment="The contract's gates: thresholds, calibration, slices, and better than the champion",
        payload={
            "execution_name.$": "$$.Execution.Name",
            "evaluation_uri.$": "$.training.evaluation.evaluation_uri",
            "champion.$": "$.training.champion",
            "dataset_version.$": "$.training.dataset.dataset_version",
            "training_job.$": "$.trained.job_name",
            "trigger.$": "$.request.trigger",
            "transform_uri.$": "$.training.transform.output_uri",
            "batch_uri.$": "$.training.transform.input_uri",
        },
        result={
            "verdict": "verdict",
            "reasons": "reasons",
            "metrics": "metrics",
            "checks": "checks",
            "properties": "properties",
        },
        result_path="$.gate",
        catch=catch_all(failure),
    )
    verdict = Choice(
        "Is the model good enough?", comment="A model that fails a gate is never packaged; the champion stays"
    )
    verdict.add_choice(
        ChoiceRule.StringEquals("$.gate.verdict", "pass"),
        Chain([_package(failure), _who_approves(failure, rejected)]),
    )
    verdict.default_choice(rejection_path(MACHINE, "model", "$.gate.reasons", rejected))
    return Chain([_evaluate_and_transform(failure), gate, verdict])


def _resolve(failure: State) -> State:
    return invoke_function(
        "Resolve training inputs",
        "ResolveTrainingFunction",
        comment="The dataset (given, or the latest), the contract's model section, and the champion to beat",
        payload={
            "execution_name.$": "$$.Execution.Name",
            "execution_id.$": "$$.Execution.Id",
            "dataset.$": "$.request.dataset",
            "hyperparameters.$": "$.request.hyperparameters",
        },
        result={name: name for name in RESOLVED},
        result_path="$.training",
        catch=catch_all(failure),
    )


def _train(failure: State, then: Chain) -> Choice:
    which = Choice(
        "Which algorithm?",
        comment="Our script in AWS's XGBoost image or in our own, or SageMaker's managed XGBoost",
    )
    script = jobs.train_script(failure)
    managed = jobs.train_managed(failure)
    which.add_choice(ChoiceRule.StringEquals("$.training.algorithm", "xgboost"), managed)
    which.default_choice(script)
    managed.next(then)
    script.next(then)
    return which


def _evaluate_and_transform(failure: State) -> State:
    parallel = ParallelWithSelector(
        "Evaluate and predict",
        comment="The evaluation and the batch predictions need only the model, not each other",
        result_selector={"evaluation_job.$": "$[0].job_name", "serving.$": "$[1]"},
        result_path="$.evaluated",
        catch=catch_all(failure),
    )
    parallel.add_branch(jobs.evaluate())
    parallel.add_branch(Chain([jobs.create_model(), jobs.batch_transform()]))
    return parallel


def _package(failure: State) -> State:
    return ServiceTask(
        "Package model",
        integration="aws-sdk:sagemaker:createModelPackage",
        comment="Register the model with its metrics and lineage; nobody may deploy it yet",
        timeout_seconds=300,
        retry=retries.SAGEMAKER_SDK,
        parameters={
            "ModelPackageGroupName": "${ModelPackageGroup}",
            "ModelPackageDescription.$": formatted(
                "Dataset version {}, training job {}",
                "$.training.dataset.dataset_version",
                "$.trained.job_name",
            ),
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image.$": "$.training.serving.image_uri",
                        "ModelDataUrl.$": "$.trained.model_uri",
                        "Environment.$": "$.training.serving.environment",
                    }
                ],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
                "SupportedRealtimeInferenceInstanceTypes.$": "$.training.serving.instance_types",
                "SupportedTransformInstanceTypes.$": "$.training.serving.instance_types",
            },
            "ModelMetrics": {
                "ModelQuality": {
                    "Statistics": {
                        "ContentType": "application/json",
                        "S3Uri.$": "$.training.evaluation.evaluation_uri",
                    }
                }
            },
            "CustomerMetadataProperties.$": "$.gate.properties",
            # a repeated call gives the package that the first one made
            "ClientToken.$": "$.training.client_token",
        },
        result_selector={"arn.$": "$.ModelPackageArn"},
        result_path="$.package",
        catch=catch_all(failure),
    )


def _who_approves(failure: State, rejected: State) -> Choice:
    approve = _approve(failure)
    ask = ServiceTask(
        "Ask a person to approve",
        integration="sns:publish.waitForTaskToken",
        comment='Answered by SendTaskSuccess with {"approved": true or false, "reason": …}',
        timeout_seconds=604_800,
        retry=retries.NOTIFICATION,
        parameters={
            "TopicArn": "${NotificationsTopicArn}",
            "Subject": "A model waits for approval",
            "Message": {
                "model_package_arn.$": "$.package.arn",
                "metrics.$": "$.gate.metrics",
                "report_uri.$": "$.training.evaluation.report_uri",
                "task_token.$": "$$.Task.Token",
            },
        },
        result_selector={"approved.$": "$.approved", "reasons.$": "States.Array($.reason)"},
        result_path="$.answer",
        catch=catch_all(failure),
    )
    answer = Choice("Did the person approve?", comment="A refusal is a rejection with the person's reason")
    answer.add_choice(ChoiceRule.BooleanEquals("$.answer.approved", True), approve)
    answer.default_choice(_refuse(failure, rejected))
    ask.next(answer)
    who = Choice("Who approves?", comment="Automatic: the gate has spoken. Manual: a person decides")
    who.add_choice(ChoiceRule.StringEquals("$.request.approval", "manual"), ask)
    who.default_choice(approve)
    return who


def _refuse(failure: State, rejected: State) -> State:
    refuse = _set_approval(
        "Refuse model package",
        "Rejected",
        "Refused by a person",
        "Nothing deploys a refused package",
        failure,
    )
    refuse.next(rejection_path(MACHINE, "model package", "$.answer.reasons", rejected))
    return refuse


def _approve(failure: State) -> State:
    approve = _set_approval(
        "Approve model package", "Approved", "Passed the gate", "Only approved packages are deployed", failure
    )
    report = Pass(
        "Report the model",
        comment="What the deployment and the operators need to know of it",
        parameters={
            "dataset_version.$": "$.training.dataset.dataset_version",
            "training_job.$": "$.trained.job_name",
            "model_uri.$": "$.trained.model_uri",
            "model_package_arn.$": "$.package.arn",
            "metrics.$": "$.gate.metrics",
            "checks.$": "$.gate.checks",
            "champion.$": "$.training.champion",
            "evaluation_uri.$": "$.training.evaluation.evaluation_uri",
            "report_uri.$": "$.training.evaluation.report_uri",
            "transform_uri.$": "$.training.transform.output_uri",
            "batch_uri.$": "$.training.transform.input_uri",
        },
    )
    approve.next(report)
    report.next(Succeed("Model approved", comment="The model package can be deployed"))
    return approve


def _set_approval(name: str, status: str, reason: str, comment: str, failure: State) -> State:
    return ServiceTask(
        name,
        integration="aws-sdk:sagemaker:updateModelPackage",
        comment=comment,
        timeout_seconds=300,
        retry=retries.SAGEMAKER_SDK,
        parameters={
            "ModelPackageArn.$": "$.package.arn",
            "ModelApprovalStatus": status,
            "ApprovalDescription": reason,
        },
        result_path=None,
        catch=catch_all(failure),
    )
