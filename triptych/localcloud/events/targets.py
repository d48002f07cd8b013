"""The services that rules and schedules deliver to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from triptych.localcloud.events.outbox import Delivery
from triptych.localcloud.integrations.aws_sdk import AwsSdkActions
from triptych.localcloud.integrations.shapes import AWS_SDK, ParametersRejected, to_request

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud

AcceptEvent = Callable[[str, dict[str, Any], int], None]
"""takes a bus, an event and how many buses it went through"""

_MOST_HOPS = 5
_TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "RequestLimitExceeded",
        "ServiceException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "ExecutionLimitExceeded",
    }
)


class DeliveryFailed(Exception):
    """A target was not reached; ``transient`` says whether another attempt may help."""

    def __init__(self, code: str, message: str, transient: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.transient = transient


class Targets:
    """Delivers a payload to a target by its ARN. Repeats of one delivery are the same to the target where it
    knows identities: an execution's name, a FIFO queue's deduplication id."""

    def __init__(self, cloud: Cloud, accept: AcceptEvent | None = None) -> None:
        self._cloud = cloud
        self._accept = accept
        """takes events for other buses; without it they go through PutEvents"""

    def deliver(self, delivery: Delivery, payload: str) -> None:
        """Raises DeliveryFailed."""
        from botocore.exceptions import ClientError

        try:
            self._send(delivery, payload)
        except ClientError as error:
            details = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
            code = str(details.get("Code", "Unknown"))
            raise DeliveryFailed(
                code, str(details.get("Message", "")), status >= 500 or code in _TRANSIENT_CODES
            ) from error
        except ParametersRejected as error:
            raise DeliveryFailed("SDK_CLIENT_ERROR", str(error), transient=False) from error

    def dead_letter(
        self, pending: Delivery, body: str, failure: DeliveryFailed, attempts: int, why: str
    ) -> bool:
        """Put the event into the target's dead-letter queue; False when it has none."""
        queue_arn = (pending.target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue_arn:
            return False
        attributes = {
            "ERROR_CODE": failure.code,
            "ERROR_MESSAGE": failure.message or failure.code,
            "RULE_ARN": pending.origin_arn,
            "TARGET_ARN": pending.target["Arn"],
            "EXHAUSTED_RETRY_CONDITION": why,
            "RETRY_ATTEMPTS": str(attempts),
        }
        sqs = self._cloud.clients.get("sqs")
        sqs.send_message(
            QueueUrl=self._queue_url(queue_arn),
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
                if value
            },
        )
        return True

    def _send(self, delivery: Delivery, payload: str) -> None:
        arn = str(delivery.target["Arn"])
        if ":::aws-sdk:" in arn:
            self._universal(arn, payload)
            return
        service = arn.split(":")[2]
        clients = self._cloud.clients
        match service:
            case "states":
                self._start_execution(arn, delivery, payload)
            case "lambda":
                clients.get("lambda").invoke(
                    FunctionName=arn, InvocationType="Event", Payload=payload.encode()
                )
            case "sns":
                clients.get("sns").publish(TopicArn=arn, Message=payload)
            case "sqs":
                self._send_message(arn, delivery, payload)
            case "logs":
                self._log(arn, delivery, payload)
            case "events":
                self._forward(arn, delivery, payload)
            case _:
                raise DeliveryFailed(
                    "UNSUPPORTED_TARGET",
                    f"The local cloud does not deliver to {arn}. It delivers to Step Functions, Lambda, SNS, "
                    "SQS, CloudWatch Logs, event buses, and schedules' aws-sdk targets.",
                    transient=False,
                )

    def _start_execution(self, arn: str, delivery: Delivery, payload: str) -> None:
        states = self._cloud.clients.get("stepfunctions")
        name = f"{delivery.event_id}_{_delivery_id(delivery)}"
        try:
            states.start_execution(stateMachineArn=arn, name=name, input=payload)
        except states.exceptions.ExecutionAlreadyExists:
            return  # an earlier attempt got through

    def _send_message(self, arn: str, delivery: Delivery, payload: str) -> None:
        more: dict[str, Any] = {}
        if group := (delivery.target.get("SqsParameters") or {}).get("MessageGroupId"):
            more = {"MessageGroupId": group, "MessageDeduplicationId": _delivery_id(delivery)}
        self._cloud.clients.get("sqs").send_message(
            QueueUrl=self._queue_url(arn), MessageBody=payload, **more
        )

    def _queue_url(self, arn: str) -> str:
        name, account = arn.split(":")[5], arn.split(":")[4]
        answer = self._cloud.clients.get("sqs").get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        return str(answer["QueueUrl"])

    def _log(self, arn: str, delivery: Delivery, payload: str) -> None:
        group = arn.split(":log-group:", 1)[-1].removesuffix(":*")
        self._cloud.logs.append(group, delivery.event_id, [(datetime.now(UTC), payload)])

    def _forward(self, arn: str, delivery: Delivery, payload: str) -> None:
        """To another bus, with the event's identity kept; events that go in circles end."""
        bus = arn.split(":event-bus/", 1)[-1]
        event = json.loads(payload)
        if self._accept is not None and isinstance(event, dict) and "detail-type" in event:
            if delivery.hops < _MOST_HOPS:
                self._accept(bus, event, delivery.hops + 1)
            return
        parameters = delivery.target.get("EventBridgeParameters") or {}
        entry = {
            "Source": parameters.get("Source", "aws.scheduler"),
            "DetailType": parameters.get("DetailType", "Scheduled Event"),
            "Detail": payload,
            "EventBusName": bus,
        }
        self._cloud.clients.get("events").put_events(Entries=[entry])

    def _universal(self, arn: str, payload: str) -> None:
        """``arn:aws:scheduler:::aws-sdk:sqs:sendMessage``: any operation, its parameters in the payload."""
        from botocore import xform_name

        service, name = arn.split(":::aws-sdk:", 1)[1].split(":", 1)
        action = AwsSdkActions(self._cloud.clients).find(service, name)
        if action is None:
            raise DeliveryFailed("SDK_CLIENT_ERROR", f"{arn} names no operation of a known service.", False)
        client = self._cloud.clients.get(action.client)
        shape = client.meta.service_model.operation_model(action.operation).input_shape
        getattr(client, xform_name(action.operation))(
            **to_request(json.loads(payload or "{}"), shape, AWS_SDK)
        )


def _delivery_id(delivery: Delivery) -> str:
    """The same for each attempt of one delivery."""
    target = delivery.target.get("Id") or delivery.target["Arn"]
    return str(uuid5(NAMESPACE_URL, f"{delivery.event_id} {delivery.origin_arn} {target}"))


def retry_delay(attempts: int) -> float:
    """Seconds before the next attempt after ``attempts`` failed ones: 1, 2, 4 … 60."""
    return float(min(60, 2 ** min(attempts - 1, 6)))


def is_exhausted(delivery: Delivery, attempts: int) -> str | None:
    """Which limit of the target's retry policy is reached: AWS's name of the condition, or None."""
    policy = delivery.target.get("RetryPolicy") or {}
    if attempts > int(policy.get("MaximumRetryAttempts", 185)):
        return "MaximumRetryAttempts"
    if time.time() - delivery.created >= float(policy.get("MaximumEventAgeInSeconds", 86400)):
        return "MaximumEventAgeInSeconds"
    return None
