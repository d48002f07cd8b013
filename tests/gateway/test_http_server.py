"""The HTTP server on the wire: keep-alive, bodies of every kind, files, refusals."""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.http_server import HttpServer
from triptych.localcloud.wsgi import FileWrapper, read_body


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


@pytest.fixture
def server(large: Path) -> Iterator[HttpServer]:
    waiting = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/echo":
            start_response("200 OK", [])
            return [read_body(environ)]
        if path == "/ignore":
            start_response("200 OK", [])
            return [b"ignored"]
        if path == "/file":
            file = large.open("rb")
            file.seek(100)
            start_response("206 Partial Content", [("Content-Length", "1000")])
            return environ["wsgi.file_wrapper"](file)
        if path == "/stream":
            start_response("200 OK", [])
            return (part for part in (b"one", b"two"))
        if path == "/late":
            return late(start_response)
        if path == "/wait":
            waiting.wait(10)
            start_response("200 OK", [])
            return [b"waited"]
        if path == "/release":
            waiting.set()
        start_response("200 OK", [("X-Raw", environ["RAW_URI"]), ("X-Path", environ["PATH_INFO"])])
        return [b"ok"]

    def late(start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        yield b"late"

    running = HttpServer("127.0.0.1", 0, app)
    running.start()
    yield running
    waiting.set()
    running.stop()


def test_one_connection_serves_many_requests(server: HttpServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for path, body, expected in (
        ("/echo", b"small", b"small"),
        ("/ignore", b"x" * 300_000, b"ignored"),
        ("/stream", None, b"onetwo"),
        ("/late", None, b"late"),
        ("/echo", io.BytesIO(b"y" * 200_000), b"y" * 200_000),
        ("/file", None, (bytes(range(256)) * 5)[100:1100]),
    ):
        chunked = isinstance(body, io.BytesIO)
        connection.request("POST", path, body=body, encode_chunked=chunked)
        response = connection.getresponse()
        assert response.read() == expected, path
        assert response.getheader("Connection") == "keep-alive"
    connection.close()


def test_head_has_the_length_but_no_body(server: HttpServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("HEAD", "/file")
    response = connection.getresponse()
    assert (response.getheader("Content-Length"), response.read()) == ("1000", b"")
    connection.request("GET", "/plain")
    assert connection.getresponse().read() == b"ok"


def test_the_target_is_kept_as_it_came(server: HttpServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/bucket/a%2Fb%20c?x=1")
    response = connection.getresponse()
    response.read()
    assert response.getheader("X-Raw") == "/bucket/a%2Fb%20c?x=1"
    assert response.getheader("X-Path") == "/bucket/a/b c"


def test_continue_is_sent_when_the_body_is_wanted(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 100 Continue")
        raw.sendall(b"body")
        answer = b""
        while b"body" not in answer:
            answer += raw.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_waiting_request_holds_up_no_other(server: HttpServer) -> None:
    slow = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    slow.request("GET", "/wait")
    quick = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    quick.request("GET", "/release")
    assert quick.getresponse().read() == b"ok"
    assert slow.getresponse().read() == b"waited"


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["no request line", "bad header", "bad length", "bad chunk"],
)
def test_malformed_requests_are_refused(server: HttpServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(sent)
        answer = b""
        while part := raw.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")


def test_file_wrapper_closes_its_file(large: Path) -> None:
    file = large.open("rb")
    wrapper = FileWrapper(file)
    assert sum(len(block) for block in wrapper) == large.stat().st_size
    wrapper.close()
    assert file.closed
