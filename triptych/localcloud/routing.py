"""Which service and operation a request means, from its credential scope, target, action or path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from triptych.localcloud.service import ServiceError
from triptych.localcloud.wsgi import Environ, inflate, read_body

_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]*)/([^/]+)/aws4_request")
_CBOR_PATH = re.compile(r"^/service/([^/]+)/operation/([^/]+)$")

_SERVICES_OF_SIGNING_NAME: Mapping[str, tuple[str, ...]] = {
    "states": ("stepfunctions",),
    "monitoring": ("cloudwatch",),
    "sagemaker": ("sagemaker", "sagemaker-runtime"),
}
_TARGET_PREFIXES: Mapping[str, tuple[str, str]] = {
    # what unsigned JSON requests can be told by: target prefix -> (botocore's service, signing name)
    "AWSStepFunctions": ("stepfunctions", "states"),
    "SageMaker": ("sagemaker", "sagemaker"),
    "AWSGlue": ("glue", "glue"),
    "Logs_20140328": ("logs", "logs"),
    "AWSEvents": ("events", "events"),
}
_REST_SERVICES = frozenset({"lambda", "scheduler", "sagemaker-runtime", "sagemaker-metrics"})
"""REST services whose paths we match; S3 decides for itself, the others are moto's"""


@dataclass(frozen=True)
class Route:
    """What a request asks for. ``operation`` is empty where only the service itself can tell."""

    service: str
    operation: str
    region: str
    access_key: str | None = None
    uri_params: Mapping[str, Any] = field(default_factory=dict)


class Router:
    """Finds the Route of a WSGI request; tables of REST paths are built from botocore's models when first
    needed.
    """

    def __init__(self, default_region: str) -> None:
        self._default_region = default_region

    def route(self, environ: Environ) -> Route:
        access_key, region, signing_name = self._scope(environ)
        # An object of S3 may be compressed; what is sent to other services is only packed for the way.
        if environ.get("HTTP_CONTENT_ENCODING") == "gzip" and signing_name not in ("", "s3"):
            try:
                inflate(environ)
            except ValueError as error:
                raise ServiceError("SerializationException", f"The request cannot be read: {error}") from None
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target:
            prefix, _, operation = target.rpartition(".")
            if not signing_name and prefix in _TARGET_PREFIXES:
                signing_name = _TARGET_PREFIXES[prefix][1]
            return Route(self._service(signing_name), operation, region, access_key)
        cbor = _CBOR_PATH.match(environ["PATH_INFO"])
        if cbor and environ.get("HTTP_SMITHY_PROTOCOL"):
            return Route(self._service(signing_name), cbor.group(2), region, access_key)
        if signing_name != "s3":
            action = self._action(environ)
            if action:
                return Route(self._service(signing_name), action, region, access_key)
        if not signing_name:
            return Route("s3", "", region, access_key)  # unsigned: the only service that serves those by path
        return self._rest_route(environ, signing_name, region, access_key)

    def _scope(self, environ: Environ) -> tuple[str | None, str, str]:
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        match = _SCOPE.search(authorization)
        if match:
            return match.group(1), match.group(2) or self._default_region, match.group(3).lower()
        if authorization.startswith("AWS "):
            return authorization[4:].partition(":")[0], self._default_region, "s3"  # signature version 2
        query = environ.get("QUERY_STRING", "")
        if "X-Amz-Credential=" in query:
            credential = parse_qs(query)["X-Amz-Credential"][0].split("/")
            if len(credential) == 5:
                return credential[0], credential[2] or self._default_region, credential[3].lower()
        if "AWSAccessKeyId=" in query:
            return parse_qs(query)["AWSAccessKeyId"][0], self._default_region, "s3"
        return None, self._default_region, ""

    @staticmethod
    def _service(signing_name: str) -> str:
        return _SERVICES_OF_SIGNING_NAME.get(signing_name, (signing_name,))[0]

    @staticmethod
    def _action(environ: Environ) -> str:
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            form = parse_qs(read_body(environ).decode("utf-8", "replace"), keep_blank_values=True)
            if "Action" in form:
                return form["Action"][0]
        query = environ.get("QUERY_STRING", "")
        if "Action=" in query:
            return str(parse_qs(query).get("Action", [""])[0])
        return ""

    def _rest_route(self, environ: Environ, signing_name: str, region: str, access_key: str | None) -> Route:
        candidates = _SERVICES_OF_SIGNING_NAME.get(signing_name, (signing_name,))
        for service in candidates:
            if service not in _REST_SERVICES:
                continue
            from moto.core.request import Request
            from moto.core.routing import NotFound, get_service_router

            try:
                operation, uri_params = get_service_router(service).match(Request(environ))
            except (NotFound, NotImplementedError):
                continue
            return Route(service, str(operation.name), region, access_key, uri_params)
        return Route(candidates[0], "", region, access_key)
