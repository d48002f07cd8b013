"""Gap filled: moto's services read and write S3 objects in moto's memory; ours are files in the ObjectStore.

Lambda reads deployment packages, Athena and Logs write results through ``moto.s3.models.S3Backend``. Its
``get_object`` and ``put_object`` are replaced: objects come from and go to the store. What a journalled
request reads is recorded with it, so that its replay reads the same bytes even where the object has since
been deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from triptych.localcloud.service import ServiceError


class Objects(Protocol):
    """The part of the ObjectStore that moto's services use."""

    def get_bytes(self, bucket: str, key: str, version_id: str | None = None) -> bytes: ...

    def put_bytes(self, bucket: str, key: str, data: bytes) -> Any: ...


ObjectName = tuple[str, str, str | None]


@dataclass
class ObjectReads:
    """The S3 objects that one request read: recorded, or (in a replay) to be read again."""

    recorded: dict[ObjectName, bytes] = field(default_factory=dict)
    replaying: bool = False


_reads: ContextVar[ObjectReads | None] = ContextVar("moto_object_reads", default=None)
_stores: dict[str, Objects] = {}
"""by account id"""


@contextmanager
def object_reads(reads: ObjectReads) -> Iterator[ObjectReads]:
    token = _reads.set(reads)
    try:
        yield reads
    finally:
        _reads.reset(token)


def install_objects(account_id: str, store: Objects) -> None:
    """Make ``store`` the place where the account's services find S3 objects; a later call replaces the
    store.
    """
    import inspect

    from moto.s3.models import FakeKey, S3Backend

    first = not _stores
    _stores[account_id] = store
    if not first:
        return
    for name, leading in (
        ("get_object", ["self", "bucket_name", "key_name", "version_id"]),
        ("put_object", ["self", "bucket_name", "key_name", "value"]),
    ):
        parameters = list(inspect.signature(getattr(S3Backend, name)).parameters)
        if parameters[:4] != leading:
            raise RuntimeError(
                f"moto's S3Backend.{name} has other parameters now ({', '.join(parameters)}): "
                "adapt triptych/localcloud/moto_s3_objects.py."
            )
    in_memory = S3Backend.get_object

    def get_object(
        self: Any, bucket_name: str, key_name: str, version_id: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        data = _read(self.account_id, bucket_name, key_name, version_id)
        if data is None:
            return in_memory(self, bucket_name, key_name, version_id, *args, **kwargs)
        return FakeKey(
            name=key_name,
            value=data,
            account_id=self.account_id,
            region_name=self.region_name,
            bucket_name=bucket_name,
            version_id=version_id,
            etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        )

    def put_object(
        self: Any, bucket_name: str, key_name: str, value: bytes, *args: Any, **kwargs: Any
    ) -> Any:
        reads = _reads.get()
        if self.account_id in _stores and (
            reads is None or not reads.replaying
        ):  # it was written when the request first came
            _stores[self.account_id].put_bytes(bucket_name, key_name, value)
        return FakeKey(
            name=key_name,
            value=value,
            account_id=self.account_id,
            region_name=self.region_name,
            bucket_name=bucket_name,
        )

    S3Backend.get_object = get_object
    S3Backend.put_object = put_object


def _read(account_id: str, bucket: str, key: str, version_id: str | None) -> bytes | None:
    reads = _reads.get()
    name = (bucket, key, version_id)
    if reads is not None and reads.replaying and name in reads.recorded:
        return reads.recorded[name]
    try:
        data = _stores[account_id].get_bytes(bucket, key, version_id)
    except (KeyError, ServiceError):
        return None
    if reads is not None and not reads.replaying:
        reads.recorded[name] = data
    return data
