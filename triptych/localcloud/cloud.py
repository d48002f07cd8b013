"""The parts that every service of the local cloud shares, passed to each one's constructor."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from triptych.localcloud.bus import Bus
from triptych.localcloud.home import Home

if TYPE_CHECKING:
    from triptych.localcloud.clients import Clients
    from triptych.localcloud.cloudwatch.store import MetricStore
    from triptych.localcloud.jobs.pool import JobPool
    from triptych.localcloud.logs.store import LogStore
    from triptych.localcloud.s3.store import ObjectStore


@dataclass(frozen=True)
class Settings:
    """What the operator chose; read once from flags and environment by the CLI."""

    region: str = "us-east-1"
    account_id: str = "123456789012"
    partition: str = "aws"
    host: str = "127.0.0.1"
    port: int = 4599
    glue_engine: Literal["duckdb", "spark"] = "duckdb"
    runtime_port: int = 0
    """the inference router's, known once it listens"""

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def runtime_endpoint_url(self) -> str | None:
        """SageMaker Runtime's own endpoint; None where there is none."""
        return f"http://{self.host}:{self.runtime_port}" if self.runtime_port else None


@dataclass
class Cloud:
    """One local cloud: its home, settings and shared parts. Services get it in their constructors."""

    home: Home
    settings: Settings
    bus: Bus = field(default_factory=Bus)
    clients: Clients = field(init=False)
    """``clients.get("sagemaker")``: a boto3 client whose calls go to the gateway in process"""
    store: ObjectStore = field(init=False)
    """S3's objects as files"""
    logs: LogStore = field(init=False)
    """CloudWatch Logs' events"""
    metrics: MetricStore = field(init=False)
    """CloudWatch's metrics"""
    jobs: JobPool = field(init=False)
    """where every job's process starts"""
    runtime_listener: socket.socket | None = None
    """the inference router's socket; None: it takes one of its own"""
    services: dict[str, Any] = field(default_factory=dict)
    """our services by name, for the few that must reach each other (the integrations)"""
