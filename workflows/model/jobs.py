"""The model machine's SageMaker jobs: training, evaluation, batch transform, and the model they serve from.

Every parameter that a use case or an execution may change is read from the resolved inputs at ``$.training``.
"""

from __future__ import annotations

from typing import Any

from stepfunctions.steps.states import State

from workflows import retries
from workflows.steps import JsonObject, ServiceTask, attempt_name, catch_all

_JOB_RETRIES = [retries.SAGEMAKER_CAPACITY, retries.SAGEMAKER_CALL]
CODE = "/opt/ml/processing/input/code"


def _job_name(kind: str) -> str:
    return attempt_name("{}-" + kind, "$.training.job_prefix")


def train_script(failure: State) -> State:
    """Script mode, or the own image with the same script; metrics are read from the log by our own definitions."""
    return _train(
        "Train model",
        "sagemaker_jobs/train in AWS's XGBoost image, or as our own image holds it",
        {"MetricDefinitions.$": "$.training.metric_definitions"},
        failure,
    )


def train_managed(failure: State) -> State:
    """The managed algorithm, whose metric definitions are SageMaker's own and may not be given."""
    return _train("Train with the managed algorithm", "SageMaker's XGBoost as it comes", {}, failure)


def _train(name: str, comment: str, algorithm: JsonObject, failure: State) -> State:
    return ServiceTask(
        name,
        integration="sagemaker:createTrainingJob.sync",
        comment=comment,
        timeout_seconds=43_200,
        retry=_JOB_RETRIES,
        parameters={
            "TrainingJobName.$": _job_name("train"),
            "RoleArn": "${TrainingRoleArn}",
            "AlgorithmSpecification": {
                "TrainingImage.$": "$.training.image_uri",
                "TrainingInputMode": "File",
                **algorithm,
            },
            "HyperParameters.$": "$.training.hyperparameters",
            "InputDataConfig.$": "$.training.channels",
            "OutputDataConfig": {"S3OutputPath.$": "$.training.output_uri"},
            "ResourceConfig.$": "$.training.resources",
            "StoppingCondition": {"MaxRuntimeInSeconds.$": "$.training.max_runtime_seconds"},
        },
        result_selector={
            "job_name.$": "$.TrainingJobName",
            "model_uri.$": "$.ModelArtifacts.S3ModelArtifacts",
        },
        result_path="$.trained",
        catch=catch_all(failure),
    )


def evaluate() -> State:
    """A processing job over the model and the splits; ends with ``{job_name}``."""
    return ServiceTask(
        "Evaluate model",
        integration="sagemaker:createProcessingJob.sync",
        comment="Metrics overall and by slice, calibration, and the evaluation report",
        timeout_seconds=14_400,
        retry=_JOB_RETRIES,
        parameters={
            "ProcessingJobName.$": _job_name("evaluate"),
            "RoleArn": "${EvaluationRoleArn}",
            "AppSpecification": {
                "ImageUri.$": "$.training.evaluation.image_uri",
                "ContainerEntrypoint.$": "$.training.evaluation.entrypoint",
                "ContainerArguments.$": "$.training.evaluation.arguments",
            },
            "ProcessingInputs": [
                _input("model", "$.trained.model_uri", "/opt/ml/processing/input/model"),
                _input("splits", "$.training.evaluation.splits_uri", "/opt/ml/processing/input/splits"),
                _input("keys", "$.training.evaluation.keys_uri", "/opt/ml/processing/input/keys"),
                _input("features", "$.training.dataset.features_uri", "/opt/ml/processing/input/features"),
                _input("code", "$.training.evaluation.source_uri", CODE),
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "evaluation",
                        "S3Output": {
                            "S3Uri.$": "$.training.evaluation.output_uri",
                            "LocalPath": "/opt/ml/processing/output/evaluation",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            "ProcessingResources": {"ClusterConfig.$": "$.training.evaluation.resources"},
            "StoppingCondition": {"MaxRuntimeInSeconds.$": "$.training.max_runtime_seconds"},
        },
        result_selector={"job_name.$": "$.ProcessingJobName"},
    )


def _input(name: str, uri_path: str, local_path: str) -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri.$": uri_path,
            "LocalPath": local_path,
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        },
    }


def create_model() -> State:
    """The model that the batch transform serves from."""
    return ServiceTask(
        "Create model for batch",
        integration="sagemaker:createModel",
        comment="Image, artefact and inference code as one name",
        timeout_seconds=300,
        retry=retries.SAGEMAKER_CALL,
        parameters={
            "ModelName.$": _job_name("batch"),
            "ExecutionRoleArn": "${ServingRoleArn}",
            "PrimaryContainer": {
                "Image.$": "$.training.serving.image_uri",
                "ModelDataUrl.$": "$.trained.model_uri",
                "Environment.$": "$.training.serving.environment",
            },
        },
        result_selector={"name.$": "States.ArrayGetItem(States.StringSplit($.ModelArn, '/'), 1)"},
        result_path="$.model",
    )


def batch_transform() -> State:
    """Batch predictions of the test split; ends with ``{model_name, job_name}``."""
    return ServiceTask(
        "Predict the test split",
        integration="sagemaker:createTransformJob.sync",
        comment="The predictions that the endpoint is held against later",
        timeout_seconds=14_400,
        retry=_JOB_RETRIES,
        parameters={
            "TransformJobName.$": _job_name("predict"),
            "ModelName.$": "$.model.name",
            "BatchStrategy": "MultiRecord",
            "MaxPayloadInMB": 6,
            "TransformInput": {
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri.$": "$.training.transform.input_uri",
                    }
                },
                "ContentType": "text/csv",
                "SplitType": "Line",
            },
            "TransformOutput": {
                "S3OutputPath.$": "$.training.transform.output_uri",
                "Accept": "text/csv",
                "AssembleWith": "Line",
            },
            "TransformResources.$": "$.training.transform.resources",
        },
        result_selector={"job_name.$": "$.TransformJobName", "model_name.$": "$.ModelName"},
    )
