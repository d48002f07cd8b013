"""SageMaker's jobs, models and endpoints."""

from __future__ import annotations

from triptych.localcloud.integrations.action import Action, Job
from triptych.localcloud.integrations.failures import ErrorNames
from triptych.localcloud.integrations.resource import SYNC

_ERRORS = ErrorNames(prefix="SageMaker", base="AmazonSageMakerException", service="AmazonSageMaker")


def _job_action(kind: str, bus_kind: str) -> Action:
    """``kind`` is ``TrainingJob``, ``ProcessingJob``, …: SageMaker names operations and members after it."""
    name = f"{kind}Name"
    return Action(
        "sagemaker",
        f"Create{kind}",
        errors=_ERRORS,
        patterns=frozenset({"", SYNC}),
        job=Job(
            bus_service="sagemaker",
            bus_kind=bus_kind,
            identity=lambda parameters, submitted: parameters[name],
            describe_operation=f"Describe{kind}",
            describe_arguments=lambda parameters, submitted: {name: parameters[name]},
            status_member=f"{kind}Status",
            succeeded=frozenset({"Completed"}),
            ended=frozenset({"Completed", "Failed", "Stopped"}),
            stop_operation=f"Stop{kind}",
            stop_arguments=lambda parameters, submitted: {name: parameters[name]},
            is_named=lambda parameters: name in parameters,
        ),
    )


ACTIONS = {
    "sagemaker:createTrainingJob": _job_action("TrainingJob", "training_job"),
    "sagemaker:createProcessingJob": _job_action("ProcessingJob", "processing_job"),
    "sagemaker:createTransformJob": _job_action("TransformJob", "transform_job"),
    "sagemaker:createHyperParameterTuningJob": _job_action("HyperParameterTuningJob", "tuning_job"),
} | {
    f"sagemaker:{operation[0].lower()}{operation[1:]}": Action("sagemaker", operation, errors=_ERRORS)
    for operation in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "AddTags")
}
