"""AWS::S3: buckets with their configuration, and bucket policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triptych.localcloud.cloudformation.resources.base import (
    ApiResource,
    Call,
    Made,
    Properties,
    ResourceContext,
    ResourceType,
)
from triptych.localcloud.cloudformation.shapes import PropertyError, picked, tag_list


def _encryption(value: Any) -> dict[str, Any]:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": rule.get("ServerSideEncryptionByDefault"),
            **picked(rule, "BucketKeyEnabled"),
        }
        for rule in value["ServerSideEncryptionConfiguration"]
    ]
    return {"ServerSideEncryptionConfiguration": {"Rules": rules}}


def _expiration(rule: dict[str, Any]) -> dict[str, Any]:
    names = {"ExpirationInDays": "Days", "ExpirationDate": "Date", "ExpiredObjectDeleteMarker": None}
    return {new or old: rule[old] for old, new in names.items() if old in rule}


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"Status": rule["Status"], **picked(rule, "AbortIncompleteMultipartUpload")}
    if "Id" in rule:
        made["ID"] = rule["Id"]
    tags = rule.get("TagFilters", [])
    if len(tags) > 1 or (tags and rule.get("Prefix")):
        made["Filter"] = {"And": {"Prefix": rule.get("Prefix", ""), "Tags": tags}}
    else:
        made["Filter"] = {"Tag": tags[0]} if tags else {"Prefix": rule.get("Prefix", "")}
    if _expiration(rule):
        made["Expiration"] = _expiration(rule)
    if "NoncurrentVersionExpiration" in rule:
        made["NoncurrentVersionExpiration"] = rule["NoncurrentVersionExpiration"]
    elif "NoncurrentVersionExpirationInDays" in rule:
        made["NoncurrentVersionExpiration"] = {"NoncurrentDays": rule["NoncurrentVersionExpirationInDays"]}
    transitions = rule.get("Transitions", [rule["Transition"]] if "Transition" in rule else [])
    if transitions:
        made["Transitions"] = [
            {
                "StorageClass": one["StorageClass"],
                **_renamed(one, TransitionInDays="Days", TransitionDate="Date"),
            }
            for one in transitions
        ]
    noncurrent = rule.get("NoncurrentVersionTransitions", [])
    if noncurrent:
        made["NoncurrentVersionTransitions"] = [
            {
                **_renamed(one, TransitionInDays="NoncurrentDays"),
                **picked(one, "StorageClass", "NewerNoncurrentVersions"),
            }
            for one in noncurrent
        ]
    return made


def _renamed(value: dict[str, Any], **names: str) -> dict[str, Any]:
    return {new: value[old] for old, new in names.items() if old in value}


def _lifecycle(value: Any) -> dict[str, Any]:
    return {"LifecycleConfiguration": {"Rules": [_lifecycle_rule(rule) for rule in value["Rules"]]}}


def _cors(value: Any) -> dict[str, Any]:
    rules = [
        {
            **picked(rule, "AllowedHeaders", "AllowedMethods", "AllowedOrigins"),
            **_renamed(rule, ExposedHeaders="ExposeHeaders", MaxAge="MaxAgeSeconds", Id="ID"),
        }
        for rule in value["CorsRules"]
    ]
    return {"CORSConfiguration": {"CORSRules": rules}}


def _notifications(value: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    bridge = value.get("EventBridgeConfiguration")
    if bridge is not None and str(bridge.get("EventBridgeEnabled", True)).lower() == "true":
        made["EventBridgeConfiguration"] = {}
    for name, ours, arn, target in (
        ("LambdaConfigurations", "LambdaFunctionConfigurations", "LambdaFunctionArn", "Function"),
        ("QueueConfigurations", "QueueConfigurations", "QueueArn", "Queue"),
        ("TopicConfigurations", "TopicConfigurations", "TopicArn", "Topic"),
    ):
        entries = [
            {
                arn: entry[target],
                "Events": [entry["Event"]],
                **({"Filter": _key_filter(entry["Filter"])} if "Filter" in entry else {}),
            }
            for entry in value.get(name, [])
        ]
        if entries:
            made[ours] = entries
    return {"NotificationConfiguration": made}


def _key_filter(value: Any) -> dict[str, Any]:
    rules = value["S3Key"]["Rules"]
    return {"Key": {"FilterRules": [{"Name": rule["Name"], "Value": rule["Value"]} for rule in rules]}}


def _logging(value: Any) -> dict[str, Any]:
    target = {
        "TargetBucket": value.get("DestinationBucketName"),
        "TargetPrefix": value.get("LogFilePrefix", ""),
    }
    return {"BucketLoggingStatus": {"LoggingEnabled": target}}


_CONFIGURATION: dict[str, tuple[str, Callable[[Any], dict[str, Any]], str | None]] = {
    # property: (Put operation, its arguments, Delete operation or None)
    "VersioningConfiguration": (
        "PutBucketVersioning",
        lambda value: {"VersioningConfiguration": picked(value, "Status")},
        None,
    ),
    "BucketEncryption": ("PutBucketEncryption", _encryption, "DeleteBucketEncryption"),
    "PublicAccessBlockConfiguration": (
        "PutPublicAccessBlock",
        lambda value: {"PublicAccessBlockConfiguration": value},
        "DeletePublicAccessBlock",
    ),
    "OwnershipControls": (
        "PutBucketOwnershipControls",
        lambda value: {"OwnershipControls": value},
        "DeleteBucketOwnershipControls",
    ),
    "LifecycleConfiguration": ("PutBucketLifecycleConfiguration", _lifecycle, "DeleteBucketLifecycle"),
    "CorsConfiguration": ("PutBucketCors", _cors, "DeleteBucketCors"),
    "NotificationConfiguration": ("PutBucketNotificationConfiguration", _notifications, None),
    "LoggingConfiguration": ("PutBucketLogging", _logging, None),
}
_KNOWN = {*_CONFIGURATION, "BucketName", "Tags", "ObjectLockEnabled"}


class Bucket(ResourceType):
    type = "AWS::S3::Bucket"
    replaced_by = frozenset({"BucketName", "ObjectLockEnabled"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        unknown = sorted(set(properties) - _KNOWN)
        if unknown:
            raise PropertyError(
                f"the local cloud does not apply the bucket's {', '.join(unknown)}; it applies "
                f"{', '.join(sorted(_KNOWN))}"
            )
        name = context.name(properties.get("BucketName"), longest=63, lower=True)
        arguments: dict[str, Any] = {"Bucket": name}
        if context.region != "us-east-1":
            arguments["CreateBucketConfiguration"] = {"LocationConstraint": context.region}
        if "ObjectLockEnabled" in properties:
            arguments["ObjectLockEnabledForBucket"] = properties["ObjectLockEnabled"]
        context.call("s3", "CreateBucket", arguments)
        context.note(Made(name))
        self._configure(context, name, properties, {})
        domain = f"{name}.s3.amazonaws.com"
        regional = f"{name}.s3.{context.region}.amazonaws.com"
        return Made(
            name,
            {
                "Arn": f"arn:{context.partition}:s3:::{name}",
                "DomainName": domain,
                "RegionalDomainName": regional,
                "DualStackDomainName": f"{name}.s3.dualstack.{context.region}.amazonaws.com",
                "WebsiteURL": f"http://{name}.s3-website-{context.region}.amazonaws.com",
            },
        )

    @staticmethod
    def _configure(context: ResourceContext, name: str, properties: Properties, previous: Properties) -> None:
        for key, (put, arguments, remove) in _CONFIGURATION.items():
            if key in properties and properties[key] != previous.get(key):
                context.call("s3", put, {"Bucket": name, **arguments(properties[key])})
            elif key in previous and key not in properties:
                if remove is not None:
                    context.quietly("s3", remove, {"Bucket": name})
                elif key == "VersioningConfiguration":
                    suspended = {"VersioningConfiguration": {"Status": "Suspended"}}
                    context.call("s3", put, {"Bucket": name, **suspended})
                elif key == "NotificationConfiguration":
                    context.call("s3", put, {"Bucket": name, "NotificationConfiguration": {}})
                else:
                    context.call("s3", put, {"Bucket": name, "BucketLoggingStatus": {}})
        tags = context.tags(properties.get("Tags"))
        context.call("s3", "PutBucketTagging", {"Bucket": name, "Tagging": {"TagSet": tag_list(tags)}})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        self._configure(context, made.physical_id, properties, previous)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("s3", "DeleteBucket", {"Bucket": made.physical_id})


def _policy(context: ResourceContext, name: str, properties: Properties) -> dict[str, Any]:
    return {"Bucket": properties["Bucket"], "Policy": properties["PolicyDocument"]}


TYPES: tuple[ResourceType, ...] = (
    Bucket(),
    ApiResource(
        "AWS::S3::BucketPolicy",
        "s3",
        create=Call("PutBucketPolicy", _policy),
        update=Call("PutBucketPolicy", _policy),
        delete=Call("DeleteBucketPolicy", lambda context, name, properties: picked(properties, "Bucket")),
        made=lambda context, name, properties, answer: Made(properties["Bucket"]),
        replaced_by=frozenset({"Bucket"}),
    ),
)
