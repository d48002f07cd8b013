"""AWS::SNS and AWS::SQS: topics, subscriptions, queues and their policies."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.cloudformation.resources.base import Made, Properties, ResourceContext, ResourceType
from triptych.localcloud.cloudformation.shapes import tag_list, without

_TOPIC_ATTRIBUTES = (
    "ContentBasedDeduplication", "DeliveryPolicy", "DisplayName", "FifoTopic", "KmsMasterKeyId",
    "SignatureVersion", "TracingConfig",
)  # fmt: skip


def _texts(properties: Properties, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: properties[name] for name in names if name in properties}


class Topic(ResourceType):
    type = "AWS::SNS::Topic"
    replaced_by = frozenset({"TopicName", "FifoTopic"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("TopicName"), longest=256)
        if str(properties.get("FifoTopic", "false")).lower() == "true" and not name.endswith(".fifo"):
            name += ".fifo"
        arn = context.call(
            "sns",
            "CreateTopic",
            {
                "Name": name,
                "Attributes": _texts(properties, _TOPIC_ATTRIBUTES),
                "Tags": tag_list(context.tags(properties.get("Tags"))),
            },
        )["TopicArn"]
        made = Made(arn, {"TopicArn": arn, "TopicName": name})
        context.note(made)
        for subscription in properties.get("Subscription", []):
            context.call("sns", "Subscribe", {"TopicArn": arn, **subscription})
        return made

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        topic = {"TopicArn": made.physical_id}
        for name in _TOPIC_ATTRIBUTES:
            if properties.get(name) != previous.get(name):
                value = properties.get(name, "")
                context.call(
                    "sns", "SetTopicAttributes", {**topic, "AttributeName": name, "AttributeValue": value}
                )
        wanted, had = properties.get("Subscription", []), previous.get("Subscription", [])
        for subscription in wanted:
            if subscription not in had:
                context.call("sns", "Subscribe", {**topic, **subscription})
        gone = [subscription["Endpoint"] for subscription in had if subscription not in wanted]
        if gone:
            self._unsubscribe(context, made.physical_id, gone)
        return made

    @staticmethod
    def _unsubscribe(context: ResourceContext, arn: str, endpoints: list[str] | None) -> None:
        for entry in context.call("sns", "ListSubscriptionsByTopic", {"TopicArn": arn})["Subscriptions"]:
            if (endpoints is None or entry["Endpoint"] in endpoints) and entry["SubscriptionArn"].startswith(
                "arn:"
            ):
                context.quietly("sns", "Unsubscribe", {"SubscriptionArn": entry["SubscriptionArn"]})

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        sns = context.client("sns")
        try:
            self._unsubscribe(context, made.physical_id, None)
        except sns.exceptions.NotFoundException:
            return
        context.quietly("sns", "DeleteTopic", {"TopicArn": made.physical_id})


_SUBSCRIPTION_ATTRIBUTES = (
    "DeliveryPolicy",
    "FilterPolicy",
    "FilterPolicyScope",
    "RawMessageDelivery",
    "RedrivePolicy",
)


class Subscription(ResourceType):
    type = "AWS::SNS::Subscription"
    replaced_by = frozenset({"TopicArn", "Protocol", "Endpoint"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        arn = context.call(
            "sns",
            "Subscribe",
            {
                "TopicArn": properties["TopicArn"],
                "Protocol": properties["Protocol"],
                "Endpoint": properties.get("Endpoint", ""),
                "Attributes": _texts(properties, _SUBSCRIPTION_ATTRIBUTES),
                "ReturnSubscriptionArn": True,
            },
        )["SubscriptionArn"]
        return Made(arn, {"Arn": arn})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        for name in _SUBSCRIPTION_ATTRIBUTES:
            if properties.get(name) != previous.get(name):
                context.call(
                    "sns",
                    "SetSubscriptionAttributes",
                    {
                        "SubscriptionArn": made.physical_id,
                        "AttributeName": name,
                        "AttributeValue": properties.get(name, ""),
                    },
                )
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("sns", "Unsubscribe", {"SubscriptionArn": made.physical_id})


class TopicPolicy(ResourceType):
    type = "AWS::SNS::TopicPolicy"

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        for arn in properties["Topics"]:
            context.call(
                "sns",
                "SetTopicAttributes",
                {"TopicArn": arn, "AttributeName": "Policy", "AttributeValue": properties["PolicyDocument"]},
            )
        return Made(context.name(None))

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        self.create(context, properties)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        """The policy goes with its topics."""


class Queue(ResourceType):
    type = "AWS::SQS::Queue"
    replaced_by = frozenset({"QueueName", "FifoQueue"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("QueueName"), longest=75)
        if str(properties.get("FifoQueue", "false")).lower() == "true" and not name.endswith(".fifo"):
            name += ".fifo"
        url = context.call(
            "sqs",
            "CreateQueue",
            {
                "QueueName": name,
                "Attributes": without(properties, "QueueName", "Tags"),
                "tags": context.tags(properties.get("Tags")),
            },
        )["QueueUrl"]
        return Made(url, {"Arn": context.arn("sqs", name), "QueueName": name, "QueueUrl": url})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        context.call(
            "sqs",
            "SetQueueAttributes",
            {
                "QueueUrl": made.physical_id,
                "Attributes": without(properties, "QueueName", "Tags", "FifoQueue"),
            },
        )
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        context.quietly("sqs", "DeleteQueue", {"QueueUrl": made.physical_id})


class QueuePolicy(ResourceType):
    type = "AWS::SQS::QueuePolicy"

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        for url in properties["Queues"]:
            policy = {"Policy": properties["PolicyDocument"]}
            context.call("sqs", "SetQueueAttributes", {"QueueUrl": url, "Attributes": policy})
        return Made(context.name(None), {"Id": context.name(None)})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        self.create(context, properties)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        for url in properties["Queues"]:
            context.quietly("sqs", "SetQueueAttributes", {"QueueUrl": url, "Attributes": {"Policy": ""}})


TYPES: tuple[ResourceType, ...] = (Topic(), Subscription(), TopicPolicy(), Queue(), QueuePolicy())
