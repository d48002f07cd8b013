"""The endpoints' traffic: the inference router over all of them, and where its captures and metrics go."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.sagemaker.capture import DataCapture, Invocation
from triptych.localcloud.sagemaker.invocation_metrics import data_of
from triptych.localcloud.sagemaker.records import Records
from triptych.localcloud.sagemaker.router.messages import Message
from triptych.localcloud.sagemaker.router.settings import RouterSettings
from triptych.localcloud.sagemaker.router.supervisor import RouterSupervisor, listen
from triptych.localcloud.sagemaker.support import Arns
from triptych.localcloud.service import ServiceError

_log = logging.getLogger(__name__)

_NEWS_SECONDS = 10.0


class Live(Protocol):
    """An endpoint that hears of its servers' trouble."""

    def server_hangs(self, path: str) -> None: ...


class Traffic:
    """One router for all endpoints of a local cloud.

    ``limits`` replace RouterSettings' times (``invoke_seconds``, ``replacement_seconds`` …).
    """

    def __init__(self, cloud: Cloud, records: Records, **limits: float) -> None:
        self.store: ObjectStore = cloud.store
        self._cloud = cloud
        self._records = records
        settings = cloud.settings
        listener = cloud.runtime_listener or listen(cloud.home, settings.host, settings.port)
        self.host = settings.host
        router_settings = RouterSettings(
            gateway_host=settings.host,
            gateway_port=settings.port,
            account_id=settings.account_id,
            log_prefix=Arns(cloud).log_prefix,
            **limits,  # type: ignore[arg-type]
        )
        self._router = RouterSupervisor(
            listener, router_settings, self._why_not, self._hear, self._server_hangs
        )
        self._lock = threading.Lock()
        self._serials = 0
        self._lives: dict[str, tuple[int, Live]] = {}
        self._captures: dict[int, DataCapture] = {}
        self._capture_ids = 0

    @property
    def port(self) -> int:
        """Where the router answers InvokeEndpoint."""
        return self._router.port

    @property
    def router_pid(self) -> int | None:
        return self._router.pid

    def start(self) -> None:
        """Start the router with what was published so far."""
        self._router.start()

    def stop(self) -> None:
        """Stop the router, and keep what it had to tell."""
        self._router.stop()

    # For LiveEndpoint

    def enter(self, name: str, live: Live) -> int:
        """``live`` speaks for the endpoint of this name from now on; the number proves it."""
        with self._lock:
            self._serials += 1
            self._lives[name] = self._serials, live
            return self._serials

    def leave(self, name: str, serial: int) -> None:
        """The endpoint is no more, unless another one has its name by now."""
        with self._lock:
            if self._speaks(name, serial):
                del self._lives[name]
                self._router.publish(name, None)

    def publish(self, name: str, serial: int, entry: dict[str, Any]) -> int:
        """Route the endpoint's requests by ``entry``; the number is for ``await_taken``."""
        with self._lock:
            return self._router.publish(name, entry) if self._speaks(name, serial) else 0

    def await_taken(self, generation: int) -> None:
        """Return once the router goes by what was published; raises RouterFailed."""
        self._router.await_taken(generation)

    def drain(self, sockets: Sequence[str], timeout_seconds: float) -> bool:
        """Wait until none of these servers, which are routed to no longer, has a request."""
        return self._router.drain(sockets, timeout_seconds)

    def server_ended(self, path: str) -> None:
        """Tell the router that nobody listens there any more, whatever it sees of the socket."""
        self._router.server_ended(path)

    def remember_capture(self, capture: DataCapture) -> int:
        """Where captured requests that carry this number are written."""
        with self._lock:
            self._capture_ids += 1
            self._captures[self._capture_ids] = capture
            return self._capture_ids

    def forget_captures(self, identities: Iterable[int]) -> None:
        """No requests with these numbers will come any more, beyond what was told so far."""
        wanted = list(identities)

        def forget() -> None:
            for identity in wanted:
                self._captures.pop(identity, None)

        if wanted:
            self._router.after_news(forget)

    def await_news(self) -> None:
        """Return once everything that the router has told so far is written."""
        written = threading.Event()
        self._router.after_news(written.set)
        written.wait(_NEWS_SECONDS)

    # What the router tells

    def _why_not(self, name: str) -> ServiceError:
        account = self._cloud.settings.account_id
        record = self._records.get("endpoint", name)
        if record is None:
            return ServiceError("ValidationError", f"Endpoint {name} of account {account} not found.")
        status = record["EndpointStatus"]
        return ServiceError(
            "ValidationError",
            f"Endpoint {name} of account {account} is not in service: its status is {status}.",
        )

    def _server_hangs(self, name: str, path: str) -> None:
        with self._lock:
            _, live = self._lives.get(name, (0, None))
        if live is not None:
            live.server_hangs(path)

    def _hear(self, message: Message, blobs: Sequence[bytes]) -> None:
        if message["kind"] == "metrics":
            self._cloud.metrics.put(datum for part in message["parts"] for datum in data_of(part))
        else:
            self._write_captures(message, blobs)

    def _write_captures(self, message: Message, blobs: Sequence[bytes]) -> None:
        if message["dropped"]:
            _log.warning("%d captured requests were dropped: they came too fast", message["dropped"])
        groups: dict[int, list[Invocation]] = defaultdict(list)
        for number, record in enumerate(message["records"]):
            groups[record.pop("capture")].append(
                Invocation(
                    request=blobs[2 * number],
                    response=blobs[2 * number + 1],
                    at=datetime.fromtimestamp(record.pop("at"), UTC),
                    **record,
                )
            )
        for identity, invocations in groups.items():
            capture = self._captures.get(identity)
            if capture is not None:
                capture.write(invocations)

    def _speaks(self, name: str, serial: int) -> bool:
        return name in self._lives and self._lives[name][0] == serial
