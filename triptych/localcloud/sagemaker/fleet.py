"""The model servers behind an endpoint: one process an instance, health-checked, replaced when it dies."""

from __future__ import annotations

import itertools
import logging
import random
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.jobs.spec import JobExit, JobSpec, ScriptEntry
from triptych.localcloud.sagemaker import containers
from triptych.localcloud.sagemaker.layout import base_environment
from triptych.localcloud.sagemaker.model_client import (
    ModelClient,
    ModelResponse,
    ServerGone,
    ServerSlow,
)
from triptych.localcloud.sagemaker.process import JobLog
from triptych.localcloud.sagemaker.support import instance_memory_bytes

_log = logging.getLogger(__name__)

LOG_GROUP_PREFIX = "/aws/sagemaker/Endpoints/"
_STARTUP_SECONDS = 600.0
_STOP_GRACE_SECONDS = 30.0
_LONGEST_SOCKET_PATH = 100
_QUICK_DEATH_SECONDS = 5.0
_QUICK_DEATHS = 3
_RETRY_SECONDS = 30.0


class FleetFailed(Exception):
    """A variant's servers did not come up; the text is the endpoint's FailureReason."""


class NoServer(Exception):
    """No server of the variant runs at the moment."""


@dataclass(frozen=True)
class VariantPlan:
    """All a variant needs to be started again after a restart, whatever became of its model's records."""

    name: str
    weight: float
    instances: int
    image: str
    model_dir: str
    code_dir: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    instance_type: str | None = None
    startup_seconds: float = _STARTUP_SECONDS
    shadow: bool = False
    """gets copies of the requests; its weight over the production variants' sum is the copied share"""
    max_concurrency: int | None = None
    """more requests at a time are refused (ThrottlingException), as a serverless variant refuses them"""
    memory_bytes: int | None = None
    """replaces what the instance type allows, as a serverless variant's memory size does"""

    @staticmethod
    def from_record(record: dict[str, Any]) -> VariantPlan:
        return VariantPlan(**record)


class Server:
    """One model server process and the connections to it."""

    def __init__(self, cloud: Cloud, endpoint: str, plan: VariantPlan, sockets: Path) -> None:
        self._cloud = cloud
        self._plan = plan
        identity = uuid4().hex[:12]
        self.stream = f"{plan.name}/i-{identity}"
        self._log = JobLog(cloud.logs, f"{LOG_GROUP_PREFIX}{endpoint}", self.stream)
        self._endpoint = endpoint
        self._path = _socket_path(sockets, identity)
        self._client: ModelClient | None = None
        self._process: Any = None
        self._stopping = False
        self._exited = threading.Event()
        self._deaths = 0
        self.ready = threading.Event()
        self.in_flight = 0

    def launch(self) -> None:
        """Start the process. It listens from the first moment: requests wait until the model is loaded."""
        self._exited.clear()
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        listener.listen(1024)
        settings = self._cloud.settings
        scratch = self._path.parent
        environment = base_environment(settings.region, settings.endpoint_url, scratch)
        environment["TMPDIR"] = tempfile.gettempdir()
        environment["PYTHONPATH"] = str(containers.SERVE)
        spec = JobSpec(
            name=f"endpoint {self._endpoint} {self._plan.name}",
            pool="jobs",
            entry=ScriptEntry(containers.SERVE / "serve.py"),
            env=environment | self._plan.environment,
            cwd=Path(self._plan.model_dir),
            memory_limit_bytes=self._plan.memory_bytes or instance_memory_bytes(self._plan.instance_type),
            channel=listener,
        )
        self._client = ModelClient(str(self._path))
        launched = time.monotonic()
        self._process = self._cloud.jobs.start(
            spec, None, lambda how: self._on_exit(how, launched), on_lines=self._log
        )

    def await_health(self) -> None:
        """Return once ``/ping`` answers 200; raises FleetFailed when it does not, or the process ends."""
        assert self._client is not None
        try:
            answer = self._client.request("GET", "/ping", {}, b"", self._plan.startup_seconds)
            problem = "" if answer.status == 200 else f"/ping answered {answer.status}"
        except ServerGone as error:
            self._exited.wait(2.0)
            problem = self._log.last_error or str(error)
        except ServerSlow as error:
            problem = str(error)
        if problem:
            raise FleetFailed(
                f"The primary container for production variant {self._plan.name} did not pass the "
                "ping health "
                f"check. Please check CloudWatch logs for this endpoint. ({problem[:600]})"
            )
        self.ready.set()

    def invoke(self, headers: dict[str, str], body: bytes, timeout_seconds: float) -> ModelResponse:
        """One ``/invocations``; raises ServerGone, ServerSlow."""
        assert self._client is not None
        return self._client.request("POST", "/invocations", headers, body, timeout_seconds)

    def stop(self) -> None:
        """End the process once its requests are answered (SIGTERM, then SIGKILL); returns at once."""
        self._stopping = True
        self.ready.clear()
        if self._client is not None:
            self._client.close()
        if self._process is not None:
            self._process.terminate(_STOP_GRACE_SECONDS)
        self._path.unlink(missing_ok=True)

    def _on_exit(self, how: JobExit, launched: float) -> None:
        self._exited.set()
        was_ready = self.ready.is_set()
        self.ready.clear()
        if self._stopping or not was_ready:
            return
        if self._client is not None:
            self._client.close()
        lived = time.monotonic() - launched
        self._deaths = self._deaths + 1 if lived < _QUICK_DEATH_SECONDS else 1
        self._log([f"[local cloud] the model server ended ({how.reason}); it is started again"])
        if self._deaths > _QUICK_DEATHS:
            time.sleep(_RETRY_SECONDS)
        try:
            if not self._stopping:
                self.launch()
                self.await_health()
        except Exception as error:
            self._log([f"[local cloud] the model server does not come back: {error}"])
        if self._stopping:
            self.stop()


class Variant:
    """A production variant: its servers and its share of the traffic."""

    def __init__(self, cloud: Cloud, endpoint: str, plan: VariantPlan, sockets: Path) -> None:
        self.plan = plan
        self.weight = plan.weight
        self.servers = [Server(cloud, endpoint, plan, sockets) for _ in range(max(1, plan.instances))]
        self._turn = itertools.count()
        self._cloud, self._endpoint, self._sockets = cloud, endpoint, sockets

    def choose(self) -> Server:
        """The ready server with the fewest requests; waits a little for one that is being replaced."""
        servers = self.servers
        if len(servers) == 1 and servers[0].ready.is_set():
            return servers[0]
        ready = [server for server in servers if server.ready.is_set()]
        if not ready:
            if servers[0].ready.wait(_QUICK_DEATH_SECONDS):
                return servers[0]
            raise NoServer(f"no model server of variant {self.plan.name} is running")
        start = next(self._turn) % len(ready)
        return min(ready[start:] + ready[:start], key=lambda server: server.in_flight)

    def resize(self, instances: int) -> None:
        """Start or stop servers until there are ``instances``; raises FleetFailed and changes nothing."""
        servers = list(self.servers)
        added = [
            Server(self._cloud, self._endpoint, self.plan, self._sockets)
            for _ in range(instances - len(servers))
        ]
        try:
            for server in added:
                server.launch()
            for server in added:
                server.await_health()
        except Exception:
            for server in added:
                server.stop()
            raise
        self.servers = (servers + added)[:instances]
        for server in servers[instances:]:
            server.stop()


class Fleet:
    """All servers of one endpoint configuration. Requests ``enter`` and ``leave`` it."""

    def __init__(self, cloud: Cloud, endpoint: str, plans: list[VariantPlan]) -> None:
        sockets = cloud.home.scratch / "sockets"
        self.variants = {plan.name: Variant(cloud, endpoint, plan, sockets) for plan in plans}
        self._idle = threading.Condition()
        self._leases = 0

    def start(self) -> None:
        """Start every server and wait until all are healthy; raises FleetFailed once all are stopped."""
        servers = [server for variant in self.variants.values() for server in variant.servers]
        try:
            for server in servers:
                server.launch()
            for server in servers:
                server.await_health()
        except BaseException:
            self.stop()
            raise

    def choose(self) -> Variant:
        """A variant by the weights."""
        variants = [variant for variant in self.variants.values() if not variant.plan.shadow]
        if len(variants) == 1:
            return variants[0]
        weights = [variant.weight for variant in variants]
        if sum(weights) <= 0:
            raise NoServer("every variant has the weight 0")
        return random.choices(variants, weights)[0]

    def reweigh(self, weights: Mapping[str, float]) -> None:
        """New weights of variants, all at once."""
        for name, weight in weights.items():
            self.variants[name].weight = weight

    def resize(self, variant: str, instances: int) -> None:
        """Start or stop the variant's servers until there are ``instances``; no request is lost.

        Raises FleetFailed, and then nothing has changed.
        """
        self.variants[variant].resize(instances)

    def enter(self) -> None:
        with self._idle:
            self._leases += 1

    def leave(self) -> None:
        with self._idle:
            self._leases -= 1
            if not self._leases:
                self._idle.notify_all()

    def await_idle(self, timeout_seconds: float) -> bool:
        """Wait until no request is under way; False when the time is over."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._leases, timeout_seconds)

    def stop(self) -> None:
        for variant in self.variants.values():
            for server in variant.servers:
                server.stop()


def _socket_path(folder: Path, identity: str) -> Path:
    """A path short enough for a Unix socket: below the home folder, else in the temporary folder."""
    path = folder / f"{identity}.sock"
    if len(str(path)) > _LONGEST_SOCKET_PATH:
        path = Path(tempfile.gettempdir()) / f"triptych-{identity}.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
