"""Object changes as the events that S3 puts on EventBridge.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from triptych.localcloud.bus import ServiceEvent
from triptych.localcloud.s3.records import Deletion, ObjectRecord


def created_event(record: ObjectRecord, reason: str, *, versioned: bool) -> ServiceEvent:
    """``Object Created``; ``reason`` is PutObject, CopyObject, CompleteMultipartUpload or POST Object."""
    item: dict[str, Any] = {
        "key": record.key,
        "size": record.size_bytes,
        "etag": record.etag,
        "sequencer": _sequencer(record),
    }
    if versioned:
        item["version-id"] = record.version_id
    return _event("Object Created", record, item, {"reason": reason})


def deleted_event(old: ObjectRecord, deletion: Deletion) -> ServiceEvent:
    """``Object Deleted``, for a version that is gone or a delete marker that was written."""
    permanent = not deletion.is_delete_marker or old.is_delete_marker
    item: dict[str, Any] = {"key": old.key, "sequencer": _sequencer(old)}
    if permanent:
        item["etag"] = old.etag
    if deletion.version_id is not None:
        item["version-id"] = deletion.version_id
    kind = "Permanently Deleted" if permanent else "Delete Marker Created"
    return _event("Object Deleted", old, item, {"reason": "DeleteObject", "deletion-type": kind})


def _sequencer(record: ObjectRecord) -> str:
    return f"{record.sequence:018X}"


def _event(
    detail_type: str, record: ObjectRecord, item: dict[str, Any], more: dict[str, Any]
) -> ServiceEvent:
    detail = {
        "version": "0",
        "bucket": {"name": record.bucket},
        "object": item,
        "request-id": uuid4().hex[:16].upper(),
        "requester": "123456789012",
        "source-ip-address": "127.0.0.1",
        **more,
    }
    return ServiceEvent("aws.s3", detail_type, detail, resources=(f"arn:aws:s3:::{record.bucket}",))
