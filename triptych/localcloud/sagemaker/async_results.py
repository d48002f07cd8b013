"""How an asynchronous request ends: where its answer goes, and what its SNS topics are told.

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-check-predictions.html
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.sagemaker.async_queue import AsyncRequest
from triptych.localcloud.sagemaker.model_client import ModelResponse

_MOST_INCLUDED_BYTES = 128 * 1024
"""a larger answer is not part of a notification"""


@dataclass(frozen=True)
class Result:
    """``status`` is the notification's invocationStatus: Completed, Failed or Expired."""

    status: str
    response: ModelResponse | None = None
    """the model's answer, a refusal too"""
    reason: str = ""
    """failureReason"""

    @property
    def completed(self) -> bool:
        return self.status == "Completed"


def of_response(response: ModelResponse) -> Result:
    """What the model's answer means."""
    if 200 <= response.status < 300:
        return Result("Completed", response)
    side = "client" if 400 <= response.status < 500 else "server"
    reason = (
        f"ClientError: Received {side} error ({response.status}) from model. See the SageMaker Endpoint logs "
        "in your account for more information."
    )
    return Result("Failed", response, reason)


def location(request: AsyncRequest, result: Result) -> str | None:
    """Where the end of the request is stored; None for nowhere."""
    return request.output_location if result.completed else request.failure_location


def content(result: Result) -> tuple[bytes, str]:
    """What is stored, and its type: the model's answer; the reason where no model answered."""
    if result.response is not None:
        return result.response.body, result.response.content_type
    return result.reason.encode(), "text/plain; charset=utf-8"


def notification(request: AsyncRequest, result: Result, region: str, now: float) -> tuple[str, str] | None:
    """The topic to tell, and the message; None where the endpoint has no topic for such an end."""
    config = request.notifications
    topic = config.get("SuccessTopic" if result.completed else "ErrorTopic")
    if not topic:
        return None
    asked = {
        "contentType": request.content_type,
        "accept": request.accept,
        "customAttributes": request.custom_attributes,
        "endpointName": request.endpoint,
        "inputLocation": request.input_location,
    }
    message: dict[str, Any] = {
        "awsRegion": region,
        "eventTime": _timestamp(now),
        "receivedTime": _timestamp(request.received),
        "invocationStatus": result.status,
        "requestParameters": {name: value for name, value in asked.items() if value is not None},
    }
    if result.reason:
        message["failureReason"] = result.reason
    if result.response is not None:
        stored = location(request, result)
        member = "outputLocation" if result.completed else "failureLocation"
        message["responseParameters"] = {"contentType": result.response.content_type} | (
            {member: stored} if stored else {}
        )
        wanted = f"{'SUCCESS' if result.completed else 'ERROR'}_NOTIFICATION_TOPIC"
        included = wanted in (config.get("IncludeInferenceResponseIn") or [])
        if included and len(result.response.body) <= _MOST_INCLUDED_BYTES:
            body = base64.b64encode(result.response.body).decode()
            message["responseBody"] = {"content": body, "encoding": "BASE64"}
    message |= {
        "inferenceId": request.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    return topic, json.dumps(message, separators=(",", ":"))


def _timestamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
