"""InvokeEndpointAsync: a durable queue before an endpoint's model servers, answers in S3, ends told by SNS."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from triptych.localcloud.bus import ServiceEvent
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.events.courier import Courier
from triptych.localcloud.events.outbox import Delivery, Outbox
from triptych.localcloud.events.targets import Targets
from triptych.localcloud.integrations.workers import WorkerThreads
from triptych.localcloud.s3.store import split_uri
from triptych.localcloud.sagemaker.async_metrics import AsyncMetrics
from triptych.localcloud.sagemaker.async_queue import AsyncQueue, AsyncRequest, Queued
from triptych.localcloud.sagemaker.async_requests import parse_request, validation_error
from triptych.localcloud.sagemaker.async_results import Result, content, location, notification, of_response
from triptych.localcloud.sagemaker.fleet import Server
from triptych.localcloud.sagemaker.model_client import ModelClient, ServerGone, ServerSlow
from triptych.localcloud.sagemaker.service import SageMakerService
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_log = logging.getLogger(__name__)

MAX_INPUT_BYTES = 2**30
"""InvokeEndpointAsync's documented limit"""
_DEFAULT_CONCURRENCY = 4
"""per instance, where the configuration leaves it to SageMaker"""
_MOST_THREADS = 128
_MOST_ATTEMPTS = 3
"""a request that three model servers were lost with may be what brings them down"""
_LOOK_SECONDS = 0.25
"""between two looks for a model server that takes a waiting request"""
_NOT_SERVING = ("Creating", "Failed", "OutOfService", "Deleting")


@dataclass(frozen=True)
class _Place:
    """A model server with room for one more request, and its part of the endpoint's requests."""

    variant: str
    server: Server
    share: float


class AsyncInferenceService:
    """Asks the endpoints of ``sagemaker`` (found in ``cloud.services`` unless given).

    One thread hands requests to model servers in their order, as many at a time as the configuration's
    MaxConcurrentInvocationsPerInstance allows. ``now`` is the time in seconds since the epoch; every
    ``measure_seconds`` the backlogs are measured.
    """

    service_id = "sagemaker-runtime"

    def __init__(
        self,
        cloud: Cloud,
        sagemaker: SageMakerService | None = None,
        *,
        now: Callable[[], float] = time.time,
        measure_seconds: float = 10.0,
    ) -> None:
        self._cloud = cloud
        self._given = sagemaker
        self._now = now
        self._measure_seconds = measure_seconds
        self._queue = AsyncQueue(cloud.home)
        self._metrics = AsyncMetrics(cloud, self._queue)
        self._outbox = Outbox(cloud.home, "async-notifications")
        self._courier = Courier("async notifications", self._outbox, Targets(cloud))
        self._workers = WorkerThreads("async-inference", _MOST_THREADS)
        self._lock = threading.Lock()
        self._under_way: dict[int, str] = {}
        """requests' numbers -> the sockets of the servers that have them"""
        self._measured = 0.0
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.operations: Mapping[str, Operation] = {"InvokeEndpointAsync": self._invoke}
        cloud.bus.subscribe(ServiceEvent, self._service_event)

    def start(self) -> None:
        """Go on with what waits; requests that were under way are asked anew."""
        self._courier.start()
        self._thread = threading.Thread(target=self._run, name="async inference", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is under way is asked again by the next start."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._workers.stop()
        self._courier.stop()

    @property
    def _sagemaker(self) -> SageMakerService:
        if self._given is None:
            self._given = self._cloud.services["sagemaker"]
        return self._given

    # The operation

    def _invoke(self, context: RequestContext, params: Params) -> Params:
        """Accept a request; raises ValidationError."""
        request, inline = parse_request(params, self._async_config(params["EndpointName"]), self._now())
        self._queue.put(request, inline)
        self._wake.set()
        answer = {
            "InferenceId": request.inference_id,
            "OutputLocation": request.output_location,
            "FailureLocation": request.failure_location,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def _async_config(self, name: str) -> dict[str, Any]:
        account = self._cloud.settings.account_id
        try:
            record = self._sagemaker.endpoints.find(name)
        except ServiceError:
            raise validation_error(f"Endpoint {name} of account {account} not found.") from None
        if record["EndpointStatus"] in _NOT_SERVING:
            raise validation_error(
                f"Endpoint {name} of account {account} is not in service: its status is "
                f"{record['EndpointStatus']}."
            )
        config: dict[str, Any] | None = record.get("AsyncInferenceConfig")
        if config is None:
            raise validation_error(
                f"Endpoint {name} of account {account} is not asynchronous: its configuration has no "
                "AsyncInferenceConfig. Use InvokeEndpoint."
            )
        return config

    # The thread

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            pause = _LOOK_SECONDS
            try:
                pause = self.look()
            except Exception:
                if not self._stopped.is_set():
                    _log.exception("asynchronous inference: trying again in %s s", pause)
            self._wake.wait(pause)

    def look(self) -> float:
        """Hand out what can be; answers in how many seconds to come again."""
        now = self._now()
        for expired in self._queue.expired(now):
            with self._lock:
                waits = expired.seq not in self._under_way
            if waits:
                reason = "The request was in the queue for longer than its RequestTTLSeconds."
                self._end(expired, Result("Expired", reason=f"ClientError: {reason}"), None, now)
        names = self._queue.endpoints()
        for name in names:
            self._hand_out(name)
        if now - self._measured >= self._measure_seconds:
            self._measured = now
            self._metrics.measure(self._endpoints(), now)
        return min(_LOOK_SECONDS, self._measure_seconds) if names else self._measure_seconds

    def _endpoints(self) -> Iterator[tuple[str, int]]:
        """Each asynchronous endpoint and the instances that it has."""
        for record in self._sagemaker.endpoints.all():
            if (
                record.get("AsyncInferenceConfig") is not None
                and record["EndpointStatus"] not in _NOT_SERVING
            ):
                yield record["EndpointName"], len(list(self._places(record["EndpointName"])))

    def _hand_out(self, name: str) -> None:
        """Give an endpoint's oldest requests to its servers, as far as they have room."""
        try:
            config = self._sagemaker.endpoints.find(name).get("AsyncInferenceConfig") or {}
        except ServiceError:
            gone = self._queue.drop(name)
            _log.warning("%d asynchronous requests of the deleted endpoint %s are dropped", gone, name)
            return
        most = (config.get("ClientConfig") or {}).get(
            "MaxConcurrentInvocationsPerInstance", _DEFAULT_CONCURRENCY
        )
        with self._lock:
            taken = dict(self._under_way)
        load = Counter(taken.values())
        places = list(self._places(name))
        room = sum(max(0, most - load[place.server.socket]) for place in places)
        for queued in self._queue.waiting(name, len(taken) + room):
            if queued.seq in taken:
                continue
            free = [place for place in places if load[place.server.socket] < most]
            if not free:
                return
            place = random.choices(free, [place.share for place in free])[0]
            load[place.server.socket] += 1
            with self._lock:
                self._under_way[queued.seq] = place.server.socket
            self._workers.submit(partial(self._work, queued, place))

    def _places(self, name: str) -> Iterator[_Place]:
        """The endpoint's model servers that answer."""
        live = self._sagemaker.endpoints.live(name)
        for share in live.shares if live is not None else ():
            variants = [item for item in share.fleet.variants.values() if not item.plan.shadow]
            weights = sum(item.weight for item in variants)
            for item in variants:
                ready = [server for server in item.servers if server.ready.is_set()]
                for server in ready:
                    part = share.share * item.weight / (weights or 1) / len(ready)
                    if part > 0:
                        yield _Place(item.plan.name, server, part)

    # One request

    def _work(self, queued: Queued, place: _Place) -> None:
        """Ask a server and end the request; it waits again where the server was lost."""
        try:
            started = self._now()
            result = self._ask(queued, place)
            if result is not None and not self._stopped.is_set():
                self._end(queued, result, place.variant, started)
        finally:
            with self._lock:
                del self._under_way[queued.seq]
            self._wake.set()

    def _ask(self, queued: Queued, place: _Place) -> Result | None:
        request = queued.request
        try:
            body = self._input(queued)
        except ServiceError as error:
            return Result("Failed", reason=f"ClientError: {error.message}")
        client = ModelClient(place.server.socket)
        try:
            response = client.request(
                "POST", "/invocations", _headers(request), body, request.timeout_seconds
            )
        except ServerGone as error:
            if self._stopped.is_set():
                return None
            self._queue.lost(queued.seq)
            if queued.attempts + 1 < _MOST_ATTEMPTS:
                return None
            return Result(
                "Failed",
                reason=f"InternalServerError: {_MOST_ATTEMPTS} model servers were lost with this request, "
                f"the last one so: {error}",
            )
        except ServerSlow:
            reason = (
                f"ClientError: The model did not answer within InvocationTimeoutSeconds "
                f"({request.timeout_seconds:g})."
            )
            return Result("Expired", reason=reason)
        finally:
            client.close()
        return of_response(response)

    def _input(self, queued: Queued) -> bytes:
        """What the model is asked; raises ServiceError."""
        source = queued.request.input_location
        if source is None:
            return self._queue.body(queued.seq) or b""
        try:
            record = self._cloud.store.head(*split_uri(source))
            if record.size_bytes > MAX_INPUT_BYTES:
                raise validation_error(
                    f"The object at {source} has {record.size_bytes} bytes, more than the {MAX_INPUT_BYTES} "
                    "allowed."
                )
            return record.path.read_bytes()
        except (OSError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.code == "ValidationError":
                raise
            raise ServiceError(
                "NoSuchKey",
                "Failed to download data. Please ensure that there is an object at the URL and that you have "
                f"permission to access it: {source}",
            ) from error

    def _end(self, queued: Queued, result: Result, variant: str | None, started: float) -> None:
        """Store the answer, tell the topic, forget the request; repeated, it does the same again."""
        request = queued.request
        trouble = self._store(request, result)
        if trouble and result.completed:
            result = Result("Failed", reason=f"ClientError: {trouble}")
            trouble = self._store(request, result)
        if trouble:
            result = Result(result.status, reason=f"{result.reason} {trouble}")
        now = self._now()
        told = notification(request, result, self._cloud.settings.region, now)
        if told is not None:
            topic, message = told
            self._outbox.route([], [Delivery(str(uuid4()), topic, {"Arn": topic}, message)])
            self._courier.wake()
        self._queue.done(queued.seq)
        self._metrics.ended(request, result, variant, started, now)

    def _store(self, request: AsyncRequest, result: Result) -> str:
        """Put the end of a request where it belongs; answers why that was not possible, "" where it was."""
        target = location(request, result)
        if target is None:
            return ""
        try:
            self._cloud.store.put_bytes(*split_uri(target), *content(result))
        except ServiceError as error:
            return f"Failed to upload to {target}: {error.message}"
        return ""

    def _service_event(self, message: ServiceEvent) -> None:
        if message.detail_type == "SageMaker Endpoint State Change":
            self._wake.set()


def _headers(request: AsyncRequest) -> dict[str, str]:
    given = {
        "Content-Type": request.content_type,
        "Accept": request.accept,
        "X-Amzn-SageMaker-Custom-Attributes": request.custom_attributes,
        "X-Amzn-SageMaker-Inference-Id": request.inference_id,
    }
    return {
        name: value.replace("\r", " ").replace("\n", " ")
        for name, value in given.items()
        if value is not None
    }
