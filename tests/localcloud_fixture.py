"""A whole local cloud for tests: in this process, in a temporary home, on a free port.

A module's tests share it and so use names of their own. A test that stops and starts clouds makes its
own, with an account id of its own: moto keeps its state in module globals, by account.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.assembly import LocalCloud, ServiceFactories, assemble
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home


@dataclass
class RunningCloud:
    """``client("sagemaker")`` talks HTTP like any user's; ``cloud`` is the inside."""

    local: LocalCloud
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def cloud(self) -> Cloud:
        return self.local.cloud

    @property
    def endpoint(self) -> str:
        return self.cloud.settings.endpoint_url

    @property
    def environment(self) -> dict[str, str]:
        """What points the AWS CLI here."""
        return client_environment(self.endpoint)

    def client(self, service: str) -> Any:
        """A boto3 client over HTTP, without retries."""
        if service not in self._clients:
            self._clients[service] = http_client(self.endpoint, service)
        return self._clients[service]


def client_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "triptych",
        "AWS_SECRET_ACCESS_KEY": "triptych",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def http_client(endpoint: str, service: str) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.Session(
        aws_access_key_id="triptych", aws_secret_access_key="triptych", region_name="us-east-1"
    )
    config = Config(retries={"total_max_attempts": 1}, inject_host_prefix=False)
    return session.client(service, endpoint_url=endpoint, config=config)


def start_cloud(
    root: Path, factories: ServiceFactories | None = None, account_id: str = "123456789012"
) -> RunningCloud:
    """A started cloud over the home ``root``; the caller stops it."""
    local = assemble(Home(root), Settings(port=0, account_id=account_id), factories)
    local.start()
    local.wait_ready()
    return RunningCloud(local)


def forget_moto() -> None:
    """Empty moto's module globals, which an earlier cloud or a mock of this process may have left full."""
    from moto.core.base_backend import BackendDict

    BackendDict.reset()


@pytest.fixture(scope="module")
def local_cloud() -> Iterator[RunningCloud]:
    """Every service, shared by the tests of a module."""
    root = Path(tempfile.mkdtemp(prefix="triptych-cloud-"))
    forget_moto()
    running = start_cloud(root)
    try:
        yield running
    finally:
        running.local.stop()
        shutil.rmtree(root, ignore_errors=True)
