"""The sequential test's boundaries: against published values, and against simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from triptych.core.sequential import (
    EarlierTest,
    critical_value,
    normal_value,
    spent,
    student_quantile,
    student_two_sided,
    two_sided,
)

ALPHA = 0.05


def boundaries(alpha: float, informations: list[float]) -> list[float]:
    """The critical values of looks that are equally far apart in time, at these informations."""
    tested: list[EarlierTest] = []
    for number, information in enumerate(informations, 1):
        critical = critical_value(alpha, number / len(informations), tested, information)
        tested.append(EarlierTest(information, critical))
    return [one.critical for one in tested]


def crossing_rates(informations: list[float], criticals: list[float], drift: float, runs: int) -> np.ndarray:
    """How many of ``runs`` simulated experiments have crossed by each look (independent of the integration)."""
    random = np.random.default_rng(20240521)
    information = np.array(informations)
    steps = np.diff(information, prepend=0.0)
    walk = np.cumsum(random.normal(size=(runs, len(steps))) * np.sqrt(steps) + drift * steps, axis=1)
    crossed = np.abs(walk / np.sqrt(information)) >= np.array(criticals)
    return np.asarray(np.logical_or.accumulate(crossed, axis=1).mean(axis=0))


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        (1, [1.9600]),
        (2, [2.9626, 1.9686]),
        (3, [3.7103, 2.5114, 1.9930]),
        (4, [4.3326, 2.9631, 2.3590, 2.0141]),
        (5, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
    ],
    ids=lambda value: f"{value} looks" if isinstance(value, int) else "",
)
def test_equal_looks_have_the_published_boundaries(looks: int, published: list[float]) -> None:
    found = boundaries(ALPHA, [float(number) for number in range(1, looks + 1)])
    assert found == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize(
    "informations",
    [
        [1.0, 2.0, 3.0, 4.0],
        [1.0, 1.1, 5.0, 5.5],
        [10.0, 400.0, 1000.0, 1001.0],
        [5.0, 5.0, 5.0, 5.0],
        [1.0, 1.005, 1.01, 4.0, 4.02, 9.0],
        [float(number) ** 2 for number in range(1, 13)],
    ],
    ids=["equal", "uneven", "hardly new at the end", "nothing new", "small steps", "twelve growing"],
)
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_all_looks_together_err_with_at_most_alpha(alpha: float, informations: list[float]) -> None:
    runs = 200_000
    rates = crossing_rates(informations, boundaries(alpha, informations), 0.0, runs)
    fractions = [spent(alpha, number / len(rates)) for number in range(1, len(rates) + 1)]
    noise = [4 * math.sqrt(share * (1 - share) / runs) + 1e-5 for share in fractions]
    assert all(rate <= share + slack for rate, share, slack in zip(rates, fractions, noise, strict=True)), (
        f"{rates} against {fractions}"
    )


def test_alpha_is_used_up_where_every_look_brings_news() -> None:
    informations = [1.0, 2.0, 3.0, 4.0]
    rates = crossing_rates(informations, boundaries(ALPHA, informations), 0.0, 400_000)
    assert rates[-1] == pytest.approx(ALPHA, abs=0.0015)


def test_looking_costs_hardly_any_power() -> None:
    # a fixed test at the end has a power of 90 % for this drift
    drift = (stats.norm.ppf(0.975) + stats.norm.ppf(0.9)) / math.sqrt(4.0)
    informations = [1.0, 2.0, 3.0, 4.0]
    rates = crossing_rates(informations, boundaries(ALPHA, informations), drift, 200_000)
    assert 0.88 < rates[-1] < 0.90
    assert rates[2] > 0.65  # and most experiments end early


def test_ignoring_the_looks_would_err_far_more_often() -> None:
    rates = crossing_rates([1.0, 2.0, 3.0, 4.0], [1.96] * 4, 0.0, 100_000)
    assert rates[-1] > 0.12


def test_looks_that_were_no_tests_leave_their_share_to_the_next() -> None:
    late = critical_value(ALPHA, 0.75, [], 3.0)
    assert late == pytest.approx(normal_value(spent(ALPHA, 0.75)))
    assert late < critical_value(ALPHA, 0.75, [EarlierTest(1.0, 4.3326), EarlierTest(2.0, 2.9631)], 3.0)


def test_nothing_is_spent_before_the_first_look_and_all_at_the_last() -> None:
    assert spent(ALPHA, 0.0) == 0.0
    assert spent(ALPHA, 1.0) == ALPHA
    assert critical_value(ALPHA, 0.001, [], 1.0) == math.inf
    assert critical_value(ALPHA, 1.0, [EarlierTest(0.1, math.inf)], 1.0) == pytest.approx(1.96, abs=1e-3)


@given(
    information=st.lists(st.floats(0.0, 1e12), min_size=1, max_size=4),
    fraction=st.floats(0.01, 1.0),
)
@settings(max_examples=25, deadline=None)
def test_any_informations_give_a_boundary(information: list[float], fraction: float) -> None:
    tested = [EarlierTest(value, 3.0) for value in information[:-1]]
    found = critical_value(ALPHA, fraction, tested, information[-1])
    assert found > 1.9


@pytest.mark.parametrize("degrees", [1.0, 2.5, 10.0, 398.7, 1e5, 1e9])
@pytest.mark.parametrize("value", [0.0, 0.01, 1.0, 1.96, 5.0, 37.0])
def test_students_t_agrees_with_scipy(value: float, degrees: float) -> None:
    expected = 2 * stats.t.sf(value, degrees)
    assert student_two_sided(value, degrees) == pytest.approx(expected, rel=1e-5, abs=1e-300)
    assert student_two_sided(-value, degrees) == pytest.approx(expected, rel=1e-5, abs=1e-300)
    if 1e-200 < expected < 1:
        assert student_quantile(expected, degrees) == pytest.approx(value, rel=1e-5)


def test_normal_values_and_probabilities_are_inverse() -> None:
    assert normal_value(0.05) == pytest.approx(1.959964, abs=1e-6)
    assert two_sided(normal_value(1e-40)) == pytest.approx(1e-40)
    assert normal_value(0.0) == math.inf
    assert two_sided(math.inf) == 0.0
