"""Tells the Lambda functions, queues and topics of a bucket's notification configuration of its changes.

In the background and best effort: what has not been told when the process dies is not told later (EventBridge
notifications are, since the events service keeps them). The messages are S3's event records, version 2.1:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.s3.records import NotificationTarget, ObjectRecord

_log = logging.getLogger(__name__)
_EVENTS = {
    ("Created", "PutObject"): "ObjectCreated:Put",
    ("Created", "CopyObject"): "ObjectCreated:Copy",
    ("Created", "CompleteMultipartUpload"): "ObjectCreated:CompleteMultipartUpload",
    ("Deleted", "Delete"): "ObjectRemoved:Delete",
    ("Deleted", "DeleteMarkerCreated"): "ObjectRemoved:DeleteMarkerCreated",
}
_Job = tuple[NotificationTarget, dict[str, Any]]


class NotificationDelivery:
    """One thread; a target that fails is logged, and the next one told."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._cloud.store.on_change = self._changed
        self._thread = threading.Thread(target=self._run, name="s3 notifications", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=10)
            self._thread = None

    def _changed(self, kind: str, record: ObjectRecord, reason: str) -> None:
        event = _EVENTS.get((kind, reason))
        targets = self._cloud.store.bucket(record.bucket).notifications.targets
        if event is None or not targets:
            return
        for target in targets:
            if target.wants(f"s3:{event}", record.key):
                self._queue.put((target, self._message(target, event, record)))

    def _message(self, target: NotificationTarget, event: str, record: ObjectRecord) -> dict[str, Any]:
        item: dict[str, Any] = {
            "key": quote_plus(record.key, safe="/"),
            "sequencer": f"{record.sequence:018X}",
        }
        if event.startswith("ObjectCreated"):
            item |= {"size": record.size_bytes, "eTag": record.etag}
        if record.version_id != "null":
            item["versionId"] = record.version_id
        settings = self._cloud.settings
        bucket = {
            "name": record.bucket,
            "ownerIdentity": {"principalId": settings.account_id},
            "arn": f"arn:{settings.partition}:s3:::{record.bucket}",
        }
        entry = {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": settings.region,
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "eventName": event,
            "userIdentity": {"principalId": settings.account_id},
            "requestParameters": {"sourceIPAddress": settings.host},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": target.identity,
                "bucket": bucket,
                "object": item,
            },
        }
        return {"Records": [entry]}

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            target, message = job
            try:
                self._deliver(target.arn, json.dumps(message))
            except Exception:
                _log.exception("a change in S3 could not be told to %s", target.arn)

    def _deliver(self, arn: str, body: str) -> None:
        service, region, account = arn.split(":")[2:5]
        name = arn.rpartition(":")[2]
        call = self._cloud.clients.call
        if service == "lambda":
            call(service, "Invoke", {"FunctionName": arn, "InvocationType": "Event", "Payload": body}, region)
        elif service == "sqs":
            where = {"QueueName": name, "QueueOwnerAWSAccountId": account}
            url = call(service, "GetQueueUrl", where, region)["QueueUrl"]
            call(service, "SendMessage", {"QueueUrl": url, "MessageBody": body}, region)
        elif service == "sns":
            call(
                service,
                "Publish",
                {"TopicArn": arn, "Message": body, "Subject": "Amazon S3 Notification"},
                region,
            )
        else:
            raise ValueError(f"S3 cannot notify {arn}: only Lambda functions, SQS queues and SNS topics")
