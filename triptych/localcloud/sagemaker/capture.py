"""Data capture: an endpoint's requests and answers as SageMaker's JSON Lines, off the request's path."""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from triptych.localcloud.s3.store import ObjectStore, split_uri

_log = logging.getLogger(__name__)

_FLUSH_AT = 5000


@dataclass(frozen=True)
class Invocation:
    """One answered request, as data capture and metrics see it. Latencies in seconds."""

    endpoint: str
    variant: str
    status: int
    content_type: str
    request: bytes
    response_type: str
    response: bytes
    at: datetime
    model_seconds: float
    overhead_seconds: float
    inference_id: str | None = None
    custom_attributes: str | None = None


class DataCapture:
    """Samples an endpoint's invocations and writes them every ``flush_seconds``, and when it is closed."""

    def __init__(
        self, store: ObjectStore, endpoint: str, config: dict[str, Any], flush_seconds: float = 1.0
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._share = float(config["InitialSamplingPercentage"]) / 100
        self._bucket, prefix = split_uri(config["DestinationS3Uri"])
        self._prefix = prefix.rstrip("/")
        modes = {option["CaptureMode"] for option in config.get("CaptureOptions") or []}
        self._input = bool(modes & {"Input", "InputAndOutput"})
        self._output = bool(modes & {"Output", "InputAndOutput"})
        header = config.get("CaptureContentTypeHeader") or {}
        self._csv = set(header.get("CsvContentTypes") or ["text/csv"])
        self._json = set(header.get("JsonContentTypes") or ["application/json"])
        self._flush_seconds = flush_seconds
        self._waiting: list[Invocation] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"capture of {endpoint}", daemon=True)
        self._thread.start()

    def observe(self, invocation: Invocation) -> None:
        """Keep the invocation if it is sampled; a few microseconds."""
        if not 200 <= invocation.status < 300 or random.random() >= self._share:
            return
        with self._changed:
            self._waiting.append(invocation)
            if len(self._waiting) == 1 or len(self._waiting) >= _FLUSH_AT:
                self._changed.notify()

    def close(self) -> None:
        """Write what waits and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(
                    lambda: self._closed or len(self._waiting) >= _FLUSH_AT, self._flush_seconds
                )
                waiting, self._waiting = self._waiting, []
                closed = self._closed
            try:
                self._write(waiting)
            except Exception:
                _log.exception(
                    "%d captured invocations of %s could not be written", len(waiting), self._endpoint
                )
            if closed:
                return

    def _write(self, invocations: list[Invocation]) -> None:
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
        if self._input:
            data["endpointInput"] = self._part("INPUT", item.content_type, item.request)
        if self._output:
            data["endpointOutput"] = self._part("OUTPUT", item.response_type, item.response)
        metadata: dict[str, Any] = {"eventId": str(uuid4())}
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
