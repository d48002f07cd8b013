"""A deployment's checks and steps, as tables: what SageMaker refuses, and which way it goes."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.localcloud.sagemaker.deployment_plan import (
    Plan,
    Step,
    VariantSize,
    plan_deployment,
    plan_rollback,
)
from triptych.localcloud.service import ServiceError


def fleet(*instances: int, names: str = "ABC", **changes: Any) -> list[VariantSize]:
    return [VariantSize(name, count, **changes) for name, count in zip(names, instances, strict=False)]


def size(kind: str, value: int) -> dict[str, Any]:
    return {"Type": kind, "Value": value}


def percent(value: int) -> dict[str, Any]:
    return size("CAPACITY_PERCENT", value)


def count(value: int) -> dict[str, Any]:
    return size("INSTANCE_COUNT", value)


def blue_green(kind: str, wait: int = 0, termination: int = 0, **changes: Any) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        key: changes.pop(key) for key in ("CanarySize", "LinearStepSize") if key in changes
    }
    traffic: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": wait, **sizes}
    policy = {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": termination, **changes}
    return {"BlueGreenUpdatePolicy": policy}


def rolling(batch: dict[str, Any], wait: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": wait, **changes},
    }


def told(steps: tuple[Step, ...]) -> list[str]:
    """Each step in short: what it does, the share, old and new instances, the wait."""
    lines = []
    for step in steps:
        wait = f" {step.seconds}s {step.setting}" if step.action == "bake" else ""
        old, new, serving = (sum(counts.values()) for counts in (step.old, step.new, step.serving))
        lines.append(f"{step.action} {step.share:.2f} old {old} new {serving}/{new} {step.capacity}{wait}")
    return lines


@pytest.mark.parametrize(
    ("deployment", "old", "new", "wanted"),
    [
        pytest.param(
            None,
            fleet(2),
            fleet(3),
            [
                "provision 0.00 old 2 new 0/3 full",
                "shift 1.00 old 2 new 3/3 full",
                "terminate 1.00 old 0 new 3/3 full",
            ],
            id="default",
        ),
        pytest.param(
            blue_green("ALL_AT_ONCE", wait=5, termination=7),
            fleet(1),
            fleet(1),
            [
                "provision 0.00 old 1 new 0/1 full",
                "shift 1.00 old 1 new 1/1 full",
                "bake 1.00 old 1 new 1/1 full 7s TerminationWaitInSeconds",
                "terminate 1.00 old 0 new 1/1 full",
            ],
            id="all-at-once-bakes-once",
        ),
        pytest.param(
            blue_green("CANARY", 600, 300, CanarySize=percent(30)),
            fleet(3),
            fleet(3),
            [
                "provision 0.00 old 3 new 0/3 full",
                "shift 0.33 old 3 new 1/3 canary",
                "bake 0.33 old 3 new 1/3 canary 600s WaitIntervalInSeconds",
                "shift 1.00 old 3 new 3/3 full",
                "bake 1.00 old 3 new 3/3 full 300s TerminationWaitInSeconds",
                "terminate 1.00 old 0 new 3/3 full",
            ],
            id="canary-of-one-third",
        ),
        pytest.param(
            blue_green("CANARY", 1, CanarySize=count(2)),
            fleet(1),
            fleet(4),
            [
                "provision 0.00 old 1 new 0/4 full",
                "shift 0.50 old 1 new 2/4 canary",
                "bake 0.50 old 1 new 2/4 canary 1s WaitIntervalInSeconds",
                "shift 1.00 old 1 new 4/4 full",
                "terminate 1.00 old 0 new 4/4 full",
            ],
            id="canary-by-count-of-the-new-fleet",
        ),
        pytest.param(
            blue_green("LINEAR", 3, 4, LinearStepSize=count(2)),
            fleet(5),
            fleet(5),
            [
                "provision 0.00 old 5 new 0/5 full",
                "shift 0.40 old 5 new 2/5 linear",
                "bake 0.40 old 5 new 2/5 linear 3s WaitIntervalInSeconds",
                "shift 0.80 old 5 new 4/5 linear",
                "bake 0.80 old 5 new 4/5 linear 3s WaitIntervalInSeconds",
                "shift 1.00 old 5 new 5/5 full",
                "bake 1.00 old 5 new 5/5 full 4s TerminationWaitInSeconds",
                "terminate 1.00 old 0 new 5/5 full",
            ],
            id="linear-with-a-smaller-last-step",
        ),
        pytest.param(
            blue_green("LINEAR", LinearStepSize=percent(50)),
            fleet(1, 2),
            fleet(2, 2),
            [
                "provision 0.00 old 3 new 0/4 full",
                "shift 0.50 old 3 new 2/4 linear",
                "shift 1.00 old 3 new 4/4 full",
                "terminate 1.00 old 0 new 4/4 full",
            ],
            id="linear-with-two-variants-and-no-wait",
        ),
        pytest.param(
            blue_green("LINEAR", 1, LinearStepSize=percent(40)),
            fleet(1, serverless=True),
            fleet(1, serverless=True),
            [
                "provision 0.00 old 1 new 0/1 full",
                "shift 0.40 old 1 new 1/1 linear",
                "bake 0.40 old 1 new 1/1 linear 1s WaitIntervalInSeconds",
                "shift 0.80 old 1 new 1/1 linear",
                "bake 0.80 old 1 new 1/1 linear 1s WaitIntervalInSeconds",
                "shift 1.00 old 1 new 1/1 full",
                "terminate 1.00 old 0 new 1/1 full",
            ],
            id="linear-serverless-by-requests",
        ),
        pytest.param(
            rolling(percent(50), 2),
            fleet(2),
            fleet(2),
            [
                "provision 0.00 old 2 new 0/1 batch",
                "shift 0.50 old 2 new 1/1 batch",
                "bake 0.50 old 2 new 1/1 batch 2s WaitIntervalInSeconds",
                "terminate 0.50 old 1 new 1/1 batch",
                "provision 0.50 old 1 new 1/2 full",
                "shift 1.00 old 1 new 2/2 full",
                "bake 1.00 old 1 new 2/2 full 2s WaitIntervalInSeconds",
                "terminate 1.00 old 0 new 2/2 full",
            ],
            id="rolling-halves",
        ),
        pytest.param(
            rolling(count(1)),
            fleet(4),
            fleet(3),
            [
                "provision 0.00 old 4 new 0/1 batch",
                "shift 0.33 old 4 new 1/1 batch",
                "terminate 0.33 old 3 new 1/1 batch",
                "provision 0.33 old 3 new 1/2 batch",
                "shift 0.67 old 3 new 2/2 batch",
                "terminate 0.67 old 2 new 2/2 batch",
                "provision 0.67 old 2 new 2/3 full",
                "shift 1.00 old 2 new 3/3 full",
                "terminate 1.00 old 0 new 3/3 full",
            ],
            id="rolling-to-a-smaller-fleet",
        ),
        pytest.param(
            blue_green("CANARY", 5, 5, CanarySize=percent(50)),
            fleet(2, instance_type="ml.inf1.xlarge"),
            fleet(2),
            [
                "provision 0.00 old 2 new 0/2 full",
                "shift 1.00 old 2 new 2/2 full",
                "terminate 1.00 old 0 new 2/2 full",
            ],
            id="excluded-instances-fall-back-to-all-at-once-without-baking",
        ),
    ],
)
def test_steps(
    deployment: dict[str, Any] | None, old: list[VariantSize], new: list[VariantSize], wanted: list[str]
) -> None:
    assert told(plan_deployment(deployment, old, new).steps) == wanted


def test_the_old_fleet_never_serves_with_less_than_its_share() -> None:
    for instances in range(2, 12):
        for batch in range(1, instances // 2 + 1):
            plan = plan_deployment(rolling(count(batch)), fleet(instances), fleet(instances))
            for step in plan.steps:
                assert sum(step.old.values()) >= instances * (1 - step.share) - 1e-9
                assert sum(step.new.values()) >= instances * step.share - 1e-9
                assert sum(step.new.values()) + sum(step.old.values()) <= instances + batch
            assert plan.steps[-1].old == {"A": 0}
            assert plan.steps[-1].new == {"A": instances}


def test_alarms_and_timeout() -> None:
    deployment = blue_green("ALL_AT_ONCE", termination=599, MaximumExecutionTimeoutInSeconds=600)
    deployment["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": "errors"}, {"AlarmName": "latency"}]}
    plan = plan_deployment(deployment, fleet(1), fleet(1))
    assert (plan.alarms, plan.timeout_seconds) == (("errors", "latency"), 600)


@pytest.mark.parametrize(
    ("deployment", "old", "new", "wanted"),
    [
        pytest.param(
            blue_green("ALL_AT_ONCE") | rolling(percent(50)),
            fleet(2),
            fleet(2),
            "only one update policy can be used",
            id="two-policies",
        ),
        pytest.param(
            blue_green("SLOWLY"), fleet(2), fleet(2), "Type is 'SLOWLY'; it is one of", id="unknown-type"
        ),
        pytest.param(
            blue_green("CANARY"), fleet(2), fleet(2), "CanarySize is needed", id="canary-without-size"
        ),
        pytest.param(
            blue_green("LINEAR", CanarySize=percent(10)),
            fleet(2),
            fleet(2),
            "CanarySize cannot be given with the traffic routing type LINEAR",
            id="size-of-another-type",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=percent(51)),
            fleet(9),
            fleet(9),
            "CanarySize is 51 percent of the 9 instance(s) of variant A; it must be at most 50 percent",
            id="canary-above-half",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=count(3)),
            fleet(5),
            fleet(5),
            "CanarySize is 60 percent of the 5 instance(s)",
            id="canary-count-above-half",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=percent(10)),
            fleet(2),
            fleet(1),
            "variant A has 1 instance(s), and one instance is more than 50 percent of it. It needs at least 2",
            id="canary-of-one-instance",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=count(1)),
            fleet(2, 2),
            fleet(2, 1),
            "100 percent of the 1 instance(s) of variant B",
            id="each-variant-is-checked",
        ),
        pytest.param(
            blue_green("LINEAR", LinearStepSize=percent(9)),
            fleet(20),
            fleet(20),
            "LinearStepSize is 9 percent of the 20 instance(s) of variant A; it must be between 10 and 50",
            id="linear-step-too-small",
        ),
        pytest.param(
            blue_green("LINEAR", LinearStepSize=count(1)),
            fleet(11),
            fleet(11),
            "LinearStepSize is 9.09091 percent",
            id="linear-count-too-small",
        ),
        pytest.param(
            rolling(percent(4)),
            fleet(50),
            fleet(50),
            "MaximumBatchSize is 4 percent of the 50 instance(s) of variant A; it must be between 5 and 50",
            id="rolling-batch-too-small",
        ),
        pytest.param(
            rolling(percent(50)), fleet(1), fleet(1), "It needs at least 2 instances", id="rolling-one"
        ),
        pytest.param(
            rolling(percent(50), RollbackMaximumBatchSize=percent(101)),
            fleet(2),
            fleet(2),
            "RollbackMaximumBatchSize is 101 percent",
            id="rollback-batch-above-all",
        ),
        pytest.param(
            rolling(percent(50)),
            fleet(2, 2),
            fleet(2, 2),
            "the endpoint has 2 variants",
            id="rolling-several-variants",
        ),
        pytest.param(
            rolling(percent(50)),
            fleet(2),
            fleet(2, serverless=True),
            "the new endpoint configuration is serverless",
            id="rolling-serverless",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=count(1)),
            fleet(1, serverless=True),
            fleet(1, serverless=True),
            "use CAPACITY_PERCENT",
            id="serverless-has-no-instances",
        ),
        pytest.param(
            blue_green("ALL_AT_ONCE"),
            fleet(1),
            fleet(1, names="Z"),
            "must have the same variant names as the endpoint: it has Z, the endpoint has A",
            id="other-variants",
        ),
        pytest.param(
            blue_green("ALL_AT_ONCE", termination=3601),
            fleet(1),
            fleet(1),
            "TerminationWaitInSeconds is 3601; it must be between 0 and 3600",
            id="termination-too-long",
        ),
        pytest.param(rolling(percent(50), -1), fleet(2), fleet(2), "between 0 and 3600", id="negative-wait"),
        pytest.param(
            blue_green("ALL_AT_ONCE", MaximumExecutionTimeoutInSeconds=599),
            fleet(1),
            fleet(1),
            "must be between 600 and 28800",
            id="timeout-too-short",
        ),
        pytest.param(
            blue_green("LINEAR", 200, 200, LinearStepSize=percent(25), MaximumExecutionTimeoutInSeconds=800),
            fleet(4),
            fleet(4),
            "must be larger than the deployment's total waiting time of 800 seconds",
            id="timeout-within-the-waits",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=size("REQUESTS", 1)),
            fleet(2),
            fleet(2),
            "Type is 'REQUESTS'",
            id="unknown-size-type",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=count(0)),
            fleet(2),
            fleet(2),
            "a whole number of at least 1",
            id="size-zero",
        ),
        pytest.param(
            blue_green("CANARY", CanarySize=percent(50)),
            fleet(1),
            fleet(0),
            "variant A has no instances",
            id="scaled-in-to-none",
        ),
        pytest.param(
            {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": str(n)} for n in range(11)]}},
            fleet(1),
            fleet(1),
            "11 alarms, more than 10",
            id="too-many-alarms",
        ),
        pytest.param(
            {"AutoRollbackConfiguration": {"Alarms": [{}]}},
            fleet(1),
            fleet(1),
            "needs an AlarmName",
            id="nameless",
        ),
    ],
)
def test_refused(
    deployment: dict[str, Any], old: list[VariantSize], new: list[VariantSize], wanted: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        plan_deployment(deployment, old, new)
    assert caught.value.code == "ValidationException"
    assert wanted in caught.value.message


def test_variants_may_change_without_a_policy() -> None:
    plan = plan_deployment(None, fleet(1), fleet(1, 1, names="YZ"))
    assert plan.steps[-1].old == {"A": 0}
    assert plan.steps[-1].new == {"Y": 1, "Z": 1}


CANARY = plan_deployment(blue_green("CANARY", 1, CanarySize=percent(50)), fleet(2), fleet(2))
QUARTERS = plan_deployment(rolling(percent(25)), fleet(4), fleet(4))
QUARTERS_BACK = plan_deployment(
    rolling(percent(25), RollbackMaximumBatchSize=percent(50)), fleet(4), fleet(4)
)


def after(plan: Plan, action: str, share: float) -> Step:
    return [step for step in plan.steps if (step.action, step.share) == (action, share)][-1]


@pytest.mark.parametrize(
    ("plan", "done", "wanted"),
    [
        pytest.param(CANARY, None, [], id="nothing-done"),
        pytest.param(
            CANARY,
            after(CANARY, "bake", 0.5),
            ["shift 0.00 old 2 new 0/2 full", "terminate 0.00 old 2 new 0/0 full"],
            id="canary-at-once",
        ),
        pytest.param(
            QUARTERS,
            after(QUARTERS, "terminate", 0.5),
            [
                "provision 0.50 old 4 new 2/2 full",
                "shift 0.00 old 4 new 0/2 full",
                "terminate 0.00 old 4 new 0/0 full",
            ],
            id="rolling-brings-the-whole-old-fleet-back",
        ),
        pytest.param(
            QUARTERS_BACK,
            after(QUARTERS_BACK, "shift", 0.25),
            ["shift 0.00 old 4 new 0/1 full", "terminate 0.00 old 4 new 0/0 full"],
            id="rolling-in-its-first-batch",
        ),
        pytest.param(
            QUARTERS_BACK,
            after(QUARTERS_BACK, "shift", 1.0),
            [
                "provision 1.00 old 3 new 4/4 full",
                "shift 0.25 old 3 new 1/4 batch",
                "terminate 0.25 old 3 new 1/1 batch",
                "provision 0.25 old 4 new 1/1 full",
                "shift 0.00 old 4 new 0/1 batch",
                "terminate 0.00 old 4 new 0/0 batch",
            ],
            id="rolling-back-in-batches",
        ),
    ],
)
def test_the_way_back(plan: Plan, done: Step | None, wanted: list[str]) -> None:
    assert told(plan_rollback(plan, done, fleet(4) if plan is not CANARY else fleet(2))) == wanted


def test_the_way_back_always_ends_with_the_old_fleet_whole() -> None:
    for instances in range(2, 9):
        for batch in range(1, instances // 2 + 1):
            for back in range(1, instances + 1):
                plan = plan_deployment(
                    rolling(count(batch), RollbackMaximumBatchSize=count(back)),
                    fleet(instances),
                    fleet(instances),
                )
                for done in plan.steps[:-1]:
                    steps = plan_rollback(plan, done, fleet(instances))
                    assert (steps[-1].share, steps[-1].old, steps[-1].new) == (
                        0.0,
                        {"A": instances},
                        {"A": 0},
                    )
                    for step in steps:
                        assert step.old["A"] >= instances * (1 - step.share) - 1e-9
                        assert step.new["A"] >= instances * step.share - 1e-9
