"""Judge files: from every file's checks to one verdict and the list of files that go on."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from verdicts import FileResult, judge

from triptych.core.contract import parse_contract
from triptych.core.objects import read_bytes, read_json, write_json

logger = Logger()
metrics = Metrics()
tracer = Tracer()


class ResultWriterDetails(BaseModel):
    Bucket: str
    Key: str


class Request(BaseModel):
    run_uri: str
    result_writer_details: ResultWriterDetails


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def _results(bucket: str, manifest_key: str) -> list[FileResult]:
    """Every child execution's result, from the files that the map's ResultWriter wrote."""
    manifest = read_json(_s3(), f"s3://{bucket}/{manifest_key}")
    results = []
    for status, files in manifest["ResultFiles"].items():
        for entry in files:
            for child in read_json(_s3(), f"s3://{bucket}/{entry['Key']}"):
                source = json.loads(child["Input"])["object"]
                if status == "SUCCEEDED":
                    results.append(FileResult.from_answer(json.loads(child["Output"])))
                else:
                    cause = f"{child.get('Error', status)}: {child.get('Cause', 'no cause given')}"
                    results.append(FileResult.not_checked(source["key"], source["table"], cause))
    return results


@tracer.capture_lambda_handler
@metrics.log_metrics
@logger.inject_lambda_context
@event_parser(model=Request)
def handler(event: Request, context: object) -> dict[str, Any]:
    uri = os.environ["CONTRACT_URI"]
    contract = parse_contract(read_bytes(_s3(), uri).decode(), uri, check=False)
    objects = read_json(_s3(), f"{event.run_uri}/objects.json")
    details = event.result_writer_details
    judgement = judge(contract, objects, _results(details.Bucket, details.Key))
    accepted_uri = write_json(_s3(), f"{event.run_uri}/accepted.json", judgement.accepted)
    metrics.add_metric("RejectedFiles", MetricUnit.Count, len(judgement.rejected))
    logger.info("files judged", verdict=judgement.verdict, rejected=judgement.rejected)
    return judgement.answer(accepted_uri)
