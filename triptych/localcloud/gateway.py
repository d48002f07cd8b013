"""The local AWS endpoint: routes each request to one of our services or to moto."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from triptych.localcloud.clients import Clients
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.http_server import loopback
from triptych.localcloud.moto_backend import MotoBackend
from triptych.localcloud.routing import Route, Router
from triptych.localcloud.service import Operation, Params, RequestContext, Service, ServiceError
from triptych.localcloud.wire import Exchange, plain_error
from triptych.localcloud.wsgi import (
    IN_PROCESS,
    MOTO_APP,
    ROUTE,
    Environ,
    Response,
    StartResponse,
    json_response,
)

_log = logging.getLogger(__name__)
_NOT_SERVED = ("/moto-api/", "/latest/meta-data/", "/latest/api/", "/favicon.ico")
"""moto's own control paths (one of them forgets everything) and the instance metadata service"""


class Gateway:
    """One WSGI application for everything.

    ``(service, operation)`` found in a service's ``operations`` is parsed, answered by the handler and
    serialised. A service with a ``wsgi`` method (S3) gets its requests raw, and moto as
    ``environ["triptych.moto_app"]``. The rest is moto's. Requests from outside wait until the services have
    started.
    """

    def __init__(self, cloud: Cloud, moto: MotoBackend) -> None:
        self._cloud = cloud
        self._moto = moto
        self._router = Router(cloud.settings.region)
        self._operations: dict[tuple[str, str], Operation] = {}
        self._raw: dict[str, Callable[[Environ, StartResponse], Iterable[bytes]]] = {}
        self._started_at = time.time()
        self._services_ready = threading.Event()
        self._startup_failure = ""
        self._moto_clients = Clients(self.moto_app, cloud.settings)
        self._service_states: dict[str, str] = {}
        self.on_stop: Callable[[], None] = lambda: None
        # Error codes that botocore's models leave out are fine: AWS's own services answer with such, too.
        warnings.filterwarnings("ignore", message=r"Exception\(_WireError\)")

    def add(self, service: Service) -> None:
        """Serve this service's operations from now on."""
        for operation, handler in service.operations.items():
            self._operations[(service.service_id, operation)] = handler
        raw = getattr(service, "wsgi", None)
        if raw is not None:
            self._raw[service.service_id] = raw
        self._service_states[service.service_id] = "starting"

    def mark_started(self, service_id: str, failure: str = "") -> None:
        self._service_states[service_id] = f"failed: {failure}" if failure else "ready"

    def open(self, failure: str = "") -> None:
        """The services have started: requests from outside need wait no longer."""
        self._startup_failure = failure
        self._services_ready.set()

    def wait_open(self, timeout_seconds: float) -> bool:
        """Whether the services have started within the time."""
        return self._services_ready.wait(timeout_seconds)

    # -- requests

    def wsgi(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers every request; whatever goes wrong becomes an AWS-shaped error."""
        request_id = str(uuid4())
        try:
            if IN_PROCESS not in environ:
                refusal = self._refusal(environ)
                if refusal is not None:
                    return refusal.send(start_response)
                if environ["PATH_INFO"].startswith("/_triptych/"):
                    return self._control(environ).send(start_response)
                self._services_ready.wait()
            return self._dispatch(environ, start_response, request_id)
        except ServiceError as error:
            return plain_error(environ, error, request_id).send(start_response)
        except NotImplementedError as error:
            _log.warning("%s %s: %s", environ["REQUEST_METHOD"], environ["RAW_URI"], error)
            return plain_error(environ, _missing(error), request_id).send(start_response)
        except Exception as error:
            _log.exception(
                "%s %s failed (request %s)", environ["REQUEST_METHOD"], environ["RAW_URI"], request_id
            )
            return plain_error(environ, _internal(error), request_id).send(start_response)

    def moto_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """moto's answer to a raw request, journalled where it changes something."""
        route = self._route(environ)
        return self._moto.application(environ, start_response, route.service, route.operation)

    def _route(self, environ: Environ) -> Route:
        known = environ.get(ROUTE)
        if isinstance(known, Route):
            return known
        route = self._router.route(environ)
        environ[ROUTE] = route
        return route

    def _dispatch(self, environ: Environ, start_response: StartResponse, request_id: str) -> Iterable[bytes]:
        route = self._route(environ)
        raw = self._raw.get(route.service)
        if raw is not None:
            environ[MOTO_APP] = self.moto_app
            return raw(environ, start_response)
        handler = self._operations.get((route.service, route.operation))
        if handler is None and environ.get("HTTP_SMITHY_PROTOCOL"):
            handler = _forward  # moto does not read CBOR, we do
        if handler is None:
            return self._moto.application(environ, start_response, route.service, route.operation)
        return self._call(handler, route, environ, request_id).send(start_response)

    def _call(self, handler: Operation, route: Route, environ: Environ, request_id: str) -> Response:
        exchange = Exchange(environ, route, request_id)
        try:
            return exchange.answer(handler(self._context(route, environ, request_id), exchange.params()))
        except ServiceError as error:
            return exchange.error(error)
        except NotImplementedError as error:  # moto's, of what was handed on to it
            return exchange.error(_missing(error))
        except Exception as error:
            _log.exception("%s.%s failed (request %s)", route.service, route.operation, request_id)
            return exchange.error(_internal(error))

    def _context(self, route: Route, environ: Environ, request_id: str) -> RequestContext:
        settings = self._cloud.settings

        def forward(params: Params) -> Params:
            return self._moto_clients.call(route.service, route.operation, params, route.region)

        return RequestContext(
            service=route.service,
            operation=route.operation,
            region=route.region,
            account_id=settings.account_id,
            partition=settings.partition,
            request_id=request_id,
            principal=route.access_key,
            headers=_headers(environ),
            forward=forward,
        )

    def _refusal(self, environ: Environ) -> Response | None:
        """Loopback only, by name too: a web page must not reach the endpoint through a name of its own."""
        host = environ.get("HTTP_HOST", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not loopback(name):
            return json_response(
                403, {"message": f"Host '{host}' is not this machine: use 127.0.0.1 or localhost."}
            )
        origin = environ.get("HTTP_ORIGIN", "")
        if origin and not loopback(origin.split("://", 1)[-1].rsplit(":", 1)[0]):
            return json_response(403, {"message": f"Pages of '{origin}' may not call the local cloud."})
        if environ["PATH_INFO"].startswith(_NOT_SERVED):
            return json_response(404, {"message": f"the local cloud does not serve {environ['PATH_INFO']}"})
        return None

    # -- control

    def health(self) -> dict[str, Any]:
        """What ``/_triptych/health`` tells."""
        failure = self._startup_failure
        if self._moto.failure is not None:
            failure = failure or f"moto could not be loaded: {self._moto.failure}"
        return {
            "product": "triptych",
            "pid": os.getpid(),
            "home": str(self._cloud.home.root),
            "endpoint_url": self._cloud.settings.endpoint_url,
            "region": self._cloud.settings.region,
            "account_id": self._cloud.settings.account_id,
            "ready": self._services_ready.is_set() and not failure,
            "failure": failure,
            "services": dict(self._service_states),
            "moto": {
                "ready": self._moto.ready,
                "replayed": self._moto.replayed,
                "replay_seconds": round(self._moto.replay_seconds, 3),
                "replay_failures": self._moto.replay_failures,
            },
            "started_at": self._started_at,
            "uptime_seconds": round(time.time() - self._started_at, 3),
        }

    def _control(self, environ: Environ) -> Response:
        path = environ["PATH_INFO"]
        if path == "/_triptych/health":
            return json_response(200, self.health())
        if path == "/_triptych/stop":
            if environ["REQUEST_METHOD"] != "POST":
                return json_response(405, {"message": "stop is a POST"})
            threading.Thread(target=self.on_stop, name="stop", daemon=True).start()
            return json_response(200, {"stopping": True})
        return json_response(404, {"message": f"no {path} here"})


def _missing(error: NotImplementedError) -> ServiceError:
    return ServiceError("NotImplemented", f"the local cloud has no such operation: {error}", status=501)


def _forward(context: RequestContext, params: Params) -> Params:
    assert context.forward is not None
    return context.forward(params)


def _internal(error: Exception) -> ServiceError:
    return ServiceError(
        "InternalFailure", f"{type(error).__name__}: {error} (the traceback is in gateway.log)", status=500
    )


def _headers(environ: Environ) -> dict[str, str]:
    return {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
