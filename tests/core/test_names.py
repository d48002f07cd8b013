"""Names that SageMaker accepts, and S3 URIs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.core import names

ACCEPTED = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=300), min_size=1, max_size=80))
def test_job_names_fit_sagemaker(execution: str) -> None:
    assert ACCEPTED.fullmatch(f"{names.job_prefix('flights', execution)}-evaluate-99-99")


def test_a_plain_name_is_kept() -> None:
    assert names.job_prefix("flights", "run-20260101-120000") == "flights-run-20260101-120000"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a_b", "a-b"),
        ("x" * 79 + "1", "x" * 79 + "2"),
        ("da5bfb24-1_36", "da5bfb24-1-36"),
    ],
    ids=["underscore", "long", "of EventBridge"],
)
def test_changed_names_stay_apart(one: str, other: str) -> None:
    assert names.job_prefix("flights", one) != names.job_prefix("flights", other)


def test_uris() -> None:
    assert names.split_uri("s3://bucket/a/b.csv") == ("bucket", "a/b.csv")
    assert names.join_uri("s3://bucket/a/", "/b/", "c") == "s3://bucket/a/b/c"
    assert names.folder_uri("s3://bucket/a//") == "s3://bucket/a/"
    assert names.last_part("s3://bucket/a/b.csv") == "b.csv"


@pytest.mark.parametrize("uri", ["bucket/key", "s3://", "https://x/y"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="is not an S3 URI"):
        names.split_uri(uri)
