"""Models and endpoint configurations: records that endpoints and transform jobs read."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.deployment_variants import check_variants
from triptych.localcloud.sagemaker.errors import (
    JobRefused,
    already_exists,
    check_name,
    could_not_find,
    invalid,
)
from triptych.localcloud.sagemaker.images import Image, resolve_image
from triptych.localcloud.sagemaker.inputs import exists, fetch, link_source
from triptych.localcloud.sagemaker.layout import unpack
from triptych.localcloud.sagemaker.packages import ModelPackages
from triptych.localcloud.sagemaker.records import Record, RecordExists, Records, now, public
from triptych.localcloud.sagemaker.support import Arns, announce
from triptych.localcloud.service import Params

_MODEL_KEPT = (
    "PrimaryContainer",
    "Containers",
    "InferenceExecutionConfig",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
)
_CONFIG_KEPT = (
    "ProductionVariants",
    "ShadowProductionVariants",
    "DataCaptureConfig",
    "KmsKeyId",
    "AsyncInferenceConfig",
    "ExplainerConfig",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
)


@dataclass(frozen=True)
class Container:
    """What a model really runs: its image, its unpacked artefact and code, its variables."""

    image: Image
    model_dir: Path
    code_dir: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def serving_environment(self) -> dict[str, str]:
        """The inference container's variables, with this machine's paths."""
        environment = {
            name: value.replace("/opt/ml/model", str(self.model_dir))
            for name, value in self.environment.items()
        }
        environment["SM_MODEL_DIR"] = str(self.model_dir)
        environment.pop("SAGEMAKER_SUBMIT_DIRECTORY", None)
        if self.code_dir is not None:
            environment["SAGEMAKER_SUBMIT_DIRECTORY"] = str(self.code_dir)
        return environment


class Models:
    """CreateModel and CreateEndpointConfig and their families."""

    def __init__(self, cloud: Cloud, records: Records, packages: ModelPackages) -> None:
        self._cloud = cloud
        self._records = records
        self._packages = packages
        self.arns = Arns(cloud)

    # Models

    def create_model(self, params: Params) -> Params:
        name = check_name(params, "ModelName")
        arn = self.arns.of("model", name)
        containers = _containers(params)
        if not containers:
            raise invalid("You must specify either PrimaryContainer or Containers.")
        if params.get("PrimaryContainer") and params.get("Containers"):
            raise invalid("PrimaryContainer and Containers cannot both be specified.")
        for container in containers:
            image, data, _ = self._resolve(container)
            resolve_image(image)
            if data is not None and not exists(self._cloud.store, data["S3Uri"]):
                raise invalid(f"Could not find model data at {data['S3Uri']}.")
        record: Record = {member: params[member] for member in _MODEL_KEPT if params.get(member) is not None}
        record |= {"ModelName": name, "ModelArn": arn, "CreationTime": now()}
        record.setdefault("EnableNetworkIsolation", False)
        self._insert("model", "model", name, arn, record, params)
        announce(self._cloud, "SageMaker Model State Change", arn, record)
        return {"ModelArn": arn}

    def describe_model(self, name: str) -> Record:
        return public(self.find_model(name))

    def find_model(self, name: str) -> Record:
        """The record; raises ValidationException "Could not find model …"."""
        record = self._records.get("model", name)
        if record is None:
            raise could_not_find("model", self.arns.of("model", name))
        return record

    def list_models(self, params: Params) -> Params:
        return self._list("model", "Models", ("ModelName", "ModelArn", "CreationTime"), params)

    def delete_model(self, name: str) -> Params:
        record = self.find_model(name)
        self._records.delete("model", name)
        self._records.untag(record["ModelArn"])
        announce(self._cloud, "SageMaker Model State Change", record["ModelArn"], record)
        return {}

    # Endpoint configurations

    def create_config(self, params: Params) -> Params:
        name = check_name(params, "EndpointConfigName")
        arn = self.arns.of("endpoint-config", name)
        check_variants(params)
        for variant in [*params["ProductionVariants"], *(params.get("ShadowProductionVariants") or [])]:
            self.find_model(variant["ModelName"])
        capture = params.get("DataCaptureConfig")
        if capture and not str(capture.get("DestinationS3Uri", "")).startswith("s3://"):
            raise invalid("DataCaptureConfig.DestinationS3Uri must be an S3 URI.")
        record: Record = {member: params[member] for member in _CONFIG_KEPT if params.get(member) is not None}
        record |= {"EndpointConfigName": name, "EndpointConfigArn": arn, "CreationTime": now()}
        self._insert("endpoint-config", "endpoint configuration", name, arn, record, params)
        announce(self._cloud, "SageMaker Endpoint Config State Change", arn, record)
        return {"EndpointConfigArn": arn}

    def describe_config(self, name: str) -> Record:
        return public(self.find_config(name))

    def find_config(self, name: str) -> Record:
        """The record; raises ValidationException "Could not find endpoint configuration …"."""
        record = self._records.get("endpoint-config", name)
        if record is None:
            raise could_not_find("endpoint configuration", self.arns.of("endpoint-config", name))
        return record

    def list_configs(self, params: Params) -> Params:
        members = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return self._list("endpoint-config", "EndpointConfigs", members, params)

    def delete_config(self, name: str) -> Params:
        record = self.find_config(name)
        self._records.delete("endpoint-config", name)
        self._records.untag(record["EndpointConfigArn"])
        announce(self._cloud, "SageMaker Endpoint Config State Change", record["EndpointConfigArn"], record)
        return {}

    # What runs

    def container(self, model_name: str) -> Container:
        """Resolve a model's one container and unpack its artefact (once a content). Raises JobRefused."""
        containers = _containers(self.find_model(model_name))
        if len(containers) > 1:
            raise JobRefused(
                f"Model '{model_name}' chains {len(containers)} containers; the local cloud serves "
                "models of one."
            )
        uri, data, environment = self._resolve(containers[0])
        image = resolve_image(uri)
        model_dir = self._empty_dir()
        if data is not None:
            model_dir = self._unpacked(data)
        source = environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        code_dir = None
        if source.startswith("s3://"):
            code_dir = self._unpacked({"S3Uri": source})
        elif source.startswith("/opt/ml/model"):
            code_dir = Path(source.replace("/opt/ml/model", str(model_dir), 1))
        return Container(image, model_dir, code_dir, environment)

    def _resolve(self, container: dict[str, Any]) -> tuple[str, dict[str, Any] | None, dict[str, str]]:
        """Image, data source and variables; a model package's own where the container names one."""
        environment = dict(container.get("Environment") or {})
        package = container.get("ModelPackageName")
        if package:
            packaged = self._packages.container(package)
            environment = {**(packaged.get("Environment") or {}), **environment}
            container = {**packaged, **{key: value for key, value in container.items() if value}}
        if not container.get("Image"):
            raise invalid("A container needs an Image or a ModelPackageName.")
        data: dict[str, Any] | None = (container.get("ModelDataSource") or {}).get("S3DataSource")
        if data is None and container.get("ModelDataUrl"):
            data = {"S3Uri": container["ModelDataUrl"]}
        return container["Image"], data, environment

    def _unpacked(self, data: dict[str, Any]) -> Path:
        """``home.code/<content hash>/`` with the archive's (or the prefix's) files."""
        store, uri = self._cloud.store, data["S3Uri"]
        if data.get("CompressionType") == "None":
            folder = self._cloud.home.scratch / "sagemaker" / f"model-{uuid4().hex}"
            link_source(store, {"S3Uri": uri, "S3DataType": "S3Prefix"}, folder)
            return folder
        archive = fetch(store, uri, "the archive")
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = self._cloud.home.code / digest
        if target.is_dir():
            return target
        draft = target.with_name(f".{digest}-{uuid4().hex}")
        try:
            unpack(archive, draft, uri)
            os.rename(draft, target)
        except OSError:
            if not target.is_dir():  # else another unpacked the same content meanwhile
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return target

    def _empty_dir(self) -> Path:
        folder = self._cloud.home.code / "empty"
        folder.mkdir(exist_ok=True)
        return folder

    def _insert(self, kind: str, what: str, name: str, arn: str, record: Record, params: Params) -> None:
        try:
            self._records.insert(kind, name, record)
        except RecordExists:
            raise already_exists(what, arn) from None
        self._records.tag(arn, params.get("Tags") or [])

    def _list(self, kind: str, member: str, summary: tuple[str, ...], params: Params) -> Params:
        found, token = self._records.page(kind, params)
        answer: Params = {member: [{key: record[key] for key in summary} for record in found]}
        return answer | ({"NextToken": token} if token else {})


def _containers(record: Record) -> list[dict[str, Any]]:
    if record.get("PrimaryContainer"):
        return [record["PrimaryContainer"]]
    return list(record.get("Containers") or [])
