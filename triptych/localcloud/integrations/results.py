"""ResultWriter: what a Distributed Map's children did, as files in S3."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from triptych.localcloud.integrations.shapes import json_text
from triptych.localcloud.service import ServiceError
from triptych.localcloud.stepfunctions.tasks import ChildExecution, ResultsRequest, TaskError

if TYPE_CHECKING:
    from triptych.localcloud.s3.store import ObjectStore


class ResultWriter:
    """Writes ``SUCCEEDED_0.json``, ``FAILED_0.json``, ``PENDING_0.json`` and last ``manifest.json``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def write(self, request: ResultsRequest) -> dict[str, Any]:
        """Write the files; answers ResultWriterDetails. Raises TaskError ``States.ResultWriterFailed``."""
        prefix = request.prefix.rstrip("/")
        folder = f"{prefix}/{request.map_run_uuid}" if prefix else request.map_run_uuid
        lines = request.writer_config.get("OutputType") == "JSONL"
        transformation = request.writer_config.get("Transformation") or "NONE"
        groups = {
            "FAILED": [_record(child) for child in request.failed],
            "PENDING": [_record(child) for child in request.pending],
            "SUCCEEDED": _transformed(request.succeeded, transformation),
        }
        try:
            files = {
                status: self._write_file(request.bucket, folder, status, results, lines) if results else []
                for status, results in groups.items()
            }
            manifest = {
                "DestinationBucket": request.bucket,
                "MapRunArn": request.map_run_arn,
                "ResultFiles": files,
            }
            key = f"{folder}/manifest.json"
            self._store.put_bytes(request.bucket, key, json_text(manifest).encode(), "application/json")
        except ServiceError as error:
            raise TaskError(
                "States.ResultWriterFailed",
                f"{error.message} (Service: Amazon S3; Status Code: {error.status}; "
                f"Error Code: {error.code})",
            ) from error
        return {"Bucket": request.bucket, "Key": key}

    def _write_file(
        self, bucket: str, folder: str, status: str, results: list[Any], lines: bool
    ) -> list[dict[str, Any]]:
        key = f"{folder}/{status}_0.{'jsonl' if lines else 'json'}"
        text = "".join(f"{json_text(result)}\n" for result in results) if lines else json_text(results)
        record = self._store.put_bytes(bucket, key, text.encode(), "application/json")
        return [{"Key": key, "Size": record.size_bytes}]


def _transformed(children: Iterable[ChildExecution], transformation: str) -> list[Any]:
    if transformation == "NONE":
        return [_record(child) for child in children]
    outputs = [json.loads(child.output) if child.output is not None else None for child in children]
    if transformation == "FLATTEN":
        return [item for output in outputs for item in (output if isinstance(output, list) else [output])]
    return outputs


def _record(child: ChildExecution) -> dict[str, Any]:
    """A child execution with its metadata, members in alphabetical order, absent ones left out."""
    record = {
        "Cause": child.cause,
        "Error": child.error,
        "ExecutionArn": child.execution_arn,
        "Input": child.input,
        "InputDetails": {"Included": child.input_included},
        "Name": child.name,
        "Output": child.output,
        "OutputDetails": {"Included": child.output_included},
        "RedriveCount": child.redrive_count,
        "RedriveStatus": child.redrive_status,
        "RedriveStatusReason": child.redrive_status_reason,
        "StartDate": child.start_date,
        "StateMachineArn": child.state_machine_arn,
        "Status": child.status,
        "StopDate": child.stop_date,
    }
    return {name: value for name, value in record.items() if value is not None}
