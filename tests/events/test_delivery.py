"""Events reach their rules' targets, whatever fails on the way; schedules fire. Records are moto's."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from triptych.localcloud.bus import ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.events import courier
from triptych.localcloud.events.clock import Schedule, ScheduleClock
from triptych.localcloud.events.outbox import Outbox
from triptych.localcloud.events.service import EventsService, SchedulerService
from triptych.localcloud.home import Home
from triptych.localcloud.service import RequestContext, ServiceError

REGION, ACCOUNT = "us-east-1", "123456789012"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:Pipeline"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/events"


class Calls:
    """A service's fake: each call is kept; ``failures`` are raised one after the other first."""

    class exceptions:
        class ExecutionAlreadyExists(ClientError):
            pass

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.failures: list[Exception] = []

    def __getattr__(self, method: str) -> Callable[..., dict[str, Any]]:
        def call(**params: Any) -> dict[str, Any]:
            if self.failures:
                raise self.failures.pop(0)
            self.calls.put((method, params))
            return {}

        return call

    def next(self) -> tuple[str, dict[str, Any]]:
        return self.calls.get(timeout=10)


class FakeLogs:
    def __init__(self) -> None:
        self.lines: queue.Queue[tuple[str, str, str]] = queue.Queue()

    def append(self, group: str, stream: str, lines: list[tuple[datetime, str]]) -> None:
        for _, text in lines:
            self.lines.put((group, stream, text))


class World:
    """A cloud whose records are moto's, with fakes for Step Functions and Lambda."""

    def __init__(self, folder: Path) -> None:
        self.states, self.functions, self.logs = Calls(), Calls(), FakeLogs()
        home = Home(folder)
        home.create()
        self.cloud = Cloud(home, Settings())
        self.cloud.clients = self  # type: ignore[assignment]
        self.cloud.logs = self.logs  # type: ignore[assignment]
        self._clients: dict[str, Any] = {"stepfunctions": self.states, "lambda": self.functions}
        self._lock = threading.Lock()

    def get(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="s"
                )
            return self._clients[service]

    def call(self, service: Any, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """An operation as the gateway would call it."""
        client = self.get(service.service_id)
        method = {api: name for name, api in client.meta.method_to_api_mapping.items()}[operation]
        context = RequestContext(
            service.service_id, operation, forward=lambda p: getattr(client, method)(**p)
        )
        answer: dict[str, Any] = service.operations[operation](context, params)
        return answer

    def rule(
        self, name: str, pattern: dict[str, Any], *targets: dict[str, Any], bus: str = "default"
    ) -> None:
        events = self.get("events")
        events.put_rule(Name=name, EventPattern=json.dumps(pattern), EventBusName=bus)
        events.put_targets(
            Rule=name,
            EventBusName=bus,
            Targets=[{"Id": str(number), **target} for number, target in enumerate(targets)],
        )

    def queue(self, name: str, **attributes: str) -> tuple[str, str]:
        url = self.get("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def message(self, url: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            answer = self.get("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"])
            found.extend(answer.get("Messages", []))
            return bool(found)

        wait_until(look)
        return found[0]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws():
        yield World(tmp_path)


@pytest.fixture
def events(world: World) -> Iterator[EventsService]:
    service = EventsService(world.cloud)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "retry_delay", lambda attempts: 0.02)


def put(world: World, service: EventsService, **entry: Any) -> str:
    default = {"Source": "my.app", "DetailType": "Done", "Detail": '{"n": 1}'}
    answer = world.call(service, "PutEvents", {"Entries": [default | entry]})
    return str(answer["Entries"][0]["EventId"])


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Op"
    )


def wait_until(condition: Callable[[], Any]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("the condition did not come true within ten seconds")


# --- events ---


def test_an_event_starts_the_state_machine_of_a_rule_that_matches(
    world: World, events: EventsService
) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE, "RoleArn": ROLE})
    world.rule("other", {"source": ["another.app"]}, {"Arn": FUNCTION})
    event_id = put(world, events, Resources=["arn:r"], Time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    method, params = world.states.next()
    assert (method, params["stateMachineArn"]) == ("start_execution", MACHINE)
    assert params["name"].startswith(event_id)
    assert len(params["name"]) <= 80
    assert json.loads(params["input"]) == {
        "version": "0",
        "id": event_id,
        "detail-type": "Done",
        "source": "my.app",
        "account": ACCOUNT,
        "time": "2026-01-02T03:04:05Z",
        "region": REGION,
        "resources": ["arn:r"],
        "detail": {"n": 1},
    }
    assert world.functions.calls.empty()


def test_a_service_event_is_transformed_for_the_target(world: World, events: EventsService) -> None:
    transformer = {
        "InputPathsMap": {"bucket": "$.detail.bucket.name", "key": "$.detail.object.key"},
        "InputTemplate": '{"trigger": {"kind": "upload", "detail": {"bucket": <bucket>, "key": <key>}}}',
    }
    pattern = {"source": ["aws.s3"], "detail": {"object": {"key": [{"prefix": "raw/"}]}}}
    world.rule("upload", pattern, {"Arn": MACHINE, "RoleArn": ROLE, "InputTransformer": transformer})
    for key in ("other/x", "raw/flights/1.csv"):
        detail = {"bucket": {"name": "data"}, "object": {"key": key}}
        world.cloud.bus.publish(ServiceEvent("aws.s3", "Object Created", detail))
    _, params = world.states.next()
    assert json.loads(params["input"]) == {
        "trigger": {"kind": "upload", "detail": {"bucket": "data", "key": "raw/flights/1.csv"}}
    }
    assert world.states.calls.empty()


def test_each_kind_of_target_is_reached(world: World, events: EventsService) -> None:
    url, queue_arn = world.queue("plain")
    fifo_url, fifo_arn = world.queue("ordered.fifo", FifoQueue="true")
    topic_url, topic_queue_arn = world.queue("from-topic")
    topic = world.get("sns").create_topic(Name="news")["TopicArn"]
    world.get("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=topic_queue_arn)
    world.rule(
        "all",
        {"source": ["my.app"]},
        {"Arn": FUNCTION},
        {"Arn": queue_arn, "InputPath": "$.detail"},
        {"Arn": fifo_arn, "SqsParameters": {"MessageGroupId": "g"}},
        {"Arn": topic, "Input": '"hello"'},
        {"Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/events/all:*"},
    )
    event_id = put(world, events)
    method, params = world.functions.next()
    assert (method, params["FunctionName"], params["InvocationType"]) == ("invoke", FUNCTION, "Event")
    assert json.loads(params["Payload"])["id"] == event_id
    assert world.message(url)["Body"] == '{"n":1}'
    assert json.loads(world.message(fifo_url)["Body"])["id"] == event_id
    assert json.loads(world.message(topic_url)["Body"])["Message"] == '"hello"'
    group, stream, text = world.logs.lines.get(timeout=10)
    assert (group, stream, json.loads(text)["id"]) == ("/aws/events/all", event_id, event_id)


def test_events_go_on_to_other_buses_but_not_in_circles(world: World, events: EventsService) -> None:
    world.get("events").create_event_bus(Name="second")
    default_bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    world.rule("there", {"source": ["my.app"]}, {"Arn": default_bus.replace("default", "second")})
    world.rule("back", {"source": ["my.app"]}, {"Arn": default_bus}, {"Arn": MACHINE}, bus="second")
    event_id = put(world, events)
    seen = [json.loads(world.states.next()[1]["input"])["id"] for _ in range(3)]
    assert seen == [event_id] * 3
    wait_until(lambda: nothing_waits(world))
    assert world.states.calls.empty()


def nothing_waits(world: World) -> bool:
    outbox = Outbox(world.cloud.home, "events")
    return not outbox.unrouted(1) and not outbox.waiting()


def test_a_disabled_rule_delivers_nothing(world: World, events: EventsService) -> None:
    world.rule("off", {"source": ["my.app"]}, {"Arn": FUNCTION})
    world.rule("on", {"source": ["my.app"]}, {"Arn": MACHINE})
    world.get("events").disable_rule(Name="off")
    put(world, events)
    world.states.next()
    assert world.functions.calls.empty()


def test_a_rule_made_after_the_first_events_counts(world: World, events: EventsService) -> None:
    put(world, events)
    wait_until(lambda: nothing_waits(world))
    world.rule("late", {"source": ["my.app"]}, {"Arn": MACHINE})
    event_id = put(world, events)
    assert world.states.next()[1]["name"].startswith(event_id)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        pytest.param({"Source": ""}, "InvalidArgument", id="no source"),
        pytest.param({"DetailType": ""}, "InvalidArgument", id="no detail type"),
        pytest.param({"Detail": ""}, "InvalidArgument", id="no detail"),
        pytest.param({"Detail": "{"}, "MalformedDetail", id="broken detail"),
        pytest.param({"Detail": "[1]"}, "MalformedDetail", id="detail is no object"),
        pytest.param({"Source": "aws.s3"}, "NotAuthorizedForSourceException", id="a service's source"),
    ],
)
def test_a_bad_entry_is_refused_and_the_others_taken(
    world: World, events: EventsService, entry: dict[str, str], code: str
) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE})
    good = {"Source": "my.app", "DetailType": "Done", "Detail": "{}"}
    answer = world.call(events, "PutEvents", {"Entries": [good | entry, good]})
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == code
    assert world.states.next()[1]["name"].startswith(answer["Entries"][1]["EventId"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param([], "between 1 and 10", id="none"),
        pytest.param([{"Source": "a", "DetailType": "b", "Detail": "{}"}] * 11, "got 11", id="eleven"),
        pytest.param(
            [{"Source": "a", "DetailType": "b", "Detail": json.dumps({"x": "y" * 262144})}],
            "over the limit",
            id="big",
        ),
    ],
)
def test_a_request_over_the_limits_is_refused(
    world: World, events: EventsService, entries: list[Any], message: str
) -> None:
    with pytest.raises(ServiceError, match=message):
        world.call(events, "PutEvents", {"Entries": entries})


def test_patterns_are_tested_and_checked(world: World, events: EventsService) -> None:
    ask = {"EventPattern": '{"a": [{"prefix": "x"}]}', "Event": '{"a": "xy"}'}
    assert world.call(events, "TestEventPattern", ask) == {"Result": True}
    with pytest.raises(ServiceError, match="Reason: Unrecognized match type like") as caught:
        world.call(events, "PutRule", {"Name": "r", "EventPattern": '{"a": [{"like": "x"}]}'})
    assert caught.value.code == "InvalidEventPatternException"
    with pytest.raises(ServiceError, match="ScheduleExpression is not valid"):
        world.call(events, "PutRule", {"Name": "r", "ScheduleExpression": "cron(61 * * * ? *)"})


# --- failures ---


@pytest.mark.usefixtures("impatient")
def test_a_throttled_delivery_is_tried_again(world: World, events: EventsService) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE})
    world.states.failures = [client_error("ThrottlingException"), client_error("InternalFailure", 500)]
    event_id = put(world, events)
    assert world.states.next()[1]["name"].startswith(event_id)


def test_an_execution_that_exists_already_counts_as_delivered(world: World, events: EventsService) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE})
    error = {"Error": {"Code": "ExecutionAlreadyExists", "Message": "again"}}
    world.states.failures = [Calls.exceptions.ExecutionAlreadyExists(error, "StartExecution")]
    put(world, events)
    wait_until(lambda: not world.states.failures)
    wait_until(lambda: nothing_waits(world))
    assert world.states.calls.empty()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("failures", "policy", "condition", "attempts"),
    [
        pytest.param(
            [client_error("StateMachineDoesNotExist")], {}, "NonRetryableError", "0", id="no such machine"
        ),
        pytest.param(
            [client_error("ThrottlingException")] * 3,
            {"RetryPolicy": {"MaximumRetryAttempts": 2}},
            "MaximumRetryAttempts",
            "2",
            id="attempts used up",
        ),
    ],
)
def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(
    world: World,
    events: EventsService,
    failures: list[Exception],
    policy: dict[str, Any],
    condition: str,
    attempts: str,
) -> None:
    url, arn = world.queue("dead")
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE, "DeadLetterConfig": {"Arn": arn}, **policy})
    world.states.failures = list(failures)
    event_id = put(world, events)
    message = world.message(url)
    assert json.loads(message["Body"])["id"] == event_id
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes == {
        "ERROR_CODE": failures[0].response["Error"]["Code"],  # type: ignore[attr-defined]
        "ERROR_MESSAGE": "no",
        "RULE_ARN": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/match",
        "TARGET_ARN": MACHINE,
        "EXHAUSTED_RETRY_CONDITION": condition,
        "RETRY_ATTEMPTS": attempts,
    }
    assert world.states.calls.empty()


def test_accepted_events_outlive_the_process(world: World) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE})
    first = EventsService(world.cloud)  # never started: it accepts, and dies before it delivers
    ids = {put(world, first) for _ in range(3)}
    second = EventsService(Cloud(world.cloud.home, world.cloud.settings))
    second._cloud.clients = world  # type: ignore[assignment]
    second.start()
    try:
        delivered = {json.loads(world.states.next()[1]["input"])["id"] for _ in range(3)}
    finally:
        second.stop()
    assert delivered == ids


@pytest.mark.usefixtures("impatient")
def test_a_delivery_that_failed_is_tried_again_by_the_next_process(world: World) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE})
    world.states.failures = [ConnectionError("gateway is down")] * 2
    first = EventsService(world.cloud)
    first.start()
    event_id = put(world, first)
    wait_until(lambda: len(world.states.failures) < 2)
    first.stop()
    second = EventsService(Cloud(world.cloud.home, world.cloud.settings))
    second._cloud.clients = world  # type: ignore[assignment]
    second.start()
    try:
        assert world.states.next()[1]["name"].startswith(event_id)
    finally:
        second.stop()


def test_the_same_delivery_has_the_same_execution_name(world: World, events: EventsService) -> None:
    world.rule("match", {"source": ["my.app"]}, {"Arn": MACHINE}, {"Arn": MACHINE})
    message = ServiceEvent("my.app", "Done", {})
    for _ in range(2):
        world.cloud.bus.publish(message)
    names = [world.states.next()[1]["name"] for _ in range(4)]
    assert len(set(names)) == 2


# --- schedules ---


class Hands:
    """A clock that the test moves."""

    def __init__(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **delta: float) -> None:
        self.now += timedelta(**delta)


def make_clock(folder: Path, hands: Hands, schedules: list[Schedule]) -> tuple[ScheduleClock, list[datetime]]:
    home = Home(folder)
    home.create()
    fired: list[datetime] = []
    return ScheduleClock(
        "test", Outbox(home, "schedules"), lambda: schedules, lambda arn, due: fired.append(due), hands
    ), fired


def times(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]


def test_a_rules_rate_fires_each_period_after_it_was_made(tmp_path: Path) -> None:
    hands = Hands("2026-01-01T00:00:00")
    clock, fired = make_clock(tmp_path, hands, [Schedule("a", "rate(5 minutes)")])
    for _ in range(12):
        clock.tick()
        hands.move(minutes=1)
    assert fired == times("2026-01-01T00:05", "2026-01-01T00:10")


def test_a_schedulers_rate_fires_when_made_and_each_period_after(tmp_path: Path) -> None:
    hands = Hands("2026-01-01T00:00:00")
    clock, fired = make_clock(tmp_path, hands, [Schedule("a", "rate(5 minutes)", fires_when_created=True)])
    for _ in range(12):
        clock.tick()
        hands.move(minutes=1)
    assert fired == times("2026-01-01T00:00", "2026-01-01T00:05", "2026-01-01T00:10")


def test_what_was_due_while_down_is_not_caught_up_and_the_beat_is_kept(tmp_path: Path) -> None:
    hands = Hands("2026-01-01T00:00:00")
    schedules = [
        Schedule("rate", "rate(1 hour)", fires_when_created=True),
        Schedule("once", "at(2026-01-01T01:30:00)"),
        Schedule("daily", "cron(0 2 * * ? *)"),
    ]
    clock, fired = make_clock(tmp_path, hands, schedules)
    clock.tick()
    assert fired == times("2026-01-01T00:00")
    hands.move(hours=4, minutes=20)
    clock, fired = make_clock(tmp_path, hands, schedules)
    assert clock.tick() == times("2026-01-01T05:00")[0]
    hands.move(hours=1)
    clock.tick()
    assert fired == times("2026-01-01T05:00")


def test_a_schedule_keeps_to_its_dates(tmp_path: Path) -> None:
    hands = Hands("2026-01-01T00:00:00")
    start, end = times("2026-01-01T03:30", "2026-01-01T06:00")
    clock, fired = make_clock(
        tmp_path, hands, [Schedule("a", "rate(1 hour)", start=start, end=end, fires_when_created=True)]
    )
    for _ in range(50):
        clock.tick()
        hands.move(minutes=10)
    assert fired == times("2026-01-01T03:30", "2026-01-01T04:30", "2026-01-01T05:30")


def test_a_flexible_window_fires_within_it(tmp_path: Path) -> None:
    hands = Hands("2026-01-01T00:00:00")
    clock, fired = make_clock(tmp_path, hands, [Schedule("a", "cron(0 1 * * ? *)", window_seconds=900)])
    due = clock.tick()
    assert due is not None
    assert times("2026-01-01T01:00")[0] <= due <= times("2026-01-01T01:15")[0]
    hands.now = due
    clock.tick()
    assert fired == times("2026-01-01T01:00")


def test_a_deleted_schedule_fires_no_more(tmp_path: Path) -> None:
    hands = Hands("2026-01-01T00:00:00")
    schedules = [Schedule("a", "rate(1 minute)")]
    clock, fired = make_clock(tmp_path, hands, schedules)
    clock.tick()
    schedules.clear()
    hands.move(minutes=5)
    assert clock.tick() is None
    assert fired == []


def test_a_rule_with_a_schedule_sends_a_scheduled_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands("2026-01-01T05:59:59.9")
    service = EventsService(world.cloud)
    monkeypatch.setattr(service._clock, "_now", hands)
    client = world.get("events")
    client.put_rule(Name="daily", ScheduleExpression="cron(0 6 * * ? *)")
    client.put_targets(Rule="daily", Targets=[{"Id": "1", "Arn": MACHINE, "RoleArn": ROLE}])
    world.rule("greedy", {"source": ["aws.events"]}, {"Arn": FUNCTION})
    service._clock.tick()
    hands.move(seconds=1)
    service._clock.tick()
    service._courier.start()
    try:
        event = json.loads(world.states.next()[1]["input"])
    finally:
        service.stop()
    assert (event["source"], event["detail-type"], event["time"], event["detail"]) == (
        "aws.events",
        "Scheduled Event",
        "2026-01-01T06:00:00Z",
        {},
    )
    assert event["resources"] == [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/daily"]


@pytest.fixture
def scheduler(world: World) -> Iterator[SchedulerService]:
    service = SchedulerService(world.cloud)
    service.start()
    yield service
    service.stop()


def schedule(name: str, expression: str, target: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"RoleArn": ROLE, **target},
        **more,
    }


def test_a_new_schedule_fires_without_waiting_for_the_next_look(
    world: World, scheduler: SchedulerService
) -> None:
    target = {
        "Arn": MACHINE,
        "Input": '{"at": "<aws.scheduler.scheduled-time>", "by": "<aws.scheduler.schedule-arn>"}',
    }
    world.call(scheduler, "CreateSchedule", schedule("often", "rate(1 hour)", target))
    given = json.loads(world.states.next()[1]["input"])
    assert given["by"] == f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/often"
    assert datetime.fromisoformat(given["at"]).tzinfo is not None


def test_a_schedule_without_input_sends_a_scheduled_event(world: World, scheduler: SchedulerService) -> None:
    world.call(scheduler, "CreateSchedule", schedule("plain", "rate(1 hour)", {"Arn": FUNCTION}))
    event = json.loads(world.functions.next()[1]["Payload"])
    assert (event["source"], event["detail-type"], event["detail"]) == (
        "aws.scheduler",
        "Scheduled Event",
        "{}",
    )


def test_a_universal_target_calls_any_operation(world: World, scheduler: SchedulerService) -> None:
    url, _ = world.queue("plain")
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage",
        "Input": json.dumps({"QueueUrl": url, "MessageBody": "attempt <aws.scheduler.attempt-number>"}),
    }
    world.call(scheduler, "CreateSchedule", schedule("any", "rate(1 hour)", target))
    assert world.message(url)["Body"] == "attempt 1"


def test_a_one_time_schedule_may_be_deleted_after_it_fired(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands("2026-01-01T00:00:00")
    service = SchedulerService(world.cloud)
    monkeypatch.setattr(service._clock, "_now", hands)
    request = schedule("once", "at(2026-01-01T00:01:00)", {"Arn": MACHINE, "Input": "{}"})
    world.call(service, "CreateSchedule", request | {"ActionAfterCompletion": "DELETE"})
    assert service._clock.tick() == times("2026-01-01T00:01")[0]
    hands.move(minutes=1)
    service._clock.tick()
    assert world.get("scheduler").list_schedules()["Schedules"] == []
    service._courier.start()
    try:
        assert world.states.next()[0] == "start_execution"
    finally:
        service.stop()


def test_a_schedule_that_is_off_does_not_fire(world: World, scheduler: SchedulerService) -> None:
    world.call(
        scheduler, "CreateSchedule", schedule("off", "rate(1 minute)", {"Arn": FUNCTION}, State="DISABLED")
    )
    world.call(scheduler, "CreateSchedule", schedule("on", "rate(1 minute)", {"Arn": MACHINE}))
    world.states.next()
    assert world.functions.calls.empty()


def test_a_bad_schedule_expression_is_refused(world: World, scheduler: SchedulerService) -> None:
    with pytest.raises(ServiceError, match="Invalid Schedule Expression"):
        world.call(scheduler, "CreateSchedule", schedule("bad", "every day", {"Arn": MACHINE}))
