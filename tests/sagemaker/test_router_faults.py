"""What goes wrong around the inference router: model servers, clients, the gateway, the router itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from router_stage import Die, ModelServer, Reply, Stage, fleet, until, variant


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("f")
    stage = Stage(folder, invoke_seconds=1.0, replacement_seconds=1.5, gateway_port=1).start()
    yield stage
    stage.close()


class Phoenix:
    """Servers that end over some bodies, each followed by another one, as the gateway sees to."""

    def __init__(self, stage: Stage, name: str, instances: int = 1) -> None:
        self.stage, self.name = stage, name
        self.servers = [self._server() for _ in range(instances)]
        self.deaths = 0
        self.held = threading.Event()
        self.held.set()
        stage.route(name, fleet(variant(*self.servers)))

    def _server(self) -> ModelServer:
        made: list[ModelServer] = []
        made.append(self.stage.server(lambda body: self._answer(made[0], body)))
        return made[0]

    def _answer(self, server: ModelServer, body: bytes) -> Reply:
        if body == b"hold":
            self.held.wait(20)
        if body == b"hang":
            time.sleep(20)
        if body == b"die":
            self.replace(server)
            raise Die
        return b"ok " + body

    def replace(self, server: ModelServer) -> None:
        self.deaths += 1
        server.close()
        self.servers = [other for other in self.servers if other is not server] + [self._server()]
        entry = {"ready": True, "capture": None, "fleets": [fleet(variant(*self.servers))]}
        self.stage.router.publish(self.name, entry)


def test_a_request_waits_for_a_server_that_is_being_replaced(stage: Stage) -> None:
    server = stage.server(b"old")
    stage.route("gone", fleet(variant(server)))
    assert stage.ask("gone").text == "old"
    server.close()
    waiting = [stage.ask_later("gone") for _ in range(5)]
    time.sleep(0.1)
    stage.route("gone", fleet(variant(stage.server(b"new"))))
    assert {future.result().text for future in waiting} == {"new"}


@pytest.mark.parametrize("told", [True, False], ids=["the-gateway-tells", "its-socket-closes"])
def test_a_server_whose_socket_outlives_it(stage: Stage, told: bool) -> None:
    """A process that is being killed has its socket open for a while: what is sent there, nobody has read."""
    name = f"zombie-{told}"
    path = str(stage.folder / name)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(path)
        listener.listen(4)
        stage.route(name, fleet(variant() | {"servers": [{"path": path, "stream": "AllTraffic/i-1"}]}))
        first = stage.ask_later(name)
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
        assert first.result().text == "old"
        connection.close()
        time.sleep(0.05)
        waiting = stage.ask_later(name)
        time.sleep(0.1)
        if told:
            stage.router.server_ended(path)
            time.sleep(0.05)
            stage.route(name, fleet(variant(stage.server(b"new"))))
            assert waiting.result().text == "new"
    if not told:
        stage.await_news(lambda news: (name, path) in news.hung)
        stage.route(name, fleet(variant(stage.server(b"new"))))
        assert waiting.result().text == "new"


def test_a_request_does_not_wait_for_ever(stage: Stage) -> None:
    stage.route("never", fleet(variant()))
    answer = stage.ask("never")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert "no model server of variant AllTraffic is running" in answer.text
    assert stage.totals("never", "AllTraffic", 1)["errors_5xx"] == 1


def test_requests_that_wait_go_to_what_serves_next(stage: Stage) -> None:
    stage.route("moved", fleet(variant(), identity="one"))
    waiting = [stage.ask_later("moved") for _ in range(3)]
    time.sleep(0.05)
    stage.route("moved", fleet(variant(stage.server(b"two")), identity="two"))
    assert {future.result().text for future in waiting} == {"two"}


def test_a_server_that_dies_over_its_only_request(stage: Stage) -> None:
    phoenix = Phoenix(stage, "single")
    answer = stage.ask("single", b"die")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (424, "ModelError")
    assert "the model server went away" in answer.text
    assert '"OriginalStatusCode": 500' in answer.text
    assert stage.ask("single", b"1").text == "ok 1"
    assert phoenix.deaths == 1
    assert stage.totals("single", "AllTraffic", 2)["errors_5xx"] == 1


@pytest.mark.parametrize("instances", [1, 2])
def test_of_the_requests_of_a_dead_server_only_the_culprit_fails(stage: Stage, instances: int) -> None:
    phoenix = Phoenix(stage, f"innocent-{instances}", instances)
    phoenix.held.clear()
    bodies = [b"hold", b"1", b"2", b"die", b"3", b"4", b"5"]
    futures = {}
    for body in bodies:
        futures[body] = stage.ask_later(phoenix.name, body)
        time.sleep(0.02)
    phoenix.held.set()
    answers = {body: future.result() for body, future in futures.items()}
    assert answers.pop(b"die").status == 424
    assert {body: answer.text for body, answer in answers.items()} == {
        body: f"ok {body.decode()}" for body in bodies if body != b"die"
    }
    assert phoenix.deaths <= 2  # once among others, once alone


def test_of_the_requests_of_a_hanging_server_only_the_culprit_fails(stage: Stage) -> None:
    phoenix = Phoenix(stage, "hanging")
    hung = stage.ask_later("hanging", b"hang")
    with until(lambda: len(phoenix.servers[0].bodies) == 1):
        pass
    behind = [stage.ask_later("hanging", str(number).encode()) for number in range(5)]
    news = stage.await_news(lambda news: ("hanging", phoenix.servers[0].path) in news.hung)
    phoenix.replace(phoenix.servers[0])
    answer = hung.result()
    assert (answer.status, '"OriginalStatusCode": 0' in answer.text) == (424, True)
    assert "timed out while waiting for a response" in answer.text
    assert [future.result().text for future in behind] == [f"ok {number}" for number in range(5)]
    assert [endpoint for endpoint, _ in news.hung].count("hanging") == 1


def test_a_server_that_is_behind_is_not_taken_for_a_hanging_one(stage: Stage) -> None:
    server = stage.server(lambda body: time.sleep(0.4) or body)
    stage.route("behind", fleet(variant(server)))
    futures = [stage.ask_later("behind", b"x") for _ in range(5)]
    statuses = [future.result().status for future in futures]
    assert 424 in statuses  # five times 0.4 seconds, and the time is over after 1
    assert statuses.count(200) >= 2
    with until(lambda: len(server.bodies) == 5):
        pass
    assert stage.ask("behind", b"y").text == "y"
    assert "behind" not in [endpoint for endpoint, _ in stage.news.hung]
    totals = stage.totals("behind", "AllTraffic", 6)
    assert (totals["invocations"], totals["errors_5xx"]) == (6, statuses.count(424))


def raw_server(folder: Path, number: int, answers: bytes) -> str:
    """A server that answers the first bytes it gets with these, and closes."""
    path = str(folder / f"raw{number}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answers)

    threading.Thread(target=serve, daemon=True).start()
    return path


@pytest.mark.parametrize(
    ("number", "answers", "wanted"),
    [
        pytest.param(1, b"", "the connection was closed", id="nothing"),
        pytest.param(2, b"garbage\r\n\r\n", "not HTTP/1.1", id="garbage"),
        pytest.param(3, b"HTTP/1.1 abc OK\r\n\r\n", "not HTTP/1.1", id="status"),
        pytest.param(4, b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "not a number", id="length"),
        pytest.param(
            5, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "no Content-Length", id="chunked"
        ),
        pytest.param(
            6, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234", "was closed", id="half-an-answer"
        ),
        pytest.param(7, b"HTTP/1.1 200 OK\r\nContent-", "was closed", id="half-a-head"),
    ],
)
def test_an_answer_that_is_none(stage: Stage, number: int, answers: bytes, wanted: str) -> None:
    path = raw_server(stage.folder, number, answers)
    entry = variant() | {"servers": [{"path": path, "stream": "AllTraffic/i-1"}]}
    stage.route("odd", fleet(entry))
    answer = stage.ask("odd")
    assert (answer.status, wanted in answer.text) == (424, True), answer.text


def test_an_answer_that_nobody_asked_for(stage: Stage) -> None:
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1" * 2
    path = raw_server(stage.folder, 8, twice)
    stage.route("twice", fleet(variant() | {"servers": [{"path": path, "stream": "AllTraffic/i-1"}]}))
    assert [stage.ask("twice").text for _ in range(3)] == ["1", "1", "1"]


def test_a_server_that_closes_after_each_answer(stage: Stage) -> None:
    server = stage.server(lambda body: body, "Connection: close\r\n")
    stage.route("closing", fleet(variant(server)))
    futures = [stage.ask_later("closing", str(number).encode()) for number in range(12)]
    assert [future.result().text for future in futures] == [str(number) for number in range(12)]


def test_large_bodies_both_ways(stage: Stage) -> None:
    server = stage.server(lambda body: body[::-1])
    stage.route("large", fleet(variant(server)))
    body = os.urandom(1 << 20) * 5
    answers = [future.result() for future in [stage.ask_later("large", body) for _ in range(3)]]
    assert [answer.status for answer in answers] == [200] * 3
    assert all(answer.body == body[::-1] for answer in answers)


def test_a_client_that_goes_away(stage: Stage) -> None:
    held = threading.Event()
    server = stage.server(lambda body: b"late" if held.wait(20) else b"")
    stage.route("left", fleet(variant(server)))
    with socket.create_connection(("127.0.0.1", stage.router.port)) as connection:
        connection.sendall(
            b"POST /endpoints/left/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1"
        )
        with until(lambda: len(server.bodies) == 1):
            pass
    with socket.create_connection(("127.0.0.1", stage.router.port)) as connection:
        connection.sendall(b"POST /endpoints/left/invocations HTTP/1.1\r\nContent-Length: 100\r\n\r\n1")
    held.set()
    assert stage.ask("left").text == "late"
    assert stage.totals("left", "AllTraffic", 2)["errors_5xx"] == 0


def test_draining_waits_for_the_last_answer(stage: Stage) -> None:
    held = threading.Event()
    old = stage.server(lambda body: b"old" if held.wait(20) else b"")
    stage.route("drained", fleet(variant(old), identity="old"))
    futures = [stage.ask_later("drained") for _ in range(3)]
    with until(lambda: len(old.bodies) == 1):
        pass
    time.sleep(0.05)
    stage.route("drained", fleet(variant(stage.server(b"new")), identity="new"))
    assert stage.ask("drained").text == "new"
    assert not stage.router.drain([old.path], 0.1)
    threading.Timer(0.2, held.set).start()
    assert stage.router.drain([old.path], 10)
    assert [future.result().text for future in futures] == ["old"] * 3
    assert stage.router.drain(["never heard of"], 10)


def test_a_fleet_that_serves_again_while_it_is_drained(stage: Stage) -> None:
    held = threading.Event()
    server = stage.server(lambda body: body if held.wait(20) else b"")
    first = fleet(variant(server), identity="first")
    second = fleet(variant(stage.server(b"second")), identity="second")
    stage.route("again", first)
    waiting = stage.ask_later("again", b"1")
    with until(lambda: len(server.bodies) == 1):
        pass
    stage.route("again", second)
    stage.route("again", first)
    held.set()
    assert [waiting.result().text, stage.ask("again", b"2").text] == ["1", "2"]


def test_a_killed_router_is_started_again_with_its_table(stage: Stage) -> None:
    server = stage.server(b"same")
    stage.route("killed", fleet(variant(server)))
    assert stage.ask("killed").text == "same"
    port, pid = stage.router.port, stage.router.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with until(lambda: stage.router.pid != pid):
        pass
    assert stage.ask("killed").text == "same"  # a connection made meanwhile waits for the new process
    stage.route("killed", fleet(variant(stage.server(b"other"))))
    assert (stage.router.port, stage.ask("killed").text) == (port, "other")


def test_a_router_that_is_killed_while_others_wait_for_it(stage: Stage) -> None:
    held = threading.Event()
    server = stage.server(lambda body: str(held.wait(20)).encode())
    stage.route("waited", fleet(variant(server)))
    futures = [stage.ask_later("waited")]
    with until(lambda: len(server.bodies) == 1):
        pass
    stage.remove("waited")
    drained: list[bool] = []
    draining = threading.Thread(target=lambda: drained.append(stage.router.drain([server.path], 20)))
    draining.start()
    time.sleep(0.05)
    pid = stage.router.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    stage.route("waited", fleet(variant(stage.server(b"new"))))
    draining.join(10)
    assert drained == [True]
    with pytest.raises(ConnectionError):
        futures[0].result()
    assert stage.ask("waited").text == "new"
    held.set()


def test_stopping_answers_what_is_under_way(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s").start()
    held = threading.Event()
    server = stage.server(lambda body: b"late" if held.wait(20) else b"")
    capture = {"identity": 1, "share": 1.0, "inputs": True, "outputs": True}
    stage.route("slow", fleet(variant(server)), capture=capture)
    waiting = stage.ask_later("slow")
    with until(lambda: len(server.bodies) == 1):
        pass
    threading.Timer(0.2, held.set).start()
    stage.close()
    assert waiting.result().text == "late"
    assert [record["response"] for record in stage.news.captures] == [b"late"]
    assert stage.totals("slow", "AllTraffic", 1)["latencies"] == 1


class _Gateway(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = f"{self.path} {self.headers['x-amz-date']} {body.decode()}".encode()
        self.send_response(202)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: Any) -> None:
        pass


def test_other_operations_are_the_gateways(tmp_path: Path) -> None:
    gateway = HTTPServer(("127.0.0.1", 0), _Gateway)
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    with closing(Stage(tmp_path / "s", gateway_port=gateway.server_port).start()) as stage:
        request = (
            "POST /endpoints/x/async-invocations HTTP/1.1\r\nHost: localhost\r\nX-Amz-Date: today\r\n"
            "Transfer-Encoding: chunked\r\n\r\n3\r\n1,2\r\n0\r\n\r\n"
        )
        answer = stage.raw(request.encode()).decode()
        gateway.shutdown()
        gateway.server_close()
        assert " 202 " in answer
        assert answer.endswith("/endpoints/x/async-invocations today 1,2")
        refused = stage.raw(request.encode()).decode()
        assert " 503 " in refused
        assert "gateway does not answer" in refused


def test_the_port_is_the_homes(tmp_path: Path) -> None:
    first = Stage(tmp_path / "s")
    port = first.router.port
    first.close()
    second = Stage(tmp_path / "s")
    assert second.router.port == port
    third = Stage(tmp_path / "s")  # while it is in use another one is taken
    assert third.router.port != port
    second.close()
    third.close()
