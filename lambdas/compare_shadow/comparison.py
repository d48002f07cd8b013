"""Two models' answers to the same requests: how far apart they are, and whether the shadow may take over."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from triptych.core.captures import Captured
from triptych.core.idtable import IdTable
from triptych.core.statistics import ColumnStatistics, Histogram, population_stability_index
from triptych.core.traffic import Traffic

MOST_SCORES = 5_000_000
"""85 MB; of a longer shadow test the first scores are compared"""
DIFFERENCE_EDGES = (0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Where the bins of absolute differences begin; the last one is open"""
_THRESHOLD = 0.5
_SCORE_BIN = 1 / 64


@dataclass(frozen=True)
class Limits:
    """What the contract asks of a shadow; shares and differences are 0..1."""

    min_requests: int
    max_mean_difference: float
    max_error_rate: float

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Limits:
        return Limits(
            int(event["min_requests"]), float(event["max_mean_difference"]), float(event["max_error_rate"])
        )


@dataclass
class Comparison:
    """Absolute differences of the scores of the same rows, over all pairs.

    ``requests`` are production's, ``unpaired`` those of them without an answer of the shadow (not sampled, failed,
    or still under way).
    """

    pairs: int = 0
    requests: int = 0
    unpaired: int = 0
    left_out: int = 0
    total: float = 0.0
    largest: float = 0.0
    agreeing: int = 0
    differences: list[int] = field(default_factory=lambda: [0] * len(DIFFERENCE_EDGES))
    _production: Counter[int] = field(default_factory=Counter)
    _shadow: Counter[int] = field(default_factory=Counter)

    def add(self, production: float, shadow: float) -> None:
        """Take one row's two scores into account."""
        difference = abs(production - shadow)
        self.pairs += 1
        self.total += difference
        self.largest = max(self.largest, difference)
        self.agreeing += (production >= _THRESHOLD) == (shadow >= _THRESHOLD)
        self.differences[bisect_right(DIFFERENCE_EDGES, difference) - 1] += 1
        self._production[int(production // _SCORE_BIN)] += 1
        self._shadow[int(shadow // _SCORE_BIN)] += 1

    @property
    def mean(self) -> float | None:
        """The mean absolute difference; None without a pair."""
        return self.total / self.pairs if self.pairs else None

    @property
    def agreement(self) -> float | None:
        """The share of pairs on the same side of 0.5; None without a pair."""
        return self.agreeing / self.pairs if self.pairs else None

    @property
    def psi(self) -> float | None:
        """How far the shadow's scores are distributed otherwise (population stability index)."""
        return population_stability_index(_column(self._production), _column(self._shadow))


def compare(
    began: datetime,
    production: Iterable[Captured],
    shadow: Iterable[Captured],
    most_scores: int = MOST_SCORES,
) -> Comparison:
    """Pair the requests of both by id, row by row; memory grows with the shadow's scores alone."""
    comparison = Comparison()
    table = IdTable(most_scores)
    first = began.replace(microsecond=0)  # captured times have no fractions
    for request in shadow:
        if request.at >= first:
            for row, score in enumerate(request.scores):
                comparison.left_out += not table.put(_row_id(request, row), score)
    table.seal()
    for request in production:
        if request.at < first:
            continue
        comparison.requests += 1
        found = [table.take(_row_id(request, row)) for row in range(len(request.scores))]
        comparison.unpaired += found[0] is None
        for score, other in zip(request.scores, found, strict=True):
            if other is not None and not other[1]:
                comparison.add(score, other[0])
    return comparison


def _row_id(request: Captured, row: int) -> str:
    return f"{request.id}#{row}" if row else request.id


def _column(scores: Counter[int]) -> ColumnStatistics:
    return ColumnStatistics("score", "number", scores.total(), 0, histogram=Histogram(_SCORE_BIN, scores))


def judge(
    limits: Limits, comparison: Comparison, production: Traffic, shadow: Traffic, look: int, looks: int
) -> tuple[Literal["continue", "promote", "stop"], list[str]]:
    """Verdict and reasons. What breaks a limit stops at once; only the last look promotes."""
    reasons = []
    rate = added_error_rate(production, shadow)
    if rate is not None and rate > limits.max_error_rate:
        reasons.append(
            f"the shadow failed {rate:.2%} of {shadow.requests} requests, "
            f"at most {limits.max_error_rate:.2%} is allowed"
        )
    enough = comparison.pairs >= limits.min_requests
    if enough and comparison.mean is not None and comparison.mean > limits.max_mean_difference:
        reasons.append(
            f"the scores of {comparison.pairs} pairs are {comparison.mean:.4g} apart on average, "
            f"at most {limits.max_mean_difference:g} is allowed"
        )
    if reasons:
        return "stop", reasons
    if look < looks:
        return "continue", [f"look {look} of {looks}: {comparison.pairs} pairs, nothing against the shadow"]
    if not enough:
        return "stop", [
            f"after the last look there are {comparison.pairs} pairs of answers, {limits.min_requests} are "
            "needed; send more requests, look longer, or lower min_requests"
        ]
    if rate is None:
        return "stop", ["CloudWatch has no requests of the shadow variant, so its errors are not known"]
    return "promote", [
        f"{comparison.pairs} pairs of answers are {comparison.mean:.4g} apart on average, and "
        f"{f'{rate:.2%}' if rate else 'none'} of the shadow's requests failed"
    ]


def added_error_rate(production: Traffic, shadow: Traffic) -> float | None:
    """The share of requests that the shadow fails: 5xx, and 4xx beyond those that production refuses too."""
    if shadow.error_rate is None:
        return None
    refused = (shadow.client_error_rate or 0.0) - (production.client_error_rate or 0.0)
    return shadow.error_rate + max(refused, 0.0)
