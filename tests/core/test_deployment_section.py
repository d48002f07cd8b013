"""The contract's deployment section: defaults, and mistakes told in plain words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from triptych.core.contract import ContractError, load_contract, parse_contract
from triptych.core.deployment import (
    STRATEGIES,
    Autoscaling,
    BusinessMetric,
    Deployment,
    build,
    problems,
)

PATH = Path(__file__).parents[2] / "usecases" / "flights" / "contract.yaml"
TEXT = PATH.read_text(encoding="utf-8")
LEAST = {"endpoint_name": "e", "instance_type": "ml.m5.large"}


def test_everything_but_name_and_type_has_a_default() -> None:
    found = build(LEAST)
    assert found.strategy == "all_at_once"
    assert (found.canary.size_percent, found.linear.step_percent, found.rolling.batch_percent) == (50, 25, 50)
    assert (found.ab.looks, found.ab.alpha, found.shadow.min_requests) == (4, 0.05, 200)
    assert (found.alarms.max_error_rate, found.alarms.business, found.autoscaling) == (0.01, None, None)
    assert problems(found) == []


def test_flights_can_take_every_strategy() -> None:
    deployment = load_contract(PATH).deployment
    assert deployment.alarms.business == BusinessMetric("Triptych/flights", "BrierScore", max=0.4)
    assert deployment.autoscaling == Autoscaling(2, 4, 60000)
    for strategy in STRATEGIES:
        assert problems(replace(deployment, strategy=strategy)) == [], strategy


@pytest.mark.parametrize(
    ("changed", "path", "message"),
    [
        pytest.param({"strategy": "canary"}, "instance_count", "needs two instances or more", id="canary"),
        pytest.param(
            {"strategy": "rolling"}, "instance_count", "at most half of the instances", id="rolling"
        ),
        pytest.param(
            {"strategy": "linear", "instance_count": 2, "autoscaling": Autoscaling(1, 4, 100)},
            "autoscaling.min_instances",
            "also after scaling in",
            id="autoscaling could leave one",
        ),
        pytest.param(
            {"autoscaling": Autoscaling(3, 2, 100)}, "autoscaling.min_instances", "is above", id="wrong way"
        ),
        pytest.param(
            {"instance_count": 9, "autoscaling": Autoscaling(1, 4, 100)},
            "instance_count",
            "9 is not between autoscaling's 1 and 4",
            id="outside of autoscaling",
        ),
        pytest.param({"endpoint_name": "e" * 60}, "endpoint_name", "longer than 55", id="long name"),
        pytest.param(
            {"variant_name": "Challenger"}, "variant_name", "a variant under trial", id="taken variant"
        ),
    ],
)
def test_what_no_schema_can_say(changed: dict[str, Any], path: str, message: str) -> None:
    found = problems(replace(Deployment(**LEAST), **changed))
    assert [".".join(where) for where, _ in found] == [path]
    assert message in found[0][1]


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("strategy: all_at_once", "strategy: bluegreen", "strategy", "is not one of all_at_once, blue_green"),
        ("canary: {size_percent: 50}", "canary: {size_percent: 60}", "canary.size_percent", "60"),
        ("linear: {step_percent: 25}", "linear: {step_percent: 5}", "linear.step_percent", "5 is less"),
        ("BrierScore, max: 0.4", "BrierScore", "alarms.business", "needs either 'min' or 'max'"),
        ("{namespace: Triptych/flights", "{namespace: AWS/SageMaker", "alarms.business.namespace", "AWS/"),
        ("max_p50_ms: 250", "max_latency_ms: 250", "test.max_latency_ms", "max_p50_ms, max_p99_ms"),
        ("instance_count: 2\n  #", "instance_count: 1\n  #", "instance_count", "1 is not between"),
    ],
    ids=["strategy", "canary", "linear", "no limit", "AWS's namespace", "unknown member", "own check"],
)
def test_mistakes_are_told_with_line_and_path(old: str, new: str, path: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ContractError) as caught:
        parse_contract(TEXT.replace(old, new), "contract.yaml")
    (problem,) = caught.value.problems
    line = TEXT[: TEXT.index(old)].count("\n") + 1
    assert problem.startswith(f"contract.yaml:{line}: deployment.{path}: "), problem
    assert message in problem
