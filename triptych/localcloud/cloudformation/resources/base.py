"""What a resource type is: how it is created, updated and deleted by its service's API, and what Ref and
GetAtt give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from triptych.localcloud.cloudformation.shapes import call, tag_map

if TYPE_CHECKING:
    from triptych.localcloud.cloudformation.engine import Engine
    from triptych.localcloud.cloudformation.records import Stack

Properties = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A resource that exists: its physical id (what Ref gives) and what GetAtt gives."""

    physical_id: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResourceContext:
    """Where a resource is made: its stack, its name in the template, and the way to the services."""

    engine: Engine
    stack: Stack
    logical_id: str
    generation: int = 0
    """how often the resource has been replaced: each time it gets another name"""
    note: Callable[[Made], None] = lambda made: None
    """to be called once something exists and more is to be done: then a failure does not leave it behind"""

    def client(self, service: str) -> Any:
        return self.engine.client(service, self.region)

    def call(self, service: str, operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """An API call with template properties; see ``shapes.call``."""
        return call(self.client(service), operation, properties)

    def quietly(self, service: str, operation: str, properties: Mapping[str, Any]) -> None:
        """A deletion: what is gone already is fine."""
        from botocore.exceptions import ClientError

        try:
            self.call(service, operation, properties)
        except ClientError as error:
            if not _missing(error):
                raise

    @property
    def region(self) -> str:
        return self.stack.region

    @property
    def account_id(self) -> str:
        return self.engine.account_id

    @property
    def partition(self) -> str:
        return self.engine.partition

    def arn(self, service: str, resource: str, region: str | None = None) -> str:
        where = self.region if region is None else region
        return f"arn:{self.partition}:{service}:{where}:{self.account_id}:{resource}"

    def name(self, given: Any, longest: int = 64, lower: bool = False) -> str:
        """The given name, or AWS's kind of name: stack, logical id and a suffix that stays the same."""
        if given:
            return str(given)
        key = f"{self.stack.stack_id}/{self.logical_id}/{self.generation}"
        digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        suffix = ""
        for _ in range(12):
            digest, index = divmod(digest, 36)
            suffix += "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[index]
        room = longest - len(suffix) - 2
        logical = self.logical_id[: max(8, room - len(self.stack.name))]
        name = f"{self.stack.name[: room - len(logical)]}-{logical}-{suffix}"
        return name.lower() if lower else name

    def tags(self, given: Any = None) -> dict[str, str]:
        """The stack's tags and the resource's own (CloudFormation's ``aws:`` tags no API lets anybody
        set).
        """
        return {**self.stack.tags, **tag_map(given)}


def _missing(error: Any) -> bool:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    message = str(error.response.get("Error", {}).get("Message", "")).lower()
    return (
        "NotFound" in code
        or "NoSuch" in code
        or "NonExistent" in code
        or "DoesNotExist" in code
        or status == 404
        or (code == "ValidationException" and ("could not find" in message or "does not exist" in message))
    )


class ResourceType:
    """One CloudFormation type. ``update`` is called where no property in ``replaced_by`` has changed."""

    type: ClassVar[str] = ""
    replaced_by: ClassVar[frozenset[str]] = frozenset()
    """properties whose change makes a new resource; {"*"}: any"""

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        raise NotImplementedError

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        raise NotImplementedError

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        raise NotImplementedError

    def needs_replacement(self, properties: Properties, previous: Properties) -> bool:
        names = set(properties) | set(previous) if "*" in self.replaced_by else self.replaced_by
        return any(properties.get(name) != previous.get(name) for name in names)


@dataclass(frozen=True)
class Call:
    """An API operation and how its input comes from (context, made or None, properties)."""

    operation: str
    arguments: Callable[[ResourceContext, str, Properties], Mapping[str, Any]]


class ApiResource(ResourceType):
    """A type that is one Create, Update and Delete call of its API.

    ``name`` is the property that holds the name, which is also the physical id unless ``made`` says
    otherwise.
    """

    def __init__(
        self,
        type_name: str,
        service: str,
        create: Call,
        delete: Call,
        update: Call | None = None,
        name: str | None = None,
        longest_name: int = 64,
        made: Callable[[ResourceContext, str, Properties, dict[str, Any]], Made] | None = None,
        replaced_by: frozenset[str] = frozenset(),
    ) -> None:
        self.type = type_name  # type: ignore[misc]
        self._service = service
        self._create = create
        self._update = update
        self._delete = delete
        self._name = name
        self._longest_name = longest_name
        self._made = made or (lambda context, name, properties, answer: Made(name))
        names = {name} if name else set()
        self.replaced_by = frozenset({"*"}) if update is None else frozenset(replaced_by | names)  # type: ignore[misc]

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get(self._name), self._longest_name) if self._name else ""
        answer = context.call(
            self._service, self._create.operation, self._create.arguments(context, name, properties)
        )
        return self._made(context, name, properties, answer)

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        assert self._update is not None
        arguments = self._update.arguments(context, made.physical_id, properties)
        answer = context.call(self._service, self._update.operation, arguments)
        again = self._made(context, made.physical_id, properties, answer)
        return Made(made.physical_id, {**made.attributes, **again.attributes})

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        arguments = self._delete.arguments(context, made.physical_id, properties)
        context.quietly(self._service, self._delete.operation, arguments)
