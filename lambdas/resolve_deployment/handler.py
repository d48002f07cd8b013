"""Resolve the model package to deploy, and the endpoint's settings."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from package import Request, Settings, find_package, resolve

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


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    settings = Settings.from_environment(os.environ)
    request = Request.from_event(event)
    contract = parse_contract(_read(settings.contract_uri), settings.contract_uri, check=False)
    package = find_package(_client("sagemaker"), settings.model_package_group, request.model_package_arn)
    answer = resolve(request, settings, contract, package)
    logger.info("resolved", model_package_arn=answer["model_package_arn"], endpoint=answer["endpoint_name"])
    return answer
