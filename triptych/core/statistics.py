"""What the exploration job writes and the validators read: ``statistics.json``, as typed values.

The file is Model Monitor's ``statistics.json`` for the primary table with
one more key, ``triptych``: every table's statistics and the counts behind the contract's checks. The
shapes are in docs/architecture.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A bin with no rows still needs a share, or one empty bin makes the index infinite.
_FLOOR = 1e-4
_LEAST_REFERENCE_SHARE = 0.05


class StatisticsError(Exception):
    """The statistics file is missing something it must have."""


@dataclass(frozen=True)
class FileCounts:
    """One source file: data rows read, and how many of them had another number of fields than the header."""

    key: str
    rows: int
    malformed_rows: int = 0


@dataclass(frozen=True)
class Histogram:
    """Counts of a number column: bin ``i`` starts at ``i * width``; width is a power of two.

    Two histograms of different width can thus be brought to one width exactly.
    """

    width: float
    counts: Mapping[int, int]

    def widened(self, width: float) -> Histogram:
        """The same counts in bins of ``width``, a multiple of this one's."""
        factor = round(width / self.width)
        counts: dict[int, int] = {}
        for index, count in self.counts.items():
            counts[index // factor] = counts.get(index // factor, 0) + count
        return Histogram(width, counts)


@dataclass(frozen=True)
class ColumnStatistics:
    """One column's counts, over all rows that had the right number of fields.

    ``unparseable`` values are present but not of the contract's type. Limit counts (``below_min`` …) are of
    parsed values. ``categories`` maps a string column's most frequent values to their rows, the rest being
    ``other_categories``; ``histogram`` is a number column's. Times are ISO 8601, UTC.
    """

    name: str
    type: str
    present: int
    missing: int
    unparseable: int = 0
    below_min: int = 0
    above_max: int = 0
    not_allowed: int = 0
    pattern_misses: int = 0
    reference_misses: int = 0
    distinct: int | None = None
    mean: float | None = None
    std_dev: float | None = None
    min: float | None = None
    max: float | None = None
    first_time: str | None = None
    last_time: str | None = None
    categories: Mapping[str, int] = field(default_factory=dict)
    other_categories: int = 0
    histogram: Histogram | None = None

    @property
    def completeness(self) -> float:
        """The share of rows with a value, 0..1; 1 for an empty table."""
        total = self.present + self.missing
        return self.present / total if total else 1.0

    @property
    def reference_match(self) -> float:
        """The share of present values that were found in the referenced table, 0..1."""
        return 1.0 - self.reference_misses / self.present if self.present else 1.0


@dataclass(frozen=True)
class TableStatistics:
    """One table: ``duplicate_rows`` equal an earlier row whole; ``duplicate_keys`` share only its key."""

    name: str
    rows: int
    files: tuple[FileCounts, ...]
    duplicate_rows: int
    duplicate_keys: int
    columns: Mapping[str, ColumnStatistics]


@dataclass(frozen=True)
class MonthCounts:
    """Rows of the primary table in a month (``2013-01``): all, those with a label, those late (label 1)."""

    month: str
    rows: int
    labelled: int
    positive: int


@dataclass(frozen=True)
class Statistics:
    """The whole file."""

    use_case: str
    primary_table: str
    tables: Mapping[str, TableStatistics]
    months: tuple[MonthCounts, ...]

    @property
    def primary(self) -> TableStatistics:
        """The primary table's statistics."""
        return self.tables[self.primary_table]


def parse_statistics(text: str | bytes, source: str = "statistics.json") -> Statistics:
    """Read ``statistics.json``; raises StatisticsError naming what is missing."""
    try:
        block = json.loads(text)["triptych"]
        return Statistics(
            use_case=block["use_case"],
            primary_table=block["primary_table"],
            tables={name: _parse_table(name, table) for name, table in block["tables"].items()},
            months=tuple(MonthCounts(**month) for month in block["label"]["by_month"]),
        )
    except (ValueError, TypeError) as error:
        raise StatisticsError(f"{source}: is not a statistics file: {error}") from error
    except KeyError as error:
        raise StatisticsError(f"{source}: {error} is missing; was it written by explore_data?") from error


def _parse_table(name: str, block: dict[str, Any]) -> TableStatistics:
    columns: dict[str, ColumnStatistics] = {}
    for column_name, values in block["columns"].items():
        values = dict(values)
        if values.get("histogram"):
            histogram = values["histogram"]
            values["histogram"] = Histogram(
                histogram["width"], {int(index): count for index, count in histogram["counts"].items()}
            )
        columns[column_name] = ColumnStatistics(name=column_name, **values)
    return TableStatistics(
        name=name,
        rows=block["rows"],
        files=tuple(FileCounts(**entry) for entry in block["files"]),
        duplicate_rows=block["duplicate_rows"],
        duplicate_keys=block["duplicate_keys"],
        columns=columns,
    )


def statistics_document(statistics: Statistics) -> dict[str, Any]:
    """The JSON form of ``statistics``: Model Monitor's file with the ``triptych`` key."""
    primary = statistics.primary
    return {
        "version": 0.0,
        "dataset": {"item_count": primary.rows},
        "features": [_monitor_feature(column) for column in primary.columns.values()],
        "triptych": {
            "use_case": statistics.use_case,
            "primary_table": statistics.primary_table,
            "tables": {name: _table_document(table) for name, table in statistics.tables.items()},
            "label": {"by_month": [vars(month) for month in statistics.months]},
        },
    }


def _table_document(table: TableStatistics) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for column in table.columns.values():
        values = {name: value for name, value in vars(column).items() if name != "name" and value is not None}
        values["categories"] = dict(column.categories)
        if column.histogram is not None:
            counts = {str(index): column.histogram.counts[index] for index in sorted(column.histogram.counts)}
            values["histogram"] = {"width": column.histogram.width, "counts": counts}
        columns[column.name] = values
    return {
        "rows": table.rows,
        "files": [vars(entry) for entry in table.files],
        "duplicate_rows": table.duplicate_rows,
        "duplicate_keys": table.duplicate_keys,
        "columns": columns,
    }


def _monitor_feature(column: ColumnStatistics) -> dict[str, Any]:
    """One entry of Model Monitor's ``features``."""
    common = {"num_present": column.present, "num_missing": column.missing}
    if column.type in ("integer", "number"):
        histogram = column.histogram or Histogram(1.0, {})
        buckets = [
            {
                "lower_bound": index * histogram.width,
                "upper_bound": (index + 1) * histogram.width,
                "count": count,
            }
            for index, count in sorted(histogram.counts.items())
        ]
        return {
            "name": column.name,
            "inferred_type": "Integral" if column.type == "integer" else "Fractional",
            "numerical_statistics": {
                "common": common,
                "mean": column.mean,
                "sum": None if column.mean is None else column.mean * (column.present - column.unparseable),
                "std_dev": column.std_dev,
                "min": column.min,
                "max": column.max,
                "distribution": {"kll": {"buckets": buckets}},
            },
        }
    return {
        "name": column.name,
        "inferred_type": "String",
        "string_statistics": {
            "common": common,
            "distinct_count": column.distinct,
            "distribution": {
                "categorical": {
                    "buckets": [
                        {"value": value, "count": count} for value, count in column.categories.items()
                    ]
                }
            },
        },
    }


def histogram_width(spread: float) -> float:
    """The bin width for a standard deviation of ``spread``: a power of two, about an eighth of it."""
    if not math.isfinite(spread) or spread <= 0:
        return 1.0
    return float(2.0 ** math.floor(math.log2(spread / 8)))


def population_stability_index(reference: ColumnStatistics, current: ColumnStatistics) -> float | None:
    """How far ``current`` has moved from ``reference``; None where the two cannot be compared.

    Numbers are compared in bins that each hold at least a twentieth of the reference, categories one by one;
    missing values are a bin of their own. Below 0.1 is calm, above 0.25 is a change worth stopping for.
    """
    if reference.type != current.type:
        return None
    if reference.histogram and current.histogram:
        width = max(reference.histogram.width, current.histogram.width)
        left, right = reference.histogram.widened(width).counts, current.histogram.widened(width).counts
        pairs = _merged_bins(left, right)
    elif reference.categories and current.categories:
        left_other, right_other = reference.other_categories, current.other_categories
        pairs = []
        for value in sorted({*reference.categories, *current.categories}):
            pairs.append((reference.categories.get(value, 0), current.categories.get(value, 0)))
        pairs.append((left_other, right_other))
    else:
        return None
    pairs.append((reference.missing, current.missing))
    left_total, right_total = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    if not left_total or not right_total:
        return None
    index = 0.0
    for left_count, right_count in pairs:
        if left_count or right_count:
            left_share = max(left_count / left_total, _FLOOR)
            right_share = max(right_count / right_total, _FLOOR)
            index += (right_share - left_share) * math.log(right_share / left_share)
    return index


def _merged_bins(left: Mapping[int, int], right: Mapping[int, int]) -> list[tuple[int, int]]:
    """Neighbouring bins joined until each holds enough of the reference (the first of each pair)."""
    least = _LEAST_REFERENCE_SHARE * sum(left.values())
    pairs: list[tuple[int, int]] = []
    left_sum = right_sum = 0
    for index in sorted({*left, *right}):
        left_sum += left.get(index, 0)
        right_sum += right.get(index, 0)
        if left_sum >= least:
            pairs.append((left_sum, right_sum))
            left_sum = right_sum = 0
    if left_sum or right_sum:
        if pairs:
            last = pairs.pop()
            left_sum, right_sum = left_sum + last[0], right_sum + last[1]
        pairs.append((left_sum, right_sum))
    return pairs
