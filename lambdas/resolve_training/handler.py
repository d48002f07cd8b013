"""Resolve training inputs: dataset, the contract's model section, the champion, and where all goes."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from champion import Registry
from inputs import Request, Settings, resolve

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
    import os

    settings = Settings.from_environment(os.environ)
    request = Request.from_event(event)
    contract = parse_contract(_read(settings.contract_uri), settings.contract_uri, check=False)
    champion = Registry(_client("sagemaker"), settings.model_package_group).champion()
    answer = resolve(request, settings, contract, champion, _read)
    logger.info("resolved", dataset_version=answer["dataset"]["dataset_version"], champion=answer["champion"])
    return answer
