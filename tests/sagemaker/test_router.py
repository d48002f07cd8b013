"""The inference router: HTTP, shares and weights, shadows, throttling, captures, metrics."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from router_stage import Stage, fleet, until, variant

LIMIT = 1_000_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("r"), max_body_bytes=LIMIT, restore_seconds=0.3).start()
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def echo(stage: Stage) -> str:
    """An endpoint that answers with the request's body."""
    stage.route("echo", fleet(variant(stage.server(lambda body: b"<" + body + b">"))))
    return "echo"


def request(
    body: str, *headers: str, path: str = "/endpoints/echo/invocations", version: str = "1.1"
) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


SIZED = request("1,2", "Content-Length: 3")


@pytest.mark.parametrize(
    ("sent", "status", "wanted"),
    [
        pytest.param(SIZED, 200, "<1,2>", id="content-length"),
        pytest.param(
            request("2\r\n1,\r\n1;x=y\r\n2\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
            200,
            "<1,2>",
            id="chunked",
        ),
        pytest.param(
            request("1\r\n7\r\n0\r\nTrailer: x\r\n\r\n", "Transfer-Encoding: chunked"),
            200,
            "<7>",
            id="trailers",
        ),
        pytest.param(request("1,2", "Content-Length: 3", version="1.0"), 200, "<1,2>", id="http-1.0"),
        pytest.param(request("", "Content-Length: 0"), 200, "<>", id="empty"),
        pytest.param(request("1,2", "content-length:3"), 200, "<1,2>", id="header-case"),
        pytest.param(request("1,2", "Content-Length: 3", "Expect: 100-continue"), 200, "<1,2>", id="expect"),
        pytest.param(request("", "Content-Length: x"), 400, "not a number", id="length-text"),
        pytest.param(request("", "Content-Length: -1"), 400, "not a number", id="length-negative"),
        pytest.param(
            request("zz\r\n", "Transfer-Encoding: chunked"), 400, "not hexadecimal", id="chunk-size"
        ),
        pytest.param(request("", "Transfer-Encoding: gzip"), 501, "not served", id="transfer-encoding"),
        pytest.param(b"nonsense\r\n\r\n", 400, "not an HTTP/1.1 request", id="no-http"),
        pytest.param(request("", "no colon"), 400, "no colon", id="header-without-colon"),
        pytest.param(b"POST / HTTP/1.1\r\nX: " + b"y" * 70_000, 431, "too long", id="long-headers"),
        pytest.param(
            SIZED.replace(b"localhost", b"evil.example"), 403, "not this machine", id="foreign-host"
        ),
        pytest.param(
            request("1,2", "Content-Length: 3", "Origin: http://evil.example"), 403, "Pages of", id="web-page"
        ),
        pytest.param(
            request("x" * (LIMIT + 1), f"Content-Length: {LIMIT + 1}"),
            413,
            f"HTTP content length exceeded {LIMIT} bytes.",
            id="too-large",
        ),
        pytest.param(
            request("", f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"),
            413,
            "exceeded",
            id="too-large-asked-first",
        ),
        pytest.param(
            request("186A0\r\n" + "x" * 100_000 + "\r\n", "Transfer-Encoding: chunked")
            + (b"186A0\r\n" + b"x" * 100_000 + b"\r\n") * 10
            + b"0\r\n\r\n",
            413,
            "exceeded",
            id="too-large-chunked",
        ),
        pytest.param(request("", f"Content-Length: {1 << 40}"), 413, "exceeded", id="too-large-to-read-over"),
    ],
)
def test_what_clients_may_send(stage: Stage, echo: str, sent: bytes, status: int, wanted: str) -> None:
    got = stage.raw(sent).decode()
    assert got.startswith(f"HTTP/1.1 {status} ")
    assert wanted in got
    assert stage.ask(echo).text == "<1,2>"


def test_requests_in_pieces_and_several_at_once(stage: Stage, echo: str) -> None:
    got = stage.raw(SIZED * 3)
    assert got.count(b"<1,2>") == 3
    large = b"7" * (LIMIT - 1)
    assert stage.ask(echo, large).body == b"<" + large + b">"


def test_a_client_that_asks_before_it_sends(stage: Stage, echo: str) -> None:
    with socket.create_connection(("127.0.0.1", stage.router.port), timeout=10) as connection:
        connection.sendall(request("", "Content-Length: 3", "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"1,2")
        assert connection.recv(1000).endswith(b"<1,2>")


def test_the_answer_and_what_the_model_gets(stage: Stage) -> None:
    server = stage.server(b"0.5\n", "X-Amzn-SageMaker-Custom-Attributes: seen\r\n")
    stage.route("headers", fleet(variant(server, name="Blue")))
    answer = stage.ask(
        "headers",
        b"1,2",
        Content_Type="text/csv",
        Accept="text/csv",
        X_Amzn_SageMaker_Custom_Attributes="c=1",
        Authorization="AWS4-HMAC-SHA256 secret",
    )
    assert (answer.status, answer.body) == (200, b"0.5\n")
    assert answer.headers["x-amzn-invoked-production-variant"] == "Blue"
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "seen"
    assert answer.headers["content-type"] == "text/csv"
    (head,) = server.heads
    assert "Content-Type: text/csv" in head
    assert "Accept: text/csv" in head
    assert "X-Amzn-SageMaker-Custom-Attributes: c=1" in head
    assert "secret" not in head
    ids = {stage.ask("headers").headers["x-amzn-requestid"] for _ in range(3)}
    assert len(ids) == 3


def test_an_endpoint_that_is_not_there_is_explained_by_the_gateway(stage: Stage) -> None:
    answer = stage.ask("nobody")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert "Endpoint nobody of account 123456789012 not found." in answer.text


def test_requests_wait_for_an_endpoint_that_comes_back(stage: Stage) -> None:
    stage.route("back", ready=False)
    waiting = stage.ask_later("back")
    stage.route("back", fleet(variant(stage.server(b"here"))))
    assert waiting.result().text == "here"
    stage.route("late", ready=False)
    answer = stage.ask("late")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    gone = stage.ask_later("late")
    stage.remove("late")
    assert gone.result().status in (400, 503)


def words(stage: Stage, name: str, count: int = 300) -> Counter[str]:
    return Counter(future.result().text for future in [stage.ask_later(name) for _ in range(count)])


@pytest.mark.parametrize(
    ("fleets", "low", "high"),
    [
        pytest.param([(1.0, {"Blue": 9.0, "Green": 1.0})], 5, 70, id="weights"),
        pytest.param([(0.9, {"Blue": 1.0}), (0.1, {"Green": 1.0})], 5, 70, id="shares"),
        pytest.param([(0.5, {"Blue": 1.0, "Red": 0.0}), (0.5, {"Green": 3.0})], 100, 200, id="both"),
        pytest.param([(1.0, {"Blue": 0.0, "Green": 2.5})], 300, 300, id="weight-zero"),
    ],
)
def test_requests_go_by_shares_and_weights(
    stage: Stage, fleets: list[tuple[float, dict[str, float]]], low: int, high: int
) -> None:
    """``low`` and ``high``: how many of 300 requests Green may get; outside by chance once in a million runs."""
    entries = [
        fleet(
            *(
                variant(stage.server(name.encode()), name=name, weight=weight)
                for name, weight in weights.items()
            ),
            share=share,
            identity=str(number),
        )
        for number, (share, weights) in enumerate(fleets)
    ]
    stage.route("shared", *entries)
    got = words(stage, "shared")
    assert low <= got["Green"] <= high
    assert got["Red"] == 0
    assert got["Blue"] + got["Green"] == 300
    target = stage.ask("shared", X_Amzn_SageMaker_Target_Variant="Blue")
    assert (target.text, target.headers["x-amzn-invoked-production-variant"]) == ("Blue", "Blue")
    unknown = stage.ask("shared", X_Amzn_SageMaker_Target_Variant="Pink")
    assert unknown.status == 400
    assert "Variant Pink not found in endpoint shared; it has Blue" in unknown.text


def test_nothing_is_asked_where_every_weight_is_zero(stage: Stage) -> None:
    stage.route("none", fleet(variant(stage.server(b"x"), weight=0.0)))
    answer = stage.ask("none")
    assert (answer.status, "every variant has the weight 0" in answer.text) == (503, True)


def test_a_switch_counts_from_its_return_on(stage: Stage) -> None:
    servers = [stage.server(b"0"), stage.server(b"1")]
    for number in range(40):
        stage.route("switched", fleet(variant(servers[number % 2]), identity=str(number)))
        assert stage.ask("switched").text == str(number % 2)


def test_instances_share_the_requests(stage: Stage) -> None:
    held = threading.Event()
    busy = stage.server(lambda body: b"busy" if held.wait(20) else b"")
    free = [stage.server(b"free"), stage.server(b"free")]
    stage.route("three", fleet(variant(busy, *free)))
    first = [stage.ask_later("three") for _ in range(3)]
    with until(lambda: len(busy.bodies) == 1):
        pass
    assert {stage.ask("three").text for _ in range(20)} == {"free"}
    held.set()
    assert sorted(future.result().text for future in first) == ["busy", "free", "free"]
    assert min(len(server.bodies) for server in free) > 5


def test_what_comes_together_is_sent_together(stage: Stage) -> None:
    held = threading.Event()
    server = stage.server(lambda body: body if held.wait(20) else b"")
    stage.route("pipelined", fleet(variant(server)))
    futures = [stage.ask_later("pipelined", str(number).encode()) for number in range(16)]
    with until(lambda: len(server.bodies) == 1):
        pass
    threading.Timer(0.1, held.set).start()
    assert [future.result().text for future in futures] == [str(number) for number in range(16)]
    assert server.crowded > 5


def test_a_full_variant_throttles(stage: Stage) -> None:
    held = threading.Event()
    server = stage.server(lambda body: b"done" if held.wait(20) else b"")
    stage.route("full", fleet(variant(server, max_concurrency=1)))
    first = stage.ask_later("full")
    with until(lambda: len(server.bodies) == 1):
        pass
    refused = stage.ask("full")
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (400, "ThrottlingException")
    held.set()
    assert first.result().text == "done"
    assert stage.ask("full").text == "done"


def test_shadows_get_copies_and_answer_nobody(stage: Stage) -> None:
    production, shadow = stage.server(b"real"), stage.server(lambda body: (500, b"broken"))
    half = stage.server(b"half")
    capture = {"identity": 7, "share": 1.0, "inputs": True, "outputs": True}
    stage.route(
        "shadowed",
        fleet(
            variant(production, name="Prod", weight=2.0),
            variant(shadow, name="Broken", weight=2.0, shadow=True),
            variant(half, name="Half", weight=1.0, shadow=True),
        ),
        capture=capture,
    )
    for number in range(100):
        body = f"{number}".encode()
        assert stage.ask("shadowed", body, X_Amzn_SageMaker_Inference_Id=f"i{number}").text == "real"
    with until(lambda: len(shadow.bodies) == 100):
        pass
    assert sorted(shadow.bodies) == sorted(production.bodies)
    assert 15 <= len(half.bodies) <= 85
    totals = stage.totals("shadowed", "Broken", 100)
    assert (totals["errors_5xx"], totals["model_errors"], totals["latencies"]) == (100, 100, 100)
    assert stage.totals("shadowed", "Prod", 100)["errors_5xx"] == 0
    records = stage.await_news(
        lambda news: len([r for r in news.captures if r["capture"] == 7]) == 100 + len(half.bodies)
    ).captures
    captured = {kind: {} for kind in ("Prod", "Half")}
    for record in records:
        if record["capture"] == 7:
            captured[record["variant"]][record["inference_id"]] = record
    assert len(captured["Prod"]) == 100
    for inference_id, copy in captured["Half"].items():
        original = captured["Prod"][inference_id]
        assert (copy["event_id"], copy["request"]) == (original["event_id"], original["request"])
        assert (original["response"], copy["response"]) == (b"real", b"half")
    refused = stage.ask("shadowed", X_Amzn_SageMaker_Target_Variant="Half")
    assert "Variant Half not found" in refused.text


def test_a_shadow_that_hangs_holds_nobody_up(stage: Stage) -> None:
    held = threading.Event()
    shadow = stage.server(lambda body: str(held.wait(20)).encode())
    variants = variant(stage.server(b"real")), variant(shadow, name="Slow", shadow=True)
    stage.route("patient", fleet(*variants))
    assert words(stage, "patient", 50) == {"real": 50}
    held.set()


@pytest.mark.parametrize(
    ("share", "inputs", "outputs", "low", "high"),
    [
        pytest.param(1.0, True, True, 100, 100, id="all"),
        pytest.param(0.5, True, False, 20, 80, id="half-inputs"),
        pytest.param(0.5, False, True, 20, 80, id="half-outputs"),
        pytest.param(0.0, True, True, 0, 0, id="none"),
    ],
)
def test_captures(stage: Stage, share: float, inputs: bool, outputs: bool, low: int, high: int) -> None:
    identity = int(share * 10) * 100 + inputs * 10 + outputs
    capture = {"identity": identity, "share": share, "inputs": inputs, "outputs": outputs}
    name = f"captured-{identity}"
    server = stage.server(lambda body: (400, b"no") if body == b"bad" else b"out")
    stage.route(name, fleet(variant(server)), capture=capture)
    for _ in range(100):
        stage.ask(name, b"in", Content_Type="text/csv")
    stage.ask(name, b"bad")
    stage.remove(name)
    done = threading.Event()
    stage.router.after_news(done.set)
    assert done.wait(10)
    records = [record for record in stage.news.captures if record["capture"] == identity]
    assert low <= len(records) <= high
    for record in records:
        assert (record["request"], record["response"]) == (
            b"in" if inputs else b"",
            b"out" if outputs else b"",
        )
        assert (record["content_type"], record["response_type"]) == ("text/csv", "text/csv")
        assert record["model_seconds"] > 0
        assert record["overhead_seconds"] > 0
    assert len({record["event_id"] for record in records}) == len(records)


def test_metrics(stage: Stage) -> None:
    statuses = {b"400": 400, b"503": 503}
    server = stage.server(lambda body: (statuses.get(body, 200), b"x"))
    stage.route("measured", fleet(variant(server, name="One", instances=4)))
    answers = [stage.ask("measured", body) for body in (b"1", b"2", b"400", b"503", b"400")]
    assert [answer.status for answer in answers] == [200, 200, 424, 424, 424]
    assert '"OriginalStatusCode": 400' in answers[2].text
    assert "Received server error (503) from primary" in answers[3].text
    assert stage.totals("measured", "One", 5) == {
        "invocations": 5,
        "errors_4xx": 2,
        "errors_5xx": 1,
        "model_errors": 3,
        "latencies": 5,
    }
    parts: list[Any] = [part for part in stage.news.metrics if part["endpoint"] == "measured"]
    assert {instances for part in parts for instances, _ in part["per_instances"]} == {4}
    # The scripted server sleeps for 1 ms, which is the model's time.
    assert min(value for part in parts for value, _ in part["model_latency"]) >= 1000
    assert min(value for part in parts for value, _ in part["overhead_latency"]) >= 0
