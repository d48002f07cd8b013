"""What training, evaluation, batch transform and packaging need, from request, contract and dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triptych.core.contract import OWN_IMAGE, Contract
from triptych.core.names import client_token, folder_uri, job_prefix, join_uri, last_part

INPUT = "/opt/ml/processing/input"
OUTPUT = "/opt/ml/processing/output/evaluation"
SERVING_ENVIRONMENT = {
    "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
}
_REGEX = r"-{metric}:([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"


class NoDataset(Exception):
    """There is no dataset version to train on."""


class ImageMissing(Exception):
    """The contract wants the project's own image, and the stack was not told where it is."""


class SettingMissing(Exception):
    """An environment variable of the function is not set."""


@dataclass(frozen=True)
class Settings:
    """The function's environment; ``container_image_uri`` is empty where the own image was never pushed."""

    data_bucket: str
    contract_uri: str
    model_package_group: str
    xgboost_image_uri: str
    container_image_uri: str
    train_source_uri: str
    evaluate_source_uri: str

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Settings:
        """Raises SettingMissing by name."""
        values = {}
        for name in Settings.__dataclass_fields__:
            if name.upper() not in environment:
                raise SettingMissing(f"the environment variable {name.upper()} is not set")
            values[name] = environment[name.upper()]
        return Settings(**values)


@dataclass(frozen=True)
class Request:
    """``dataset`` is a dataset record, or None for the latest registered one."""

    execution_name: str
    execution_id: str
    dataset: Mapping[str, Any] | None
    hyperparameters: Mapping[str, Any]

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Request:
        return Request(
            execution_name=event["execution_name"],
            execution_id=event["execution_id"],
            dataset=event.get("dataset"),
            hyperparameters=event.get("hyperparameters") or {},
        )


def resolve(
    request: Request,
    settings: Settings,
    contract: Contract,
    champion: Mapping[str, Any],
    read: Callable[[str], str],
) -> dict[str, Any]:
    """The answer that the model state machine keeps at ``$.training``; raises NoDataset, ImageMissing."""
    dataset = request.dataset or _latest(settings, contract, read)
    model = contract.model
    data = f"s3://{settings.data_bucket}"
    image = image_uri(model.image, settings)
    evaluation_uri = f"{data}/evaluations/{request.execution_name}"
    return {
        "algorithm": model.algorithm,
        "job_prefix": job_prefix(contract.use_case, request.execution_name),
        "client_token": client_token(request.execution_id),
        "image_uri": image,
        "hyperparameters": _hyperparameters(request, settings, contract),
        "channels": _channels(dataset, with_features=model.algorithm != "xgboost"),
        "output_uri": f"{data}/models",
        "resources": {
            "InstanceType": model.instance_type,
            "InstanceCount": model.instance_count,
            "VolumeSizeInGB": model.volume_gb,
        },
        "max_runtime_seconds": model.max_runtime_seconds,
        "metric_definitions": _metric_definitions(model.hyperparameters.get("eval_metric", "auc")),
        "dataset": dataset,
        "champion": champion,
        "evaluation": {
            "image_uri": image,
            "entrypoint": ["python3", f"{INPUT}/code/{last_part(settings.evaluate_source_uri)}"],
            "arguments": _evaluation_arguments(contract),
            "source_uri": settings.evaluate_source_uri,
            "splits_uri": folder_uri(join_uri(dataset["run_uri"], "splits")),
            "keys_uri": folder_uri(join_uri(dataset["run_uri"], "keys")),
            "output_uri": evaluation_uri,
            "evaluation_uri": f"{evaluation_uri}/evaluation.json",
            "report_uri": f"{evaluation_uri}/evaluation.html",
            "resources": {
                "InstanceType": model.instance_type,
                "InstanceCount": 1,
                "VolumeSizeInGB": model.volume_gb,
            },
        },
        "transform": {
            "input_uri": dataset["batch_uri"],
            "output_uri": f"{data}/transforms/{request.execution_name}",
            "resources": {"InstanceType": model.instance_type, "InstanceCount": 1},
        },
        "serving": {
            "image_uri": image,
            "environment": dict(SERVING_ENVIRONMENT),
            "instance_types": sorted({model.instance_type, contract.deployment.instance_type}),
        },
    }


def image_uri(image: str, settings: Settings) -> str:
    """An image URI as it is; ``xgboost-3.0-5`` is that version of the stack's XGBoost image.

    OWN_IMAGE is the stack's own image; raises ImageMissing where it has none.
    """
    if "/" in image:
        return image
    if image == OWN_IMAGE:
        if not settings.container_image_uri:
            raise ImageMissing(
                f"the contract's model.image is {OWN_IMAGE}, and the stack's parameter ContainerImageUri is empty: "
                "build the image, push it to ECR and deploy with its URI (docs/containers.md)"
            )
        return settings.container_image_uri
    repository = settings.xgboost_image_uri.rsplit(":", 1)[0]
    return f"{repository}:{image.removeprefix('xgboost-')}"


def _latest(settings: Settings, contract: Contract, read: Callable[[str], str]) -> dict[str, Any]:
    uri = f"s3://{settings.data_bucket}/datasets/{contract.use_case}/latest.json"
    try:
        record: dict[str, Any] = json.loads(read(uri))
    except Exception as error:
        if type(error).__name__ in ("NoSuchKey", "ClientError", "KeyError"):
            raise NoDataset(
                f"no dataset version is registered at {uri}; run the data engineering state machine first"
            ) from error
        raise
    return record


def _hyperparameters(request: Request, settings: Settings, contract: Contract) -> dict[str, str]:
    """The contract's, the request's over them, and what script mode needs; every value is text."""
    model = contract.model
    chosen = {
        "objective": model.objective,
        **model.hyperparameters,
        **{name: _text(value) for name, value in request.hyperparameters.items()},
    }
    if model.algorithm != "script":
        return chosen
    return {
        **chosen,
        "sagemaker_program": json.dumps("train.py"),
        "sagemaker_submit_directory": json.dumps(settings.train_source_uri),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _channels(dataset: Mapping[str, Any], *, with_features: bool) -> list[dict[str, Any]]:
    channels = [
        _channel("train", dataset["train_uri"], "application/x-parquet"),
        _channel("validation", dataset["validation_uri"], "application/x-parquet"),
    ]
    if with_features:
        channels.append(_channel("features", dataset["features_uri"], "application/json"))
    return channels


def _channel(name: str, uri: str, content_type: str) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "ContentType": content_type,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
    }


def _metric_definitions(metric: str) -> list[dict[str, str]]:
    return [
        {"Name": f"{split}:{metric}", "Regex": split + _REGEX.replace("{metric}", metric)}
        for split in ("train", "validation")
    ]


def _evaluation_arguments(contract: Contract) -> list[str]:
    gates = contract.gates
    asked = {gate.split for gate in gates.metrics} | {"test"}
    if gates.champion:
        asked.add(gates.champion.split)
    sliced = dict.fromkeys(["month", *(gate.column for gate in gates.slices)])
    arguments = {
        "--model": f"{INPUT}/model",
        "--splits": f"{INPUT}/splits",
        "--keys": f"{INPUT}/keys",
        "--features": f"{INPUT}/features",
        "--output": OUTPUT,
        "--use-splits": ",".join(name for name in ("test", "validation", "train") if name in asked),
        "--slices": ",".join(sliced),
    }
    return [part for pair in arguments.items() for part in pair]
