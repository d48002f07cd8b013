"""Distributions in bins: what is counted once, in chunks or by the exploration job is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from triptych.core.profiles import (
    MOST_BINS,
    MOST_CATEGORIES,
    CategoryProfile,
    NumberProfile,
    ProfileMismatch,
    bin_edges,
    category_profile,
    column_profile,
    column_profiles,
    empty_like,
    number_profile,
    profile_from,
    profile_like,
)
from triptych.core.statistics import ColumnStatistics, Histogram

RNG = np.random.default_rng(5)


def test_chunks_add_up_to_the_whole() -> None:
    values = RNG.normal(size=10_000)
    values[::7] = np.nan
    whole = number_profile(values)
    total = empty_like(whole)
    for chunk in np.array_split(values, 13):
        total = total + profile_like(whole, chunk)  # type: ignore[operator]
    assert isinstance(total, NumberProfile)
    assert total.counts.tolist() == whole.counts.tolist()
    assert (total.missing, total.rows) == (1429, 10_000)
    assert len(whole.edges) <= MOST_BINS + 1


@pytest.mark.parametrize(
    ("values", "edges", "counts", "missing"),
    [
        pytest.param([3.0, 3.0, 3.0], 2, [0, 3, 0], 0, id="constant"),
        pytest.param([np.nan, np.nan], 0, [0], 2, id="all null"),
        pytest.param([], 0, [0], 0, id="empty"),
        pytest.param([1.0, np.inf, -np.inf, np.nan], 2, [1, 1, 1], 1, id="infinite"),
        pytest.param([1.0, 2.0, 2.0, 5.0], 4, [0, 1, 2, 1, 0], 0, id="few values: a bin each"),
    ],
)
def test_bins(values: list[float], edges: int, counts: list[int], missing: int) -> None:
    profile = number_profile(np.array(values))
    assert (len(profile.edges), profile.counts.tolist(), profile.missing) == (edges, counts, missing)
    assert bin_edges(np.array(values)).tolist() == profile.edges.tolist()


def test_other_edges_are_refused() -> None:
    with pytest.raises(ProfileMismatch, match="edges"):
        number_profile(np.arange(3.0)) + number_profile(np.arange(4.0))


@pytest.mark.parametrize(
    ("values", "counts", "missing"),
    [
        pytest.param(["a", None, "b", "a"], {"a": 2, "b": 1}, 1, id="texts"),
        pytest.param(np.array([0.0, 1.0, np.nan, 1.0]), {"0": 1, "1": 2}, 1, id="codes"),
        pytest.param(np.array([True, False, True]), {"True": 2, "False": 1}, 0, id="booleans"),
        pytest.param([1, 1.0, "1", float("nan")], {"1": 3}, 1, id="mixed"),
    ],
)
def test_categories(values: object, counts: dict[str, int], missing: int) -> None:
    profile = category_profile(values)  # type: ignore[arg-type]
    assert (profile.counts, profile.missing) == (counts, missing)


def test_too_many_categories_become_other_but_known_ones_stay() -> None:
    values = [f"id-{index}" for index in range(MOST_CATEGORIES + 500)] + ["common"] * 5
    profile = category_profile(values, known=["id-10499"])
    assert len(profile.counts) == MOST_CATEGORIES
    assert profile.counts["common"] == 5
    assert profile.counts["id-10499"] == 1
    assert profile.other == 501
    assert (profile + profile).present == 2 * profile.present


@pytest.mark.parametrize("values", [np.arange(5.0), np.array(["x", "y"])], ids=["numbers", "categories"])
def test_documents_come_back(values: np.ndarray) -> None:
    profile = number_profile(values) if values.dtype.kind == "f" else category_profile(values)
    again = profile_from(json.loads(json.dumps(profile.document())))
    assert again.document() == profile.document()


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param({"kind": "number", "edges": [1], "counts": [1], "missing": 0}, id="a count too few"),
        pytest.param(
            {"kind": "number", "edges": [2, 1], "counts": [1, 1, 1], "missing": 0}, id="not ascending"
        ),
        pytest.param({"kind": "category", "counts": {"a": "many"}, "missing": 0, "other": 0}, id="no number"),
    ],
)
def test_what_is_no_profile_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ProfileMismatch):
        profile_from(document)


def _numbers(width: float, counts: dict[int, int], missing: int = 0) -> ColumnStatistics:
    return ColumnStatistics("x", "number", sum(counts.values()), missing, histogram=Histogram(width, counts))


def test_stored_histograms_count_like_the_raw_values() -> None:
    raw = np.round(RNG.normal(size=5000), 2)
    width = 0.25
    places, times = np.unique(np.floor(raw / width).astype(int), return_counts=True)
    stored = column_profile(_numbers(width, dict(zip(places.tolist(), times.tolist(), strict=True)), 3))
    assert isinstance(stored, NumberProfile)
    assert profile_like(stored, raw).counts.tolist() == stored.counts.tolist()  # type: ignore[union-attr]
    assert stored.missing == 3


def test_two_versions_come_to_one_width() -> None:
    pair = column_profiles(_numbers(1.0, {0: 3, 1: 2, 7: 1}), _numbers(2.0, {0: 4, 3: 1}))
    assert pair is not None
    left, right = pair
    assert isinstance(left, NumberProfile)
    assert isinstance(right, NumberProfile)
    assert left.edges.tolist() == right.edges.tolist()
    assert [count for count in left.counts.tolist() if count] == [5, 1]
    assert [count for count in right.counts.tolist() if count] == [4, 1]


def test_stored_categories_and_times() -> None:
    texts = ColumnStatistics("c", "string", 5, 1, categories={"a": 3}, other_categories=2)
    assert column_profile(texts) == CategoryProfile({"a": 3}, 1, 2)
    assert column_profile(ColumnStatistics("t", "timestamp", 5, 1)) is None
    assert column_profiles(texts, _numbers(1.0, {0: 1})) is None
