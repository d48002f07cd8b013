"""Tail probabilities against tables and exact counting, and Holm's correction by hand."""

from __future__ import annotations

from itertools import combinations

import pytest

from triptych.core.nulls import (
    chi_square_limit,
    chi_square_tail,
    equal_shares_tail,
    holm,
    kolmogorov_limit,
    kolmogorov_tail,
)


@pytest.mark.parametrize(
    ("value", "degrees", "tail"),
    [
        pytest.param(3.841459, 1, 0.05, id="1 degree, 5 %"),
        pytest.param(6.634897, 1, 0.01, id="1 degree, 1 %"),
        pytest.param(18.307038, 10, 0.05, id="10 degrees, 5 %"),
        pytest.param(43.820196, 19, 0.001, id="19 degrees, 0.1 %"),
        pytest.param(118.498, 100, 0.1, id="100 degrees, 10 %"),
    ],
)
def test_chi_square_as_in_the_tables(value: float, degrees: int, tail: float) -> None:
    assert chi_square_tail(value, degrees) == pytest.approx(tail, rel=1e-4)
    assert chi_square_limit(tail, degrees) == pytest.approx(value, rel=1e-4)


def test_chi_square_far_out_and_at_nothing() -> None:
    assert chi_square_tail(0, 3) == 1
    assert 0 <= chi_square_tail(1e6, 19) < 1e-300
    assert chi_square_tail(10, 2) == pytest.approx(2.718281828459045**-5)


def test_kolmogorov_limit_is_the_textbook_one() -> None:
    # 1.628 / sqrt(effective rows) for 1 %
    assert kolmogorov_limit(0.01, 20_000, 20_000) == pytest.approx(1.628 / 100, rel=0.005)
    assert kolmogorov_tail(0.0, 10, 10) == 1
    assert kolmogorov_tail(1.0, 1000, 1000) < 1e-200


@pytest.mark.parametrize(
    ("hits", "rows", "other_hits", "other_rows"),
    [(3, 5, 1, 6), (0, 4, 5, 7), (4, 4, 0, 7), (2, 6, 2, 5), (0, 3, 1, 8), (5, 6, 2, 5)],
)
def test_equal_shares_by_counting(hits: int, rows: int, other_hits: int, other_rows: int) -> None:
    total, marked = rows + other_rows, hits + other_hits
    draws = [sum(item < marked for item in chosen) for chosen in combinations(range(total), rows)]
    upper = sum(count >= hits for count in draws) / len(draws)
    lower = sum(count <= hits for count in draws) / len(draws)
    expected = upper if hits >= marked * rows / total else lower
    assert equal_shares_tail(hits, rows, other_hits, other_rows) == pytest.approx(min(1, 2 * expected))


def test_equal_shares_of_millions_of_rows() -> None:
    assert equal_shares_tail(200_000, 1_000_000, 2_000_000, 10_000_000) == pytest.approx(1, abs=0.01)
    assert equal_shares_tail(0, 55_000, 50_000, 250_000) < 1e-300
    assert equal_shares_tail(0, 10, 0, 10) == 1


def test_holm_steps_down_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
