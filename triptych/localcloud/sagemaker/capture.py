"""Data capture: an endpoint's requests and answers as SageMaker's JSON Lines."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from triptych.localcloud.s3.store import ObjectStore, split_uri


@dataclass(frozen=True)
class Invocation:
    """One answered request that was captured. Latencies in seconds; texts are empty where the client sent none.

    The copy that a shadow variant got has the event id of the request itself.
    """

    event_id: str
    variant: str
    status: int
    content_type: str
    request: bytes
    response_type: str
    response: bytes
    at: datetime
    model_seconds: float
    overhead_seconds: float
    inference_id: str = ""
    custom_attributes: str = ""


class DataCapture:
    """Where and how an endpoint's captured requests are written; which ones are is the router's to choose."""

    def __init__(self, store: ObjectStore, endpoint: str, config: dict[str, Any]) -> None:
        self._store = store
        self._endpoint = endpoint
        self.share = float(config["InitialSamplingPercentage"]) / 100
        self._bucket, prefix = split_uri(config["DestinationS3Uri"])
        self._prefix = prefix.rstrip("/")
        modes = {option["CaptureMode"] for option in config.get("CaptureOptions") or []}
        self.captures_input = bool(modes & {"Input", "InputAndOutput"})
        self.captures_output = bool(modes & {"Output", "InputAndOutput"})
        header = config.get("CaptureContentTypeHeader") or {}
        self._csv = set(header.get("CsvContentTypes") or ["text/csv"])
        self._json = set(header.get("JsonContentTypes") or ["application/json"])

    def write(self, invocations: Iterable[Invocation]) -> None:
        """Write these requests, one object a variant and hour."""
        files: dict[tuple[str, str], list[Invocation]] = defaultdict(list)
        for invocation in invocations:
            files[invocation.variant, f"{invocation.at:%Y/%m/%d/%H}"].append(invocation)
        for (variant, hour), group in files.items():
            name = f"{group[0].at:%M-%S}-{group[0].at.microsecond // 1000:03}-{uuid4()}.jsonl"
            key = "/".join(filter(None, (self._prefix, self._endpoint, variant, hour, name)))
            lines = "".join(json.dumps(self._record(item)) + "\n" for item in group)
            self._store.put_bytes(self._bucket, key, lines.encode(), "application/jsonlines")

    def _record(self, item: Invocation) -> dict[str, Any]:
        data: dict[str, Any] = {}
        if self.captures_input:
            data["endpointInput"] = self._part("INPUT", item.content_type, item.request)
        if self.captures_output:
            data["endpointOutput"] = self._part("OUTPUT", item.response_type, item.response)
        metadata: dict[str, Any] = {"eventId": item.event_id}
        if item.custom_attributes:
            metadata["customAttributes"] = [item.custom_attributes]
        if item.inference_id:
            metadata["inferenceId"] = item.inference_id
        metadata["inferenceTime"] = f"{item.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}

    def _part(self, mode: str, content_type: str, body: bytes) -> dict[str, str]:
        plain = content_type.split(";", 1)[0].strip().lower()
        encoding = "CSV" if plain in self._csv else "JSON" if plain in self._json else "BASE64"
        if encoding == "BASE64":
            text = base64.b64encode(body).decode()
        else:
            text = body.decode("utf-8", "replace")
        return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}
