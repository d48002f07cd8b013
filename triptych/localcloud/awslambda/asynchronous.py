"""Invocations of type Event: accepted at once, kept in the home folder until done, retried, sent on."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.awslambda.functions import FunctionRecord
from triptych.localcloud.awslambda.invocation import Invocation
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.service import ServiceError

_log = logging.getLogger(__name__)

RETRY_DELAYS_SECONDS = (60.0, 120.0)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    request_id TEXT PRIMARY KEY,
    function TEXT NOT NULL,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    payload TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL
)
"""


@dataclass(frozen=True)
class QueuedEvent:
    """One accepted event; ``function`` is the ARN it was sent to."""

    request_id: str
    function: str
    account_id: str
    region: str
    payload: str
    attempts: int = 0
    due: float = 0.0


Run = Callable[[QueuedEvent], tuple[FunctionRecord, Invocation]]


class EventQueue:
    """Runs events in threads of their own.

    ``run`` invokes once and raises ServiceError where Lambda itself fails.
    """

    def __init__(self, cloud: Cloud, run: Run, retry_delays: Sequence[float] = RETRY_DELAYS_SECONDS) -> None:
        self._cloud = cloud
        self._run = run
        self._retry_delays = tuple(retry_delays)
        self._database = cloud.home.database("lambda", _SCHEMA)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take up what the last gateway accepted and did not finish."""
        for row in self._database.connection.execute("SELECT * FROM event").fetchall():
            self._begin(QueuedEvent(**row))

    def stop(self) -> None:
        self._stopped.set()

    def put(self, event: QueuedEvent) -> None:
        """Keep the event and start on it; it survives the gateway from here on."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO event (request_id, function, account_id, region, payload, attempts, due) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    event.request_id, event.function, event.account_id, event.region, event.payload,
                    event.attempts, event.due,
                ),
            )  # fmt: skip
        self._begin(event)

    def _begin(self, event: QueuedEvent) -> None:
        threading.Thread(target=self._work, args=(event,), name="lambda event", daemon=True).start()

    def _work(self, event: QueuedEvent) -> None:
        attempts, due = event.attempts, event.due
        while not self._stopped.wait(max(0.0, due - time.time())):
            try:
                function, outcome = self._run(event)
            except ServiceError as error:
                if error.code == "ResourceNotFoundException":
                    _log.warning("event %s dropped: %s", event.request_id, error.message)
                    break
                if self._stopped.is_set():
                    return
                due = time.time() + 1.0  # throttled: Lambda itself tries again, without counting it
                continue
            if self._stopped.is_set():
                return  # its worker was killed with the gateway; the next start tries again
            attempts += 1
            allowed = min(function.retry_attempts, len(self._retry_delays))
            if not outcome.failed or attempts > allowed:
                self._send_on(event, function, outcome, attempts)
                break
            due = time.time() + self._retry_delays[attempts - 1]
            with self._database.write() as connection:
                connection.execute(
                    "UPDATE event SET attempts = ?, due = ? WHERE request_id = ?",
                    (attempts, due, event.request_id),
                )
        else:
            return
        with self._database.write() as connection:
            connection.execute("DELETE FROM event WHERE request_id = ?", (event.request_id,))
        self._database.close()

    def _send_on(
        self, event: QueuedEvent, function: FunctionRecord, outcome: Invocation, attempts: int
    ) -> None:
        target = function.destinations.get("OnFailure" if outcome.failed else "OnSuccess")
        if target is None:
            return
        record = {
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": f"{function.arn}:{function.version}",
                "condition": "RetriesExhausted" if outcome.failed else "Success",
                "approximateInvokeCount": attempts,
            },
            "requestPayload": json.loads(event.payload),
            "responseContext": {"statusCode": 200, "executedVersion": function.version}
            | ({"functionError": "Unhandled"} if outcome.failed else {}),
            "responsePayload": json.loads(outcome.payload),
        }
        try:
            send(self._cloud, target, record, function.arn)
        except Exception:
            _log.exception("the destination %s of %s could not be reached", target, function.arn)


def send(cloud: Cloud, target: str, record: dict[str, Any], source: str) -> None:
    """Deliver to a destination by its ARN: a queue, a topic, an event bus or a function."""
    service, name = target.split(":")[2], target.split(":")[-1]
    text = json.dumps(record)
    if service == "sqs":
        queue = cloud.clients.get("sqs").get_queue_url(QueueName=name)["QueueUrl"]
        cloud.clients.get("sqs").send_message(QueueUrl=queue, MessageBody=text)
    elif service == "sns":
        cloud.clients.get("sns").publish(TopicArn=target, Message=text)
    elif service == "lambda":
        cloud.clients.get("lambda").invoke(FunctionName=target, InvocationType="Event", Payload=text)
    elif service == "events":
        condition = "Success" if record["requestContext"]["condition"] == "Success" else "Failure"
        entry = {
            "Source": "lambda",
            "DetailType": f"Lambda Function Invocation Result - {condition}",
            "Resources": [source],
            "Detail": text,
            "EventBusName": target,
        }
        cloud.clients.get("events").put_events(Entries=[entry])
    else:
        raise ValueError(f"destination {target}: an SQS queue, SNS topic, event bus or function is expected")
