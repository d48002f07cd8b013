"""What a training container is given: environment variables, configuration files, arguments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from triptych.localcloud.sagemaker.layout import CONTAINER_ROOT, Layout, json_text
from triptych.localcloud.sagemaker.records import Record

HOST = "algo-1"
_TOOLKIT_PREFIX = "sagemaker_"


def decode_hyperparameters(raw: Mapping[str, str]) -> dict[str, Any]:
    """The values the SDK encoded as JSON; those that are not JSON stay text."""
    decoded: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            decoded[name] = json.loads(value)
        except ValueError:
            decoded[name] = value
    return decoded


def split_hyperparameters(raw: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The script's own hyperparameters, and the toolkit's (``sagemaker_program`` …)."""
    decoded = decode_hyperparameters(raw)
    own = {name: value for name, value in decoded.items() if not name.startswith(_TOOLKIT_PREFIX)}
    toolkit = {name: value for name, value in decoded.items() if name.startswith(_TOOLKIT_PREFIX)}
    return own, toolkit


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """``--name value`` for each, by name, as the training toolkit passes them (``-n`` for one letter)."""
    argv: list[str] = []
    for name, value in sorted(hyperparameters.items()):
        argv.append(f"--{name}" if len(name) > 1 else f"-{name}")
        if isinstance(value, Mapping):
            argv.append(",".join(f"{key}={item}" for key, item in sorted(value.items())))
        else:
            argv.append(str(value))
    return argv


def resource_config(record: Record) -> dict[str, Any]:
    instance_type = (record.get("ResourceConfig") or {}).get("InstanceType", "ml.m5.large")
    return {
        "current_host": HOST,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": instance_type,
                "hosts": [HOST],
            }
        ],
        "network_interface_name": "lo",
    }


def input_data_config(record: Record) -> dict[str, Any]:
    channels = {}
    for channel in record.get("InputDataConfig") or []:
        source = (channel.get("DataSource") or {}).get("S3DataSource") or {}
        config = {
            "TrainingInputMode": "File",
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        if channel.get("ContentType"):
            config["ContentType"] = channel["ContentType"]
        channels[channel["ChannelName"]] = config
    return channels


def write_configuration(layout: Layout, record: Record) -> None:
    """``/opt/ml/input/config/*.json``, as the training contract names them."""
    folder = "/opt/ml/input/config"
    layout.write_json(f"{folder}/hyperparameters.json", record.get("HyperParameters") or {})
    layout.write_json(f"{folder}/resourceconfig.json", resource_config(record))
    layout.write_json(f"{folder}/inputdataconfig.json", input_data_config(record))
    layout.write_json(
        f"{folder}/metricDefinition.json", record["AlgorithmSpecification"].get("MetricDefinitions") or []
    )


def container_environment(layout: Layout, record: Record) -> dict[str, str]:
    """The variables of a container without the toolkit, and the toolkits' one that moves ``/opt/ml``."""
    return {
        "SAGEMAKER_BASE_DIR": str(layout.path(CONTAINER_ROOT)),
        "TRAINING_JOB_NAME": record["TrainingJobName"],
        "TRAINING_JOB_ARN": record["TrainingJobArn"],
    }


def training_environment(layout: Layout, record: Record, program: str | None) -> dict[str, str]:
    """The ``SM_*`` variables of the SageMaker training toolkit, with this machine's paths."""
    own, toolkit = split_hyperparameters(record.get("HyperParameters") or {})
    channels = {name: str(layout.path(f"/opt/ml/input/data/{name}")) for name in input_data_config(record)}
    resources = resource_config(record)
    places = {
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_INPUT_CONFIG_DIR": "/opt/ml/input/config",
        "SM_OUTPUT_DIR": "/opt/ml/output",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_OUTPUT_INTERMEDIATE_DIR": "/opt/ml/output/intermediate",
        "SM_MODEL_DIR": "/opt/ml/model",
    }
    paths = {name: str(layout.path(path)) for name, path in places.items()}
    cpus = os.cpu_count() or 1
    module = (program or "").rsplit(".", 1)[0]
    environment = {
        **paths,
        "SM_CHANNELS": json_text(sorted(channels)),
        "SM_HPS": json_text(own),
        "SM_USER_ARGS": json_text(arguments(own)),
        "SM_NUM_CPUS": str(cpus),
        "SM_NUM_GPUS": "0",
        "SM_NUM_NEURONS": "0",
        "SM_HOSTS": json_text([HOST]),
        "SM_CURRENT_HOST": HOST,
        "SM_CURRENT_INSTANCE_TYPE": resources["current_instance_type"],
        "SM_NETWORK_INTERFACE_NAME": resources["network_interface_name"],
        "SM_RESOURCE_CONFIG": json_text(resources),
        "SM_INPUT_DATA_CONFIG": json_text(input_data_config(record)),
        "SM_LOG_LEVEL": str(toolkit.get("sagemaker_container_log_level", 20)),
        "SM_MODULE_NAME": module,
        "SM_MODULE_DIR": str(toolkit.get("sagemaker_submit_directory", "")),
        "SM_USER_ENTRY_POINT": program or "",
        "SM_FRAMEWORK_PARAMS": json_text(toolkit),
        "TRAINING_JOB_NAME": record["TrainingJobName"],
        "TRAINING_JOB_ARN": record["TrainingJobArn"],
    }
    environment |= {f"SM_CHANNEL_{name.upper()}": path for name, path in channels.items()}
    environment |= {
        f"SM_HP_{name.upper()}": value if isinstance(value, str) else json_text(value)
        for name, value in own.items()
    }
    environment["SM_TRAINING_ENV"] = json_text(
        {
            "channel_input_dirs": channels,
            "current_host": HOST,
            "current_instance_type": resources["current_instance_type"],
            "hosts": [HOST],
            "hyperparameters": own,
            "input_config_dir": paths["SM_INPUT_CONFIG_DIR"],
            "input_data_config": input_data_config(record),
            "input_dir": paths["SM_INPUT_DIR"],
            "is_master": True,
            "job_name": record["TrainingJobName"],
            "log_level": int(environment["SM_LOG_LEVEL"]),
            "master_hostname": HOST,
            "model_dir": paths["SM_MODEL_DIR"],
            "module_dir": environment["SM_MODULE_DIR"],
            "module_name": module,
            "network_interface_name": resources["network_interface_name"],
            "num_cpus": cpus,
            "num_gpus": 0,
            "output_data_dir": paths["SM_OUTPUT_DATA_DIR"],
            "output_dir": paths["SM_OUTPUT_DIR"],
            "output_intermediate_dir": paths["SM_OUTPUT_INTERMEDIATE_DIR"],
            "resource_config": resources,
            "user_entry_point": program or "",
        }
    )
    return environment
