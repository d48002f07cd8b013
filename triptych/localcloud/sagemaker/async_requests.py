"""InvokeEndpointAsync's parameters, checked, and where the answers will be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from triptych.localcloud.sagemaker.async_queue import AsyncRequest
from triptych.localcloud.service import Params, ServiceError

_LIMITS = {
    # member: least, most, default; seconds
    "RequestTTLSeconds": (60, 21_600, 21_600),
    "InvocationTimeoutSeconds": (1, 3_600, 900),
}
_MOST_INLINE_BYTES = 128_000


def parse_request(params: Params, config: Mapping[str, Any], now: float) -> tuple[AsyncRequest, bytes | None]:
    """The request and what came inline; raises ValidationError. ``config``: the AsyncInferenceConfig."""
    body = params.get("Body")
    inline = None if body is None else bytes(body.encode() if isinstance(body, str) else body) or None
    source = params.get("InputLocation")
    if (inline is None) == (not source):
        raise validation_error("Exactly one of InputLocation and Body must be given.")
    if inline is not None and len(inline) > _MOST_INLINE_BYTES:
        raise validation_error(
            f"Body has {len(inline)} bytes, more than the {_MOST_INLINE_BYTES} allowed; put it into S3 and "
            "name it by InputLocation."
        )
    if source and not (source.startswith("s3://") and source[5:].partition("/")[2]):
        raise validation_error(f"InputLocation {source} is not an S3 URI of an object (s3://bucket/key).")
    output = config["OutputConfig"]
    identity = str(uuid4())
    extension = params.get("S3OutputPathExtension")
    request = AsyncRequest(
        endpoint=params["EndpointName"],
        inference_id=params.get("InferenceId") or str(uuid4()),
        received=now,
        expires=now + _seconds(params, "RequestTTLSeconds"),
        timeout_seconds=_seconds(params, "InvocationTimeoutSeconds"),
        input_location=source,
        output_location=_below(
            output.get("S3OutputPath"), extension, params.get("Filename") or f"{identity}.out"
        ),
        failure_location=_below(output.get("S3FailurePath"), extension, f"{identity}-error.out"),
        content_type=params.get("ContentType"),
        accept=params.get("Accept"),
        custom_attributes=params.get("CustomAttributes"),
        notifications=dict(output.get("NotificationConfig") or {}),
    )
    return request, inline


def _seconds(params: Params, member: str) -> float:
    least, most, default = _LIMITS[member]
    value = params.get(member)
    if value is None:
        return default
    if not least <= int(value) <= most:
        raise validation_error(f"{member} must be between {least} and {most}, not {value}.")
    return float(value)


def _below(path: str | None, extension: str | None, name: str) -> str | None:
    if not path:
        return None
    return "/".join([path.rstrip("/"), *([extension.strip("/")] if extension else []), name])


def validation_error(message: str) -> ServiceError:
    """sagemaker-runtime's name for it."""
    return ServiceError("ValidationError", message)
