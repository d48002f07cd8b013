"""boto3 clients whose calls go to a WSGI application in this process: no sockets, no signatures, no
retries.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from triptych.localcloud.cloud import Settings
from triptych.localcloud.http_server import build_environ
from triptych.localcloud.service import Params, ServiceError
from triptych.localcloud.wsgi import IN_PROCESS, Environ, FileWrapper, WsgiApp

_ACCESS_KEY = "AKIATRIPTYCHLOCAL000"


class Clients:
    """``get("sagemaker")``: a cached client. Errors are botocore's ClientError; safe from any thread."""

    def __init__(self, app: WsgiApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    def get(self, service: str, region: str | None = None) -> Any:
        """The client of a service by botocore's name, in ``region`` (the local cloud's own by default)."""
        key = (service, region or self._settings.region)
        client = self._clients.get(key)
        if client is None:
            with self._lock:  # botocore builds clients in a session that is not thread-safe
                client = self._clients.get(key)
                if client is None:
                    client = self._clients[key] = self._create(*key)
        return client

    def call(self, service: str, operation: str, params: Params, region: str | None = None) -> Params:
        """Calls an operation by its API name; raises ServiceError in place of ClientError.

        The answer lacks ``ResponseMetadata``; streamed members are read to bytes.
        """
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            answer: Params = self.get(service, region)._make_api_call(operation, params)
        except ClientError as error:
            raise service_error(error) from error
        except ParamValidationError as error:
            raise ServiceError("ValidationException", str(error)) from error
        answer.pop("ResponseMetadata", None)
        for name, value in answer.items():
            if hasattr(value, "read"):
                answer[name] = value.read()
        return answer

    def _create(self, service: str, region: str) -> Any:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config

        if self._session is None:
            self._session = botocore.session.Session()
            self._session.set_config_variable("region", self._settings.region)
        client = self._session.create_client(
            service,
            region_name=region,
            endpoint_url=self._settings.endpoint_url,
            config=Config(
                signature_version=UNSIGNED,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path", "payload_signing_enabled": False},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                inject_host_prefix=False,
            ),
        )
        signing_name = client.meta.service_model.signing_name
        scope = (
            f"AWS4-HMAC-SHA256 Credential={_ACCESS_KEY}/20260101/{region}/{signing_name}/aws4_request, "
            "SignedHeaders=host, Signature=local"
        )

        def answer(request: Any, event_name: str, **_: Any) -> Any:
            return _answer(self._app, request, scope)

        client.meta.events.register_first("before-send.*.*", answer)
        return client


def service_error(error: Any) -> ServiceError:
    """A ClientError as the ServiceError that one of our services would raise."""
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    return ServiceError(
        details.get("Code", "InternalFailure"), details.get("Message", str(error)), status=status
    )


class _Raw(io.RawIOBase):
    """The body of an answer, read from the application's iterable as far as it is asked for."""

    def __init__(self, result: Iterable[bytes]) -> None:
        self._result = result
        self._parts: Iterator[bytes] = iter(result)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, **_: Any) -> bytes:
        if size is None or size < 0:
            data = self._rest + b"".join(self._parts)
            self._rest = b""
            return data
        while len(self._rest) < size:
            part = next(self._parts, None)
            if part is None:
                break
            self._rest += part
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def stream(self, amt: int = 1 << 16, **_: Any) -> Iterator[bytes]:
        while data := self.read(amt):
            yield data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def release_conn(self) -> None:
        self.close()

    def close(self) -> None:
        close = getattr(self._result, "close", None)
        if close is not None:
            close()
        super().close()


class _Limited:
    """The first ``length`` bytes of a file that a service hands out through ``wsgi.file_wrapper``."""

    def __init__(self, wrapper: FileWrapper, length: int) -> None:
        self._wrapper = wrapper
        self._length = length

    def __iter__(self) -> Iterator[bytes]:
        remaining = self._length
        while remaining > 0 and (data := self._wrapper.file.read(min(remaining, 1 << 20))):
            remaining -= len(data)
            yield data

    def close(self) -> None:
        self._wrapper.close()


def _answer(app: WsgiApp, request: Any, scope: str) -> Any:
    from botocore.awsrequest import AWSResponse, HeadersDict

    environ = _environ(request, scope)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [(status, headers)]
        return lambda data: None

    result = app(environ, start_response)
    if not started:  # a generator starts its response with its first item
        result = _primed(result)
    status, headers = started[0]
    if isinstance(result, FileWrapper):
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 1 << 62)
        result = _Limited(result, length)
    return AWSResponse(request.url, int(status.split(" ", 1)[0]), HeadersDict(headers), _Raw(result))


def _primed(result: Iterable[bytes]) -> Iterable[bytes]:
    parts = iter(result)
    first = next(parts, b"")

    def again() -> Iterator[bytes]:
        yield first
        yield from parts

    return again()


def _environ(request: Any, scope: str) -> Environ:
    url = urlsplit(request.url)
    target = url.path or "/"
    if url.query:
        target += "?" + url.query
    headers = [
        (name, value.decode() if isinstance(value, bytes) else str(value))
        for name, value in request.headers.items()
    ]
    headers.append(("Host", url.netloc))
    headers.append(("Authorization", scope))
    environ = build_environ(request.method, target, headers, (url.hostname, url.port or 80), "127.0.0.1")
    body = request.body
    if body is None:
        body = b""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, (bytes, bytearray)):
        environ["CONTENT_LENGTH"] = str(len(body))
        body = io.BytesIO(body)
    elif "CONTENT_LENGTH" not in environ:
        environ["wsgi.input_terminated"] = True
    environ["wsgi.input"] = body
    environ.pop("HTTP_EXPECT", None)
    environ[IN_PROCESS] = True
    return environ
