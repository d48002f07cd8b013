"""What follows from an alarm's change: events for EventBridge, messages to topics, calls of functions."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from triptych.localcloud.bus import ServiceEvent
from triptych.localcloud.cloudwatch.alarms import Alarm, AlarmStore, Delivery, HistoryItem
from triptych.localcloud.cloudwatch.messages import (
    action_history,
    event_detail,
    lambda_payload,
    sns_message,
    sns_subject,
)

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud

_log = logging.getLogger(__name__)

EVENTBRIDGE = ""
"""a Delivery's target: the default event bus"""
RETRY_SECONDS: Sequence[float] = (1.0, 5.0)
_SOURCE = "aws.cloudwatch"


def is_scaling(action: str) -> bool:
    """Whether an action is a scaling policy: those only hear of it on the bus."""
    return action.split(":", 3)[2] == "autoscaling"


def state_event(alarm: Alarm, previous: Alarm) -> Delivery:
    """``CloudWatch Alarm State Change``."""
    return event(alarm, "CloudWatch Alarm State Change", event_detail(alarm, previous), alarm.updated_at)


def event(alarm: Alarm, detail_type: str, detail: dict[str, Any], at: datetime) -> Delivery:
    message = {"detailType": detail_type, "detail": detail, "arn": alarm.arn, "at": at.isoformat()}
    return Delivery(alarm.name, alarm.kind, EVENTBRIDGE, json.dumps(message))


def action(alarm: Alarm, previous: Alarm, target: str) -> Delivery:
    """One action of the alarm's new state: a topic or a function."""
    if ":sns:" in target:
        message: dict[str, Any] = {"subject": sns_subject(alarm), "message": sns_message(alarm, previous)}
    else:
        message = {"message": lambda_payload(alarm, previous)}
    message["stateUpdated"] = alarm.updated_at.isoformat()
    return Delivery(alarm.name, alarm.kind, target, json.dumps(message))


class ActionCourier:
    """One thread that sends what the store holds, in order; what fails is tried again, then noted.

    A delivery is in the store until it has been sent: one that was under way at a crash is sent again.
    """

    def __init__(
        self,
        cloud: Cloud,
        alarms: AlarmStore,
        now: Callable[[], datetime],
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self._cloud = cloud
        self._alarms = alarms
        self._now = now
        self._retry_seconds = retry_seconds
        self._work = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopped.clear()
        self._work.set()
        self._thread = threading.Thread(target=self._run, name="cloudwatch actions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What has not been sent stays for the next start."""
        self._stopped.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def wake(self) -> None:
        self._work.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._work.wait()
            self._work.clear()
            try:
                self.deliver_all()
            except Exception:
                _log.exception("alarm actions could not be taken")
                self._stopped.wait(1.0)

    def deliver_all(self) -> None:
        """Send what waits, in order."""
        for delivery in self._alarms.pending():
            if self._stopped.is_set():
                return
            self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> None:
        message = json.loads(delivery.message)
        if delivery.target == EVENTBRIDGE:
            self._cloud.bus.publish(
                ServiceEvent(
                    _SOURCE,
                    message["detailType"],
                    message["detail"],
                    (message["arn"],),
                    datetime.fromisoformat(message["at"]),
                    delivery.event_id,
                )
            )
            self._alarms.settle(delivery)
            return
        error = self._send(delivery.target, message)
        if self._stopped.is_set() and error:
            return
        if error:
            _log.warning("alarm %s: action %s failed: %s", delivery.alarm, delivery.target, error)
        done = f"Successfully executed action {delivery.target}"
        failed = f"Failed to execute action {delivery.target}. Received error: {error!r}"
        self._alarms.settle(
            delivery,
            [
                HistoryItem(
                    delivery.alarm,
                    delivery.kind,
                    self._now(),
                    "Action",
                    failed if error else done,
                    action_history(
                        delivery.target, message["message"], not error, error, message["stateUpdated"]
                    ),
                )
            ],
        )

    def _send(self, target: str, message: dict[str, Any]) -> str | None:
        """Why it could not be sent, if so."""
        from botocore.exceptions import BotoCoreError, ClientError

        region = target.split(":")[3]
        problem: str | None = None
        for pause in (*self._retry_seconds, None):
            try:
                if ":sns:" in target:
                    self._cloud.clients.get("sns", region).publish(
                        TopicArn=target, Subject=message["subject"], Message=json.dumps(message["message"])
                    )
                else:
                    self._cloud.clients.get("lambda", region).invoke(
                        FunctionName=target,
                        InvocationType="Event",
                        Payload=json.dumps(message["message"]).encode(),
                    )
                return None
            except (ClientError, BotoCoreError) as error:
                problem = str(error)
                if _is_final(error):
                    return problem
            if pause is None or self._stopped.wait(pause):
                break
        return problem


def _is_final(error: Any) -> bool:
    """A topic or function that is not there will not be there in a few seconds either."""
    status: int = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return 400 <= status < 500 and status != 429
