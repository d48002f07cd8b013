"""moto behind the gateway: its own WSGI applications, and its state kept over restarts by replaying
requests.
"""

from __future__ import annotations

import io
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from triptych.localcloud.cloud import Settings
from triptych.localcloud.home import Home
from triptych.localcloud.http_server import build_environ
from triptych.localcloud.moto_determinism import (
    install_backend_ids,
    install_clock,
    install_key_material,
    reproducible,
)
from triptych.localcloud.moto_missing_operations import install_missing_operations
from triptych.localcloud.moto_s3_objects import ObjectReads, Objects, install_objects, object_reads
from triptych.localcloud.request_journal import JournalledRequest, RequestJournal
from triptych.localcloud.service import ServiceError
from triptych.localcloud.wsgi import Environ, Response, StartResponse, WsgiApp, call, read_body

_log = logging.getLogger(__name__)

_READ_PREFIXES = (
    "BatchGet", "Check", "Decode", "Decrypt", "Describe", "Detect", "Encrypt", "Estimate", "Filter",
    "GenerateDataKey", "GenerateMac", "GenerateRandom", "Get", "Head", "List", "Lookup", "Preview", "Query",
    "ReEncrypt", "Scan", "Search", "Select", "Sign", "Simulate", "Tail", "Test", "TransactGet", "Validate",
    "Verify",
)  # fmt: skip
_UNRECORDED_SERVICES = frozenset({"sts", "cloudformation", "moto_api"})
_DROPPED_HEADERS = frozenset(
    {
        "HTTP_CONNECTION",
        "HTTP_EXPECT",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_AMZ_SDK_INVOCATION_ID",
        "HTTP_AMZ_SDK_REQUEST",
    }
)
_PRELOADED = (
    "s3", "iam", "sts", "sns", "sqs", "ssm", "kms", "logs", "events", "scheduler", "glue",
    "sagemaker", "dynamodb", "awslambda", "ecr", "secretsmanager",
)  # fmt: skip
_POLL_SECONDS = 0.05
_ACCOUNT_HEADER = "HTTP_X_MOTO_ACCOUNT_ID"
_mutation = threading.RLock()
"""one for the process: moto's generator of ids is one for the process, too"""


def changes_state(service: str, operation: str, method: str) -> bool:
    """Whether a request can change moto's state, and so belongs in the journal.

    ``operation`` may be empty (REST services that we do not model): then the HTTP method tells.
    """
    if service in _UNRECORDED_SERVICES:
        return False
    if operation:
        return not operation.startswith(_READ_PREFIXES)
    return method not in ("GET", "HEAD", "OPTIONS")


class MotoBackend:
    """moto's applications, one request at a time where state changes, and the journal of those.

    moto keeps its state in module globals, by account: in one process each MotoBackend needs an account id of
    its own. A new one empties its account and replays its own home's journal.
    """

    def __init__(self, home: Home, settings: Settings, objects: Objects | None = None) -> None:
        self._settings = settings
        self._objects = objects
        self.journal = RequestJournal(home)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stopped = False
        self._dispatcher: Any = None
        self.replayed = 0
        self.replay_seconds = 0.0
        self.replay_failures: list[str] = []

    def start(self) -> None:
        """Load moto and replay the journal in the background; requests wait for it.

        moto's core is loaded here and now: its modules (and werkzeug's) import each other in circles, which
        two threads at once would see half done.
        """
        import moto.core.parse
        import moto.core.routing
        import moto.core.serialize
        import moto.moto_server.werkzeug_app  # noqa: F401

        threading.Thread(target=self._load, name="moto", daemon=True).start()

    def stop(self) -> None:
        """Finish the request that is being journalled, and take no more."""
        with _mutation:
            self._stopped = True

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def failure(self) -> BaseException | None:
        """Why moto could not be loaded, if so."""
        return self._failure

    def wait_ready(self, timeout_seconds: float = 120.0) -> None:
        """Returns when moto answers; raises RuntimeError where it could not be loaded."""
        if not self._ready.wait(timeout_seconds):
            raise RuntimeError(
                f"moto was not ready after {timeout_seconds:.0f} s; see gateway.log in the home folder"
            )
        if self._failure is not None:
            raise RuntimeError(f"moto could not be loaded: {self._failure}") from self._failure

    def application(
        self, environ: Environ, start_response: StartResponse, service: str = "", operation: str = ""
    ) -> Iterable[bytes]:
        """moto's answer. ``service`` and ``operation`` say what the router found out about the request."""
        self.wait_ready()
        environ[_ACCOUNT_HEADER] = self._settings.account_id
        if not changes_state(service, operation, environ["REQUEST_METHOD"]):
            return _answered(call(self._dispatcher, environ), environ).send(start_response)
        body = read_body(environ)
        if service == "sqs" and operation == "ReceiveMessage":
            return self._receive_message(environ, body).send(start_response)
        return self._apply(environ, body, service, operation).send(start_response)

    def _apply(self, environ: Environ, body: bytes, service: str, operation: str) -> Response:
        """Runs a request that may change state; journalled before it is acknowledged."""
        with _mutation:
            if self._stopped:
                raise ServiceError("ServiceUnavailable", "the local cloud is stopping", status=503)
            seed, now = secrets.randbits(62), time.time()
            with reproducible(seed, datetime.fromtimestamp(now, UTC)), object_reads(ObjectReads()) as reads:
                response = call(self._dispatcher, {**environ, "wsgi.input": io.BytesIO(body)})
            response = _answered(response, environ)
            if response.status < 400 and _worth_keeping(operation, response):
                self.journal.append(
                    JournalledRequest(
                        time=now,
                        seed=seed,
                        service=service,
                        operation=operation or environ["REQUEST_METHOD"],
                        method=environ["REQUEST_METHOD"],
                        uri=environ["RAW_URI"],
                        headers=_kept_headers(environ),
                        body=body,
                        reads=reads.recorded,
                    )
                )
            return response

    def _receive_message(self, environ: Environ, body: bytes) -> Response:
        """SQS long polling without holding up others: moto is asked again and again, each time at once."""
        seconds, at_once = self._long_poll(environ, body)
        environ = {**environ, "CONTENT_LENGTH": str(len(at_once))}
        deadline = time.monotonic() + seconds
        while True:
            response = self._apply(environ, at_once, "sqs", "ReceiveMessage")
            remaining = deadline - time.monotonic()
            if response.status >= 400 or remaining <= 0 or _worth_keeping("ReceiveMessage", response):
                return response
            time.sleep(min(_POLL_SECONDS, remaining))

    def _long_poll(self, environ: Environ, body: bytes) -> tuple[float, bytes]:
        """How long a ReceiveMessage may wait, and its body with no wait."""
        if environ.get("HTTP_X_AMZ_TARGET"):
            document = json.loads(body or b"{}")
            url, wait = document.get("QueueUrl", ""), document.get("WaitTimeSeconds")
            document["WaitTimeSeconds"] = 0
            at_once = json.dumps(document).encode()
        else:
            form = {
                name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()
            }
            url, wait = form.get("QueueUrl", environ["PATH_INFO"]), form.get("WaitTimeSeconds")
            form["WaitTimeSeconds"] = "0"
            at_once = urlencode(form).encode()
        if wait is None:
            wait = self._queue_wait_seconds(url.rstrip("/").rsplit("/", 1)[-1])
        return min(float(wait), 20.0), at_once

    def _queue_wait_seconds(self, queue: str) -> float:
        from moto.sqs.models import sqs_backends

        found = sqs_backends[self._settings.account_id][self._settings.region].queues.get(queue)
        return float(getattr(found, "receive_message_wait_time_seconds", 0) or 0)

    def _load(self) -> None:
        try:
            self._import()
            self._replay()
        except BaseException as error:
            _log.exception("moto could not be loaded")
            self._failure = error
        finally:
            self._ready.set()
        if self._failure is None:
            self._preload()

    def _import(self) -> None:
        from moto.core.base_backend import BackendDict
        from moto.core.config import default_user_config

        default_user_config["iam"]["load_aws_managed_policies"] = True
        default_user_config["lambda"]["use_docker"] = False
        default_user_config["batch"]["use_docker"] = False
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication

        install_clock()
        install_key_material()
        install_backend_ids()
        install_missing_operations()
        if self._objects is not None:
            install_objects(self._settings.account_id, self._objects)
        for backends in list(BackendDict._instances):
            if self._settings.account_id in backends.keys():  # noqa: SIM118 - `in` asks another question
                backends[self._settings.account_id].reset()
                del backends[self._settings.account_id]
        self._dispatcher = DomainDispatcherApplication(_create_app)

    def _preload(self) -> None:
        from moto import backends

        for name in _PRELOADED:
            try:
                # moto's dispatcher loads backends under this lock; two threads that load modules which import
                # each other in circles would see them half done.
                with self._dispatcher.lock:
                    backends.get_backend(name)
            except Exception:
                _log.exception("moto's %s could not be preloaded", name)

    def _replay(self) -> None:
        started = time.perf_counter()
        with _mutation, _SilencedDeliveries():
            for entry in self.journal.entries():
                self._replay_one(entry)
        self.replay_seconds = time.perf_counter() - started
        if self.replayed:
            _log.info("replayed %d requests in %.2f s", self.replayed, self.replay_seconds)

    def _replay_one(self, entry: JournalledRequest) -> None:
        problem = ""
        try:
            response = self._again(entry)
            if response.status >= 400:
                problem = f"{response.status} {response.body[:500].decode(errors='replace')}"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        self.replayed += 1
        if problem:
            name = f"{entry.service}.{entry.operation} (entry {entry.id})"
            self.replay_failures.append(name)
            _log.error("replay of %s failed, the entry is kept: %s", name, problem)

    def _again(self, entry: JournalledRequest) -> Response:
        here = (self._settings.host, self._settings.port)
        environ = build_environ(entry.method, entry.uri, [], here, self._settings.host)
        environ.update(entry.headers)
        environ[_ACCOUNT_HEADER] = self._settings.account_id
        environ["CONTENT_LENGTH"] = str(len(entry.body))
        environ["wsgi.input"] = io.BytesIO(entry.body)
        reads = ObjectReads(recorded=entry.reads, replaying=True)
        with reproducible(entry.seed, datetime.fromtimestamp(entry.time, UTC)), object_reads(reads):
            return call(self._dispatcher, environ)


def _create_app(backend: Any) -> WsgiApp:
    """moto's application for one backend, without the debugging and CORS that fit a test server only.

    Permissive CORS headers would let any web page the user visits talk to the local cloud.
    """
    import moto.moto_server.werkzeug_app as werkzeug_app

    werkzeug_app.DISABLE_GLOBAL_CORS = True
    app: Any = werkzeug_app.create_backend_app(backend)
    app.debug = False
    app.config["PROPAGATE_EXCEPTIONS"] = True  # the gateway answers and logs what moto raises
    application: WsgiApp = app
    return application


class _SilencedDeliveries:
    """Within it SNS posts nothing to HTTP subscribers: they got their message when it was published."""

    def __enter__(self) -> None:
        import moto.sns.models as sns_models

        self._module = sns_models
        self._requests = sns_models.requests  # a moto without it fails here, loudly

        class Silent:
            @staticmethod
            def post(*args: Any, **kwargs: Any) -> None:
                return None

        sns_models.requests = Silent

    def __exit__(self, *exc_info: object) -> None:
        self._module.requests = self._requests


def _answered(response: Response, environ: Environ) -> Response:
    """Raises NotImplementedError where moto has no such path at all: its web framework answers with a
    page.
    """
    if response.status in (404, 405) and response.body[:15].lower() == b"<!doctype html>":
        raise NotImplementedError(f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}")
    return response


def _worth_keeping(operation: str, response: Response) -> bool:
    if operation == "ReceiveMessage":
        return b'"Messages"' in response.body or b"<Message>" in response.body
    return True


def _kept_headers(environ: Environ) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith("HTTP_") and name not in _DROPPED_HEADERS and isinstance(value, str)
    }
    if environ.get("CONTENT_TYPE"):
        kept["CONTENT_TYPE"] = environ["CONTENT_TYPE"]
    return kept
