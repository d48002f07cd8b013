"""InvokeEndpointAsync: every accepted request ends once, whatever happens to servers and processes."""

from __future__ import annotations

import base64
import json
import math
import queue
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from endpoint_blocks import constant, create_endpoint, create_model, variant
from sagemaker_laptop import Laptop

from triptych.localcloud.bus import ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.sagemaker.asynchronous import AsyncInferenceService
from triptych.localcloud.service import RequestContext, ServiceError

GOOD, BAD = "arn:aws:sns:us-east-1:123456789012:good", "arn:aws:sns:us-east-1:123456789012:bad"
CONFIG: dict[str, Any] = {
    "OutputConfig": {
        "S3OutputPath": "s3://data/answers/",
        "S3FailurePath": "s3://data/failures",
        "NotificationConfig": {"SuccessTopic": GOOD, "ErrorTopic": BAD},
    },
    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
}
Answer = Callable[[bytes], tuple[int, bytes]]


class ModelServer:
    """A model server on a Unix socket that answers as the test says; an answer that raises is a crash."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[bytes] = []
        self.headers: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.ready = threading.Event()
        self.ready.set()
        self.socket = str(Path(tempfile.gettempdir()) / f"model-{uuid4().hex[:12]}.sock")
        self._lock = threading.Lock()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                head = []
                while (line := self.rfile.readline().decode().strip()) != "":
                    head.append(line)
                lengths = [line for line in head if line.lower().startswith("content-length")]
                body = self.rfile.read(int(lengths[0].partition(":")[2]))
                outer.headers = head[1:]
                try:
                    status, content = outer._count(body)
                except ConnectionError:
                    return
                reply = f"HTTP/1.1 {status} X\r\ncontent-type: text/plain\r\ncontent-length: {len(content)}\r\n\r\n"
                self.wfile.write(reply.encode() + content)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that has gone away is part of some tests."""

        self._server = Server(self.socket, Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _count(self, body: bytes) -> tuple[int, bytes]:
        with self._lock:
            self.seen.append(body)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.answer(body)
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        Path(self.socket).unlink(missing_ok=True)


class World:
    """The service over a temporary home, with one endpoint of the test's own model servers."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        home.create()
        self.cloud = Cloud(home, Settings())
        self.cloud.store = ObjectStore(home, self.cloud.bus)
        self.cloud.metrics = MetricStore(home)
        self.cloud.store.create_bucket("data")
        self.messages: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self.cloud.clients = self  # type: ignore[assignment]
        self.records = {
            "slow": {"EndpointName": "slow", "EndpointStatus": "InService", "AsyncInferenceConfig": CONFIG},
            "live": {"EndpointName": "live", "EndpointStatus": "InService"},
            "new": {"EndpointName": "new", "EndpointStatus": "Creating"},
        }
        self.servers: list[ModelServer] = []
        self.time: float | None = None
        self.sagemaker: Any = SimpleNamespace(endpoints=self)
        self.service = self._service()

    def _service(self) -> AsyncInferenceService:
        now = lambda: time.time() if self.time is None else self.time  # noqa: E731
        return AsyncInferenceService(self.cloud, self.sagemaker, now=now, measure_seconds=0.05)

    def restart(self) -> None:
        """The service that the next process makes, over the same home."""
        self.service.stop()
        self.service = self._service()
        self.service.start()

    def serve(self, answer: Answer) -> ModelServer:
        server = ModelServer(answer)
        self.servers.append(server)
        return server

    # What the service asks of SageMaker and SNS

    def find(self, name: str) -> dict[str, Any]:
        if name not in self.records:
            raise ServiceError("ValidationException", f"Could not find endpoint {name}")
        return self.records[name]

    def all(self) -> list[dict[str, Any]]:
        return list(self.records.values())

    def live(self, name: str) -> Any:
        plans = {"v": self.servers, "shadow": []}
        variants = {
            name: SimpleNamespace(
                plan=SimpleNamespace(name=name, shadow=name == "shadow"), weight=1.0, servers=servers
            )
            for name, servers in plans.items()
        }
        return SimpleNamespace(shares=[SimpleNamespace(share=1.0, fleet=SimpleNamespace(variants=variants))])

    def get(self, service: str) -> World:
        assert service == "sns"
        return self

    def publish(self, TopicArn: str, Message: str) -> None:
        self.messages.put((TopicArn, json.loads(Message)))

    # What the tests do

    def invoke(self, **params: Any) -> dict[str, Any]:
        operation = self.service.operations["InvokeEndpointAsync"]
        context = RequestContext("sagemaker-runtime", "InvokeEndpointAsync")
        return operation(context, {"EndpointName": "slow", **params})

    def ask(self, text: str, **params: Any) -> dict[str, Any]:
        """A request whose input is an object."""
        key = f"in/{uuid4()}"
        self.cloud.store.put_bytes("data", key, text.encode())
        return self.invoke(InputLocation=f"s3://data/{key}", **params)

    def told(self) -> tuple[str, dict[str, Any]]:
        return self.messages.get(timeout=10)

    def stored(self, uri: str) -> bytes:
        return self.cloud.store.get_bytes("data", uri.removeprefix("s3://data/"))

    def metric(self, name: str, statistic: str = "Sum", *dimensions: tuple[str, str]) -> float:
        start = datetime.fromtimestamp((self.time or time.time()) - 600, UTC)
        end = datetime.fromtimestamp((self.time or time.time()) + 600, UTC)
        found = self.cloud.metrics.statistics(
            "AWS/SageMaker", name, (("EndpointName", "slow"), *dimensions), start, end, 1200, statistic
        )
        return found[0][1] if found else math.nan


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "home")
    yield world
    world.service.stop()
    for server in world.servers:
        server.close()


def upper(body: bytes) -> tuple[int, bytes]:
    return 200, body.upper()


def test_the_answer_is_an_object_and_a_message(world: World) -> None:
    server = world.serve(upper)
    world.service.start()
    answer = world.ask("a,b", ContentType="text/csv", Accept="text/plain", InferenceId="mine")
    assert answer["InferenceId"] == "mine"
    assert answer["OutputLocation"].startswith("s3://data/answers/")
    assert answer["OutputLocation"].endswith(".out")
    topic, message = world.told()
    assert topic == GOOD
    for member in ("eventTime", "receivedTime"):
        datetime.strptime(message.pop(member), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert message.pop("requestParameters").pop("inputLocation").startswith("s3://data/in/")
    assert message == {
        "awsRegion": "us-east-1",
        "invocationStatus": "Completed",
        "responseParameters": {"contentType": "text/plain", "outputLocation": answer["OutputLocation"]},
        "inferenceId": "mine",
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    assert world.stored(answer["OutputLocation"]) == b"A,B"
    assert "Content-Type: text/csv" in server.headers
    assert "Accept: text/plain" in server.headers
    eventually(lambda: world.metric("InvocationsProcessed") == 1)
    assert world.metric("InvocationFailures") == 0
    assert world.metric("ModelLatency", "SampleCount", ("VariantName", "v")) == 1


def test_input_may_come_with_the_request_and_the_output_have_a_name(world: World) -> None:
    world.serve(upper)
    world.service.start()
    answer = world.invoke(Body=b"inline", Filename="answer.csv", S3OutputPathExtension="run/7")
    assert answer["OutputLocation"] == "s3://data/answers/run/7/answer.csv"
    assert answer["FailureLocation"].startswith("s3://data/failures/run/7/")
    world.told()
    assert world.stored(answer["OutputLocation"]) == b"INLINE"


def test_responses_are_part_of_the_message_where_they_are_wanted_and_small(world: World) -> None:
    wanted = {"IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"], "SuccessTopic": GOOD}
    output = {"NotificationConfig": wanted}
    world.records["slow"]["AsyncInferenceConfig"] = {"OutputConfig": output}
    world.serve(lambda body: (200, body * 50_000))
    world.service.start()
    assert set(world.ask("ab")) == {"InferenceId"}  # no place for outputs
    _, message = world.told()
    assert base64.b64decode(message["responseBody"]["content"]) == b"ab" * 50_000
    assert "outputLocation" not in message["responseParameters"]
    world.ask("abc")
    assert "responseBody" not in world.told()[1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param((500, b"the model broke"), "Received server error (500) from model", id="5xx"),
        pytest.param((415, b"no such type"), "Received client error (415) from model", id="4xx"),
    ],
)
def test_a_models_refusal_is_stored_with_the_failures(
    world: World, answer: tuple[int, bytes], reason: str
) -> None:
    world.serve(lambda body: answer)
    world.service.start()
    accepted = world.ask("x")
    topic, message = world.told()
    assert topic == BAD
    assert message["invocationStatus"] == "Failed"
    assert reason in message["failureReason"]
    assert message["responseParameters"]["failureLocation"] == accepted["FailureLocation"]
    assert world.stored(accepted["FailureLocation"]) == answer[1]
    eventually(lambda: world.metric("InvocationFailures") == 1)


@pytest.mark.parametrize(
    ("source", "output", "reason"),
    [
        pytest.param("s3://data/missing", "s3://data/out", "Failed to download data", id="no input"),
        pytest.param("s3://nowhere/x", "s3://data/out", "Failed to download data", id="no bucket"),
        pytest.param(
            None, "s3://nowhere/out", "Failed to upload to s3://nowhere/out/", id="no output bucket"
        ),
    ],
)
def test_what_s3_lacks_is_told(world: World, source: str | None, output: str, reason: str) -> None:
    config = {**CONFIG, "OutputConfig": CONFIG["OutputConfig"] | {"S3OutputPath": output}}
    world.records["slow"]["AsyncInferenceConfig"] = config
    world.serve(upper)
    world.service.start()
    accepted = world.invoke(InputLocation=source) if source else world.ask("x")
    topic, message = world.told()
    assert (topic, message["invocationStatus"]) == (BAD, "Failed")
    assert reason in message["failureReason"]
    assert world.stored(accepted["FailureLocation"]).decode() == message["failureReason"]


def test_a_failure_that_cannot_be_stored_is_told_all_the_same(world: World) -> None:
    output = CONFIG["OutputConfig"] | {"S3FailurePath": "s3://nowhere/failures"}
    world.records["slow"]["AsyncInferenceConfig"] = {**CONFIG, "OutputConfig": output}
    world.serve(upper)
    world.service.start()
    world.invoke(InputLocation="s3://data/missing")
    topic, message = world.told()
    assert (topic, message["invocationStatus"]) == (BAD, "Failed")
    assert "Failed to download data" in message["failureReason"]
    assert "Failed to upload to s3://nowhere/failures/" in message["failureReason"]
    eventually(lambda: world.metric("InvocationFailures") == 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"EndpointName": "none"}, "none of account 123456789012 not found", id="no endpoint"),
        pytest.param({"EndpointName": "new"}, "its status is Creating", id="not in service"),
        pytest.param({"EndpointName": "live"}, "is not asynchronous", id="a real-time endpoint"),
        pytest.param({"InputLocation": None}, "Exactly one of InputLocation and Body", id="no input"),
        pytest.param({"Body": b"x"}, "Exactly one of InputLocation and Body", id="two inputs"),
        pytest.param({"InputLocation": None, "Body": b"x" * 128_001}, "128001 bytes", id="much inline"),
        pytest.param({"InputLocation": "https://x/y"}, "is not an S3 URI of an object", id="https"),
        pytest.param({"InputLocation": "s3://data"}, "is not an S3 URI of an object", id="a bucket"),
        pytest.param({"RequestTTLSeconds": 59}, "between 60 and 21600, not 59", id="short life"),
        pytest.param({"InvocationTimeoutSeconds": 3601}, "between 1 and 3600", id="long time"),
    ],
)
def test_what_cannot_be_accepted_is_refused(world: World, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        world.invoke(**({"InputLocation": "s3://data/x"} | params))
    assert caught.value.code == "ValidationError"
    assert message in caught.value.message


def test_no_server_has_more_requests_than_the_configuration_allows(world: World) -> None:
    go = threading.Event()

    def wait(body: bytes) -> tuple[int, bytes]:
        go.wait(10)
        return 200, body

    servers = [world.serve(wait), world.serve(wait)]
    world.service.start()
    for number in range(9):
        world.ask(str(number))
    eventually(lambda: sum(server.at_once for server in servers) == 4)
    assert [server.at_once for server in servers] == [2, 2]
    go.set()
    answers = {world.told()[1]["inferenceId"] for _ in range(9)}
    assert len(answers) == 9
    assert max(server.most_at_once for server in servers) == 2
    assert sorted(body for server in servers for body in server.seen) == [b"%d" % n for n in range(9)]


def test_requests_wait_for_a_server(world: World) -> None:
    world.service.start()
    world.ask("early")
    eventually(lambda: world.metric("HasBacklogWithoutCapacity", "Maximum") == 1)
    assert world.metric("ApproximateBacklogSize", "Maximum") == 1
    world.serve(upper)
    world.cloud.bus.publish(ServiceEvent("aws.sagemaker", "SageMaker Endpoint State Change", {}))
    assert world.told()[1]["invocationStatus"] == "Completed"
    eventually(lambda: world.metric("ApproximateBacklogSizePerInstance", "Minimum") == 0)


def test_what_waited_too_long_has_expired(world: World) -> None:
    world.time = 1_700_000_000.0
    world.service.start()
    accepted = world.ask("old", RequestTTLSeconds=60)
    world.time += 61
    topic, message = world.told()
    assert (topic, message["invocationStatus"]) == (BAD, "Expired")
    assert b"RequestTTLSeconds" in world.stored(accepted["FailureLocation"])
    assert "RequestTTLSeconds" in message["failureReason"]
    eventually(lambda: world.metric("ExpiredRequests") == 1)
    server = world.serve(upper)
    world.ask("new")
    world.told()
    assert server.seen == [b"new"]


def test_a_model_that_is_too_slow_is_not_waited_for(world: World) -> None:
    over = threading.Event()
    world.serve(lambda body: (200, b"late" if over.wait(10) else b""))
    world.service.start()
    world.ask("x", InvocationTimeoutSeconds=1)
    _, message = world.told()
    over.set()
    assert message["invocationStatus"] == "Expired"
    assert "did not answer within InvocationTimeoutSeconds (1)" in message["failureReason"]


@pytest.mark.parametrize(
    ("crashes", "status", "asked"),
    [
        pytest.param(2, "Completed", 3, id="the third server answers"),
        pytest.param(9, "Failed", 3, id="a request that kills servers is given up"),
    ],
)
def test_a_lost_server_loses_no_request(world: World, crashes: int, status: str, asked: int) -> None:
    left = iter(range(crashes))

    def crash(body: bytes) -> tuple[int, bytes]:
        if next(left, None) is not None:
            raise ConnectionError
        return 200, body

    server = world.serve(crash)
    world.service.start()
    world.ask("x")
    _, message = world.told()
    assert message["invocationStatus"] == status
    assert len(server.seen) == asked
    if status == "Failed":
        assert "3 model servers were lost with this request" in message["failureReason"]


def test_the_next_process_answers_what_the_last_one_accepted(world: World) -> None:
    answers = [world.ask(text) for text in ("one", "two")]
    world.serve(upper)
    world.restart()
    for _ in answers:
        world.told()
    assert [world.stored(answer["OutputLocation"]) for answer in answers] == [b"ONE", b"TWO"]


def test_a_request_under_way_when_the_process_ends_is_asked_again(world: World) -> None:
    hang, asked = threading.Event(), threading.Event()

    def first_hangs(body: bytes) -> tuple[int, bytes]:
        if not asked.is_set():
            asked.set()
            hang.wait(10)
            raise ConnectionError
        return 200, body

    world.serve(first_hangs)
    world.service.start()
    answer = world.ask("x")
    assert asked.wait(10)
    world.restart()
    assert world.told()[1]["invocationStatus"] == "Completed"
    hang.set()
    assert world.stored(answer["OutputLocation"]) == b"x"


def test_the_requests_of_a_deleted_endpoint_go_with_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.ask("x")
    del world.records["slow"]
    world.service.look()
    assert "1 asynchronous requests of the deleted endpoint slow are dropped" in caplog.text
    world.records["slow"] = {
        "EndpointName": "slow",
        "EndpointStatus": "InService",
        "AsyncInferenceConfig": CONFIG,
    }
    world.serve(upper)
    world.service.look()
    assert world.servers[0].seen == []


def test_a_real_endpoint_answers(laptop: Laptop) -> None:
    predict = "return body.upper() if isinstance(body, str) else body.decode().upper()"
    model = create_model(laptop, "async-model", constant("x", predict=predict))
    config = {"OutputConfig": {"S3OutputPath": "s3://data/async"}}
    described = create_endpoint(laptop, "async-endpoint", variant(model), AsyncInferenceConfig=config)
    assert described["AsyncInferenceConfig"] == config
    service = AsyncInferenceService(laptop.cloud, laptop.sagemaker)
    service.start()
    try:
        source = laptop.put("async-in/row", "a row")
        answer = service.operations["InvokeEndpointAsync"](
            RequestContext("sagemaker-runtime", "InvokeEndpointAsync"),
            {"EndpointName": "async-endpoint", "InputLocation": source, "ContentType": "text/plain"},
        )
        key = answer["OutputLocation"].removeprefix("s3://data/")
        eventually(lambda: bool(laptop.cloud.store.list("data", key)))
        assert laptop.cloud.store.get_bytes("data", key) == b"A ROW"
    finally:
        service.stop()
        laptop.call("DeleteEndpoint", EndpointName="async-endpoint")
