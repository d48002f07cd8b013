"""S3 over HTTP with nothing else behind it: the store, the service, and moto's own S3 for configuration."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud_fixture import http_client
from triptych.localcloud.bus import Bus, ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.http_server import HttpServer
from triptych.localcloud.s3.service import S3Service
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.wsgi import MOTO_APP


def accepting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Stands for moto: takes every bucket configuration."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", "0")])
    return []


class Endpoint:
    """One store behind an HTTP port; ``events`` holds what it put on the bus."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.create()
        self.bus = Bus()
        self.events: list[ServiceEvent] = []
        self.bus.subscribe(ServiceEvent, self.events.append)
        self.cloud = Cloud(self.home, Settings(), self.bus)
        self.store = self.cloud.store = ObjectStore(self.home, self.bus)
        service = S3Service(self.cloud)

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            environ[MOTO_APP] = accepting
            return service.wsgi(environ, start_response)

        self.server = HttpServer("127.0.0.1", 0, app)
        self.server.start()
        self.port = self.server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = http_client(self.url, "s3")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    home = Home(tmp_path / "home")
    home.create()
    made = ObjectStore(home, Bus())
    made.create_bucket("data")
    return made


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path_factory.mktemp("s3"))
    yield made
    made.server.stop()


_numbers = iter(range(10**6))
_numbers_lock = threading.Lock()


@pytest.fixture
def bucket(endpoint: Endpoint) -> str:
    """A bucket of the test's own."""
    with _numbers_lock:
        name = f"bucket-{next(_numbers)}"
    endpoint.client.create_bucket(Bucket=name)
    return name
