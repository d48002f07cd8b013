"""sagemaker-runtime on the gateway's own port: InvokeEndpoint is handed to the inference router."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.model_client import ModelClient, ModelResponse, ServerGone, ServerSlow
from triptych.localcloud.sagemaker.service import SageMakerService
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_ROUTER_SECONDS = 300.0
_HEADERS = {
    "ContentType": "Content-Type",
    "Accept": "Accept",
    "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
    "TargetVariant": "X-Amzn-SageMaker-Target-Variant",
    "InferenceId": "X-Amzn-SageMaker-Inference-Id",
}


class SageMakerRuntimeService:
    """Hands invocations to the router of ``sagemaker`` (found in ``cloud.services`` unless given).

    Clients that know the router's own address do not come here.
    """

    service_id = "sagemaker-runtime"

    def __init__(self, cloud: Cloud, sagemaker: SageMakerService | None = None) -> None:
        self._cloud = cloud
        self._sagemaker = sagemaker
        self._client: ModelClient | None = None
        self.operations: Mapping[str, Operation] = {"InvokeEndpoint": self.invoke_endpoint}

    def start(self) -> None:
        """Nothing of its own to recover."""

    def stop(self) -> None:
        """Close the connections to the router."""
        if self._client is not None:
            self._client.close()

    def invoke_endpoint(self, context: RequestContext, params: Params) -> Params:
        """Ask the endpoint; raises ValidationError, ModelError (424) with the model's own status."""
        path = f"/endpoints/{params['EndpointName']}/invocations"
        try:
            answer = self._router().request(
                "POST", path, _headers(params), _bytes(params.get("Body")), _ROUTER_SECONDS
            )
        except (ServerGone, ServerSlow) as error:
            text = f"the inference router does not answer: {error}"
            raise ServiceError("ServiceUnavailable", text, 503) from error
        if answer.status != 200:
            raise _error(answer)
        result: Params = {
            "Body": answer.body,
            "ContentType": answer.content_type,
            "InvokedProductionVariant": answer.headers["x-amzn-invoked-production-variant"],
        }
        attributes = answer.headers.get("x-amzn-sagemaker-custom-attributes")
        return result | ({"CustomAttributes": attributes} if attributes else {})

    def _router(self) -> ModelClient:
        if self._client is None:
            sagemaker = self._sagemaker or self._cloud.services["sagemaker"]
            self._client = ModelClient((sagemaker.traffic.host, sagemaker.traffic.port))
        return self._client


def _headers(params: Params) -> dict[str, str]:
    given = {header: params[member] for member, header in _HEADERS.items() if params.get(member)}
    return {name: value.replace("\r", " ").replace("\n", " ") for name, value in given.items()}


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return bytes(body.read()) if hasattr(body, "read") else bytes(body)


def _error(answer: ModelResponse) -> ServiceError:
    fields = json.loads(answer.body)
    message = fields.pop("message")
    fields.pop("Message", None)
    code = answer.headers.get("x-amzn-errortype", "InternalFailure")
    return ServiceError(code, message, answer.status, **fields)
