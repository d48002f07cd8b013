"""How many instances there should be, by tables."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.localcloud.autoscaling.rules import (
    Bounds,
    Decision,
    LastChange,
    Proposal,
    decide,
    stepped_count,
    tracked_count,
)
from triptych.localcloud.autoscaling.timing import Timing


@pytest.mark.parametrize(
    ("current", "metric", "target", "wanted"),
    [
        pytest.param(1, 60, 60, 1, id="on target"),
        pytest.param(1, 61, 60, 2, id="a little above: a whole instance more"),
        pytest.param(2, 300, 60, 10, id="in proportion"),
        pytest.param(3, 20, 60, 1, id="a third of the load, a third of the instances"),
        pytest.param(3, 21, 60, 2, id="never fewer than the target allows"),
        pytest.param(7, 60 * 3 / 7, 60, 3, id="rounding does not add an instance"),
        pytest.param(4, 0, 60, 0, id="no load"),
        pytest.param(0, 90, 60, 2, id="from none"),
    ],
)
def test_tracked_count(current: int, metric: float, target: float, wanted: int) -> None:
    assert tracked_count(current, metric, target) == wanted


UP = [
    {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 10},
    {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 30},
]
DOWN = [
    {"MetricIntervalLowerBound": -10, "MetricIntervalUpperBound": 0, "ScalingAdjustment": -10},
    {"MetricIntervalUpperBound": -10, "ScalingAdjustment": -30},
]


def steps(adjustments: list[dict[str, float]], kind: str, **more: Any) -> dict[str, Any]:
    return {"AdjustmentType": kind, "StepAdjustments": adjustments, **more}


@pytest.mark.parametrize(
    ("current", "metric", "configuration", "wanted"),
    [
        pytest.param(10, 60, steps(UP, "PercentChangeInCapacity"), 11, id="on the threshold"),
        pytest.param(10, 69.9, steps(UP, "PercentChangeInCapacity"), 11, id="below the upper bound"),
        pytest.param(11, 70, steps(UP, "PercentChangeInCapacity"), 14, id="3.3 is 3"),
        pytest.param(1, 60, steps(UP, "PercentChangeInCapacity"), 2, id="0.1 is 1"),
        pytest.param(
            4, 60, steps(UP, "PercentChangeInCapacity", MinAdjustmentMagnitude=2), 6, id="at least two"
        ),
        pytest.param(10, 59, steps(UP, "PercentChangeInCapacity"), None, id="no step for it"),
        pytest.param(14, 60, steps(DOWN, "PercentChangeInCapacity"), 13, id="in, on the threshold"),
        pytest.param(13, 50, steps(DOWN, "PercentChangeInCapacity"), 10, id="in, the lower bound is out"),
        pytest.param(13, 51, steps(DOWN, "PercentChangeInCapacity"), 12, id="in, 1.3 is 1"),
        pytest.param(2, 61, steps(UP, "ChangeInCapacity"), 12, id="so many more"),
        pytest.param(2, 75, steps(UP, "ExactCapacity"), 30, id="exactly"),
        pytest.param(30, 75, steps(UP, "ExactCapacity"), None, id="exactly what there is"),
    ],
)
def test_stepped_count(current: int, metric: float, configuration: dict[str, Any], wanted: int) -> None:
    assert stepped_count(current, metric, 60, configuration) == wanted


@pytest.mark.parametrize(
    ("metric", "now", "wanted"),
    [
        pytest.param(65, 150, None, id="the same step again adds nothing"),
        pytest.param(75, 150, 13, id="a larger one adds the difference"),
        pytest.param(65, 201, 12, id="after the cool-down it adds its own"),
    ],
)
def test_a_scale_out_in_a_cool_down_counts_from_before(metric: float, now: float, wanted: int) -> None:
    last = LastChange(previous=10, count=11, ended=100, cooldown_seconds=100)
    assert stepped_count(11, metric, 60, steps(UP, "PercentChangeInCapacity"), last, now) == wanted


OUT, MORE, IN, LESS = (Proposal(wanted, f"alarm for {wanted}") for wanted in (3, 5, 1, 0))


@pytest.mark.parametrize(
    ("current", "bounds", "proposals", "last", "decision"),
    [
        pytest.param(2, Bounds(1, 9), [], None, None, id="nothing"),
        pytest.param(2, Bounds(1, 9), [OUT, MORE, IN], None, Decision(MORE, 5), id="the largest wins"),
        pytest.param(2, Bounds(1, 4), [MORE], None, Decision(MORE, 4), id="up to the maximum"),
        pytest.param(
            4, Bounds(1, 4), [MORE], None, Decision(MORE, reason="AlreadyAtMaxCapacity"), id="at the maximum"
        ),
        pytest.param(2, Bounds(0, 9), [IN, LESS], None, Decision(IN, 1), id="in, the largest wins too"),
        pytest.param(3, Bounds(2, 9), [LESS], None, Decision(LESS, 2), id="down to the minimum"),
        pytest.param(
            2, Bounds(2, 9), [LESS], None, Decision(LESS, reason="AlreadyAtMinCapacity"), id="at the minimum"
        ),
        pytest.param(2, Bounds(1, 9), [IN], LastChange(3, 2, 50, 100), None, id="a scale-in cools down"),
        pytest.param(
            2,
            Bounds(1, 9),
            [IN],
            LastChange(1, 2, 50, 100),
            Decision(IN, 1),
            id="a scale-out holds no in back",
        ),
        pytest.param(
            2,
            Bounds(1, 9),
            [OUT],
            LastChange(3, 2, 50, 100),
            Decision(OUT, 3),
            id="a scale-in holds no out back",
        ),
        pytest.param(
            2, Bounds(1, 9), [IN], LastChange(3, 2, 1, 98), Decision(IN, 1), id="after the cool-down"
        ),
        pytest.param(2, Bounds(1, 9, out_suspended=True), [OUT], None, None, id="out is suspended"),
        pytest.param(2, Bounds(1, 9, in_suspended=True), [IN], None, None, id="in is suspended"),
    ],
)
def test_decide(
    current: int,
    bounds: Bounds,
    proposals: list[Proposal],
    last: LastChange | None,
    decision: Decision | None,
) -> None:
    assert decide(current, bounds, proposals, last, now=99.5) == decision


@pytest.mark.parametrize(("text", "seconds"), [("", 60), ("10", 10), ("30", 30), ("60", 60), ("180", 180)])
def test_the_period_comes_from_the_environment(text: str, seconds: int) -> None:
    timing = Timing.from_environment({"TRIPTYCH_AUTOSCALING_PERIOD_SECONDS": text})
    assert timing.period_seconds == seconds


@pytest.mark.parametrize("text", ["0", "15", "90", "-60", "a minute"])
def test_a_period_that_no_alarm_can_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"TRIPTYCH_AUTOSCALING_PERIOD_SECONDS is .*multiple of 60"):
        Timing.from_environment({"TRIPTYCH_AUTOSCALING_PERIOD_SECONDS": text})
