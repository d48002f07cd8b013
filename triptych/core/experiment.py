"""An A/B experiment of two models by measured outcome: losses, their difference, and when it is proof.

Two variants answer different requests; once the truth of a request is known, the answer has a loss. The test asks
whether the challenger's mean loss lies ``min_effect`` below the champion's (Welch's t test, unequal variances), at
several looks without being wrong more often than ``alpha`` in all (``triptych.core.sequential``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from triptych.core.sequential import (
    EarlierTest,
    critical_value,
    normal_value,
    student_quantile,
    student_two_sided,
    two_sided,
)

Verdict = Literal["continue", "promote", "keep"]

_CLOSEST = 1e-7  # a log loss of a certain and wrong answer stays finite, as in triptych.core.metrics


class ExperimentError(Exception):
    """The experiment's settings, or what is kept between two looks, make no sense; the message says what."""


def _brier(score: float, label: float) -> float:
    return (score - label) ** 2


def _log_loss(score: float, label: float) -> float:
    likelihood = score if label > 0.5 else 1 - score
    return -math.log(min(max(likelihood, _CLOSEST), 1 - _CLOSEST))


def _error(score: float, label: float) -> float:
    return float((score >= 0.5) != (label > 0.5))


LOSSES: Mapping[str, Callable[[float, float], float]] = {
    "brier": _brier,
    "log_loss": _log_loss,
    "error": _error,
}
"""The loss of a probability (0..1) when the truth is a label (0 or 1), by metric; less is better"""

TITLES: Mapping[str, str] = {"brier": "Brier score", "log_loss": "log loss", "error": "error rate"}
"""What a person calls the mean loss"""


@dataclass(frozen=True)
class Plan:
    """How the experiment is decided: at most ``looks`` looks, ``alpha`` is the chance of a false alarm in all.

    A look is a test once each variant has ``min_labelled`` labelled requests. ``min_effect`` is by how much the
    challenger's mean loss must be lower.
    """

    metric: str
    alpha: float
    looks: int
    min_labelled: int
    min_effect: float = 0.0

    def __post_init__(self) -> None:
        wrong = [
            text
            for text, allowed in (
                (f"metric '{self.metric}' is none of {', '.join(LOSSES)}", self.metric in LOSSES),
                (f"alpha {self.alpha} must lie between 0 and 1", 0 < self.alpha < 1),
                (f"looks {self.looks} must be at least 1", self.looks >= 1),
                (f"min_labelled {self.min_labelled} must be at least 2", self.min_labelled >= 2),
                (f"min_effect {self.min_effect} must be 0 or more", self.min_effect >= 0),
            )
            if not allowed
        ]
        if wrong:
            raise ExperimentError(f"the experiment cannot be decided: {'; '.join(wrong)}")

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Plan:
        """Raises ExperimentError where a member is missing or makes no sense."""
        try:
            return Plan(
                metric=str(event["metric"]),
                alpha=float(event["alpha"]),
                looks=int(event["looks"]),
                min_labelled=int(event["min_labelled"]),
                min_effect=float(event.get("min_effect") or 0.0),
            )
        except KeyError as error:
            raise ExperimentError(f"the experiment's settings lack {error}") from error
        except (TypeError, ValueError) as error:
            raise ExperimentError(
                f"the experiment's settings hold something that is no number: {error}"
            ) from error


@dataclass
class Losses:
    """The count, mean and variance of losses that come one by one (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, loss: float) -> None:
        """Take one more loss into account."""
        self.count += 1
        change = loss - self.mean
        self.mean += change / self.count
        self._squares += change * (loss - self.mean)

    @property
    def sample(self) -> Sample:
        """What has been taken into account so far."""
        variance = self._squares / (self.count - 1) if self.count > 1 else 0.0
        return Sample(self.count, self.mean, variance)


@dataclass(frozen=True)
class Sample:
    """Losses of one variant: how many, their mean, their variance (unbiased)."""

    count: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Look:
    """A look that was a test and did not decide: its labelled requests and the boundary it was held against.

    ``critical`` is None where nothing could be spent yet. Difference and interval are kept for the report.
    """

    look: int
    champion_labelled: int
    challenger_labelled: int
    critical: float | None
    difference: float
    interval: tuple[float | None, float | None]

    def document(self) -> dict[str, Any]:
        """The JSON form, which ``from_document`` reads."""
        return {
            "look": self.look,
            "labelled": [self.champion_labelled, self.challenger_labelled],
            "critical": self.critical,
            "difference": self.difference,
            "interval": list(self.interval),
        }

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Look:
        """Raises ExperimentError."""
        try:
            champion, challenger = document["labelled"]
            low, high = document["interval"]
            return Look(
                look=int(document["look"]),
                champion_labelled=int(champion),
                challenger_labelled=int(challenger),
                critical=None if document["critical"] is None else float(document["critical"]),
                difference=float(document["difference"]),
                interval=(low, high),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ExperimentError(
                f"'tested' must hold what earlier looks answered as 'tested'; {document!r} is none of it"
            ) from error


@dataclass(frozen=True)
class Decision:
    """What a look says.

    ``difference`` is the challenger's mean loss minus the champion's (negative: the challenger is better), None
    where there was no test. ``interval`` holds the true difference in all looks at once with probability
    1 - alpha; None is an open end. ``p_value`` is of the null that the difference is exactly ``-min_effect``;
    the look decides when it is at most ``threshold``. ``tested`` is what the next look must be given.
    """

    verdict: Verdict
    reason: str
    look: int
    tested: tuple[Look, ...]
    difference: float | None = None
    interval: tuple[float | None, float | None] = (None, None)
    p_value: float | None = None
    threshold: float | None = None

    @property
    def final(self) -> bool:
        """Whether there is no further look."""
        return self.verdict != "continue"


def judge(
    plan: Plan, look: int, champion: Sample, challenger: Sample, tested: Sequence[Look] = ()
) -> Decision:
    """Decide, or go on, at ``look`` (1 is the first, ``plan.looks`` the last; a later one counts as the last).

    The samples hold everything since the experiment began, ``tested`` what earlier looks answered. Raises
    ExperimentError for a look before the first.
    """
    if look < 1:
        raise ExperimentError(f"look {look}: the first is 1")
    last = look >= plan.looks
    # a look that is made again after a retry or a redrive is not a second test
    earlier = tuple(one for one in tested if one.look < look)
    fewest = min(champion.count, challenger.count)
    if fewest < plan.min_labelled:
        return _too_few(plan, look, champion, challenger, earlier)
    difference = challenger.mean - champion.mean
    error, degrees = _welch(champion, challenger)
    distance = difference + plan.min_effect
    p_value = _p_value(distance, error, degrees)
    critical = critical_value(
        plan.alpha,
        min(look / plan.looks, 1.0),
        [
            EarlierTest(
                _information(champion, challenger, one.champion_labelled, one.challenger_labelled),
                math.inf if one.critical is None else one.critical,
            )
            for one in earlier
        ],
        _information(champion, challenger, champion.count, challenger.count),
    )
    threshold = two_sided(critical)
    reach = error * student_quantile(threshold, degrees) if error else 0.0
    interval = (difference - reach, difference + reach) if math.isfinite(reach) else (None, None)
    now = Look(
        look,
        champion.count,
        challenger.count,
        critical if math.isfinite(critical) else None,
        difference,
        interval,
    )
    significant = normal_value(p_value) >= critical
    verdict: Verdict
    if significant:
        verdict = "promote" if distance < 0 else "keep"
    else:
        verdict = "keep" if last else "continue"
    return Decision(
        verdict=verdict,
        reason=_reason(plan, look, significant, distance < 0, difference, p_value, threshold),
        look=look,
        tested=(*earlier, now),
        difference=difference,
        interval=interval,
        p_value=p_value,
        threshold=threshold,
    )


def _welch(champion: Sample, challenger: Sample) -> tuple[float, float]:
    """The standard error of the difference of means, and Welch and Satterthwaite's degrees of freedom."""
    one, two = champion.variance / champion.count, challenger.variance / challenger.count
    whole = one + two
    if whole <= 0:
        return 0.0, 1.0
    return math.sqrt(whole), whole**2 / (one**2 / (champion.count - 1) + two**2 / (challenger.count - 1))


def _p_value(distance: float, error: float, degrees: float) -> float:
    if error == 0:  # losses that never vary: any difference is one
        return 1.0 if distance == 0 else 0.0
    return student_two_sided(distance / error, degrees)


def _information(champion: Sample, challenger: Sample, one: int, two: int) -> float:
    """The inverse variance of the difference with so many labelled requests, by today's variances.

    Today's are the best estimate of what they were at earlier looks too.
    """
    variance = champion.variance / max(one, 1) + challenger.variance / max(two, 1)
    return 1 / variance if variance > 0 else float(min(one, two))


def _too_few(
    plan: Plan, look: int, champion: Sample, challenger: Sample, earlier: tuple[Look, ...]
) -> Decision:
    found = (
        f"{champion.count} requests of the champion and {challenger.count} of the challenger have a label, "
        f"{plan.min_labelled} of each are needed"
    )
    if look < plan.looks:
        return Decision("continue", f"look {look} of {plan.looks}: {found}", look, earlier)
    advice = "send labels sooner, look later or more often, or lower min_labelled"
    return Decision("keep", f"after the last look {found}: the champion stays; {advice}", look, earlier)


def _reason(
    plan: Plan,
    look: int,
    significant: bool,
    better: bool,
    difference: float,
    p_value: float,
    threshold: float,
) -> str:
    title = TITLES[plan.metric]
    side = "lower" if difference < 0 else "higher"
    if difference == 0:
        found = f"both have the same {title}"
    else:
        found = f"the challenger's {title} is {abs(difference):.4g} {side} than the champion's"
    numbers = f"p = {_shown(p_value)}; proof at look {look} of {plan.looks} is {_shown(threshold)} or less"
    if significant and better:
        wanted = f", more than the {plan.min_effect:g} asked for" if plan.min_effect else ""
        return f"{found}{wanted} ({numbers}): the challenger is better"
    if significant:
        wanted = f", and {plan.min_effect:g} lower was asked for" if plan.min_effect else ""
        return f"{found}{wanted} ({numbers}): the champion stays"
    if look >= plan.looks:
        return f"{found}, which may be chance ({numbers}): the champion stays"
    return f"{found}, which may still be chance ({numbers})"


def _shown(value: float) -> str:
    return f"{value:.3g}" if value >= 1e-4 or value == 0 else f"{value:.0e}"
