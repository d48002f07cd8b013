"""The gateway with moto and a few services: everything but what computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.localcloud_fixture import client_environment, http_client
from triptych.localcloud.clients import Clients
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.gateway import Gateway
from triptych.localcloud.home import Home
from triptych.localcloud.http_server import HttpServer
from triptych.localcloud.moto_backend import MotoBackend
from triptych.localcloud.service import Service, ServiceError


class MemoryObjects:
    """An object store without files."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}

    def get_bytes(self, bucket: str, key: str, version_id: str | None = None) -> bytes:
        if (bucket, key) not in self.objects:
            raise ServiceError("NoSuchKey", f"no object {key} in {bucket}", status=404)
        return self.objects[(bucket, key)]

    def put_bytes(self, bucket: str, key: str, data: bytes) -> None:
        self.objects[(bucket, key)] = data


@dataclass
class Harness:
    """Started; ``stop`` it. In one process each needs an account id of its own."""

    cloud: Cloud
    gateway: Gateway
    moto: MotoBackend
    server: HttpServer
    objects: MemoryObjects
    services: list[Service] = field(default_factory=list)
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.cloud.settings.endpoint_url

    @property
    def environment(self) -> dict[str, str]:
        return client_environment(self.endpoint)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = http_client(self.endpoint, service)
        return self._clients[service]

    def stop(self) -> None:
        self.server.stop()
        for service in self.services:
            service.stop()
        self.moto.stop()


ServiceMaker = Callable[[Cloud, MemoryObjects], Service]


ACCOUNT_ID = "210987654321"
"""not the usual one: moto's state is kept by account, and the shared local cloud may run in this process,
too
"""


def start(
    root: Path,
    *makers: ServiceMaker,
    objects: MemoryObjects | None = None,
    account_id: str = ACCOUNT_ID,
) -> Harness:
    home = Home(root)
    home.create()
    late: list[Gateway] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return late[0].wsgi(environ, start_response)

    server = HttpServer("127.0.0.1", 0, app)
    settings = replace(Settings(), port=server.port, account_id=account_id)
    cloud = Cloud(home, settings)
    cloud.clients = Clients(app, settings)
    objects = objects or MemoryObjects()
    moto = MotoBackend(home, settings, objects)
    gateway = Gateway(cloud, moto)
    late.append(gateway)
    services = [make(cloud, objects) for make in makers]
    for service in services:
        gateway.add(service)
    moto.start()
    server.start()
    for service in services:
        service.start()
        gateway.mark_started(service.service_id)
    gateway.open()
    return Harness(cloud, gateway, moto, server, objects, services)
