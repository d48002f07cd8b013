"""Requests come out of a connection's bytes the same, wherever the network cuts them."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.localcloud.sagemaker.containers import SERVE


@pytest.fixture(scope="module")
def http() -> Iterator[Any]:
    sys.path.insert(0, str(SERVE))
    try:
        yield importlib.import_module("triptych_serve.http_request")
    finally:
        sys.path.remove(str(SERVE))


def sent(body: bytes, chunks: list[int] | None, trailer: bool) -> bytes:
    """The request's bytes: with its length, or in chunks of the given sizes."""
    head = b"POST /invocations?x=1 HTTP/1.1\r\nHost: model\r\nContent-Type: text/csv\r\n"
    if chunks is None:
        return head + b"content-length: %d\r\n\r\n" % len(body) + body
    message, start = head + b"Transfer-Encoding: Chunked\r\n\r\n", 0
    for size in [*chunks, len(body)]:
        part = body[start : start + size]
        start += len(part)
        message += b"%x;name=value\r\n%s\r\n" % (len(part), part) if part else b""
    return message + b"0\r\n" + (b"Digest: none\r\n" if trailer else b"") + b"\r\n"


REQUESTS = st.lists(
    st.tuples(
        st.binary(max_size=300) | st.just(b"\r\n\r\nPOST / HTTP/1.1\r\n\r\n") | st.just(b"0\r\n\r\n"),
        st.none() | st.lists(st.integers(1, 50), max_size=5),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(requests=REQUESTS, cuts=st.lists(st.integers(0, 2000), max_size=40))
def test_cuts_change_nothing(http: Any, requests: list[Any], cuts: list[int]) -> None:
    stream = b"".join(sent(*request) for request in requests)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = http.RequestReader(1000)
    found = []
    for start, end in itertools.pairwise(places):
        found += list(reader.feed(stream[start:end]))
    assert [body for _, body in found] == [body for body, _, _ in requests]
    assert {(head.method, head.path, head.content_type) for head, _ in found} == {
        ("POST", "/invocations", "text/csv")
    }
    assert not reader.in_request


@settings(max_examples=300, deadline=None)
@given(stream=st.binary(max_size=400) | st.text("POST/ HTP1.:\r\nchunked0", max_size=400).map(str.encode))
def test_any_bytes_are_requests_or_refused(http: Any, stream: bytes) -> None:
    refused = 400
    try:
        for head, body in http.RequestReader(1000).feed(stream):
            assert len(body) <= 1000
            assert head.path
    except http.Malformed as error:
        refused = error.status
    assert refused in (400, 413, 501)


@pytest.mark.parametrize(
    ("first_line", "headers", "keeps"),
    [
        pytest.param("GET / HTTP/1.1", "", True, id="1.1"),
        pytest.param("GET / HTTP/1.1", "Connection: Close\r\n", False, id="1.1-close"),
        pytest.param("GET / HTTP/1.0", "", False, id="1.0"),
        pytest.param("GET / HTTP/1.0", "Connection: Keep-Alive\r\n", True, id="1.0-keep-alive"),
    ],
)
def test_kept_connections(http: Any, first_line: str, headers: str, keeps: bool) -> None:
    ((head, _),) = http.RequestReader(10).feed(f"{first_line}\r\n{headers}\r\n".encode())
    assert head.keep_alive is keeps


def test_a_limit_is_each_readers_own_though_heads_are_remembered(http: Any) -> None:
    message = sent(b"12345", None, False)
    assert [body for _, body in http.RequestReader(5).feed(message)] == [b"12345"]
    with pytest.raises(http.Malformed) as refused:
        list(http.RequestReader(4).feed(message))
    assert refused.value.status == 413
