"""Resolve the model package to deploy, what it takes the place of, and how."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from answer import resolve
from aws_lambda_powertools import Logger
from package import find_package
from request import Request, Settings
from rollout import traffic_shift
from served import what_serves
from underway import refuse_a_second

from triptych.core.contract import parse_contract
from triptych.core.names import split_uri

logger = Logger()


@cache
def _client(service: str) -> Any:
    import boto3

    return boto3.client(service)


def _read(uri: str) -> str:
    bucket, key = split_uri(uri)
    return str(_client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())


def _running(state_machine_id: str) -> list[dict[str, Any]]:
    pages = (
        _client("stepfunctions")
        .get_paginator("list_executions")
        .paginate(stateMachineArn=state_machine_id, statusFilter="RUNNING")
    )
    return [entry for page in pages for entry in page["executions"]]


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    settings = Settings.from_environment(os.environ)
    request = Request.from_event(event)
    refuse_a_second(_running(request.state_machine_id), request.execution_id)
    contract = parse_contract(_read(settings.contract_uri), settings.contract_uri, check=False)
    deployment = request.apply_to(contract.deployment)
    sagemaker = _client("sagemaker")
    package = find_package(sagemaker, settings.model_package_group, request.model_package_arn)
    traffic = traffic_shift(
        deployment, settings.shift_wait_seconds, settings.bake_seconds, settings.alarm_names
    )
    answer = resolve(
        request,
        settings,
        deployment,
        contract.use_case,
        package,
        what_serves(sagemaker, settings.endpoint_name),
        traffic,
    )
    logger.info(
        "resolved",
        model_package_arn=answer["model_package_arn"],
        endpoint=answer["endpoint_name"],
        strategy=answer["strategy"],
    )
    return answer
