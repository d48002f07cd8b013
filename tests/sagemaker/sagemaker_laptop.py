"""A local cloud with what SageMaker needs: store, pool, logs and bus are real, moto is not there."""

from __future__ import annotations

import io
import queue
import tarfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.localcloud.bus import JobEnded, ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.jobs.pool import JobPool
from triptych.localcloud.logs.store import LogStore
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.sagemaker.runtime import SageMakerRuntimeService
from triptych.localcloud.sagemaker.service import SageMakerService
from triptych.localcloud.service import RequestContext, ServiceError

XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}


class GroupsOnly:
    """What the model packages ask moto: whether a group exists."""

    class exceptions:
        class ClientError(Exception):
            pass

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.metrics: list[dict[str, Any]] = []
        self.pushed = threading.Event()

    def get(self, service: str) -> GroupsOnly:
        return self

    def describe_model_package_group(self, ModelPackageGroupName: str) -> dict[str, str]:
        if ModelPackageGroupName not in self.groups:
            raise self.exceptions.ClientError(ModelPackageGroupName)
        return {"ModelPackageGroupName": ModelPackageGroupName}

    def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
        self.metrics += [{"Namespace": Namespace, **item} for item in MetricData]
        self.pushed.set()


class Laptop:
    """One cloud with its SageMaker service, called by operation name as the gateway does.

    ``services`` stand in for others that SageMaker asks.
    """

    def __init__(self, home: Path, services: dict[str, Any] | None = None, **options: Any) -> None:
        self.cloud = Cloud(Home(home), Settings())
        self.cloud.services.update(services or {})
        self.cloud.home.create()
        self.cloud.store = ObjectStore(self.cloud.home, self.cloud.bus)
        self.cloud.logs = LogStore(self.cloud.home)
        self.cloud.metrics = MetricStore(self.cloud.home)
        self.cloud.clients = self.clients = GroupsOnly()
        self.cloud.jobs = JobPool(self.cloud.home)
        self.cloud.jobs.start_servers()
        if not self.cloud.store.has_bucket("data"):
            self.cloud.store.create_bucket("data")
        self.ends: dict[str, queue.SimpleQueue[JobEnded]] = defaultdict(queue.SimpleQueue)
        self.events: list[ServiceEvent] = []
        self._changed = threading.Condition()
        self.cloud.bus.subscribe(JobEnded, lambda ended: self.ends[ended.identity].put(ended))
        self.cloud.bus.subscribe(ServiceEvent, self._keep_event)
        self.restart(**options)

    def restart(self, **options: Any) -> None:
        """A new service over the same home, as the next gateway makes it."""
        self.sagemaker = SageMakerService(self.cloud, **options)
        self.runtime = SageMakerRuntimeService(self.cloud, self.sagemaker)
        self.sagemaker.start()

    def close(self) -> None:
        self.sagemaker.stop()
        self.cloud.jobs.stop()

    def log(self, group: str, prefix: str = "") -> str:
        """What the group's streams with the prefix hold."""
        events = self.cloud.logs.events(group, stream_prefix=prefix or None)
        return "\n".join(event.message for event in events)

    def await_log(self, group: str, text: str, prefix: str = "") -> None:
        """Return once the text is in the log: output arrives beside the job, not before its other effects."""
        deadline = time.monotonic() + 30
        while text not in self.log(group, prefix):
            assert time.monotonic() < deadline, f"{text!r} never came in {group}"
            time.sleep(0.02)

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        service = self.runtime if operation == "InvokeEndpoint" else self.sagemaker
        return service.operations[operation](RequestContext(service.service_id, operation), params)

    def refused(self, operation: str, **params: Any) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            self.call(operation, **params)
        return caught.value

    def end_of(self, name: str, seconds: float = 60) -> dict[str, Any]:
        return self.ends[name].get(timeout=seconds).description

    def _keep_event(self, event: ServiceEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_event(self, member: str, name: str, status_member: str, *statuses: str) -> dict[str, Any]:
        """The resource's event with one of the statuses, once it is there."""

        def find() -> dict[str, Any] | None:
            for event in reversed(self.events):
                if event.detail.get(member) == name:
                    return event.detail if event.detail.get(status_member) in statuses else None
            return None

        with self._changed:
            assert self._changed.wait_for(lambda: find() is not None, 60), f"{name}: no event with {statuses}"
            return find() or {}

    def await_endpoint(self, name: str) -> dict[str, Any]:
        self.wait_event("EndpointName", name, "EndpointStatus", "InService", "Failed")
        return self.call("DescribeEndpoint", EndpointName=name)

    # Building blocks

    def put(self, key: str, content: str | bytes) -> str:
        self.cloud.store.put_bytes("data", key, content.encode() if isinstance(content, str) else content)
        return f"s3://data/{key}"

    def archive(self, key: str, files: dict[str, str | bytes]) -> str:
        return self.put(key, tar_of(files))

    def train_script(self, name: str, script: str, *, wait: bool = True, **changes: Any) -> dict[str, Any]:
        """Run ``script`` as ``train.py`` in script mode; the job's description at its end."""
        source = self.archive(f"code/{name}.tar.gz", {"train.py": script})
        params = training_params(name) | changes
        params["HyperParameters"] = {
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"{source}"',
            "sagemaker_container_log_level": "20",
            "sagemaker_region": '"us-east-1"',
            **params.get("HyperParameters", {}),
        }
        self.call("CreateTrainingJob", **params)
        return self.end_of(name) if wait else {}


def tar_of(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def training_params(name: str) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": XGBOOST, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": RESOURCES,
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }


def channel(name: str, uri: str, content_type: str | None = None) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    answer: dict[str, Any] = {"ChannelName": name, "DataSource": {"S3DataSource": source}}
    return answer | ({"ContentType": content_type} if content_type else {})


def sample(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, 3) and a label that depends on the first two."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 3)).astype(np.float32)
    noise = generator.normal(scale=0.5, size=rows)
    return features, (features[:, 0] - features[:, 1] + noise > 0).astype(np.float32)


def booster_bytes(seed: int = 0, rounds: int = 10, names: list[str] | None = None) -> bytes:
    import xgboost

    features, label = sample(400, seed)
    matrix = xgboost.DMatrix(features, label=label, feature_names=names)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "seed": seed}, matrix, rounds)
    return bytes(booster.save_raw("ubj"))
