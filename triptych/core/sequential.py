"""Testing one question several times without being wrong more often: alpha spending for group-sequential tests.

Whoever looks at an experiment four times and stops at the first p < 0.05 is wrong in 13 % of the experiments in
which nothing differs. Here the error that may be made, alpha, is spent over the looks by a spending function of
O'Brien and Fleming's type (Lan and DeMets 1983, https://doi.org/10.1093/biomet/70.3.659): next to nothing at the
first looks, most of it at the last. Each look's boundary follows from what is left to spend and from how the looks'
test values hang together (Armitage, McPherson and Rowe 1969, https://doi.org/10.2307/2343787), integrated numerically.
Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

_NORMAL = NormalDist()
_ROOT_HALF = math.sqrt(0.5)
_FARTHEST = 8.0  # a standard normal value beyond it has a probability below 1e-15
_LEAST_NEW_INFORMATION = 0.01
_FEWEST_POINTS, _MOST_POINTS = 101, 801
_POINTS_PER_WIDTH = 6


@dataclass(frozen=True)
class EarlierTest:
    """A look that was a test.

    ``information`` is the inverse variance of the estimate at it, in any unit; ``critical`` the boundary that
    the absolute standard normal test value was held against.
    """

    information: float
    critical: float


def spent(alpha: float, fraction: float) -> float:
    """How much of the two-sided ``alpha`` may be spent at ``fraction`` (0..1) of the looks."""
    if fraction <= 0:
        return 0.0
    if fraction >= 1:
        return alpha
    return 4 * _below(_NORMAL.inv_cdf(alpha / 4) / math.sqrt(fraction))


def critical_value(
    alpha: float, fraction: float, earlier: Sequence[EarlierTest], information: float
) -> float:
    """What the absolute test value must reach now, so that all looks so far err with at most ``spent``.

    ``earlier`` are the tests already made, none of which reached its boundary; ``information`` is today's, in
    the same unit. Infinity where nothing may be spent yet.
    """
    unit = information if information > 0 and math.isfinite(information) else 1.0
    # relative to today's and rounded, so that equal designs share one computation
    looks = tuple(EarlierTest(round(min(one.information / unit, 1.0), 6), one.critical) for one in earlier)
    return _critical_value(alpha, fraction, looks)


@lru_cache(maxsize=4096)
def _critical_value(alpha: float, fraction: float, earlier: tuple[EarlierTest, ...]) -> float:
    density, crossed = _still_inside(earlier)
    budget = spent(alpha, fraction) - crossed
    if budget <= 1e-15:
        return math.inf
    if density is None:
        return -_NORMAL.inv_cdf(budget / 2)
    growth = 1.0 - density.information
    if growth <= _LEAST_NEW_INFORMATION:
        # Hardly anything is new: the two test values are nearly one. The sum of both errors is a safe bound.
        return -_NORMAL.inv_cdf(min(budget, 1.0) / 2)
    low, high = 0.0, _FARTHEST
    for _ in range(50):
        middle = (low + high) / 2
        if density.beyond(middle, 1.0) > budget:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class _Density:
    """The part of the last test value's distribution that has crossed no boundary, with its quadrature weights."""

    information: float
    points: Sequence[float]
    weighted: Sequence[float]

    def beyond(self, critical: float, information: float) -> float:
        """The probability of not having crossed so far, and of crossing ``critical`` at ``information``."""
        step = math.sqrt(information - self.information)
        now, before = math.sqrt(information), math.sqrt(self.information)
        cdf = _below
        return sum(
            weight
            * (cdf((point * before - critical * now) / step) + cdf((-point * before - critical * now) / step))
            for point, weight in zip(self.points, self.weighted, strict=True)
        )

    def after(self, critical: float, information: float, width: float) -> _Density:
        """The density of the next test value inside ``critical``; ``width`` says how close its points must be."""
        step = math.sqrt(information - self.information)
        now, before = math.sqrt(information), math.sqrt(self.information)
        points, weights = _grid(critical, width)
        scale = now / step / math.sqrt(2 * math.pi)
        old = list(zip(self.points, self.weighted, strict=True))
        exp = math.exp
        values = [
            weight
            * scale
            * sum(mass * exp(-0.5 * ((point * now - was * before) / step) ** 2) for was, mass in old)
            for point, weight in zip(points, weights, strict=True)
        ]
        return _Density(information, points, values)


def _still_inside(tests: Sequence[EarlierTest]) -> tuple[_Density | None, float]:
    """The density after ``tests``, and the probability that one of them crossed although nothing differs."""
    density: _Density | None = None
    crossed = 0.0
    # how wide the narrowest transition between two looks is, the one to today's (1.0) included
    steps = pairwise([*(test.information for test in tests), 1.0])
    least = min((1 - before / now for before, now in steps if now > before), default=1.0)
    width = math.sqrt(max(least, _LEAST_NEW_INFORMATION))
    for test in tests:
        if not math.isfinite(test.critical):
            continue
        if density is None:
            crossed += 2 * _below(-test.critical)
            points, weights = _grid(test.critical, width)
            density = _Density(
                test.information,
                points,
                [weight * _NORMAL.pdf(point) for point, weight in zip(points, weights, strict=True)],
            )
        elif test.information - density.information <= _LEAST_NEW_INFORMATION * test.information:
            crossed += 2 * _below(-test.critical)
        else:
            crossed += density.beyond(test.critical, test.information)
            density = density.after(test.critical, test.information, width)
    return density, crossed


def _grid(critical: float, width: float) -> tuple[list[float], list[float]]:
    """Simpson's points and weights over [-critical, critical], close enough for a kernel of ``width``."""
    edge = min(critical, _FARTHEST)
    wanted = math.ceil(2 * edge / (width / _POINTS_PER_WIDTH))
    intervals = 2 * math.ceil(min(max(wanted, _FEWEST_POINTS), _MOST_POINTS) / 2)
    size = 2 * edge / intervals
    points = [-edge + index * size for index in range(intervals + 1)]
    inner = [4 if index % 2 else 2 for index in range(1, intervals)]
    return points, [size / 3 * factor for factor in (1, *inner, 1)]


def _below(value: float) -> float:
    """The standard normal distribution function; unlike ``NormalDist.cdf``, exact far below 0 too."""
    return 0.5 * math.erfc(-value * _ROOT_HALF)


def normal_value(p_value: float) -> float:
    """The standard normal value whose two-sided probability is ``p_value``; infinity for 0."""
    return -_NORMAL.inv_cdf(p_value / 2) if p_value > 0 else math.inf


def two_sided(value: float) -> float:
    """The two-sided probability of an absolute standard normal ``value``."""
    return min(1.0, 2 * _below(-abs(value)))


def student_two_sided(value: float, degrees: float) -> float:
    """The probability that Student's t with ``degrees`` of freedom lies farther from 0 than ``value``."""
    if not math.isfinite(value):
        return 0.0
    if degrees > 1e7:
        return two_sided(value)
    return _incomplete_beta(degrees / (degrees + value * value), degrees / 2, 0.5)


def student_quantile(p_value: float, degrees: float) -> float:
    """The absolute t value whose two-sided probability is ``p_value``; infinity for 0."""
    if p_value <= 0:
        return math.inf
    low, high = 0.0, 1.0
    while student_two_sided(high, degrees) > p_value:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if student_two_sided(middle, degrees) > p_value:
            low = middle
        else:
            high = middle
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for step in range(1, 100_000):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front / a * value
