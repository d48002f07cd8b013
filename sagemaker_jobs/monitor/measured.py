"""Counting a data set, chunk by chunk: profiles, moments and types of its columns, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
from captured_rows import Skipped
from sources import Source

from triptych.core.profiles import (
    CategoryProfile,
    NumberProfile,
    Profile,
    bin_edges,
    empty_like,
    limited_values,
    number_profile,
)

Kind = Literal["number", "category"]
InferredType = Literal["Integral", "Fractional", "String", "Unknown"]

_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"
_MISSING = pa.array(["", "NA", "NaN", "nan", "null", "NULL", "None"])
_SAMPLED = 200_000
_NUMBERS_OF_TEXTS = 0.99  # of a text column's values, for it to be a column of numbers


@dataclass
class Measured:
    """One column: its profile and, for numbers, moments of the finite values; ``unparseable`` are texts for numbers."""

    inferred_type: InferredType
    profile: Profile
    unparseable: int = 0
    negative: int = 0
    finite: int = 0
    mean: float = 0.0
    squares: float = 0.0
    min: float = math.inf
    max: float = -math.inf
    not_whole: int = 0

    @property
    def missing(self) -> int:
        """Rows without a value, unparseable ones left out."""
        return self.profile.missing - self.unparseable

    @property
    def completeness(self) -> float:
        """The share of rows with a value, parseable or not; 1 without rows."""
        return 1 - self.missing / self.profile.rows if self.profile.rows else 1.0

    @property
    def std_dev(self) -> float:
        """Of the finite values, all of them being the population."""
        return math.sqrt(self.squares / self.finite) if self.finite else 0.0

    def add(self, column: pa.Array) -> None:
        """Count one chunk's values."""
        if isinstance(self.profile, NumberProfile):
            values, unparseable = numbers_of(column)
            self.unparseable += unparseable
            self.profile = self.profile + number_profile(values, self.profile.edges)
            self._moments(values[np.isfinite(values)])
        else:
            self.profile = self.profile + categories_of(column, self.profile.counts)

    def _moments(self, values: np.ndarray) -> None:
        if not len(values):
            return
        count = len(values)
        mean = float(values.mean())
        gap, total = mean - self.mean, self.finite + count
        self.squares += float(np.square(values - mean).sum()) + gap * gap * self.finite * count / total
        self.mean += gap * count / total
        self.finite = total
        self.min, self.max = min(self.min, float(values.min())), max(self.max, float(values.max()))
        self.negative += int((values < 0).sum())
        self.not_whole += int((values != np.floor(values)).sum())


def numbers_of(column: pa.Array) -> tuple[np.ndarray, int]:
    """Float values (NaN is missing or unparseable), and how many texts are no numbers."""
    unparseable = 0
    if pa.types.is_string(column.type):
        column = _without_markers(column)
        good = compute.match_substring_regex(column, _NUMBER)
        unparseable = len(column) - column.null_count - (compute.sum(good).as_py() or 0)
        column = compute.utf8_trim_whitespace(compute.if_else(good, column, pa.scalar(None, column.type)))
    elif not _is_number(column.type):
        return np.full(len(column), np.nan), len(column) - column.null_count
    values = compute.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values, unparseable


def categories_of(column: pa.Array, known: Iterable[str]) -> CategoryProfile:
    """Rows by category."""
    if pa.types.is_string(column.type):
        column = _without_markers(column)
    counted = compute.value_counts(column)
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return limited_values(pairs, known)


def _without_markers(column: pa.Array) -> pa.Array:
    marked = compute.is_in(column, value_set=_MISSING.cast(column.type))
    return compute.if_else(marked, pa.scalar(None, column.type), column)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


class _Sample:
    """Every n-th value of a column, n doubling as the column goes on: a column sorted by time is covered whole."""

    def __init__(self) -> None:
        self._parts: list[pa.Array] = []
        self._stride = 1
        self._kept = self._seen = 0

    def add(self, column: pa.Array) -> None:
        places = np.arange(-self._seen % self._stride, len(column), self._stride)
        self._parts.append(column.take(pa.array(places)))
        self._seen += len(column)
        self._kept += len(places)
        while self._kept > _SAMPLED:
            whole = pa.concat_arrays(self._parts)
            self._parts = [whole.take(pa.array(np.arange(0, len(whole), 2)))]
            self._kept, self._stride = len(self._parts[0]), self._stride * 2

    def measured(self, kind: Kind | None) -> Measured:
        """A column without rows, of the kind that the sample suggests unless it is given."""
        column = pa.concat_arrays(self._parts)
        if kind is None:
            kind = "number" if self._suggests_numbers(column) else "category"
        if kind == "category":
            present = len(column) - column.null_count
            return Measured("String" if present else "Unknown", CategoryProfile())
        values, _ = numbers_of(column)
        edges = bin_edges(values)
        return Measured("Fractional", empty_like(NumberProfile(edges, np.zeros(len(edges) + 1, np.int64))))

    def _suggests_numbers(self, column: pa.Array) -> bool:
        if _is_number(column.type) or pa.types.is_null(column.type):
            return True
        if not pa.types.is_string(column.type):
            return False
        values, unparseable = numbers_of(column)
        found = int(np.isfinite(values).sum())
        return found > 0 and found >= _NUMBERS_OF_TEXTS * (found + unparseable)


@dataclass(frozen=True)
class Dataset:
    """All columns of a data set, and how many rows it has."""

    rows: int
    columns: Mapping[str, Measured]
    skipped: Skipped
    others: tuple[str, ...] = ()
    """Columns that were found but not wanted"""


def measure_baseline(source: Source, kinds: Mapping[str, Kind]) -> Dataset:
    """Read twice: for the types and bins, then to count. ``kinds``, unless empty, are the columns that are wanted."""
    samples: dict[str, _Sample] = {}
    for chunk in source.chunks(Skipped()):
        for name, column in _columns(chunk):
            if not kinds or name in kinds:
                samples.setdefault(name, _Sample()).add(column)
    columns = {name: sample.measured(kinds.get(name)) for name, sample in samples.items()}
    dataset = measure_current(source, columns)
    for measured in dataset.columns.values():
        if isinstance(measured.profile, NumberProfile):
            if not measured.finite:
                measured.inferred_type = "Unknown"
            elif not measured.not_whole:
                measured.inferred_type = "Integral"
    return Dataset(dataset.rows, dataset.columns, dataset.skipped)


def measure_current(source: Source, columns: Mapping[str, Measured]) -> Dataset:
    """Count into ``columns`` (without rows yet). Columns that are not among them are left out, absent ones too."""
    found: dict[str, Measured] = {}
    others: dict[str, None] = {}
    skipped, rows = Skipped(), 0
    for chunk in source.chunks(skipped):
        for name, column in _columns(chunk):
            if name in columns:
                found.setdefault(name, columns[name]).add(column)
            else:
                others[name] = None
        rows += chunk.num_rows
    return Dataset(rows, found, skipped, tuple(others))


def _columns(chunk: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """Names and columns, texts always as plain ones."""
    for name, column in zip(chunk.schema.names, chunk.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        yield name, column.cast(pa.string()) if pa.types.is_large_string(column.type) else column
