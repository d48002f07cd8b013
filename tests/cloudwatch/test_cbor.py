"""CBOR both ways, against botocore's encoder and decoder, and against noise."""

from __future__ import annotations

import contextlib
import io
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.localcloud import cbor

MOMENT = datetime(2026, 3, 1, 12, 0, 0, 500_000, UTC)

KNOWN = {
    # from RFC 8949, appendix A
    "zero": ("00", 0),
    "one byte": ("1864", 100),
    "eight bytes": ("1b000000e8d4a51000", 1000000000000),
    "negative": ("3903e7", -1000),
    "half": ("f93e00", 1.5),
    "single": ("fa47c35000", 100000.0),
    "double": ("fb3ff199999999999a", 1.1),
    "infinity": ("f97c00", math.inf),
    "true": ("f5", True),
    "null": ("f6", None),
    "text": ("62c3bc", "ü"),
    "bytes": ("4401020304", b"\x01\x02\x03\x04"),
    "array": ("83010203", [1, 2, 3]),
    "map": ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    "unknown length": ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    "text in chunks": ("7f657374726561646d696e67ff", "streaming"),
    "bytes in chunks": ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
    "time": ("c11a514b67b0", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
    "another tag": ("d74401020304", b"\x01\x02\x03\x04"),
}


@pytest.mark.parametrize(("data", "value"), KNOWN.values(), ids=KNOWN)
def test_known_values(data: str, value: Any) -> None:
    assert cbor.loads(bytes.fromhex(data)) == value


values = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.booleans() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_written_reads_back(value: Any) -> None:
    assert cbor.loads(cbor.dumps(value)) == value


def test_times_and_absent_members() -> None:
    assert cbor.loads(cbor.dumps({"at": MOMENT, "none": None, "list": (1, 2)})) == {
        "at": MOMENT,
        "list": [1, 2],
    }


def test_botocore_reads_what_is_written() -> None:
    from botocore.parsers import RpcV2CBORParser

    written = cbor.dumps({"a": [1, 2.5, "x", True], "b": {"c": b"\x00"}, "at": MOMENT})
    read = RpcV2CBORParser().parse_data_item(io.BufferedReader(io.BytesIO(written)))
    assert read["a"] == [1, 2.5, "x", True]
    assert read["b"] == {"c": b"\x00"}
    assert read["at"].timestamp() == MOMENT.timestamp()


@given(st.binary(max_size=40))
def test_noise_is_refused_or_read(data: bytes) -> None:
    with contextlib.suppress(cbor.InvalidCbor):  # and no other error
        cbor.loads(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "too early"),
        ("ff", "break"),
        ("82ff01", "known length"),
        ("0000", "follow the value"),
        ("a10102", "no text"),
        ("62ff", "too early"),
        ("61ff", "UTF-8"),
        ("5f6161ff", "another type"),
        ("bf616101616201", "too early"),
        ("c16161", "no number"),
        ("c1fb7ff0000000000000", "no time"),
        ("1c", "length code"),
        ("f0", "simple value"),
        ("81" * 100 + "00", "too deeply"),
    ],
)
def test_malformed_bytes_are_refused_with_the_reason(data: str, why: str) -> None:
    with pytest.raises(cbor.InvalidCbor, match=why):
        cbor.loads(bytes.fromhex(data))


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        cbor.dumps({"a": {1}})
    with pytest.raises(OverflowError):
        cbor.dumps(2**64)
