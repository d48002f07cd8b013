"""How an endpoint goes from one configuration to the next: SageMaker's checks, and the steps, as pure functions.

Sources: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html and the pages below it, and the
shape DeploymentConfig of botocore's service model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from triptych.localcloud.sagemaker.errors import invalid

Action = Literal["provision", "shift", "bake", "terminate"]
Counts = Mapping[str, int]
"""Instances by variant."""

WHOLE = 1.0
_TRAFFIC = "BlueGreenUpdatePolicy.TrafficRoutingConfiguration"
_SIZE_MEMBERS = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}
_LIMITS_PERCENT = {"CanarySize": (0, 50), "LinearStepSize": (10, 50), "MaximumBatchSize": (5, 50)}
_RANGES = {
    "WaitIntervalInSeconds": (0, 3600),
    "TerminationWaitInSeconds": (0, 3600),
    "MaximumExecutionTimeoutInSeconds": (600, 28800),
}
_MOST_ALARMS = 10
_NO_GUARDRAILS = "ml.inf1."


@dataclass(frozen=True)
class VariantSize:
    """A production variant, as far as a deployment's plan depends on it."""

    name: str
    instances: int
    serverless: bool = False
    instance_type: str | None = None


@dataclass(frozen=True)
class Step:
    """One thing to do, and how the two fleets stand once it is done."""

    action: Action
    share: float
    """of the requests that go to the new fleet, 0 to 1"""
    new: Counts
    """the new fleet's instances that run"""
    old: Counts
    """the old fleet's instances that run"""
    capacity: str = "full"
    """what the status messages call the new fleet's part that has traffic: canary, linear, batch or full"""
    seconds: int = 0
    """how long a bake lasts"""
    setting: str = ""
    """the member of the policy that a bake's length comes from"""
    active: Counts | None = None
    """the new fleet's instances that have traffic; None is all that run"""

    @property
    def serving(self) -> Counts:
        return self.new if self.active is None else self.active


@dataclass(frozen=True)
class Plan:
    """A deployment from its first step to its last.

    After the last ``bake`` or ``shift`` the new configuration counts; what follows only cleans up.
    """

    strategy: str
    """ALL_AT_ONCE, CANARY, LINEAR or ROLLING"""
    steps: tuple[Step, ...]
    alarms: tuple[str, ...] = ()
    timeout_seconds: int | None = None
    rollback_batch: Mapping[str, int] | None = None
    """a rolling deployment's rollback: instances of each variant a batch; None is all at once"""


def plan_deployment(
    deployment: Mapping[str, Any] | None, old: Sequence[VariantSize], new: Sequence[VariantSize]
) -> Plan:
    """The steps from the variants ``old`` to ``new`` under a DeploymentConfig.

    Raises ValidationException for what SageMaker refuses.
    """
    deployment = deployment or {}
    alarms = _alarms(deployment)
    blue_green = deployment.get("BlueGreenUpdatePolicy")
    rolling = deployment.get("RollingUpdatePolicy")
    if blue_green is not None and rolling is not None:
        raise invalid(
            "DeploymentConfig holds both BlueGreenUpdatePolicy and RollingUpdatePolicy; only one update policy "
            "can be used."
        )
    if blue_green is not None or rolling is not None:
        _same_variants(old, new)
    if any((variant.instance_type or "").startswith(_NO_GUARDRAILS) for variant in [*old, *new]):
        return Plan("ALL_AT_ONCE", _all_at_once(old, new, 0))
    if rolling is not None:
        return _plan_rolling(rolling, old, new, alarms)
    if blue_green is not None:
        return _plan_blue_green(blue_green, old, new, alarms)
    return Plan("ALL_AT_ONCE", _all_at_once(old, new, 0), alarms)


def plan_rollback(plan: Plan, done: Step | None, old: Sequence[VariantSize]) -> tuple[Step, ...]:
    """The way back from the state after ``done`` (None: nothing was done) to the old fleet alone.

    A blue/green deployment goes back in one step, for its old fleet still runs whole; a rolling one in batches of
    RollbackMaximumBatchSize, each of which starts old instances, moves their traffic and stops new ones.
    """
    if done is None:
        return ()
    whole = _counts(old)
    none = dict.fromkeys(done.new, 0)
    if plan.rollback_batch is None or done.old == whole:
        restored = (
            () if done.old == whole else (Step("provision", done.share, done.new, whole, active=done.active),)
        )
        return (
            *restored,
            Step("shift", 0.0, done.new, whole, active=none),
            Step("terminate", 0.0, none, whole),
        )
    steps: list[Step] = []
    target = plan.steps[-1].new
    now_old, now_new, share = dict(done.old), dict(done.new), done.share
    while now_old != whole:
        now_old = {
            name: min(count, now_old.get(name, 0) + plan.rollback_batch[name])
            for name, count in whole.items()
        }
        steps.append(Step("provision", share, dict(now_new), now_old, active=done.active))
        missing = 1 - sum(now_old.values()) / sum(whole.values())
        share = min(share, missing)
        fewer = {name: min(count, ceil(missing * target[name] - 1e-9)) for name, count in now_new.items()}
        steps.append(Step("shift", share, now_new, now_old, "batch", active=fewer))
        steps.append(Step("terminate", share, fewer, now_old, "batch"))
        now_new = fewer
    return tuple(steps)


def _plan_blue_green(
    policy: Mapping[str, Any], old: Sequence[VariantSize], new: Sequence[VariantSize], alarms: tuple[str, ...]
) -> Plan:
    traffic = policy.get("TrafficRoutingConfiguration") or {}
    kind = traffic.get("Type")
    if kind not in ("ALL_AT_ONCE", *_SIZE_MEMBERS):
        raise invalid(f"{_TRAFFIC}.Type is {kind!r}; it is one of ALL_AT_ONCE, CANARY, LINEAR.")
    for name in _SIZE_MEMBERS.values():
        if traffic.get(name) is not None and _SIZE_MEMBERS.get(kind) != name:
            raise invalid(f"{_TRAFFIC}.{name} cannot be given with the traffic routing type {kind}.")
    wait = _seconds(traffic, "WaitIntervalInSeconds", _TRAFFIC) or 0
    termination = _seconds(policy, "TerminationWaitInSeconds", "BlueGreenUpdatePolicy") or 0
    timeout = _seconds(policy, "MaximumExecutionTimeoutInSeconds", "BlueGreenUpdatePolicy")
    if kind == "ALL_AT_ONCE":
        steps = _all_at_once(old, new, termination)
    else:
        member = _SIZE_MEMBERS[kind]
        if traffic.get(member) is None:
            raise invalid(f"{_TRAFFIC}.{member} is needed for the traffic routing type {kind}.")
        capacity = "canary" if kind == "CANARY" else "linear"
        stages = _stages(traffic[member], member, new)
        if kind == "CANARY":
            stages = [stages[0], stages[-1]]
        steps = _blue_green_steps(old, new, stages, capacity, wait, termination)
    _check_timeout(timeout, steps)
    return Plan(kind, steps, alarms, timeout)


def _all_at_once(
    old: Sequence[VariantSize], new: Sequence[VariantSize], termination: int
) -> tuple[Step, ...]:
    return _blue_green_steps(old, new, [(WHOLE, _counts(new))], "full", 0, termination)


def _blue_green_steps(
    old: Sequence[VariantSize],
    new: Sequence[VariantSize],
    stages: Sequence[tuple[float, Counts]],
    capacity: str,
    wait: int,
    termination: int,
) -> tuple[Step, ...]:
    before, after = _counts(old), _counts(new)
    steps = [Step("provision", 0.0, after, before, active=dict.fromkeys(after, 0))]
    for share, active in stages:
        last = share >= WHOLE
        named = "full" if last else capacity
        seconds, setting = (
            (termination, "TerminationWaitInSeconds") if last else (wait, "WaitIntervalInSeconds")
        )
        steps.append(Step("shift", share, after, before, named, active=active))
        if seconds:
            steps.append(Step("bake", share, after, before, named, seconds, setting, active))
    return (*steps, Step("terminate", WHOLE, after, dict.fromkeys(before, 0)))


def _plan_rolling(
    policy: Mapping[str, Any], old: Sequence[VariantSize], new: Sequence[VariantSize], alarms: tuple[str, ...]
) -> Plan:
    for side, variants in (("endpoint", old), ("new endpoint configuration", new)):
        if any(variant.serverless for variant in variants):
            raise invalid(f"RollingUpdatePolicy cannot be used: the {side} is serverless.")
        if len(variants) > 1:
            raise invalid(
                f"RollingUpdatePolicy cannot be used: the {side} has {len(variants)} variants, and a rolling "
                "deployment replaces one."
            )
    wait = _seconds(policy, "WaitIntervalInSeconds", "RollingUpdatePolicy") or 0
    timeout = _seconds(policy, "MaximumExecutionTimeoutInSeconds", "RollingUpdatePolicy")
    if policy.get("MaximumBatchSize") is None:
        raise invalid("RollingUpdatePolicy.MaximumBatchSize is needed.")
    stages = _stages(policy["MaximumBatchSize"], "MaximumBatchSize", new)
    running, before = _counts(old), _counts(old)
    steps: list[Step] = []
    for share, active in stages:
        named = "full" if share >= WHOLE else "batch"
        previous = steps[-1].share if steps else 0.0
        serving = steps[-1].new if steps else dict.fromkeys(active, 0)
        steps.append(Step("provision", previous, active, running, named, active=serving))
        steps.append(Step("shift", share, active, running, named))
        if wait:
            steps.append(Step("bake", share, active, running, named, wait, "WaitIntervalInSeconds"))
        running = {name: ceil(count * (WHOLE - share) - 1e-9) for name, count in before.items()}
        steps.append(Step("terminate", share, active, running, named))
    _check_timeout(timeout, steps)
    return Plan("ROLLING", tuple(steps), alarms, timeout, _rollback_batch(policy, old))


def _rollback_batch(policy: Mapping[str, Any], old: Sequence[VariantSize]) -> Mapping[str, int] | None:
    size = policy.get("RollbackMaximumBatchSize")
    if size is None:
        return None
    batch = {variant.name: _instances(size, "RollbackMaximumBatchSize", variant) for variant in old}
    return None if batch == _counts(old) else batch


def _stages(
    size: Mapping[str, Any], member: str, variants: Sequence[VariantSize]
) -> list[tuple[float, Counts]]:
    """The share and the instances with traffic after each batch, up to the whole fleet."""
    batches = {variant.name: _instances(size, member, variant) for variant in variants}
    percent = float(size["Value"]) / 100 if size["Type"] == "CAPACITY_PERCENT" else 1.0
    total = sum(variant.instances for variant in variants)
    stages: list[tuple[float, Counts]] = []
    while not stages or stages[-1][0] < WHOLE:
        count = len(stages) + 1
        active: dict[str, int] = {}
        reached = 0.0
        for variant in variants:
            if variant.serverless:
                active[variant.name] = 1
                reached += min(1.0, count * percent) * variant.instances
            else:
                active[variant.name] = min(variant.instances, count * batches[variant.name])
                reached += active[variant.name]
        stages.append((WHOLE if reached >= total - 1e-9 else reached / total, active))
    return stages


def _instances(size: Mapping[str, Any], member: str, variant: VariantSize) -> int:
    """How many of the variant's instances one batch is, within the documented limits."""
    kind, value = size.get("Type"), size.get("Value")
    if kind not in ("INSTANCE_COUNT", "CAPACITY_PERCENT"):
        raise invalid(f"{member}.Type is {kind!r}; it is INSTANCE_COUNT or CAPACITY_PERCENT.")
    if not isinstance(value, int) or value < 1:
        raise invalid(f"{member}.Value is {value!r}; it is a whole number of at least 1.")
    low, high = _LIMITS_PERCENT.get(member, (0, 100))
    total = variant.instances
    if total < 1:
        raise invalid(f"{member} cannot be kept: variant {variant.name} has no instances.")
    if variant.serverless:
        if kind == "INSTANCE_COUNT":
            raise invalid(
                f"{member} counts instances, and variant {variant.name} is serverless: use CAPACITY_PERCENT."
            )
        instances, percent = 1, float(value)
    elif kind == "CAPACITY_PERCENT":
        instances = max(1, total * value // 100)
        percent = float(value)
        if low <= value <= high < 100 * instances / total:
            raise invalid(
                f"{member} of {value} percent cannot be kept: variant {variant.name} has {total} instance(s), and "
                f"one instance is more than {high} percent of it. It needs at least {ceil(100 / high)} instances."
            )
    else:
        instances, percent = value, 100 * value / total
    if not low <= percent <= high:
        raise invalid(
            f"{member} is {percent:g} percent of the {total} instance(s) of variant {variant.name}; it must be "
            + (f"between {low} and {high} percent." if low else f"at most {high} percent.")
        )
    return instances


def _alarms(deployment: Mapping[str, Any]) -> tuple[str, ...]:
    rollback = deployment.get("AutoRollbackConfiguration") or {}
    alarms = tuple(item.get("AlarmName") or "" for item in rollback.get("Alarms") or [])
    if len(alarms) > _MOST_ALARMS:
        raise invalid(
            f"AutoRollbackConfiguration.Alarms holds {len(alarms)} alarms, more than {_MOST_ALARMS}."
        )
    if not all(alarms):
        raise invalid("Each of AutoRollbackConfiguration.Alarms needs an AlarmName.")
    return alarms


def _seconds(policy: Mapping[str, Any], member: str, where: str) -> int | None:
    value = policy.get(member)
    if value is None:
        return None
    low, high = _RANGES[member]
    if not isinstance(value, int) or not low <= value <= high:
        raise invalid(f"{where}.{member} is {value!r}; it must be between {low} and {high}.")
    return value


def _check_timeout(timeout: int | None, steps: Sequence[Step]) -> None:
    waits = sum(step.seconds for step in steps)
    if timeout is not None and timeout <= waits:
        raise invalid(
            f"MaximumExecutionTimeoutInSeconds is {timeout}; it must be larger than the deployment's total waiting "
            f"time of {waits} seconds."
        )


def _same_variants(old: Sequence[VariantSize], new: Sequence[VariantSize]) -> None:
    before, after = {variant.name for variant in old}, {variant.name for variant in new}
    if before != after:
        raise invalid(
            "With an update policy the new endpoint configuration must have the same variant names as the "
            f"endpoint: it has {', '.join(sorted(after))}, the endpoint has {', '.join(sorted(before))}."
        )


def _counts(variants: Sequence[VariantSize]) -> dict[str, int]:
    return {variant.name: variant.instances for variant in variants}
