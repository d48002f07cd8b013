"""A function as moto records it, in the shape the workers need."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.service import Params, RequestContext, ServiceError


@dataclass(frozen=True)
class Archive:
    """A zip: a function's code or a layer."""

    sha256: str
    """hexadecimal"""
    read: Callable[[], bytes] = field(compare=False)


@dataclass(frozen=True)
class FunctionRecord:
    """One version of a function. ``arn`` is the one it is invoked by, with its qualifier if there is one."""

    name: str
    arn: str
    version: str
    runtime: str
    handler: str
    memory_mb: int
    timeout_seconds: int
    environment: Mapping[str, str]
    code: Archive
    layers: tuple[Archive, ...] = ()
    reserved_concurrency: int | None = None
    retry_attempts: int = 2
    destinations: Mapping[str, str] = field(default_factory=dict)
    """``OnSuccess`` and ``OnFailure``: ARNs"""

    @property
    def fingerprint(self) -> str:
        """Changes with everything a worker was started with."""
        text = json.dumps(
            [
                self.version, self.runtime, self.handler, self.memory_mb, self.timeout_seconds,
                sorted(self.environment.items()), self.code.sha256, [layer.sha256 for layer in self.layers],
            ]
        )  # fmt: skip
        return hashlib.sha256(text.encode()).hexdigest()


FindFunction = Callable[[RequestContext, str, str | None], FunctionRecord]
"""By name, ARN or part of one, and qualifier; raises ResourceNotFoundException"""

_REFERENCE = re.compile(
    r"(?:arn:(?P<partition>aws[\w-]*):lambda:)?(?:(?P<region>[a-z]{2}(?:-gov|-iso\w?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?(?:function:)?(?P<name>[\w-]+)(?::(?P<qualifier>[\w$-]+))?"
)


class MotoFunctions:
    """Functions of moto's Lambda backend, once moto knows them again after a restart."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._known = False

    def __call__(self, context: RequestContext, reference: str, qualifier: str | None) -> FunctionRecord:
        if not self._known:
            # A request to moto waits until its state is restored; looking into its backend does not.
            self._cloud.clients.call("lambda", "ListFunctions", {"MaxItems": 1})
            self._known = True
        return function_of_moto(context, reference, qualifier)


def function_of_moto(context: RequestContext, reference: str, qualifier: str | None) -> FunctionRecord:
    """Look the function up in moto's Lambda backend."""
    from moto.awslambda.exceptions import UnknownAliasException, UnknownFunctionException
    from moto.awslambda.utils import get_backend

    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ServiceError(
            "ValidationException", f"FunctionName {reference!r} is not a function's name or ARN."
        )
    account = match["account"] or context.account_id
    region = match["region"] or context.region
    qualifier = match["qualifier"] or qualifier
    backend = get_backend(account, region)
    base_arn = f"arn:{context.partition}:lambda:{region}:{account}:function:{match['name']}"
    arn = f"{base_arn}:{qualifier}" if qualifier else base_arn
    try:
        function = backend.get_function(match["name"], qualifier)
    except (UnknownFunctionException, UnknownAliasException):
        raise ServiceError("ResourceNotFoundException", f"Function not found: {arn}", 404) from None
    if function.package_type == "Image":
        raise ServiceError(
            "InvalidRuntimeException",
            f"Function {match['name']} is a container image; the local cloud runs zip functions only.",
            502,
        )
    layers = []
    for layer in function.layers:
        version = backend.layers_versions_by_arn(layer["Arn"])
        if version is None:
            raise ServiceError(
                "ResourceNotFoundException", f"Layer version {layer['Arn']} does not exist.", 404
            )
        layers.append(
            Archive(_sha256(version.code_digest, version.code_bytes), partial(getattr, version, "code_bytes"))
        )
    config: Params = next((one.config for one in function.event_invoke_config), {})
    destinations = {
        condition: target["Destination"]
        for condition, target in (config.get("DestinationConfig") or {}).items()
        if target.get("Destination")
    }
    latest = backend.get_function(match["name"], None)
    return FunctionRecord(
        name=function.function_name,
        arn=arn,
        version="$LATEST" if function is latest else str(function.version),
        runtime=function.run_time or "",
        handler=function.handler or "",
        memory_mb=int(function.memory_size),
        timeout_seconds=int(function.timeout),
        environment=dict(function.environment_vars or {}),
        code=Archive(
            _sha256(getattr(function, "code_digest", ""), function.code_bytes),
            partial(getattr, function, "code_bytes"),
        ),
        layers=tuple(layers),
        reserved_concurrency=_integer(latest.reserved_concurrency),
        retry_attempts=int(config.get("MaximumRetryAttempts", 2)),
        destinations=destinations,
    )


def _sha256(digest: str, content: bytes) -> str:
    return digest or hashlib.sha256(content).hexdigest()


def _integer(value: str | int | None) -> int | None:
    return None if value is None else int(value)
