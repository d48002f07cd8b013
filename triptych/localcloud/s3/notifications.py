"""A bucket's notification configuration: from S3's document to whom changes are told."""

from __future__ import annotations

from uuid import uuid4

from triptych.localcloud.s3.records import Notifications, NotificationTarget
from triptych.localcloud.s3.xml import document, leaf, node, parse, text_of

_TARGETS = {
    "CloudFunctionConfiguration": "CloudFunction",
    "QueueConfiguration": "Queue",
    "TopicConfiguration": "Topic",
}

_SERVICES = {"lambda": "CloudFunction", "sqs": "Queue", "sns": "Topic"}


def notifications_of(body: bytes) -> Notifications:
    """PutBucketNotificationConfiguration's document; raises MalformedXML."""
    tree = parse(body, "NotificationConfiguration")
    targets = []
    for element_name, arn_name in _TARGETS.items():
        for element in tree.findall(element_name):
            rules = {
                text_of(rule, "Name").lower(): text_of(rule, "Value") for rule in element.iter("FilterRule")
            }
            targets.append(
                NotificationTarget(
                    identity=text_of(element, "Id", uuid4().hex),
                    arn=text_of(element, arn_name),
                    events=tuple(event.text or "" for event in element.findall("Event")),
                    prefix=rules.get("prefix", ""),
                    suffix=rules.get("suffix", ""),
                )
            )
    return Notifications(tree.find("EventBridgeConfiguration") is not None, tuple(targets))


def notifications_document(notifications: Notifications) -> bytes:
    """The answer of GetBucketNotificationConfiguration: what was put."""
    elements = []
    for target in notifications.targets:
        kind = target.arn.split(":")[2]
        element_name, arn_name = next((name, arn) for name, arn in _TARGETS.items() if _SERVICES[kind] == arn)
        rules = [
            node("FilterRule", leaf("Name", name), leaf("Value", value))
            for name, value in (("prefix", target.prefix), ("suffix", target.suffix))
            if value
        ]
        elements.append(
            node(
                element_name,
                leaf("Id", target.identity),
                leaf(arn_name, target.arn),
                *(leaf("Event", event) for event in target.events),
                node("Filter", node("S3Key", *rules)) if rules else "",
            )
        )
    if notifications.event_bridge:
        elements.append("<EventBridgeConfiguration/>")
    return document("NotificationConfiguration", *elements)
