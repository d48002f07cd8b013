"""sagemaker-runtime: InvokeEndpoint, from the client to a variant's model server and back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.capture import Invocation
from triptych.localcloud.sagemaker.endpoints import Endpoints
from triptych.localcloud.sagemaker.fleet import LOG_GROUP_PREFIX, Fleet, NoServer, Server, Variant
from triptych.localcloud.sagemaker.live import LiveEndpoint
from triptych.localcloud.sagemaker.model_client import ModelResponse, ServerGone, ServerSlow
from triptych.localcloud.sagemaker.service import SageMakerService
from triptych.localcloud.sagemaker.support import Arns
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

MAX_BODY_BYTES = 25 * 2**20
"""InvokeEndpoint's documented limit"""
_INVOKE_SECONDS = 60.0
_RESTORE_SECONDS = 60.0
_ATTEMPTS = 20
_UNTIL_DEATH_IS_KNOWN_SECONDS = 0.05


class SageMakerRuntimeService:
    """Routes invocations to the endpoints of ``sagemaker`` (found in ``cloud.services`` unless given)."""

    service_id = "sagemaker-runtime"

    def __init__(self, cloud: Cloud, sagemaker: SageMakerService | None = None) -> None:
        self._cloud = cloud
        self._sagemaker = sagemaker
        self._arns = Arns(cloud)
        self.operations: Mapping[str, Operation] = {"InvokeEndpoint": self.invoke_endpoint}

    def start(self) -> None:
        """Nothing of its own to recover."""

    def stop(self) -> None:
        """Nothing of its own to stop."""

    def invoke_endpoint(self, context: RequestContext, params: Params) -> Params:
        """Ask the endpoint; raises ValidationError, ModelError (424) with the model's own status."""
        arrived = time.perf_counter()
        name = params["EndpointName"]
        body = _bytes(params.get("Body"))
        if len(body) > MAX_BODY_BYTES:
            raise ServiceError(
                "ValidationError", f"The body has {len(body)} bytes, more than the {MAX_BODY_BYTES} allowed."
            )
        endpoints = self._endpoints
        live, fleet = self._serving(endpoints, name)
        try:
            variant = _variant(fleet, params.get("TargetVariant"), name)
            return self._ask(endpoints, live, variant, params, body, arrived)
        except NoServer as error:
            raise ServiceError("ServiceUnavailable", f"Endpoint {name}: {error}.", 503) from error
        finally:
            fleet.leave()

    @property
    def _endpoints(self) -> Endpoints:
        if self._sagemaker is None:
            self._sagemaker = self._cloud.services["sagemaker"]
        return self._sagemaker.endpoints

    def _serving(self, endpoints: Endpoints, name: str) -> tuple[LiveEndpoint, Fleet]:
        """The endpoint and its fleet, leased; after a restart this waits until the servers are back."""
        live = endpoints.live(name)
        if live is not None:
            live.ready.wait(_RESTORE_SECONDS)
            fleet = live.enter()
            if fleet is not None:
                return live, fleet
        account = self._cloud.settings.account_id
        try:
            status = endpoints.find(name)["EndpointStatus"]
        except ServiceError:
            raise ServiceError(
                "ValidationError", f"Endpoint {name} of account {account} not found."
            ) from None
        raise ServiceError(
            "ValidationError",
            f"Endpoint {name} of account {account} is not in service: its status is {status}.",
        )

    def _ask(
        self,
        endpoints: Endpoints,
        live: LiveEndpoint,
        variant: Variant,
        params: Params,
        body: bytes,
        arrived: float,
    ) -> Params:
        server, response, model_seconds = self._exchange(live.name, variant, _headers(params), body)
        overhead_seconds = time.perf_counter() - arrived - model_seconds
        capture = live.capture
        if capture is not None or endpoints.observers:
            invocation = _observed(
                live.name, variant, params, body, response, overhead_seconds, model_seconds
            )
            if capture is not None:
                capture.observe(invocation)
            for observer in endpoints.observers:
                observer(invocation)
        if not 200 <= response.status < 300:
            text = response.body.decode("utf-8", "replace")
            raise self._model_error(live.name, server, response.status, text)
        answer: Params = {
            "Body": response.body,
            "ContentType": response.content_type,
            "InvokedProductionVariant": variant.plan.name,
        }
        attributes = response.headers.get("x-amzn-sagemaker-custom-attributes")
        return answer | ({"CustomAttributes": attributes} if attributes else {})

    def _exchange(
        self, endpoint: str, variant: Variant, headers: dict[str, str], body: bytes
    ) -> tuple[Server, ModelResponse, float]:
        """The answer of one of the variant's servers, and its seconds.

        A server that died before it saw the request is passed over: the request goes to another, or to its
        replacement.
        """
        attempts = 0
        while True:
            server = variant.choose()
            server.in_flight += 1
            sent = time.perf_counter()
            try:
                response = server.invoke(headers, body, _INVOKE_SECONDS)
            except ServerGone as error:
                attempts += 1
                if error.sent or attempts >= _ATTEMPTS:
                    text = f"the model server went away: {error}"
                    raise self._model_error(endpoint, server, 500, text) from error
                time.sleep(_UNTIL_DEATH_IS_KNOWN_SECONDS)
                continue
            except ServerSlow as error:
                text = "Your invocation timed out while waiting for a response from container primary"
                raise self._model_error(endpoint, server, 0, f"{text} ({error})") from error
            finally:
                server.in_flight -= 1
            return server, response, time.perf_counter() - sent

    def _model_error(self, endpoint: str, server: Server, status: int, text: str) -> ServiceError:
        group = f"{LOG_GROUP_PREFIX}{endpoint}"
        side = "client" if 400 <= status < 500 else "server"
        message = (
            f'Received {side} error ({status}) from primary with message "{text[:1000]}". '
            f"See the log group {group}."
        )
        return ServiceError(
            "ModelError",
            message,
            424,
            OriginalStatusCode=status,
            OriginalMessage=text[:2048],
            LogStreamArn=f"{self._arns.log_prefix}{group}:log-stream:{server.stream}",
        )


def _variant(fleet: Fleet, target: str | None, endpoint: str) -> Variant:
    if not target:
        return fleet.choose()
    variant = fleet.variants.get(target)
    if variant is None:
        raise ServiceError(
            "ValidationError",
            f"Variant {target} not found in endpoint {endpoint}; it has {', '.join(fleet.variants)}.",
        )
    return variant


def _headers(params: Params) -> dict[str, str]:
    headers = {}
    if params.get("ContentType"):
        headers["Content-Type"] = params["ContentType"]
    if params.get("Accept"):
        headers["Accept"] = params["Accept"]
    if params.get("CustomAttributes"):
        headers["X-Amzn-SageMaker-Custom-Attributes"] = params["CustomAttributes"]
    return {name: value.replace("\r", " ").replace("\n", " ") for name, value in headers.items()}


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return bytes(body.read()) if hasattr(body, "read") else bytes(body)


def _observed(
    endpoint: str,
    variant: Variant,
    params: Params,
    body: bytes,
    response: ModelResponse,
    overhead_seconds: float,
    model_seconds: float,
) -> Invocation:
    return Invocation(
        endpoint=endpoint,
        variant=variant.plan.name,
        status=response.status,
        content_type=params.get("ContentType") or "text/csv",
        request=body,
        response_type=response.content_type,
        response=response.body,
        at=datetime.now(UTC),
        model_seconds=model_seconds,
        overhead_seconds=overhead_seconds,
        inference_id=params.get("InferenceId"),
        custom_attributes=params.get("CustomAttributes"),
    )
