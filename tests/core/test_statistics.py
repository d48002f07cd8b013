"""The statistics file and the stability index."""

from __future__ import annotations

import json
import random

import pytest

from triptych.core.statistics import (
    ColumnStatistics,
    FileCounts,
    Histogram,
    MonthCounts,
    Statistics,
    StatisticsError,
    TableStatistics,
    histogram_width,
    parse_statistics,
    population_stability_index,
    statistics_document,
)


def numbers(values: list[float], missing: int = 0) -> ColumnStatistics:
    mean = sum(values) / len(values)
    width = histogram_width((sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5)
    counts: dict[int, int] = {}
    for value in values:
        counts[int(value // width)] = counts.get(int(value // width), 0) + 1
    return ColumnStatistics(
        "x", "number", len(values), missing, mean=mean, histogram=Histogram(width, counts)
    )


def categories(**counts: int) -> ColumnStatistics:
    return ColumnStatistics("c", "string", sum(counts.values()), 0, categories=counts)


def normal(mean: float, deviation: float, seed: int, count: int = 20_000) -> ColumnStatistics:
    source = random.Random(seed)
    return numbers([source.gauss(mean, deviation) for _ in range(count)])


@pytest.mark.parametrize(
    ("reference", "current", "low", "high"),
    [
        (normal(0, 1, 1), normal(0, 1, 2), 0, 0.01),
        (normal(0, 1, 1), normal(0.5, 1, 2), 0.15, 0.4),
        (normal(0, 1, 1), normal(0, 3, 2), 0.3, 3),
        (normal(10, 2, 1), normal(10, 2.6, 2), 0.02, 0.25),
        (categories(a=500, b=500), categories(a=5000, b=5000), 0, 1e-9),
        (categories(a=500, b=500), categories(a=100, b=900), 0.5, 2),
        (categories(a=500, b=500), categories(a=500, b=400, c=100), 0.3, 2),
        (numbers([1.0, 2.0, 3.0] * 50), numbers([1.0, 2.0, 3.0] * 50, missing=50), 0.5, 3),
        (numbers([5.0] * 100), numbers([5.0] * 30), 0, 1e-9),
    ],
    ids=[
        "same",
        "mean",
        "spread",
        "spread, other width",
        "same shares",
        "shares",
        "new value",
        "missing",
        "constant",
    ],
)
def test_stability_index(
    reference: ColumnStatistics, current: ColumnStatistics, low: float, high: float
) -> None:
    index = population_stability_index(reference, current)
    assert index is not None
    assert low <= index <= high


def test_columns_of_different_types_are_not_compared() -> None:
    assert population_stability_index(normal(0, 1, 1), categories(a=3)) is None


def test_widening_keeps_every_count() -> None:
    fine = Histogram(0.5, {-3: 2, -1: 1, 0: 4, 5: 8})
    assert fine.widened(2.0) == Histogram(2.0, {-1: 3, 0: 4, 1: 8})


def statistics() -> Statistics:
    columns = {"x": normal(0, 1, 3, 100), "c": categories(a=60, b=40)}
    columns["x"] = ColumnStatistics(**{**vars(columns["x"]), "name": "x"})
    table = TableStatistics("t", 100, (FileCounts("raw/t/1.csv", 101, 1),), 2, 1, columns)
    return Statistics("case", "t", {"t": table}, (MonthCounts("2013-01", 100, 90, 20),))


def test_written_statistics_are_read_back() -> None:
    before = statistics()
    assert parse_statistics(json.dumps(statistics_document(before))) == before


def test_the_file_is_model_monitors() -> None:
    document = json.loads(json.dumps(statistics_document(statistics())))
    assert document["version"] == 0.0
    assert document["dataset"] == {"item_count": 100}
    number, text = document["features"]
    assert number["inferred_type"] == "Fractional"
    assert number["numerical_statistics"]["common"] == {"num_present": 100, "num_missing": 0}
    buckets = number["numerical_statistics"]["distribution"]["kll"]["buckets"]
    assert sum(bucket["count"] for bucket in buckets) == 100
    assert text["string_statistics"]["distribution"]["categorical"]["buckets"][0] == {
        "value": "a",
        "count": 60,
    }


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"triptych": {"use_case": "a"}}', "[]"])
def test_other_files_are_refused_by_name(text: str) -> None:
    with pytest.raises(StatisticsError, match=r"runs/1/statistics\.json"):
        parse_statistics(text, "runs/1/statistics.json")
