"""What chance alone does to the statistics of two samples, and what many tests together may claim.

Tail probabilities in plain Python, since jobs that judge drift run where SciPy is not installed. All are accurate to
about 1e-10 relative, far beyond what their asymptotic use needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

_TINY = 1e-300


def chi_square_tail(value: float, degrees: int) -> float:
    """P(X >= value) for a chi-square variable of ``degrees`` degrees of freedom."""
    if value <= 0 or degrees < 1:
        return 1.0
    shape, x = degrees / 2, value / 2
    scale = math.exp(max(shape * math.log(x) - x - math.lgamma(shape), -745.0))
    if x < shape + 1:
        term = total = 1 / shape
        step = shape
        while abs(term) > abs(total) * 1e-15:
            step += 1
            term *= x / step
            total += term
        return max(0.0, 1 - total * scale)
    # Lentz's continued fraction of the upper incomplete gamma function
    b = x + 1 - shape
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for index in range(1, 500):
        factor = -index * (index - shape)
        b += 2
        d = 1 / (factor * d + b or _TINY)
        c = b + factor / c or _TINY
        fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return min(1.0, fraction * scale)


def kolmogorov_tail(distance: float, first: int, second: int) -> float:
    """P(D >= distance) for the two-sample Kolmogorov-Smirnov distance; too large rather than too small for ties.

    The limit distribution with Stephens' correction for small samples.
    """
    size = math.sqrt(first * second / (first + second))
    x = (size + 0.12 + 0.11 / size) * distance
    if x < 0.2:
        return 1.0
    total = 0.0
    for index in range(1, 101):
        term = math.exp(-2 * (index * x) ** 2)
        total += term if index % 2 else -term
        if term < 1e-18:
            break
    return min(1.0, max(0.0, 2 * total))


def equal_shares_tail(hits: int, rows: int, other_hits: int, other_rows: int) -> float:
    """Fisher's exact test, two-sided (twice the smaller tail): are ``hits`` of ``rows`` as many as the others?"""
    total, marked = rows + other_rows, hits + other_hits
    if not rows or not other_rows or not marked or marked == total:
        return 1.0
    expected = marked * rows / total
    upward = hits >= expected
    count = hits
    probability = math.exp(
        _log_choose(marked, count) + _log_choose(total - marked, rows - count) - _log_choose(total, rows)
    )
    tail = 0.0
    while probability > 0:
        tail += probability
        if probability < tail * 1e-15:
            break
        if upward:
            above = (marked - count) * (rows - count)
            below = (count + 1) * (total - marked - rows + count + 1)
            count += 1
        else:
            above = count * (total - marked - rows + count)
            below = (marked - count + 1) * (rows - count + 1)
            count -= 1
        probability *= above / below if below > 0 else 0.0
    return min(1.0, 2 * tail)


@lru_cache(maxsize=512)
def chi_square_limit(tail: float, degrees: int) -> float:
    """The value that a chi-square variable reaches with probability ``tail``."""
    return _solve(lambda value: chi_square_tail(value, degrees), tail, degrees + 40.0)


@lru_cache(maxsize=512)
def kolmogorov_limit(tail: float, first: int, second: int) -> float:
    """The distance that two samples of one distribution reach with probability ``tail``, at most 1."""
    return _solve(lambda value: kolmogorov_tail(value, first, second), tail, 1.0, grow=False)


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for all of them (Holm): below alpha, with at most alpha of runs without drift ever so.

    Holm and not Benjamini-Hochberg: what is promised is about whole runs (a quiet run does not alarm), the tests of
    one feature depend on each other in every way, and with thousands of rows there is power to spare.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _solve(tail_of: Callable[[float], float], tail: float, high: float, grow: bool = True) -> float:
    """Where a falling tail probability equals ``tail``."""
    while grow and tail_of(high) > tail:
        high *= 2
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if tail_of(middle) > tail:
            low = middle
        else:
            high = middle
    return high
