"""The SageMaker operations that the local cloud serves itself; all others are moto's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.endpoints import Endpoints
from triptych.localcloud.sagemaker.models import Models
from triptych.localcloud.sagemaker.packages import ModelPackages
from triptych.localcloud.sagemaker.process import STOP_GRACE_SECONDS
from triptych.localcloud.sagemaker.processing import ProcessingJobs
from triptych.localcloud.sagemaker.records import Records
from triptych.localcloud.sagemaker.support import Arns
from triptych.localcloud.sagemaker.traffic import Traffic
from triptych.localcloud.sagemaker.training import TrainingJobs
from triptych.localcloud.sagemaker.transform import TransformJobs
from triptych.localcloud.service import Operation, Params, RequestContext

_OWN_KINDS = (
    "training-job",
    "processing-job",
    "transform-job",
    "model",
    "endpoint-config",
    "endpoint",
    "model-package",
)


class SageMakerService:
    """Jobs, models, endpoints and model packages of one local cloud.

    ``memory_limit_bytes`` replaces the limit that a job's instance type sets; ``stop_grace_seconds`` how long
    a stopped job may go on after SIGTERM; ``capture_flush_seconds`` how long captured data waits in memory;
    ``invoke_seconds`` how long a model may take over one request.
    """

    service_id = "sagemaker"

    def __init__(
        self,
        cloud: Cloud,
        *,
        memory_limit_bytes: int | None = None,
        stop_grace_seconds: float = STOP_GRACE_SECONDS,
        capture_flush_seconds: float = 1.0,
        invoke_seconds: float = 60.0,
    ) -> None:
        self._cloud = cloud
        self._arns = Arns(cloud)
        self._records = Records(cloud.home)
        self.packages = ModelPackages(cloud, self._records)
        self.models = Models(cloud, self._records, self.packages)
        self.traffic = Traffic(
            cloud,
            self._records,
            capture_flush_seconds=capture_flush_seconds,
            invoke_seconds=invoke_seconds,
        )
        self.endpoints = Endpoints(cloud, self._records, self.models, self.traffic)
        limits: dict[str, Any] = {
            "memory_limit_bytes": memory_limit_bytes,
            "stop_grace_seconds": stop_grace_seconds,
        }
        self.training = TrainingJobs(cloud, self._records, **limits)
        self.processing = ProcessingJobs(cloud, self._records, **limits)
        self.transform = TransformJobs(cloud, self._records, self.models, **limits)
        self.operations: Mapping[str, Operation] = self._operations()

    def start(self) -> None:
        """Fail the jobs whose processes are gone, bring the endpoints back."""
        shutil.rmtree(self._cloud.home.scratch / "sagemaker", ignore_errors=True)
        shutil.rmtree(self._cloud.home.scratch / "sockets", ignore_errors=True)
        for jobs in (self.training, self.processing, self.transform):
            jobs.recover()
        self.endpoints.start()
        self.traffic.start()

    def stop(self) -> None:
        """Stop the model servers; jobs end with the pool and are found lost by the next start."""
        for jobs in (self.training, self.processing, self.transform):
            jobs.close()
        self.endpoints.stop()
        self.traffic.stop()

    def _operations(self) -> dict[str, Operation]:
        training, processing, transform = self.training, self.processing, self.transform
        models, endpoints, packages = self.models, self.endpoints, self.packages
        return {
            "CreateTrainingJob": _whole(training.create),
            "DescribeTrainingJob": _named("TrainingJobName", training.describe),
            "ListTrainingJobs": _whole(training.list_jobs),
            "StopTrainingJob": _named("TrainingJobName", training.stop),
            "CreateProcessingJob": _whole(processing.create),
            "DescribeProcessingJob": _named("ProcessingJobName", processing.describe),
            "ListProcessingJobs": _whole(processing.list_jobs),
            "StopProcessingJob": _named("ProcessingJobName", processing.stop),
            "CreateTransformJob": _whole(transform.create),
            "DescribeTransformJob": _named("TransformJobName", transform.describe),
            "ListTransformJobs": _whole(transform.list_jobs),
            "StopTransformJob": _named("TransformJobName", transform.stop),
            "CreateModel": _whole(models.create_model),
            "DescribeModel": _named("ModelName", models.describe_model),
            "ListModels": _whole(models.list_models),
            "DeleteModel": _named("ModelName", models.delete_model),
            "CreateEndpointConfig": _whole(models.create_config),
            "DescribeEndpointConfig": _named("EndpointConfigName", models.describe_config),
            "ListEndpointConfigs": _whole(models.list_configs),
            "DeleteEndpointConfig": _named("EndpointConfigName", models.delete_config),
            "CreateEndpoint": _whole(endpoints.create),
            "DescribeEndpoint": _named("EndpointName", endpoints.describe),
            "ListEndpoints": _whole(endpoints.list),
            "UpdateEndpoint": _whole(endpoints.update),
            "UpdateEndpointWeightsAndCapacities": _whole(endpoints.update_weights),
            "DeleteEndpoint": _named("EndpointName", endpoints.delete),
            "CreateModelPackage": _whole(packages.create),
            "DescribeModelPackage": _named("ModelPackageName", packages.describe),
            "ListModelPackages": _whole(packages.list),
            "UpdateModelPackage": _whole(packages.update),
            "DeleteModelPackage": _named("ModelPackageName", packages.delete),
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }

    # Tags of what is ours; moto keeps the others'

    def _owns(self, arn: str) -> bool:
        return self._arns.owns(arn) and self._arns.split(arn)[0] in _OWN_KINDS

    def _add_tags(self, context: RequestContext, params: Params) -> Params:
        arn = params["ResourceArn"]
        if not self._owns(arn) and context.forward is not None:
            return context.forward(params)
        self._records.tag(arn, params["Tags"])
        return {"Tags": self._records.tags(arn)}

    def _list_tags(self, context: RequestContext, params: Params) -> Params:
        arn = params["ResourceArn"]
        if not self._owns(arn) and context.forward is not None:
            return context.forward(params)
        return {"Tags": self._records.tags(arn)}

    def _delete_tags(self, context: RequestContext, params: Params) -> Params:
        arn = params["ResourceArn"]
        if not self._owns(arn) and context.forward is not None:
            return context.forward(params)
        self._records.untag(arn, params["TagKeys"])
        return {}


def _whole(function: Callable[[Params], Params]) -> Operation:
    return lambda context, params: function(params)


def _named(member: str, function: Callable[[str], Params | None]) -> Operation:
    return lambda context, params: function(params[member]) or {}
