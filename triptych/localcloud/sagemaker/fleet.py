"""The model servers behind an endpoint: one process an instance, health-checked, replaced when it dies."""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.jobs.spec import JobExit, JobSpec, ScriptEntry
from triptych.localcloud.sagemaker import containers
from triptych.localcloud.sagemaker.layout import base_environment
from triptych.localcloud.sagemaker.model_client import ModelClient, ServerGone, ServerSlow
from triptych.localcloud.sagemaker.process import JobLog
from triptych.localcloud.sagemaker.support import instance_memory_bytes

_log = logging.getLogger(__name__)

LOG_GROUP_PREFIX = "/aws/sagemaker/Endpoints/"
_STARTUP_SECONDS = 600.0
_STOP_GRACE_SECONDS = 30.0
_LONGEST_SOCKET_PATH = 100
_QUICK_DEATH_SECONDS = 5.0
_PAUSES_SECONDS = (0.0, 0.0, 0.0, 1.0, 5.0, 30.0)
"""how long a server that keeps dying, or does not come up, is left alone before each new start"""
_LEAVE_SECONDS = 60.0


class FleetFailed(Exception):
    """A variant's servers did not come up; the text is the endpoint's FailureReason."""


class Watcher(Protocol):
    """Who routes requests to a fleet, and so must know its servers."""

    def fleet_changed(self) -> None:
        """Servers came or went by themselves, or weights are others."""

    def server_ended(self, path: str) -> None:
        """The process that listened there has ended by itself."""

    def servers_leave(self, sockets: Sequence[str], timeout_seconds: float) -> None:
        """Return once none of these servers, which the fleet holds no longer, has a request."""


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
    """One model server process; each start of it listens on a socket of its own."""

    def __init__(
        self,
        cloud: Cloud,
        endpoint: str,
        plan: VariantPlan,
        sockets: Path,
        on_change: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._cloud = cloud
        self._plan = plan
        self._identity = uuid4().hex[:12]
        self.stream = f"{plan.name}/i-{self._identity}"
        self._log = JobLog(cloud.logs, f"{LOG_GROUP_PREFIX}{endpoint}", self.stream)
        self._endpoint = endpoint
        self._sockets = sockets
        self._on_change = on_change
        self._on_end = on_end
        self._launches = 0
        self._path: Path | None = None
        self._process: Any = None
        self._stopping = False
        self._exited = threading.Event()
        self._stopped = threading.Event()
        self._deaths = 0
        self.ready = threading.Event()

    @property
    def socket(self) -> str:
        """The path of the socket that the process of now listens on."""
        return str(self._path)

    def launch(self) -> None:
        """Start the process. It listens from the first moment: requests wait until the model is loaded."""
        exited = self._exited = threading.Event()
        self._launches += 1
        path = self._path = _socket_path(self._sockets, f"{self._identity}-{self._launches}")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(1024)
        settings = self._cloud.settings
        environment = base_environment(settings, path.parent)
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
        launched = time.monotonic()

        def on_exit(how: JobExit) -> None:
            exited.set()
            path.unlink(missing_ok=True)
            self._on_exit(how, launched, str(path))

        self._process = self._cloud.jobs.start(spec, None, on_exit, on_lines=self._log)

    def await_health(self) -> None:
        """Return once ``/ping`` answers 200; raises FleetFailed when it does not, or the process ends."""
        client = ModelClient(self.socket)
        try:
            answer = client.request("GET", "/ping", {}, b"", self._plan.startup_seconds)
            problem = "" if answer.status == 200 else f"/ping answered {answer.status}"
        except ServerGone as error:
            self._exited.wait(2.0)
            problem = self._log.last_error or str(error)
        except ServerSlow as error:
            problem = str(error)
        finally:
            client.close()
        if problem:
            raise FleetFailed(
                f"The primary container for production variant {self._plan.name} did not pass the "
                "ping health "
                f"check. Please check CloudWatch logs for this endpoint. ({problem[:600]})"
            )
        self.ready.set()

    def replace(self) -> None:
        """Kill the process, which does not answer any more; another one takes its place."""
        self._log(["[local cloud] the model server does not answer; it is killed"])
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End the process once its requests are answered (SIGTERM, then SIGKILL); returns at once."""
        self._stopping = True
        self._stopped.set()
        self.ready.clear()
        if self._process is not None:
            self._process.terminate(_STOP_GRACE_SECONDS)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _on_exit(self, how: JobExit, launched: float, path: str) -> None:
        was_ready = self.ready.is_set()
        self.ready.clear()
        if self._stopping or not was_ready:
            return
        self._on_change()
        self._on_end(path)
        lived = time.monotonic() - launched
        self._deaths = self._deaths + 1 if lived < _QUICK_DEATH_SECONDS else 0
        self._log([f"[local cloud] the model server ended ({how.reason}); it is started again"])
        self._revive()

    def _revive(self) -> None:
        """Start the process until it is healthy, with growing pauses."""
        while True:
            pause = _PAUSES_SECONDS[min(self._deaths, len(_PAUSES_SECONDS) - 1)]
            if self._stopped.wait(pause):
                return
            try:
                self.launch()
                self.await_health()
            except Exception as error:
                self._deaths += 1
                self._log([f"[local cloud] the model server does not come back: {error}"])
                if self._process is not None:
                    self._process.kill()
            if self._stopping:
                self.stop()  # it was asked for while the process was being started
            elif not self.ready.is_set():
                continue
            self._on_change()
            return


class Variant:
    """A variant's servers and its weight."""

    def __init__(
        self,
        cloud: Cloud,
        endpoint: str,
        plan: VariantPlan,
        sockets: Path,
        on_change: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.weight = plan.weight
        self._make = partial(Server, cloud, endpoint, plan, sockets, on_change, on_end)
        self.servers = [self._make() for _ in range(plan.instances)]

    def entry(self) -> dict[str, Any]:
        """The variant as the inference router is told of it: only servers that answer."""
        servers = self.servers
        return {
            "name": self.plan.name,
            "weight": self.weight,
            "shadow": self.plan.shadow,
            "max_concurrency": self.plan.max_concurrency,
            "instances": len(servers),
            "servers": [
                {"path": server.socket, "stream": server.stream}
                for server in servers
                if server.ready.is_set()
            ],
        }

    def grow(self, instances: int) -> None:
        """Start servers until there are ``instances``; raises FleetFailed and changes nothing."""
        added = [self._make() for _ in range(instances - len(self.servers))]
        try:
            for server in added:
                server.launch()
            for server in added:
                server.await_health()
        except Exception:
            for server in added:
                server.stop()
            raise
        self.servers = self.servers + added

    def shrink(self, instances: int) -> list[Server]:
        """Keep ``instances`` servers; the others are the caller's to stop."""
        servers = self.servers
        self.servers = servers[:instances]
        return servers[instances:]


class Fleet:
    """All servers of one endpoint configuration."""

    def __init__(self, cloud: Cloud, endpoint: str, plans: list[VariantPlan]) -> None:
        self.identity = uuid4().hex
        sockets = cloud.home.scratch / "sockets"
        self.variants = {
            plan.name: Variant(cloud, endpoint, plan, sockets, self._changed, self._ended) for plan in plans
        }
        self._watcher: Watcher | None = None
        self._resizing = threading.Lock()

    @property
    def sockets(self) -> list[str]:
        """Where its servers listen, those that do not answer included."""
        return [server.socket for variant in self.variants.values() for server in variant.servers]

    def entry(self) -> dict[str, Any]:
        """The fleet as the inference router is told of it."""
        return {
            "id": self.identity,
            "variants": [variant.entry() for variant in self.variants.values()],
        }

    def watch(self, watcher: Watcher | None) -> None:
        """Who hears of changes from now on; None: nobody."""
        self._watcher = watcher

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

    def reweigh(self, weights: Mapping[str, float]) -> None:
        """New weights of variants, all at once."""
        for name, weight in weights.items():
            self.variants[name].weight = weight
        self._changed()

    def resize(self, variant: str, instances: int) -> None:
        """Start or stop the variant's servers until there are ``instances``; no request is lost.

        Raises FleetFailed, and then nothing has changed.
        """
        with self._resizing:
            resized = self.variants[variant]
            if instances >= len(resized.servers):
                resized.grow(instances)
                self._changed()
                return
            leaving = resized.shrink(instances)
            if self._watcher is not None:
                self._watcher.servers_leave([server.socket for server in leaving], _LEAVE_SECONDS)
            for server in leaving:
                server.stop()

    def replace(self, path: str) -> None:
        """Kill the server that listens there, which does not answer any more; another one takes its place."""
        for variant in self.variants.values():
            for server in variant.servers:
                if server.socket == path:
                    server.replace()

    def stop(self) -> None:
        """Stop every server; returns at once."""
        for variant in self.variants.values():
            for server in variant.servers:
                server.stop()

    def _changed(self) -> None:
        watcher = self._watcher
        if watcher is not None:
            watcher.fleet_changed()

    def _ended(self, path: str) -> None:
        watcher = self._watcher
        if watcher is not None:
            watcher.server_ended(path)


def _socket_path(folder: Path, identity: str) -> Path:
    """A path short enough for a Unix socket: below the home folder, else in the temporary folder."""
    path = folder / f"{identity}.sock"
    if len(str(path)) > _LONGEST_SOCKET_PATH:
        path = Path(tempfile.gettempdir()) / f"triptych-{identity}.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
