"""A feature's distribution in a few kilobytes, however many rows it was counted over.

Numbers are counted in the bins of fixed edges, categories by name. The edges come from the reference (or a sample of
it), so that what is counted later, chunk by chunk and on several machines, can be compared bin by bin and added up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.core.statistics import ColumnStatistics

MOST_BINS = 512
MOST_CATEGORIES = 10_000
_NUMBERS, _TEXTS = ("integer", "number"), ("string", "boolean")


class ProfileMismatch(Exception):
    """Two profiles cannot be compared; the message says why."""


@dataclass(frozen=True, eq=False)  # arrays have no truth of their own
class NumberProfile:
    """Counts of a number: bin ``i`` is ``(edges[i-1], edges[i]]``, the first and the last bin are open.

    ``edges`` ascend, ``counts`` are one more than they. ``missing`` are rows without a value.
    """

    edges: np.ndarray
    counts: np.ndarray
    missing: int = 0

    @property
    def present(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    @property
    def rows(self) -> int:
        """All rows."""
        return self.present + self.missing

    def __add__(self, other: NumberProfile) -> NumberProfile:
        if not np.array_equal(self.edges, other.edges):
            raise ProfileMismatch("the two profiles have other edges; count both with the edges of one")
        return NumberProfile(self.edges, self.counts + other.counts, self.missing + other.missing)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": "number",
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "missing": self.missing,
        }


@dataclass(frozen=True)
class CategoryProfile:
    """Rows by category; ``other`` are rows of categories that were too many to name."""

    counts: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0
    other: int = 0

    @property
    def present(self) -> int:
        """Rows with a value."""
        return sum(self.counts.values()) + self.other

    @property
    def rows(self) -> int:
        """All rows."""
        return self.present + self.missing

    def __add__(self, other: CategoryProfile) -> CategoryProfile:
        return limited(
            Counter(self.counts) + Counter(other.counts),
            self.missing + other.missing,
            self.other + other.other,
            self.counts,
        )

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": "category",
            "counts": dict(self.counts),
            "missing": self.missing,
            "other": self.other,
        }


Profile = NumberProfile | CategoryProfile


def bin_edges(sample: np.ndarray) -> np.ndarray:
    """Edges for numbers like those of ``sample`` (NaN left out): at most MOST_BINS, one a value where these are few.

    The first edge lies just below the least value: what comes below it later is seen even of a constant.
    """
    values = np.sort(_numbers(sample))
    values = values[: np.searchsorted(values, np.inf)]  # without infinity and NaN, which sort to the end
    values = values[np.searchsorted(values, -np.inf, side="right") :]
    if not len(values):
        return np.empty(0)
    return _edges_of_sorted(values)


def _edges_of_sorted(values: np.ndarray) -> np.ndarray:
    if len(values) > MOST_BINS:
        places = np.linspace(0, len(values) - 1, MOST_BINS).astype(np.int64)
        values = values[places]
    distinct = values[np.concatenate(([True], values[1:] != values[:-1]))]
    return np.concatenate(([np.nextafter(distinct[0], -np.inf)], distinct))


def number_profile(values: np.ndarray, edges: np.ndarray | None = None) -> NumberProfile:
    """Count ``values`` (one dimension; NaN is missing, infinity is counted) in ``edges``, or in edges of their own."""
    ordered = np.sort(_numbers(values))
    present = int(np.searchsorted(ordered, np.nan))  # NaN sorts to the end
    missing = len(ordered) - present
    ordered = ordered[:present]
    if edges is None:
        low, high = np.searchsorted(ordered, -np.inf, side="right"), np.searchsorted(ordered, np.inf)
        edges = _edges_of_sorted(ordered[low:high]) if high > low else np.empty(0)
    below = np.searchsorted(ordered, edges, side="right")
    counts = np.diff(np.concatenate(([0], below, [present])))
    return NumberProfile(edges, counts.astype(np.int64), missing)


def category_profile(values: Iterable[Any], known: Iterable[str] = ()) -> CategoryProfile:
    """Count categories. None and NaN are missing; numbers count as their text (``3.0`` as ``3``).

    Beyond MOST_CATEGORIES the rarest are not named, unless they are among ``known``, the reference's.
    """
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f":
            found, times = np.unique(values, return_counts=True)
            return limited_values(zip(found.tolist(), times.tolist(), strict=True), known)
        values = values.tolist()
    return limited_values(Counter(values).items(), known)


def limited_values(counted: Iterable[tuple[Any, int]], known: Iterable[str] = ()) -> CategoryProfile:
    """A profile of values that are counted already (a value may come more than once)."""
    counts: Counter[str] = Counter()
    missing = 0
    for value, times in counted:
        if value is None or value != value:
            missing += times
        else:
            counts[_text(value)] += times
    return limited(counts, missing, 0, known)


def limited(counts: Mapping[str, int], missing: int, other: int, known: Iterable[str]) -> CategoryProfile:
    """A profile that names at most MOST_CATEGORIES: the known ones first, then the most frequent."""
    if len(counts) > MOST_CATEGORIES:
        wanted = set(known)
        order = sorted(counts, key=lambda name: (name not in wanted, -counts[name], name))
        other += sum(counts[name] for name in order[MOST_CATEGORIES:])
        counts = {name: counts[name] for name in order[:MOST_CATEGORIES]}
    return CategoryProfile(dict(counts), missing, other)


def empty_like(reference: Profile) -> Profile:
    """A profile of no rows that later counts can be added to."""
    if isinstance(reference, NumberProfile):
        return NumberProfile(reference.edges, np.zeros(len(reference.edges) + 1, dtype=np.int64))
    return CategoryProfile(dict.fromkeys(reference.counts, 0))


def profile_like(reference: Profile, values: Any) -> Profile:
    """Count ``values`` so that they can be compared with ``reference``."""
    if isinstance(reference, NumberProfile):
        return number_profile(np.asarray(values), reference.edges)
    return category_profile(values, reference.counts)


def profile_from(document: Mapping[str, Any]) -> Profile:
    """The profile that ``document()`` gave; raises ProfileMismatch."""
    try:
        if document["kind"] == "category":
            return CategoryProfile(
                {str(name): int(count) for name, count in document["counts"].items()},
                int(document["missing"]),
                int(document["other"]),
            )
        edges = np.asarray(document["edges"], dtype=np.float64)
        counts = np.asarray(document["counts"], dtype=np.int64)
        missing = int(document["missing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProfileMismatch(f"this is no profile: {error!r}") from error
    if len(counts) != len(edges) + 1 or (np.diff(edges) <= 0).any():
        raise ProfileMismatch(
            f"a profile of {len(edges)} edges has {len(counts)} counts, or edges not ascending"
        )
    return NumberProfile(edges, counts, missing)


def column_profile(column: ColumnStatistics) -> Profile | None:
    """What the exploration job's ``statistics.json`` knows of a column; None for times, and where nothing was kept."""
    if column.type in _NUMBERS and column.histogram is not None:
        counts = column.histogram.counts
        return _histogram_profile(column, column.histogram.width, counts, sorted(counts))
    if column.type in _TEXTS:
        return CategoryProfile(dict(column.categories), column.missing, column.other_categories)
    return None


def column_profiles(reference: ColumnStatistics, current: ColumnStatistics) -> tuple[Profile, Profile] | None:
    """Two versions' statistics of a column in the same bins; None where they cannot be compared."""
    if reference.histogram is None or current.histogram is None:
        left, right = column_profile(reference), column_profile(current)
        if isinstance(left, CategoryProfile) and isinstance(right, CategoryProfile):
            return left, right
        return None
    width = max(reference.histogram.width, current.histogram.width)
    first, second = reference.histogram.widened(width).counts, current.histogram.widened(width).counts
    places = sorted({*first, *second})
    return (
        _histogram_profile(reference, width, first, places),
        _histogram_profile(current, width, second, places),
    )


def _histogram_profile(
    column: ColumnStatistics, width: float, counts: Mapping[int, int], places: list[int]
) -> NumberProfile:
    """Bins of a histogram are closed to the left: each edge is the last number before a bin begins."""
    starts = np.array(sorted({*places, *(place + 1 for place in places)}), dtype=np.float64) * width
    edges = np.nextafter(starts, -math.inf)
    tallies = np.zeros(len(edges) + 1, dtype=np.int64)
    begins = np.array(places, dtype=np.float64) * width
    tallies[np.searchsorted(edges, begins, side="left")] = [counts.get(place, 0) for place in places]
    return NumberProfile(edges, tallies, column.missing)


def _numbers(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
