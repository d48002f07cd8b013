"""Validate splits: enough rows, two classes, in order of time, and nothing in them that tells the label."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from rules import check_splits

from triptych.core.constraints import worst
from triptych.core.contract import parse_contract
from triptych.core.objects import read_bytes, read_json

logger = Logger()
tracer = Tracer()


class Request(BaseModel):
    run_uri: str


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


@tracer.capture_lambda_handler
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    uri = os.environ["CONTRACT_URI"]
    contract = parse_contract(read_bytes(_s3(), uri).decode(), uri, check=False)
    splits = read_json(_s3(), f"{event.run_uri}/splits.json")
    features = read_json(_s3(), f"{event.run_uri}/features.json")
    violations = check_splits(contract, splits, features)
    verdict = worst(violation.severity for violation in violations)
    logger.info("splits judged", verdict=verdict, violations=len(violations))
    return {"verdict": verdict, "violations": [violation.document() for violation in violations]}
