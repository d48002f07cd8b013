"""What the index knows about buckets, objects and uploads, as typed values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

Versioning = Literal["", "Enabled", "Suspended"]
NULL_VERSION = "null"
DEFAULT_CONTENT_TYPE = "binary/octet-stream"


@dataclass(frozen=True)
class NotificationTarget:
    """A Lambda function, queue or topic that is told of ``events`` (``s3:ObjectCreated:*`` and the like)."""

    identity: str
    arn: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    def wants(self, event: str, key: str) -> bool:
        """Whether the target is to hear of ``event`` (without wildcard) on ``key``."""
        family = event.rpartition(":")[0] + ":*"
        wanted = event in self.events or family in self.events
        return wanted and key.startswith(self.prefix) and key.endswith(self.suffix)


@dataclass(frozen=True)
class Notifications:
    """Whom a bucket's changes are told."""

    event_bridge: bool = False
    targets: tuple[NotificationTarget, ...] = ()

    def to_json(self) -> str:
        """A JSON text that ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Notifications:
        """The notifications that ``to_json`` wrote; ``{}`` is none."""
        if text == "{}":
            return cls()
        values: dict[str, Any] = json.loads(text)
        targets = [
            NotificationTarget(**{**item, "events": tuple(item["events"])}) for item in values["targets"]
        ]
        return cls(values["event_bridge"], tuple(targets))


@dataclass(frozen=True)
class BucketRecord:
    """One bucket; ``versioning`` is empty until it is first set."""

    name: str
    region: str
    created: datetime
    versioning: Versioning
    notifications: Notifications


@dataclass(frozen=True)
class Attributes:
    """What a writer says about an object, beside its bytes.

    ``headers`` are the system headers given back as they came (``cache-control``, ``content-encoding`` …),
    ``checksums`` the base64 values by algorithm (``crc32`` …), ``part_sizes`` the sizes in bytes of the parts
    that a multipart upload was put together from.
    """

    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: str = ""
    part_sizes: tuple[int, ...] = ()

    def to_json(self) -> str:
        """A JSON text that ``from_json`` reads."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @classmethod
    def from_json(cls, text: str) -> Attributes:
        """The attributes that ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(text)
        if "part_sizes" in values:
            values["part_sizes"] = tuple(values["part_sizes"])
        return cls(**values)


@dataclass(frozen=True)
class ObjectRecord:
    """One version of an object, or a delete marker (which has no file: ``path`` is the store's root).

    ``path`` holds good until the next write of the key; ``sequence`` grows with each write of the store.
    """

    bucket: str
    key: str
    version_id: str
    etag: str
    size_bytes: int
    last_modified: datetime
    path: Path
    attributes: Attributes
    sequence: int
    is_latest: bool = True
    is_delete_marker: bool = False

    @property
    def content_type(self) -> str:
        return self.attributes.content_type

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.attributes.metadata

    @property
    def tags(self) -> Mapping[str, str]:
        return self.attributes.tags

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Staged:
    """A whole body in the staging area, ready to become an object; ``source`` is where it was taken from."""

    path: Path
    etag: str
    size_bytes: int
    source: Path | None = None


@dataclass(frozen=True)
class Deletion:
    """What a delete did: a marker was written (or removed), or a version went for good."""

    key: str
    version_id: str | None
    is_delete_marker: bool
    existed: bool


@dataclass(frozen=True)
class Part:
    """One part of an unfinished upload."""

    number: int
    etag: str
    size_bytes: int
    last_modified: datetime
    path: Path
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Upload:
    """One unfinished multipart upload."""

    upload_id: str
    bucket: str
    key: str
    initiated: datetime
    attributes: Attributes
    checksum_algorithm: str
    checksum_type: str
