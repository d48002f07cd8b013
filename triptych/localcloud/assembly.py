"""Puts one local cloud together: the shared parts, every service, the gateway in front of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from triptych.localcloud.clients import Clients
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.gateway import Gateway
from triptych.localcloud.home import Home
from triptych.localcloud.http_server import HttpServer
from triptych.localcloud.moto_backend import MotoBackend
from triptych.localcloud.service import Service

_log = logging.getLogger(__name__)

ServiceFactories = Mapping[str, Callable[[Cloud], Service]]
"""Service name in ``cloud.services`` -> how it is made; in the order of construction and start"""


def service_factories() -> ServiceFactories:
    """Every service of the local cloud, each imported when it is made."""
    return {
        "s3": _s3,
        "logs": _logs,
        "cloudwatch": _cloudwatch,
        "lambda": _lambda,
        "glue": _glue,
        "sagemaker": _sagemaker,
        "sagemaker-runtime": _sagemaker_runtime,
        "sagemaker-async": _sagemaker_async,
        "stepfunctions": _stepfunctions,
        "events": _events,
        "scheduler": _scheduler,
        "application-autoscaling": _autoscaling,
        "cloudformation": _cloudformation,
    }


def _s3(cloud: Cloud) -> Service:
    from triptych.localcloud.s3.service import S3Service

    return S3Service(cloud)


def _logs(cloud: Cloud) -> Service:
    from triptych.localcloud.logs.service import LogsService

    return LogsService(cloud)


def _cloudwatch(cloud: Cloud) -> Service:
    from triptych.localcloud.cloudwatch.service import CloudWatchService

    return CloudWatchService(cloud)


def _lambda(cloud: Cloud) -> Service:
    from triptych.localcloud.awslambda.service import LambdaService

    return LambdaService(cloud)


def _glue(cloud: Cloud) -> Service:
    from triptych.localcloud.glue.service import GlueService

    return GlueService(cloud)


def _sagemaker(cloud: Cloud) -> Service:
    from triptych.localcloud.sagemaker.service import SageMakerService

    return SageMakerService(cloud)


def _sagemaker_runtime(cloud: Cloud) -> Service:
    from triptych.localcloud.sagemaker.runtime import SageMakerRuntimeService

    return SageMakerRuntimeService(cloud)


def _sagemaker_async(cloud: Cloud) -> Service:
    from triptych.localcloud.sagemaker.asynchronous import AsyncInferenceService

    return AsyncInferenceService(cloud)


def _stepfunctions(cloud: Cloud) -> Service:
    from triptych.localcloud.integrations.registry import TaskRunners
    from triptych.localcloud.stepfunctions.service import StepFunctionsService

    return StepFunctionsService(cloud, TaskRunners(cloud))


def _events(cloud: Cloud) -> Service:
    from triptych.localcloud.events.service import EventsService

    return EventsService(cloud)


def _scheduler(cloud: Cloud) -> Service:
    from triptych.localcloud.events.service import SchedulerService

    return SchedulerService(cloud)


def _autoscaling(cloud: Cloud) -> Service:
    import os

    from triptych.localcloud.autoscaling.service import AutoScalingService
    from triptych.localcloud.autoscaling.timing import Timing

    return AutoScalingService(cloud, timing=Timing.from_environment(os.environ))


def _cloudformation(cloud: Cloud) -> Service:
    from triptych.localcloud.cloudformation.service import CloudFormationService

    return CloudFormationService(cloud)


@dataclass
class LocalCloud:
    """A local cloud that listens on its port; ``start`` makes it answer."""

    cloud: Cloud
    gateway: Gateway
    moto: MotoBackend
    server: HttpServer

    def start(self) -> None:
        """Answer requests; the services recover in the background, requests wait for them."""
        self.cloud.jobs.start_servers()
        self.moto.start()
        self.server.start()
        threading.Thread(target=self._start_services, name="start services", daemon=True).start()

    def _start_services(self) -> None:
        failures: list[str] = []
        for name, service in self.cloud.services.items():
            failure = ""
            try:
                service.start()
            except Exception as error:
                _log.exception("service %s did not start", name)
                failure = f"{type(error).__name__}: {error}"
                failures.append(f"{name} did not start: {failure}")
            self.gateway.mark_started(service.service_id, failure)
        self.gateway.open("; ".join(failures))

    def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        """Returns when every service has started; raises RuntimeError where one has failed."""
        deadline = time.monotonic() + timeout_seconds
        if not self.gateway.wait_open(timeout_seconds):
            waiting = [
                name for name, state in self.gateway.health()["services"].items() if state == "starting"
            ]
            raise RuntimeError(
                f"not started after {timeout_seconds:.0f} s: {', '.join(waiting)}; see gateway.log"
            )
        self.moto.wait_ready(max(1.0, deadline - time.monotonic()))
        failure = self.gateway.health()["failure"]
        if failure:
            raise RuntimeError(failure)

    def stop(self) -> None:
        """Stop taking requests, then the services (last started first), then every job's process."""
        self.server.stop()
        for name, service in reversed(self.cloud.services.items()):
            try:
                service.stop()
            except Exception:
                _log.exception("service %s did not stop", name)
        self.cloud.jobs.stop()
        self.moto.stop()


def assemble(home: Home, settings: Settings, factories: ServiceFactories | None = None) -> LocalCloud:
    """A local cloud over ``home``, its port bound (``settings.port`` 0: any free one).

    Raises HomeUnusable, and OSError where the port is taken.
    """
    from triptych.localcloud.cloudwatch.store import MetricStore
    from triptych.localcloud.jobs.pool import JobPool
    from triptych.localcloud.logs.store import LogStore
    from triptych.localcloud.s3.store import ObjectStore
    from triptych.localcloud.sagemaker.router.supervisor import listen

    home.create()
    late: list[Gateway] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return late[0].wsgi(environ, start_response)

    server = HttpServer(settings.host, settings.port, app)
    listener = listen(home, settings.host, server.port)
    settings = replace(settings, port=server.port, runtime_port=listener.getsockname()[1])
    cloud = Cloud(home, settings, runtime_listener=listener)
    cloud.store = ObjectStore(home, cloud.bus)
    cloud.metrics = MetricStore(home)
    cloud.logs = LogStore(home, metrics=cloud.metrics)
    cloud.jobs = JobPool(home)
    cloud.clients = Clients(app, settings)
    moto = MotoBackend(home, settings, cloud.store)
    gateway = Gateway(cloud, moto)
    late.append(gateway)
    for name, factory in (service_factories() if factories is None else factories).items():
        service = factory(cloud)
        cloud.services[name] = service
        gateway.add(service)
    return LocalCloud(cloud, gateway, moto, server)
