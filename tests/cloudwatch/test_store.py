"""The metric store: what is put is read back by period, over restarts, and ages as CloudWatch's data does."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from triptych.localcloud.cloudwatch.store import Datum, Dimensions, MetricStore, StatisticSet
from triptych.localcloud.cloudwatch.summaries import UnknownStatistic, merge, reader, statistic_set, summary
from triptych.localcloud.home import Database, Home

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDPOINT: Dimensions = (("EndpointName", "flights"), ("VariantName", "main"))


def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def _datum(second: float, value: float, dimensions: Dimensions = ENDPOINT, unit: str = "None") -> Datum:
    return Datum("Test", "Latency", dimensions, START + timedelta(seconds=second), value=value, unit=unit)


def _read(
    store: MetricStore, statistic: str, period: int = 10, seconds: int = 60, unit: str | None = None
) -> list[tuple[float, float]]:
    end = START + timedelta(seconds=seconds)
    found = store.statistics("Test", "Latency", ENDPOINT, START, end, period, statistic, unit)
    return [((moment - START).total_seconds(), value) for moment, value in found]


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("Sum", [(0.0, 6.0), (20.0, 10.0)]),
        ("SampleCount", [(0.0, 3.0), (20.0, 1.0)]),
        ("Average", [(0.0, 2.0), (20.0, 10.0)]),
        ("Minimum", [(0.0, 1.0), (20.0, 10.0)]),
        ("Maximum", [(0.0, 3.0), (20.0, 10.0)]),
        ("p50", [(0.0, 2.0), (20.0, 10.0)]),
        ("p99", [(0.0, 3.0), (20.0, 10.0)]),
    ],
)
def test_periods_with_data_are_read_back(
    tmp_path: Path, statistic: str, expected: list[tuple[float, float]]
) -> None:
    store = MetricStore(_home(tmp_path))
    store.put([_datum(1, 1), _datum(2, 3), _datum(9.999, 2), _datum(20, 10), _datum(60, 99)])
    store.put([_datum(1, 77, dimensions=())])
    assert _read(store, statistic) == expected


def test_flushed_data_outlives_the_process(tmp_path: Path) -> None:
    home = _home(tmp_path)
    first = MetricStore(home)
    first.put([Datum("Test", "Latency", ENDPOINT, START, values=[1.0, 5.0], counts=[99.0, 1.0])])
    first.flush()
    second = MetricStore(home)
    assert _read(second, "p99") == [(0.0, 1.0)]
    assert _read(second, "p99.5") == [(0.0, 5.0)]
    second.put([_datum(3, 7)])
    assert _read(second, "SampleCount") == [(0.0, 101.0)]
    assert len(list(second.series())) == 1


def test_units_are_kept_apart(tmp_path: Path) -> None:
    store = MetricStore(_home(tmp_path))
    store.put([_datum(0, 1, unit="Seconds"), _datum(0, 1000, unit="Milliseconds")])
    assert _read(store, "Sum", unit="Seconds") == [(0.0, 1.0)]
    assert _read(store, "Sum") == [(0.0, 1001.0)]
    assert [one.unit for one in store.series("Test", "Latency")] == ["Milliseconds", "Seconds"]


def test_a_statistic_set_has_no_percentiles_but_for_equal_values(tmp_path: Path) -> None:
    store = MetricStore(_home(tmp_path))
    moment = START + timedelta(seconds=20)
    store.put(
        [
            Datum("Test", "Latency", ENDPOINT, START, statistics=StatisticSet(30, 3, 5, 20)),
            Datum("Test", "Latency", ENDPOINT, moment, statistics=StatisticSet(12, 3, 4, 4)),
        ]
    )
    assert _read(store, "p90") == [(20.0, 4.0)]
    assert _read(store, "Maximum") == [(0.0, 20.0), (20.0, 4.0)]


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    store = MetricStore(_home(tmp_path))

    def write() -> None:
        for number in range(500):
            store.put([_datum(number % 60, 1)])
            if number % 50 == 0:
                store.flush()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _read(store, "Sum", period=60) == [(0.0, 2000.0)]


class FullDisk(Home):
    """A home whose databases take no more while ``full``."""

    full = False

    def database(self, name: str, schema: str) -> Database:
        home = self

        class Refusing(Database):
            @contextmanager
            def write(self) -> Iterator[sqlite3.Connection]:
                with super().write() as connection:
                    yield connection
                    if home.full:
                        raise sqlite3.OperationalError("database or disk is full")

        return Refusing(self.state / f"{name}.sqlite", schema)


def test_a_full_disk_loses_nothing_that_waits_and_keeps_nothing_that_was_refused(tmp_path: Path) -> None:
    home = FullDisk(tmp_path / "home")
    home.create()
    store = MetricStore(home)
    home.full = True
    store.put([_datum(1, 1)])
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            store.flush()
    with pytest.raises(sqlite3.OperationalError):
        store.put_now([_datum(2, 100)])
    home.full = False
    store.put([_datum(3, 2)])
    assert _read(store, "Sum") == [(0.0, 3.0)]
    assert _read(MetricStore(home), "Sum") == [(0.0, 3.0)]


def test_many_values_keep_their_percentiles_within_half_a_percent(tmp_path: Path) -> None:
    store = MetricStore(_home(tmp_path))
    values = [1.0005**number for number in range(20_000)]
    for start in range(0, 20_000, 5_000):
        data = values[start : start + 5_000]
        store.put([Datum("Test", "Latency", ENDPOINT, START, values=data)])
    for percent in (1, 50, 90, 99, 99.9):
        [(_, found)] = _read(store, f"p{percent}")
        assert found == pytest.approx(values[math.ceil(percent / 100 * 20_000) - 1], rel=0.005)
    assert _read(store, "Maximum") == [(0.0, values[-1])]
    assert _read(store, "SampleCount") == [(0.0, 20_000.0)]


@pytest.mark.parametrize(
    ("age", "resolution_seconds", "kept"),
    [
        (timedelta(hours=2), 1, 60),
        (timedelta(hours=4), 60, 1),
        (timedelta(days=16), 300, 1),
        (timedelta(days=64), 3600, 1),
        (timedelta(days=456), None, 0),
    ],
    ids=["seconds", "minutes", "five minutes", "hours", "gone"],
)
def test_what_is_older_is_kept_coarser(
    tmp_path: Path, age: timedelta, resolution_seconds: int | None, kept: int
) -> None:
    store = MetricStore(_home(tmp_path))
    store.put([_datum(second, second) for second in range(60)])
    store.roll_up(START + age)
    assert len(_read(store, "Sum", period=1)) == kept
    if resolution_seconds is not None:
        assert _read(store, "Sum", period=60) == [(0.0, sum(range(60)))]
        assert _read(store, "p50", period=60) == [(0.0, 29.0)]
    else:
        assert list(store.series()) == []
        store.put([_datum(0, 5)])
        assert _read(store, "Sum") == [(0.0, 5.0)]


SAMPLES = summary([float(number) for number in range(1, 101)])


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("p0", 1.0),
        ("p100", 100.0),
        ("P95", 95.0),
        ("p99.9", 100.0),
        ("tm90", 45.5),
        ("TM(10%:90%)", 50.5),
        ("TM(:50)", 25.5),
        ("IQM", 50.5),
        ("wm98", 50.47),
        ("tc90", 90.0),
        ("TC(80:)", 20.0),
        ("ts10", 55.0),
        ("PR(:30)", 30.0),
        ("PR(10:30)", 20.0),
    ],
)
def test_statistics_of_a_distribution(statistic: str, expected: float) -> None:
    assert reader(statistic)(SAMPLES) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "p101", "pp99", "Mean", "TM(:)", "PR(1%:2%)", "TM(a:b)", "p-1", "average"]
)
def test_what_is_no_statistic_is_refused(text: str) -> None:
    with pytest.raises(UnknownStatistic):
        reader(text)


def test_merging_with_a_set_without_samples_leaves_the_sums() -> None:
    merged = merge([SAMPLES, statistic_set(10, 2, 3, 7)])
    assert (merged.sum, merged.count, merged.minimum, merged.maximum) == (5060, 102, 1, 100)
    assert reader("p50")(merged) is None
