"""A/B experiments: what is decided, and how often wrongly."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from triptych.core.experiment import (
    LOSSES,
    Decision,
    ExperimentError,
    Look,
    Losses,
    Plan,
    Sample,
    judge,
)

PLAN = Plan("brier", alpha=0.05, looks=4, min_labelled=200)


def run_experiment(plan: Plan, champion: np.ndarray, challenger: np.ndarray) -> Decision:
    """Judge losses (looks, requests a look) look by look until it is decided, through JSON as in production."""
    kept: list[dict[str, Any]] = []
    for look in range(1, plan.looks + 1):
        decision = judge(
            plan,
            look,
            sample(champion[:look].ravel()),
            sample(challenger[:look].ravel()),
            [Look.from_document(item) for item in kept],
        )
        if decision.final:
            return decision
        kept = json.loads(json.dumps([one.document() for one in decision.tested]))
    raise AssertionError("the last look did not decide")


def sample(losses: np.ndarray) -> Sample:
    return Sample(len(losses), float(losses.mean()), float(losses.var(ddof=1)))


def brier_losses(random: np.random.Generator, looks: int, requests: int, noise: float) -> np.ndarray:
    """Squared errors of a calibrated model whose log odds are then moved by ``noise``."""
    log_odds = random.normal(-1.0, 1.0, (looks, requests))
    labels = random.random((looks, requests)) < 1 / (1 + np.exp(-log_odds))
    scores = 1 / (1 + np.exp(-(log_odds + random.normal(0.0, noise, log_odds.shape))))
    return np.asarray((scores - labels) ** 2)


def test_equal_models_are_told_apart_in_at_most_five_experiments_of_a_hundred() -> None:
    random = np.random.default_rng(7)
    runs = 1500
    verdicts = [
        run_experiment(PLAN, brier_losses(random, 4, 250, noise=0.5), brier_losses(random, 4, 250, noise=0.5))
        for _ in range(runs)
    ]
    alarms = sum(decision.p_value <= decision.threshold for decision in verdicts)  # type: ignore[operator]
    promoted = sum(decision.verdict == "promote" for decision in verdicts)
    noise = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert alarms / runs <= 0.05 + noise
    assert promoted / runs <= 0.025 + noise


def test_a_better_challenger_is_promoted_as_often_as_the_design_says() -> None:
    random = np.random.default_rng(8)
    noise, runs = 1.0, 600
    worse, better = (brier_losses(random, 1, 400_000, size) for size in (noise, 0.0))
    error = math.sqrt((worse.var() + better.var()) / 1000)
    single_look = 0.5 * math.erfc((1.96 - (worse.mean() - better.mean()) / error) / math.sqrt(2))
    assert 0.75 < single_look < 0.95
    verdicts = [
        run_experiment(PLAN, brier_losses(random, 4, 250, noise), brier_losses(random, 4, 250, 0.0))
        for _ in range(runs)
    ]
    promoted = sum(decision.verdict == "promote" for decision in verdicts) / runs
    early = sum(decision.verdict == "promote" and decision.look < 4 for decision in verdicts) / runs
    assert promoted == pytest.approx(single_look - 0.01, abs=3 * math.sqrt(0.25 / runs))
    assert early > 0.5


def test_the_interval_holds_the_true_difference() -> None:
    random = np.random.default_rng(9)
    true = float(brier_losses(random, 1, 400_000, 0.0).mean() - brier_losses(random, 1, 400_000, 1.0).mean())
    held = 0
    runs = 400
    for _ in range(runs):
        decision = run_experiment(
            PLAN, brier_losses(random, 4, 250, noise=1.0), brier_losses(random, 4, 250, noise=0.0)
        )
        low, high = decision.interval
        held += low is not None and high is not None and low <= true <= high
    assert held / runs >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(
    ("look", "champion", "challenger", "min_effect", "verdict", "says"),
    [
        (1, (50, 0.2), (500, 0.1), 0.0, "continue", "50 requests of the champion and 500"),
        (4, (500, 0.2), (150, 0.1), 0.0, "keep", "lower min_labelled"),
        (1, (5000, 0.20), (5000, 0.10), 0.0, "promote", "0.1 lower than the champion's"),
        (1, (5000, 0.10), (5000, 0.20), 0.0, "keep", "0.1 higher than the champion's"),
        (2, (500, 0.16), (500, 0.15), 0.0, "continue", "may still be chance"),
        (4, (500, 0.16), (500, 0.15), 0.0, "keep", "may be chance"),
        (9, (500, 0.16), (500, 0.15), 0.0, "keep", "may be chance"),
        (1, (50_000, 0.16), (50_000, 0.14), 0.05, "keep", "0.05 lower was asked for"),
        (1, (50_000, 0.16), (50_000, 0.08), 0.05, "promote", "more than the 0.05 asked for"),
        (4, (500, 0.15), (500, 0.15), 0.0, "keep", "both have the same Brier score"),
    ],
    ids=[
        "too few labels, go on",
        "too few labels at the end",
        "clearly better at once",
        "clearly worse at once",
        "not clear yet",
        "not clear at the end",
        "a look too many is the last",
        "better, but by too little",
        "better by enough",
        "equal",
    ],
)
def test_verdicts(
    look: int,
    champion: tuple[int, float],
    challenger: tuple[int, float],
    min_effect: float,
    verdict: str,
    says: str,
) -> None:
    plan = Plan("brier", 0.05, 4, 200, min_effect)
    decision = judge(plan, look, Sample(*champion, variance=0.04), Sample(*challenger, variance=0.05))
    assert decision.verdict == verdict
    assert decision.final is (verdict != "continue")
    assert says in decision.reason


@pytest.mark.parametrize(
    ("champion", "challenger", "verdict"), [(0.0, 0.0, "keep"), (1.0, 0.0, "promote"), (0.0, 1.0, "keep")]
)
def test_losses_that_never_vary_can_be_judged(champion: float, challenger: float, verdict: str) -> None:
    decision = judge(Plan("error", 0.05, 1, 10), 1, Sample(10, champion, 0.0), Sample(10, challenger, 0.0))
    assert decision.verdict == verdict
    assert decision.interval == (challenger - champion, challenger - champion)


def test_a_look_made_again_is_not_a_second_test() -> None:
    champion, challenger = Sample(300, 0.16, 0.04), Sample(310, 0.15, 0.04)
    first = judge(PLAN, 1, champion, challenger)
    again = judge(PLAN, 1, champion, challenger, first.tested)
    assert again == first


def test_the_rules_of_welch() -> None:
    # worked by hand: 1 / 100 + 4 / 50 = 0.09; t = -0.6 / 0.3 = -2
    decision = judge(Plan("brier", 0.05, 1, 2), 1, Sample(100, 0.9, 1.0), Sample(50, 0.3, 4.0))
    # Welch and Satterthwaite: 0.0081 / (0.0001 / 99 + 0.0064 / 49) = 61.5 degrees of freedom
    assert decision.p_value == pytest.approx(0.0499, abs=2e-4)
    assert decision.verdict == "promote"
    assert decision.interval[0] == pytest.approx(-0.6 - 1.9992 * 0.3, abs=1e-3)


@pytest.mark.parametrize(
    ("metric", "score", "label", "loss"),
    [
        ("brier", 0.3, 1.0, 0.49),
        ("log_loss", 0.25, 1.0, math.log(4)),
        ("log_loss", 0.25, 0.0, -math.log(0.75)),
        ("log_loss", 0.0, 1.0, -math.log(1e-7)),
        ("error", 0.5, 1.0, 0.0),
        ("error", 0.49, 1.0, 1.0),
        ("error", 0.7, 0.0, 1.0),
    ],
)
def test_losses(metric: str, score: float, label: float, loss: float) -> None:
    assert LOSSES[metric](score, label) == pytest.approx(loss)


def test_losses_one_by_one_are_those_of_numpy() -> None:
    values = np.random.default_rng(1).random(1000) + 1e6
    losses = Losses()
    for value in values:
        losses.add(float(value))
    assert losses.sample.count == 1000
    assert losses.sample.mean == pytest.approx(values.mean(), rel=1e-12)
    assert losses.sample.variance == pytest.approx(values.var(ddof=1), rel=1e-6)
    assert Losses().sample == Sample(0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"metric": "auc"}, "'auc' is none of brier, log_loss, error"),
        ({"alpha": 0}, "alpha 0.0 must lie between 0 and 1"),
        ({"looks": 0}, "looks 0 must be at least 1"),
        ({"min_labelled": 1}, "min_labelled 1 must be at least 2"),
        ({"min_effect": -0.1}, "min_effect -0.1 must be 0 or more"),
        ({"alpha": "five"}, "no number"),
        ({"looks": None}, "no number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: dict[str, Any], says: str) -> None:
    settings = {"metric": "brier", "alpha": 0.05, "looks": 4, "min_labelled": 200, "min_effect": 0.0}
    with pytest.raises(ExperimentError, match=says):
        Plan.from_event({**settings, **changed})


def test_what_is_missing_or_garbled_is_named() -> None:
    with pytest.raises(ExperimentError, match="lack 'alpha'"):
        Plan.from_event({"metric": "brier"})
    with pytest.raises(ExperimentError, match="'tested' must hold"):
        Look.from_document({"look": 1, "labelled": 5})
    with pytest.raises(ExperimentError, match="the first is 1"):
        judge(PLAN, 0, Sample(1, 0, 0), Sample(1, 0, 0))
