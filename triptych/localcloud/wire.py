"""Between the wire and Python: an operation's parameters parsed, its answer or error serialised.

By moto's parsers and serialisers and botocore's service models for every protocol that those know, by our own
for Smithy's RPC v2 in CBOR.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud import cbor
from triptych.localcloud.routing import Route
from triptych.localcloud.service import Params, ServiceError
from triptych.localcloud.wsgi import Environ, Response, read_body

_CBOR = "rpc-v2-cbor"
"""the Smithy-Protocol header of requests in CBOR"""


class _WireError(Exception):
    """A ServiceError as the serialisers want it: code, message and further members as attributes."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.message)
        for name, value in error.fields.items():
            setattr(self, name, value)
        self.code = error.code
        self.message = error.message


class Exchange:
    """One request to one of our operations: ``params`` in, ``answer`` or ``error`` out."""

    def __init__(self, environ: Environ, route: Route, request_id: str) -> None:
        from moto.core.request import determine_request_protocol
        from moto.core.utils import get_service_model

        self._environ = environ
        self._route = route
        self._request_id = request_id
        service_model = get_service_model(route.service)
        self._operation = service_model.operation_model(route.operation)
        if environ.get("HTTP_SMITHY_PROTOCOL") == _CBOR:
            self._protocol = _CBOR
        else:
            self._protocol = determine_request_protocol(service_model, environ.get("CONTENT_TYPE", ""))

    def params(self) -> Params:
        """The operation's input in botocore's shape; times are aware, in UTC."""
        from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
        from moto.core.request import Request

        body = read_body(self._environ)
        if self._protocol == _CBOR:
            return self._cbor_params(body)
        request = Request(self._environ)
        try:
            parsed = PROTOCOL_PARSERS[self._protocol](self._operation, timestamp_parser=_aware).parse(
                {
                    "method": request.method,
                    "values": request.values if self._protocol not in ("json",) else {},
                    "headers": request.headers,
                    "body": body,
                    "url_path": request.path,
                    "url_params": self._route.uri_params,
                }
            )
        except (RequestParserError, ValueError, TypeError, AttributeError) as error:
            raise ServiceError(
                "SerializationException",
                f"The request's body is not what {self._route.operation} takes: {error}",
            ) from error
        return dict(parsed)

    def _cbor_params(self, body: bytes) -> Params:
        try:
            parsed = cbor.loads(body) if body else {}
        except cbor.InvalidCbor as error:
            raise ServiceError("SerializationException", f"The request's body is no CBOR: {error}") from error
        if not isinstance(parsed, dict):
            raise ServiceError("SerializationException", "The request's body must be a CBOR map.")
        return {name: value for name, value in parsed.items() if value is not None}

    def answer(self, result: Params | None) -> Response:
        result = result if result is not None else {}
        if self._protocol == _CBOR:
            return self._cbor_response(200, result)
        serialized = self._serializer().serialize(result)
        if self._protocol == "json":  # moto goes by the protocol that the model names first
            version = self._operation.service_model.metadata.get("jsonVersion", "1.0")
            serialized["headers"]["Content-Type"] = f"application/x-amz-json-{version}"
        output = self._operation.output_shape
        for name, member in (output.members if output is not None else {}).items():
            # The serialiser sets the protocol's content type over what the answer itself brings.
            if member.serialization.get("name", "").lower() == "content-type" and result.get(name):
                serialized["headers"]["Content-Type"] = result[name]
        return self._response(serialized)

    def error(self, error: ServiceError) -> Response:
        if self._protocol == _CBOR:
            document = {**error.fields, "__type": error.code, "message": error.message}
            return self._cbor_response(
                error.status,
                document,
                [("x-amzn-query-error", f"{error.code};{'Sender' if error.status < 500 else 'Receiver'}")],
            )
        serialized = self._serializer().serialize(_WireError(error))
        if error.status != 400:
            serialized["status_code"] = error.status
        return self._response(serialized)

    def _cbor_response(
        self, status: int, document: Params, headers: Sequence[tuple[str, str]] = ()
    ) -> Response:
        fixed = [
            ("Content-Type", "application/cbor"),
            ("smithy-protocol", _CBOR),
            ("x-amzn-RequestId", self._request_id),
        ]
        return Response(status, [*fixed, *headers], cbor.dumps(document))

    def _serializer(self) -> Any:
        from moto.core.serialize import SerializationContext, get_serializer_class

        serializer = get_serializer_class(self._route.service, self._protocol)
        return serializer(self._operation, context=SerializationContext(self._request_id))

    def _response(self, serialized: Any) -> Response:
        body = serialized["body"]
        if hasattr(body, "read"):
            body = body.read()
        if isinstance(body, str):
            body = body.encode()
        headers = [(str(name), str(value)) for name, value in serialized["headers"].items()]
        headers.append(("x-amzn-RequestId", self._request_id))
        return Response(int(serialized["status_code"]), headers, body or b"")


def _aware(value: Any) -> datetime:
    from botocore.utils import parse_timestamp

    parsed: datetime = parse_timestamp(value)
    return parsed.astimezone(UTC)


def plain_error(environ: Environ, error: ServiceError, request_id: str) -> Response:
    """An error for a request whose service model we do not load: JSON, CBOR or XML, as the client seems to
    speak.
    """
    from json import dumps
    from xml.sax.saxutils import escape

    headers = [("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", error.code)]
    if environ.get("HTTP_SMITHY_PROTOCOL") == _CBOR:
        document = cbor.dumps({"__type": error.code, "message": error.message})
        fixed = [("Content-Type", "application/cbor"), ("smithy-protocol", _CBOR)]
        return Response(error.status, [*fixed, *headers], document)
    content_type = environ.get("CONTENT_TYPE", "")
    if environ.get("HTTP_X_AMZ_TARGET") or "json" in content_type:
        body = dumps({"__type": error.code, "message": error.message}).encode()
        return Response(error.status, [("Content-Type", "application/json"), *headers], body)
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    if content_type.startswith("application/x-www-form-urlencoded"):
        text = f"<ErrorResponse><Error>{inner}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    else:
        text = f"<Error>{inner}<RequestId>{request_id}</RequestId></Error>"
    return Response(error.status, [("Content-Type", "application/xml"), *headers], text.encode())
