"""The model server on its own, as the own container runs it on AWS: raw HTTP, formats, joined requests."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sagemaker_laptop import booster_bytes

from triptych.localcloud.sagemaker.containers import SERVE

ROW = b"0.5,-0.25,1.0"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "xgboost-model").write_bytes(booster_bytes(names=["a", "b", "c"]))
    return folder


@pytest.fixture(scope="module")
def port(model_dir: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "SM_MODEL_DIR": str(model_dir),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
        "MAX_CONTENT_LENGTH": "100000",
    }
    process = subprocess.Popen([sys.executable, str(SERVE / "serve.py")], env=environment)
    deadline = time.monotonic() + 60
    while not raw(port, b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200"):
        assert process.poll() is None
        assert time.monotonic() < deadline
    yield port
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def raw(port: int, *pieces: bytes) -> bytes:
    """Send the pieces one by one and read until the server closes."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    except ConnectionRefusedError:
        time.sleep(0.05)
        return b""
    with connection:
        for piece in pieces:
            connection.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.02)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


def post(body: bytes, *headers: str, path: str = "/invocations", method: str = "POST") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_all(connection: socket.socket) -> bytes:
    answer = bytearray()
    while data := connection.recv(1 << 20):
        answer += data
    return bytes(answer)


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


KEPT = post(ROW).replace(b"Connection: close\r\n", b"")
PING = b"GET /ping HTTP/1.1\r\n\r\n"
CHUNKED = (
    b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"4\r\n0.5,\r\n9\r\n-0.25,1.0\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("pieces", "status", "wanted"),
    [
        pytest.param((post(ROW),), 200, b"0.", id="plain"),
        pytest.param((post(ROW)[:30], post(ROW)[30:]), 200, b"0.", id="in-pieces"),
        pytest.param((CHUNKED,), 200, b"0.", id="chunked"),
        pytest.param(
            (post(ROW, "Expect: 100-continue")[: -len(ROW)], ROW),
            100,
            b"HTTP/1.1 200 OK",
            id="expect-continue",
        ),
        pytest.param((post(ROW, path="/elsewhere"),), 404, b"/invocations", id="no-such-path"),
        pytest.param((post(b"", method="GET"),), 405, b"use POST", id="get"),
        pytest.param((b"nonsense\r\n\r\n",), 400, b"not an HTTP/1.1 request", id="not-http"),
        pytest.param((b"GET /ping HTTP/1.1\r\nbroken\r\n\r\n",), 400, b"no colon", id="bad-header"),
        pytest.param(
            (b"GET /ping HTTP/1.1\r\nHost : x\r\n\r\n",),
            400,
            b"spaces around it",
            id="header-name-with-space",
        ),
        pytest.param(
            (post(ROW, "Content-Length: 2"),), 400, b"two different Content-Length", id="two-lengths"
        ),
        pytest.param(
            (post(ROW, "Transfer-Encoding: chunked"),),
            400,
            b"both Content-Length and",
            id="length-and-chunks",
        ),
        pytest.param(
            (post(ROW).replace(b"th: 13", b"th: +13"),), 400, b"is not a number", id="length-with-a-sign"
        ),
        pytest.param(
            (CHUNKED.replace(b"chunked", b"gzip"),),
            501,
            b"'gzip' is not served",
            id="other-transfer-encoding",
        ),
        pytest.param((CHUNKED.replace(b"9\r\n", b"-9\r\n"),), 400, b"not hexadecimal", id="negative-chunk"),
        pytest.param(
            (CHUNKED.replace(b"9\r\n", b"3\r\n"),), 400, b"longer than its size", id="chunk-too-long"
        ),
        pytest.param(
            (CHUNKED.replace(b"9\r\n", b"1869F\r\n"),),
            413,
            b"more than the 100000 bytes",
            id="chunks-too-large",
        ),
        pytest.param((post(b"", path="/ping"),), 405, b"use GET", id="post-to-ping"),
        pytest.param((b"x" * 70_000,), 431, b"too long", id="endless-header"),
        pytest.param((post(b"1" * 100_001),), 413, b"more than the 100000 allowed", id="too-large"),
        pytest.param((post(b"x,1,2"),), 400, b"'x' is not a number", id="bad-row"),
    ],
)
def test_http(port: int, pieces: tuple[bytes, ...], status: int, wanted: bytes) -> None:
    answer = raw(port, *pieces)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert wanted in answer


def test_requests_on_one_connection_are_answered_in_order(port: int) -> None:
    answer = raw(port, KEPT + PING + KEPT + post(b"bad"))
    assert statuses(answer) == [200, 200, 200, 400]
    assert b"text/plain" in answer.split(b"HTTP/1.1 ")[2]


def test_a_refusal_comes_after_the_answers_before_it(port: int) -> None:
    answer = raw(port, KEPT + PING + b"nonsense\r\n\r\n" + KEPT)
    assert statuses(answer) == [200, 200, 400]


def test_a_client_that_sends_no_more_still_gets_its_answers(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(KEPT * 3 + KEPT[:20])
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection)) == [200, 200, 200]


def test_a_client_that_does_not_read_is_not_read_from(port: int) -> None:
    """Its answers do not gather in the server's memory without end; nor is one of them lost."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", port))
    with connection:
        sent, message = 0, KEPT * 100
        while select.select([], [connection], [], 0.5)[1] and sent < 200_000_000:
            sent += connection.send(message, socket.MSG_DONTWAIT)
        assert sent < 200_000_000, "the server reads on without end"
        requests, part = divmod(sent, len(KEPT))
        rest = KEPT[part:] + post(ROW)
        sender = threading.Thread(target=connection.sendall, args=(rest,))
        sender.start()
        answer = read_all(connection)
        sender.join()
    assert statuses(answer) == [200] * (requests + 2)


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    sys.path.insert(0, str(SERVE))
    try:
        yield importlib.import_module("triptych_serve.handlers")
    finally:
        sys.path.remove(str(SERVE))


def test_joined_requests_get_the_answers_they_get_alone(serve: Any, model_dir: Path) -> None:
    handlers = serve.load_handlers(model_dir)
    requests = [
        serve.Request(b"1,2,3\n4,5,6\n"),
        serve.Request(b"oops"),
        serve.Request(b'{"instances": [[0, 0, 0]]}', "application/json", "application/json"),
        serve.Request(b"7,8,9", "text/csv", "image/png"),
        serve.Request(b",,", "text/csv", "application/jsonlines"),
    ]
    together = handlers.answer(requests)
    assert together == [handlers.answer([request])[0] for request in requests]
    assert [answer.status for answer in together] == [200, 400, 200, 406, 200]
    assert len(together[0].body.splitlines()) == 2


def test_scores_end_at_the_best_iteration(serve: Any, tmp_path: Path) -> None:
    import xgboost

    rows = np.array([[0.5, -0.25, 1.0]], dtype=np.float32)
    booster = xgboost.Booster()
    booster.load_model(bytearray(booster_bytes(rounds=10)))
    booster.set_attr(best_iteration="3")
    (tmp_path / "xgboost-model").write_bytes(bytes(booster.save_raw("json")))
    handlers = serve.load_handlers(tmp_path)
    expected = booster.inplace_predict(rows, iteration_range=(0, 4))
    assert np.float32(handlers.answer([serve.Request(ROW)])[0].body) == expected[0]


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        pytest.param(
            "def transform_fn(model, body, content_type, accept): return body.upper(), 'text/x-loud'",
            b"abc",
            (200, b"ABC", "text/x-loud"),
            id="transform-fn",
        ),
        pytest.param(
            "class Refused(Exception):\n    status_code = 422\n"
            "def input_fn(body, content_type): raise Refused('not today')",
            b"abc",
            (422, b"not today", "text/plain; charset=utf-8"),
            id="own-status",
        ),
        pytest.param(
            "def predict_fn(matrix, booster):\n"
            "    return [matrix.num_row(), matrix.num_col(), type(booster).__name__]\n"
            "def output_fn(found, accept): return repr(found)",
            b"1,2,3\n4,5,6",
            (200, b"[2, 3, 'Booster']", "text/csv"),
            id="predict-fn-gets-matrix-and-booster",
        ),
        pytest.param(
            "def output_fn(found, accept): return 7",
            b"1,2,3",
            (500, b"TypeError: output_fn returned int; return str or bytes, or (body, content type)", None),
            id="output-of-a-wrong-type",
        ),
    ],
)
def test_own_functions(
    serve: Any,
    model_dir: Path,
    tmp_path: Path,
    code: str,
    body: bytes,
    expected: tuple[int, bytes, str | None],
) -> None:
    name = f"own_{abs(hash(code)) % 10**8}"
    (tmp_path / f"{name}.py").write_text(code)
    handlers = serve.load_handlers(model_dir, tmp_path, f"{name}.py")
    answer = handlers.answer([serve.Request(body, "text/csv")])[0]
    status, text, content_type = expected
    assert (answer.status, answer.body) == (status, text)
    assert content_type in (None, answer.content_type)


@pytest.mark.parametrize(
    ("body", "content_type", "names", "expected"),
    [
        pytest.param(b"1,2\r\n3,4\r\n", "text/csv", None, [[1, 2], [3, 4]], id="crlf"),
        pytest.param(b"\xef\xbb\xbf1,2", "text/csv; charset=utf-8", None, [[1, 2]], id="byte-order-mark"),
        pytest.param(b'"1", 2\n', "text/csv", None, [[1, 2]], id="quoted"),
        pytest.param(b"1,NA\nnull,nan", "text/csv", None, [[1, None], [None, None]], id="missing"),
        pytest.param(b"[1, 2]", "application/json", None, [[1, 2]], id="one-row"),
        pytest.param(b'[{"b": 2, "a": 1}]', "application/json", ["a", "b"], [[1, 2]], id="records"),
        pytest.param(
            b"[1, 2]\n\n[3, null]\n", "application/jsonlines", None, [[1, 2], [3, None]], id="lines"
        ),
    ],
)
def test_formats(
    serve: Any, body: bytes, content_type: str, names: list[str] | None, expected: list[list[float | None]]
) -> None:
    formats = importlib.import_module("triptych_serve.formats")
    rows = formats.decode(body, content_type, names, 2)
    assert json.loads(json.dumps(rows.tolist()).replace("NaN", "null")) == expected
