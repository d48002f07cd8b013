"""The contract's ``deployment`` section: how a model goes into production, and what takes it out again.

``problems`` says what is wrong with a section that its schema allows; the same rules hold for what an execution's
input overrides. SageMaker's own limits stand here, so that they are told before anything is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Strategy = Literal["all_at_once", "blue_green", "canary", "linear", "rolling", "ab", "shadow"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
STEPWISE: frozenset[Strategy] = frozenset({"canary", "linear", "rolling"})
"""They move a part of the instances at a time, SageMaker takes at most half of them: so there must be two."""

CHALLENGER = "Challenger"
"""the variant that an A/B test sets beside the one that serves"""
SHADOW = "Shadow"
"""the variant that gets copies of the requests"""
STAGING_SUFFIX = "-staging"
_LONGEST_ENDPOINT_NAME = 63

Problem = tuple[tuple[str, ...], str]
"""where below ``deployment``, and what is wrong there"""


@dataclass(frozen=True)
class Canary:
    """The first step's share of the new instances, 1 to 50 percent; the second step is the rest."""

    size_percent: int = 50


@dataclass(frozen=True)
class Linear:
    """Each step's share of the new instances, 10 to 50 percent."""

    step_percent: int = 25


@dataclass(frozen=True)
class Rolling:
    """The share of the instances that is replaced at a time, 5 to 50 percent."""

    batch_percent: int = 50


@dataclass(frozen=True)
class AbTest:
    """Champion and challenger side by side, judged by the labels that arrive.

    ``challenger_weight`` is its share of the requests, ``alpha`` the chance of a false alarm over all ``looks``
    together, ``min_labelled`` the labelled requests that each side needs, ``min_effect`` how much smaller the
    challenger's mean loss must be.
    """

    challenger_weight: float = 0.5
    metric: Literal["brier", "log_loss", "error"] = "brier"
    alpha: float = 0.05
    looks: int = 4
    min_labelled: int = 200
    min_effect: float = 0.0


@dataclass(frozen=True)
class ShadowTest:
    """A copy of ``sampling_percent`` of the requests goes to the new model; its answers are compared."""

    sampling_percent: int = 100
    looks: int = 4
    min_requests: int = 200
    max_mean_difference: float = 0.05
    max_error_rate: float = 0.0


@dataclass(frozen=True)
class BusinessMetric:
    """A metric of the use case's own, with the dimension EndpointName; its mean must lie in the limits."""

    namespace: str
    metric: str
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Alarms:
    """What takes a deployment back: the share of 5xx answers, the 99th percentile of the latency, a business metric."""

    max_error_rate: float = 0.01
    max_latency_ms: float = 500.0
    business: BusinessMetric | None = None


@dataclass(frozen=True)
class Autoscaling:
    """Instances follow the requests: ``invocations_per_instance`` a minute is what each is to get."""

    min_instances: int
    max_instances: int
    invocations_per_instance: float
    scale_in_cooldown_seconds: int = 300
    scale_out_cooldown_seconds: int = 60


@dataclass(frozen=True)
class DataCapture:
    """Which share of the endpoint's requests is captured, in percent."""

    enabled: bool = True
    sampling_percentage: int = 100


@dataclass(frozen=True)
class EndpointTest:
    """What is checked of a new model before and after it goes into production.

    ``rows`` of the test split must score as in the batch output, within ``parity_tolerance``. On the staging endpoint
    ``requests`` more are sent, ``concurrency`` at a time; the latencies are the caller's, in milliseconds. With
    ``malformed`` the staging endpoint also gets requests that it must refuse with 4xx.
    """

    rows: int = 20
    requests: int = 100
    concurrency: int = 4
    max_p50_ms: float = 250.0
    max_p99_ms: float = 1000.0
    parity_tolerance: float = 1e-5
    malformed: bool = True


@dataclass(frozen=True)
class Deployment:
    """The endpoint that serves the model, and how a new model takes over."""

    endpoint_name: str
    instance_type: str
    variant_name: str = "AllTraffic"
    instance_count: int = 1
    strategy: Strategy = "all_at_once"
    canary: Canary = field(default_factory=Canary)
    linear: Linear = field(default_factory=Linear)
    rolling: Rolling = field(default_factory=Rolling)
    ab: AbTest = field(default_factory=AbTest)
    shadow: ShadowTest = field(default_factory=ShadowTest)
    alarms: Alarms = field(default_factory=Alarms)
    autoscaling: Autoscaling | None = None
    data_capture: DataCapture = field(default_factory=DataCapture)
    test: EndpointTest = field(default_factory=EndpointTest)


def build(block: Mapping[str, Any]) -> Deployment:
    """The section as typed values; the schema has been checked."""
    values = dict(block)
    for name, kind in _PARTS.items():
        values[name] = kind(**values.get(name, {}))
    alarms = dict(block.get("alarms", {}))
    if "business" in alarms:
        alarms["business"] = BusinessMetric(**alarms["business"])
    values["alarms"] = Alarms(**alarms)
    if "autoscaling" in values:
        values["autoscaling"] = Autoscaling(**values["autoscaling"])
    return Deployment(**values)


_PARTS: Mapping[str, type] = {
    "canary": Canary,
    "linear": Linear,
    "rolling": Rolling,
    "ab": AbTest,
    "shadow": ShadowTest,
    "data_capture": DataCapture,
    "test": EndpointTest,
}


def problems(deployment: Deployment) -> list[Problem]:
    """What a schema cannot say of the section."""
    found: list[Problem] = []
    longest = _LONGEST_ENDPOINT_NAME - len(STAGING_SUFFIX)
    if len(deployment.endpoint_name) > longest:
        found.append(
            (
                ("endpoint_name",),
                f"is longer than {longest} characters; the staging endpoint's name has '{STAGING_SUFFIX}' after it",
            )
        )
    if deployment.variant_name in (CHALLENGER, SHADOW):
        found.append((("variant_name",), f"{deployment.variant_name} is the name of a variant under trial"))
    if deployment.strategy in STEPWISE and deployment.instance_count < 2:
        found.append(
            (
                ("instance_count",),
                f"strategy {deployment.strategy} needs two instances or more: SageMaker moves at most half of the "
                "instances in one step; raise instance_count, or use all_at_once, blue_green, ab or shadow",
            )
        )
    return found + _autoscaling_problems(deployment)


def _autoscaling_problems(deployment: Deployment) -> list[Problem]:
    scaling, count = deployment.autoscaling, deployment.instance_count
    if scaling is None:
        return []
    if scaling.min_instances > scaling.max_instances:
        return [(("autoscaling", "min_instances"), f"is above max_instances ({scaling.max_instances})")]
    found: list[Problem] = []
    if not scaling.min_instances <= count <= scaling.max_instances:
        found.append(
            (
                ("instance_count",),
                f"{count} is not between autoscaling's {scaling.min_instances} and {scaling.max_instances} instances",
            )
        )
    if deployment.strategy in STEPWISE and scaling.min_instances < 2:
        found.append(
            (
                ("autoscaling", "min_instances"),
                f"strategy {deployment.strategy} needs two instances or more, also after scaling in",
            )
        )
    return found
