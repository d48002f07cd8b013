"""Where a command works: the project's checkout, a home folder, and the AWS endpoint that goes with it."""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.deploy import Target
    from triptych.localcloud.daemon import Running


DEFAULT_USE_CASE = "flights"


class CommandFailed(Exception):
    """A command cannot go on; the message says why and what to do. ``exit_code`` is the process's."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def find_project(start: Path | None = None) -> Path:
    """The checkout: the nearest folder above ``start`` with ``cloudformation/root.yaml``."""
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents, Path(__file__).absolute().parents[1]):
        if (folder / "cloudformation" / "root.yaml").is_file():
            return folder
    raise CommandFailed(f"no cloudformation/root.yaml in or above {start}; work inside the checkout", 2)


def default_home(project: Path) -> Path:
    """``TRIPTYCH_HOME``, else ``.triptych`` in the checkout."""
    return Path(os.environ.get("TRIPTYCH_HOME") or project / ".triptych").absolute()


@dataclass
class Place:
    """Local by default; with ``aws`` the ambient AWS credentials and endpoint are used instead."""

    project: Path
    home: Path
    environment: str = "local"
    aws: bool = False
    port: int | None = None
    glue_engine: str | None = None
    flags: tuple[str, ...] = ()
    """the options that named this place (``--home`` …): a command that is advised needs them too"""
    region: str = field(default_factory=lambda: os.environ.get("AWS_REGION") or "us-east-1")
    endpoint_url: str | None = None
    runtime_endpoint_url: str | None = None
    """SageMaker Runtime's own endpoint, where requests for models go"""
    _clients: dict[str, Any] = field(default_factory=dict)

    def use_running_gateway(self) -> None:
        """Point this place at the home's gateway; raises CommandFailed when none runs."""
        if self.aws:
            return
        from triptych.localcloud import daemon

        running = daemon.status(self.home)
        if running is None:
            raise CommandFailed(f"no local cloud runs for {self.home}; start it with `triptych up`", 3)
        self.use(running)

    def use(self, running: Running) -> None:
        """Point this place at a gateway that runs."""
        self.endpoint_url = running.endpoint_url
        self.runtime_endpoint_url = running.runtime_endpoint_url

    def advise(self, *words: str, use_case: str | None = None) -> str:
        """A command line that works for this place, to be copied: ``triptych resume NAME --home …``."""
        chosen = () if use_case in (None, DEFAULT_USE_CASE) else ("--use-case", str(use_case))
        return shlex.join(("triptych", *words, *chosen, *self.flags))

    def exports(self) -> dict[str, str]:
        """The environment that points any AWS client here."""
        if self.aws or self.endpoint_url is None:
            return {}
        runtime = self.runtime_endpoint_url or self.endpoint_url
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime,
            "AWS_ACCESS_KEY_ID": "triptych",
            "AWS_SECRET_ACCESS_KEY": "triptych",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def client(self, service: str) -> Any:
        """A boto3 client of this place."""
        if service not in self._clients:
            self._clients[service] = self.new_client(service)
        return self._clients[service]

    def new_client(self, service: str, **config: Any) -> Any:
        """A boto3 client of its own, with members of botocore's Config set otherwise."""
        from botocore.config import Config

        own = self.runtime_endpoint_url if service == "sagemaker-runtime" else None
        return self._session.client(
            service, endpoint_url=own or self.endpoint_url, config=self._config.merge(Config(**config))
        )

    @cached_property
    def _session(self) -> Any:
        import boto3

        given = self.exports()
        return boto3.Session(
            aws_access_key_id=given.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=given.get("AWS_SECRET_ACCESS_KEY"),
            region_name=self.region,
        )

    @cached_property
    def _config(self) -> Any:
        from botocore.config import Config

        return Config(retries={"max_attempts": 3, "mode": "standard"}, inject_host_prefix=self.aws)

    @cached_property
    def account_id(self) -> str:
        return str(self.client("sts").get_caller_identity()["Account"])

    def use_case_of(self, machine: str) -> str:
        """The use case of a state machine of this place, by its name."""
        name = machine.removeprefix("triptych-")
        for part in ("pipeline", "data-engineering", "model", "deployment"):
            name = name.removesuffix(f"-{self.environment}-{part}")
        return name

    def target(self, use_case: str) -> Target:
        from triptych.deploy import Target

        return Target(use_case, self.environment, self.region, self.account_id)

    def outputs(self, use_case: str) -> Mapping[str, str]:
        """The deployed stack's outputs; raises CommandFailed when it is not deployed."""
        from triptych import deploy

        name = self.target(use_case).stack_name
        stack = deploy.describe_stack(self.client("cloudformation"), name)
        if stack is None:
            raise CommandFailed(f"stack {name} is not deployed here; run `triptych up` first", 3)
        return deploy.outputs(stack)

    def file_of(self, uri: str) -> Path | None:
        """The local file behind an ``s3://`` URI, where this place keeps objects as files."""
        path = self.home / "s3" / uri.removeprefix("s3://")
        return path if not self.aws and path.is_file() else None

    def read(self, uri: str) -> bytes:
        """An object's bytes."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        content: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content


def who() -> str:
    """The person's login name, for a run's trigger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
