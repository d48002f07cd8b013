"""Model packages, the versions in a model package group; the groups themselves are moto's.

moto keeps packages too, but forgets a package's metadata, approval and descriptions at each update that does
not repeat them, and cannot delete one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.errors import check_one_of, invalid
from triptych.localcloud.sagemaker.images import resolve_image
from triptych.localcloud.sagemaker.inputs import exists
from triptych.localcloud.sagemaker.records import Record, RecordExists, Records, now, public
from triptych.localcloud.sagemaker.support import Arns, announce
from triptych.localcloud.service import Params

_KIND = "model-package"
_COUNTER_KIND = "model-package-counter"
_APPROVALS = ("Approved", "Rejected", "PendingManualApproval")
_KEPT = (
    "ModelPackageDescription",
    "InferenceSpecification",
    "ValidationSpecification",
    "SourceAlgorithmSpecification",
    "CertifyForMarketplace",
    "MetadataProperties",
    "ModelMetrics",
    "Domain",
    "Task",
    "SamplePayloadUrl",
    "CustomerMetadataProperties",
    "DriftCheckBaselines",
    "AdditionalInferenceSpecifications",
    "SkipModelValidation",
    "SourceUri",
    "SecurityConfig",
    "ModelCard",
    "ModelLifeCycle",
)
_UPDATED = ("ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard", "ModelLifeCycle")
_SUMMARY = (
    "ModelPackageName",
    "ModelPackageGroupName",
    "ModelPackageVersion",
    "ModelPackageArn",
    "ModelPackageDescription",
    "CreationTime",
    "ModelPackageStatus",
    "ModelApprovalStatus",
    "ModelLifeCycle",
)


class ModelPackages:
    """CreateModelPackage and its family."""

    def __init__(self, cloud: Cloud, records: Records) -> None:
        self._cloud = cloud
        self._records = records
        self._arns = Arns(cloud)

    def create(self, params: Params) -> Params:
        """Register a version in a group, or an unversioned package under a name of its own."""
        group, name = params.get("ModelPackageGroupName"), params.get("ModelPackageName")
        if bool(group) == bool(name):
            raise invalid(
                "Give either ModelPackageGroupName or ModelPackageName: "
                + ("both are provided." if group else "Missing ARN.")
            )
        check_one_of(params.get("ModelApprovalStatus"), "modelApprovalStatus", _APPROVALS)
        for container in (params.get("InferenceSpecification") or {}).get("Containers", []):
            resolve_image(container["Image"])
            data = container.get("ModelDataUrl")
            if data and not exists(self._cloud.store, data):
                raise invalid(f"Could not find model data at {data}.")
        moment = now()
        record: Record = {member: params[member] for member in _KEPT if params.get(member) is not None}
        record |= {
            "CreationTime": moment,
            "LastModifiedTime": moment,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        }
        record.setdefault("CertifyForMarketplace", False)
        if not group:
            arn = self._arns.of(_KIND, str(name))
            record |= {"ModelPackageName": name, "ModelPackageArn": arn}
            self._insert(str(name), record)
        else:
            group = self._group(str(group))
            record |= {
                "ModelPackageGroupName": group,
                "ModelApprovalStatus": params.get("ModelApprovalStatus") or "PendingManualApproval",
            }
            arn = self._insert_version(group, record)
        self._records.tag(arn, params.get("Tags") or [])
        announce(self._cloud, "SageMaker Model Package State Change", arn, record)
        return {"ModelPackageArn": arn}

    def describe(self, name: str) -> Record:
        """By ARN, or by name for an unversioned one; raises ValidationException."""
        return public(self._find(name))

    def update(self, params: Params) -> Params:
        """Change what the request names and leave the rest."""
        check_one_of(params.get("ModelApprovalStatus"), "modelApprovalStatus", _APPROVALS)
        found = self._find(params["ModelPackageArn"])

        def mutate(record: Record) -> None:
            if params.get("ModelApprovalStatus"):
                record["ModelApprovalStatus"] = params["ModelApprovalStatus"]
            for member in _UPDATED:
                if params.get(member) is not None:
                    record[member] = params[member]
            metadata = {
                **(record.get("CustomerMetadataProperties") or {}),
                **(params.get("CustomerMetadataProperties") or {}),
            }
            for key in params.get("CustomerMetadataPropertiesToRemove") or []:
                metadata.pop(key, None)
            record["CustomerMetadataProperties"] = metadata or None
            added = params.get("AdditionalInferenceSpecificationsToAdd") or []
            if added:
                record["AdditionalInferenceSpecifications"] = [
                    *(record.get("AdditionalInferenceSpecifications") or []),
                    *added,
                ]

        arn = found["ModelPackageArn"]
        changed = self._records.change(_KIND, self._key(arn), mutate, "ModelApprovalStatus")
        announce(self._cloud, "SageMaker Model Package State Change", arn, changed or found)
        return {"ModelPackageArn": arn}

    def delete(self, name: str) -> Params:
        arn = self._find(name)["ModelPackageArn"]
        self._records.delete(_KIND, self._key(arn))
        self._records.untag(arn)
        return {}

    def list(self, params: Params) -> Params:
        """The packages of a group (versioned), or the unversioned ones, newest first by default."""
        group = params.get("ModelPackageGroupName")
        kind = params.get("ModelPackageType") or ("Versioned" if group else "Unversioned")
        if group:
            group = self._group(str(group))
        found = self._records.named_like(_KIND, f"{group.lower()}/" if group else "")
        approval = params.get("ModelApprovalStatus")
        contains = params.get("NameContains")
        after, before = params.get("CreationTimeAfter"), params.get("CreationTimeBefore")
        chosen = [
            record
            for record in found
            if (kind == "Both" or (kind == "Versioned") == ("ModelPackageVersion" in record))
            and (approval is None or record.get("ModelApprovalStatus") == approval)
            and (
                contains is None
                or contains in str(record.get("ModelPackageName") or record.get("ModelPackageGroupName"))
            )
            and (after is None or record["CreationTime"] > after)
            and (before is None or record["CreationTime"] < before)
        ]
        if params.get("SortBy") == "Name":
            chosen.sort(key=lambda record: str(record.get("ModelPackageName") or record["ModelPackageArn"]))
        else:
            chosen.sort(key=lambda record: (record["CreationTime"], record.get("ModelPackageVersion") or 0))
        if params.get("SortOrder") != "Ascending":
            chosen.reverse()
        start, size = int(params.get("NextToken") or 0), int(params.get("MaxResults") or 10)
        answer: Params = {
            "ModelPackageSummaryList": [
                {member: record[member] for member in _SUMMARY if record.get(member) is not None}
                for record in chosen[start : start + size]
            ]
        }
        return answer | ({"NextToken": str(start + size)} if len(chosen) > start + size else {})

    def container(self, name: str) -> dict[str, Any]:
        """The first container of the package's inference specification; raises ValidationException."""
        record = self._find(name)
        containers = (record.get("InferenceSpecification") or {}).get("Containers") or []
        if not containers:
            raise invalid(
                f"Model package {record['ModelPackageArn']} has no InferenceSpecification with a container."
            )
        chosen: dict[str, Any] = containers[0]
        return chosen

    def _find(self, name: str) -> Record:
        record = self._records.get(_KIND, self._key(name))
        if record is None:
            raise invalid(f"ModelPackage {name} does not exist.")
        return record

    def _key(self, name: str) -> str:
        """``group/version`` or the name: the ARN's last part."""
        return (self._arns.split(name)[1] if self._arns.owns(name) else name).lower()

    def _insert(self, key: str, record: Record) -> None:
        try:
            self._records.insert(_KIND, key.lower(), record, record.get("ModelApprovalStatus"))
        except RecordExists:
            raise invalid(f"Model Package with name {key} already exists.") from None

    def _insert_version(self, group: str, record: Record) -> str:
        version = self._next_version(group)
        arn = self._arns.of(_KIND, f"{group}/{version}")
        record |= {"ModelPackageVersion": version, "ModelPackageArn": arn}
        self._records.insert(_KIND, f"{group.lower()}/{version}", record, record["ModelApprovalStatus"])
        return arn

    def _next_version(self, group: str) -> int:
        """A number that no package of the group has or had: the ARN of a deleted one names no other."""
        versions = self._records.named_like(_KIND, f"{group.lower()}/")
        last = max((known["ModelPackageVersion"] for known in versions), default=0)
        with suppress(RecordExists):
            self._records.insert(_COUNTER_KIND, group.lower(), {"last": last})

        def count(counter: Record) -> None:
            counter["last"] += 1

        counter = self._records.change(_COUNTER_KIND, group.lower(), count)
        assert counter is not None  # counters are never deleted
        return int(counter["last"])

    def _group(self, name: str) -> str:
        """The group's name, once moto confirms that it exists; ``name`` may be its ARN."""
        short = name.rsplit("/", 1)[-1]
        client = self._cloud.clients.get("sagemaker")
        try:
            described = client.describe_model_package_group(ModelPackageGroupName=short)
        except client.exceptions.ClientError as error:
            raise invalid(f"Model Package Group {short} does not exist.") from error
        return str(described["ModelPackageGroupName"])
