"""The snapshot of the source objects, and the dataset version that is the hash of what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from triptych.core.contract import Contract


class NoSourceObjects(Exception):
    """Nothing lies below a table's raw prefix."""


class SettingMissing(Exception):
    """An environment variable of the function is not set."""


@dataclass(frozen=True)
class Settings:
    """The function's environment."""

    data_bucket: str
    contract_uri: str

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Settings:
        """Raises SettingMissing by name."""
        for name in ("DATA_BUCKET", "CONTRACT_URI"):
            if name not in environment:
                raise SettingMissing(f"the environment variable {name} is not set")
        return Settings(environment["DATA_BUCKET"], environment["CONTRACT_URI"])


@dataclass(frozen=True)
class SourceObject:
    """The current version of one object; ``last_modified`` is ISO 8601."""

    bucket: str
    key: str
    version_id: str
    etag: str
    size_bytes: int
    last_modified: str


@dataclass(frozen=True)
class Snapshot:
    """What a run reads: its objects with their tables, and what lies there but belongs to no table."""

    use_case: str
    bucket: str
    dataset_version: str
    contract_sha256: str
    objects: list[dict[str, Any]]
    ignored: list[str]

    @property
    def latest_uri(self) -> str:
        return f"s3://{self.bucket}/datasets/{self.use_case}/latest.json"

    def answer(self, execution_name: str, latest: Mapping[str, Any] | None, force: bool) -> dict[str, Any]:
        """What the state machine goes on with; ``latest`` is the last registered dataset's record."""
        run_uri = f"s3://{self.bucket}/runs/{execution_name}"
        same = latest is not None and latest["dataset_version"] == self.dataset_version
        return {
            "run_uri": run_uri,
            "dataset_version": self.dataset_version,
            "is_new": force or not same,
            "objects_uri": f"{run_uri}/objects.json",
            "manifest_uri": f"{run_uri}/manifest.json",
            "objects": len(self.objects),
            "size_bytes": sum(entry["size_bytes"] for entry in self.objects),
            "latest": latest,
        }

    def manifest(self, execution_name: str) -> dict[str, Any]:
        """The manifest: everything that is needed to read the same bytes again."""
        return {
            "use_case": self.use_case,
            "dataset_version": self.dataset_version,
            "contract_sha256": self.contract_sha256,
            "execution_name": execution_name,
            "objects": self.objects,
            "ignored": self.ignored,
        }


def take_snapshot(
    contract: Contract, contract_text: bytes, found: Iterable[SourceObject], bucket: str
) -> Snapshot:
    """Sort ``found`` into the contract's tables; raises NoSourceObjects where a table has none.

    The version depends on content only (table, key, ETag, size, contract): the same bytes uploaded again make
    the same version, though S3 gives them another version id.
    """
    objects: list[dict[str, Any]] = []
    ignored: list[str] = []
    for source in sorted(found, key=lambda entry: entry.key):
        table = contract.table_of(source.key)
        if table is None:
            ignored.append(source.key)
        else:
            objects.append({"table": table.name, **asdict(source)})
    present = {entry["table"] for entry in objects}
    for table in contract.tables.values():
        if table.name not in present:
            raise NoSourceObjects(
                f"table {table.name} has no source object: nothing at s3://{bucket}/{table.files.prefix} has "
                f"a name like {table.files.pattern}; upload its files there"
                + (f" (ignored: {', '.join(ignored[:5])})" if ignored else "")
            )
    digest = hashlib.sha256(contract_text)
    contract_sha256 = digest.hexdigest()
    for entry in objects:
        digest.update(json.dumps([entry["table"], entry["key"], entry["etag"], entry["size_bytes"]]).encode())
    return Snapshot(contract.use_case, bucket, digest.hexdigest()[:16], contract_sha256, objects, ignored)
