"""The event pattern language, operator by operator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triptych.localcloud.events.patterns import InvalidPattern, compile_pattern

S3_EVENT = {
    "version": "0",
    "source": "aws.s3",
    "detail-type": "Object Created",
    "resources": ["arn:aws:s3:::data"],
    "detail": {
        "version": "0",
        "bucket": {"name": "data"},
        "object": {"key": "raw/flights/2013-03.csv", "size": 5},
        "source-ip-address": "10.1.2.3",
        "nothing": None,
        "empty": "",
        "flag": True,
        "tags": ["red", "green"],
        "rows": [{"kind": "a", "n": 1}, {"kind": "b", "n": 2}],
    },
}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        pytest.param({"source": ["aws.s3"]}, True, id="exact"),
        pytest.param({"source": ["aws.ec2", "aws.s3"]}, True, id="one of several"),
        pytest.param({"source": ["aws.ec2"]}, False, id="other"),
        pytest.param({"source": ["AWS.S3"]}, False, id="case counts"),
        pytest.param(
            {"source": ["aws.s3"], "detail": {"bucket": {"name": ["data"]}}}, True, id="nested, all hold"
        ),
        pytest.param(
            {"source": ["aws.s3"], "detail": {"bucket": {"name": ["x"]}}}, False, id="nested, one fails"
        ),
        pytest.param({"resources": ["arn:aws:s3:::data", "b"]}, True, id="array in the event: one is enough"),
        pytest.param({"detail": {"tags": ["blue"]}}, False, id="array in the event: none"),
        pytest.param(
            {"detail": {"rows": {"kind": ["a"], "n": [1]}}}, True, id="array of objects: one element"
        ),
        pytest.param(
            {"detail": {"rows": {"kind": ["a"], "n": [2]}}}, False, id="array of objects: not across"
        ),
        pytest.param({"detail": {"nothing": [None]}}, True, id="null"),
        pytest.param({"detail": {"empty": [None]}}, False, id="empty text is not null"),
        pytest.param({"detail": {"empty": [""]}}, True, id="empty text"),
        pytest.param({"detail": {"missing": [None]}}, False, id="absent is not null"),
        pytest.param({"detail": {"flag": [True]}}, True, id="boolean"),
        pytest.param({"detail": {"flag": [1]}}, False, id="true is not one"),
        pytest.param({"detail": {"object": {"size": [5.0]}}}, True, id="numbers by value"),
        pytest.param({"detail": {"object": {"size": ["5"]}}}, False, id="number is not text"),
        pytest.param({"detail": {"object": {"key": [{"prefix": "raw/"}]}}}, True, id="prefix"),
        pytest.param({"detail": {"object": {"key": [{"prefix": "out/"}]}}}, False, id="prefix, other"),
        pytest.param(
            {"detail": {"object": {"key": [{"prefix": {"equals-ignore-case": "RAW/"}}]}}},
            True,
            id="prefix, any case",
        ),
        pytest.param({"detail": {"object": {"key": [{"suffix": ".csv"}]}}}, True, id="suffix"),
        pytest.param(
            {"detail": {"object": {"key": [{"suffix": {"equals-ignore-case": ".CSV"}}]}}},
            True,
            id="suffix, any case",
        ),
        pytest.param({"detail": {"object": {"size": [{"prefix": "5"}]}}}, False, id="prefix of a number"),
        pytest.param({"source": [{"equals-ignore-case": "AWS.s3"}]}, True, id="any case"),
        pytest.param({"source": [{"anything-but": "aws.ec2"}]}, True, id="anything but"),
        pytest.param({"source": [{"anything-but": ["aws.ec2", "aws.s3"]}]}, False, id="anything but a list"),
        pytest.param({"source": [{"anything-but": {"prefix": "aws."}}]}, False, id="anything but a prefix"),
        pytest.param(
            {"source": [{"anything-but": {"suffix": ["ec2", "glue"]}}]}, True, id="anything but suffixes"
        ),
        pytest.param(
            {"source": [{"anything-but": {"wildcard": "*s3"}}]}, False, id="anything but a wildcard"
        ),
        pytest.param(
            {"source": [{"anything-but": {"equals-ignore-case": "AWS.S3"}}]}, False, id="anything but case"
        ),
        pytest.param(
            {"detail": {"missing": [{"anything-but": "x"}]}}, False, id="anything but needs a value"
        ),
        pytest.param(
            {"detail": {"object": {"size": [{"anything-but": 6}]}}}, True, id="anything but a number"
        ),
        pytest.param(
            {"detail": {"object": {"size": [{"numeric": [">", 0, "<=", 5]}]}}}, True, id="numeric range"
        ),
        pytest.param({"detail": {"object": {"size": [{"numeric": [">", 5]}]}}}, False, id="numeric bound"),
        pytest.param({"detail": {"object": {"size": [{"numeric": ["=", 5]}]}}}, True, id="numeric equal"),
        pytest.param({"detail": {"flag": [{"numeric": ["=", 1]}]}}, False, id="numeric of a boolean"),
        pytest.param({"detail": {"object": {"key": [{"exists": True}]}}}, True, id="exists"),
        pytest.param({"detail": {"missing": [{"exists": False}]}}, True, id="does not exist"),
        pytest.param(
            {"detail": {"no": {"such": [{"exists": False}]}}}, True, id="does not exist below nothing"
        ),
        pytest.param({"detail": {"nothing": [{"exists": True}]}}, True, id="null exists"),
        pytest.param({"detail": {"nothing": [{"exists": False}]}}, False, id="null does exist"),
        pytest.param({"detail": {"bucket": [{"exists": True}]}}, False, id="exists is for leaves"),
        pytest.param({"detail": {"missing": [{"exists": False}, "x"]}}, True, id="absent or a value"),
        pytest.param({"detail": {"source-ip-address": [{"cidr": "10.0.0.0/8"}]}}, True, id="cidr"),
        pytest.param({"detail": {"source-ip-address": [{"cidr": "192.168.0.0/16"}]}}, False, id="other cidr"),
        pytest.param({"source": [{"cidr": "10.0.0.0/8"}]}, False, id="cidr of no address"),
        pytest.param(
            {"detail": {"object": {"key": [{"wildcard": "raw/*/2013-*.csv"}]}}}, True, id="wildcard"
        ),
        pytest.param(
            {"detail": {"object": {"key": [{"wildcard": "raw/*.parquet"}]}}}, False, id="wildcard, other"
        ),
        pytest.param({"source": [{"wildcard": "aws\\*"}]}, False, id="wildcard, escaped star"),
        pytest.param(
            {"$or": [{"source": ["x"]}, {"detail": {"bucket": {"name": ["data"]}}}]}, True, id="or at the top"
        ),
        pytest.param(
            {"detail": {"$or": [{"flag": [False]}, {"object": {"size": [{"numeric": ["<", 9]}]}}]}},
            True,
            id="or below",
        ),
        pytest.param(
            {"source": ["x"], "$or": [{"source": ["x"]}, {"source": ["aws.s3"]}]}, False, id="or and another"
        ),
        pytest.param({"$or": [{"source": ["x"]}, {"source": ["y"]}]}, False, id="or of none"),
        pytest.param({"source": {"deeper": ["x"]}}, False, id="object for a leaf"),
    ],
)
def test_an_event_matches_a_pattern(pattern: dict[str, Any], matches: bool) -> None:
    assert compile_pattern(json.dumps(pattern))(S3_EVENT) is matches


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ("[]", "not an object"),
        ("{}", "Empty objects"),
        ('{"a": {}}', "Empty objects"),
        ('{"a": []}', "Empty arrays"),
        ('{"a": "x"}', "must be an object or an array"),
        ('{"a": [["x"]]}', "must be String, number"),
        ('{"a": [{"like": "x"}]}', "Unrecognized match type like"),
        ('{"a": [{"prefix": "x", "suffix": "y"}]}', "Only one key"),
        ('{"a": [{"prefix": 1}]}', "prefix match pattern must be a string"),
        ('{"a": [{"exists": "yes"}]}', "true or false"),
        ('{"a": [{"numeric": [">"]}]}', "numeric"),
        ('{"a": [{"numeric": ["!", 1]}]}', "numeric range operator"),
        ('{"a": [{"numeric": [">", 6e9]}]}', "5.0e9"),
        ('{"a": [{"cidr": "10.0.0.0/99"}]}', "CIDR"),
        ('{"a": [{"wildcard": "a**"}]}', "Consecutive wildcard"),
        ('{"a": [{"wildcard": "a\\\\x"}]}', "Invalid escape"),
        ('{"a": [{"anything-but": []}]}', "Empty arrays"),
        ('{"a": [{"anything-but": [true]}]}', "strings or numbers"),
        ('{"a": [{"anything-but": {"cidr": "10.0.0.0/8"}}]}', "Unsupported anything-but"),
        ('{"$or": [{"a": ["x"]}]}', "at least two"),
    ],
)
def test_what_is_no_pattern_says_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidPattern, match=reason):
        compile_pattern(text)
