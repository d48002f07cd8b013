"""What is asked of a deployment: the function's environment, and the execution's input over the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from triptych.core.deployment import STRATEGIES, Deployment, problems

_OVERRIDES = ("strategy", "instance_count")


class SettingMissing(Exception):
    """An environment variable of the function is not set."""


class DeploymentNotPossible(Exception):
    """What the execution's input asks for does not go together with the contract, or with what serves now."""


@dataclass(frozen=True)
class Settings:
    """The function's environment; the waits are the stack's parameters, so that all environments share one ASL."""

    data_bucket: str
    contract_uri: str
    model_package_group: str
    endpoint_name: str
    poll_seconds: int
    shift_wait_seconds: int
    bake_seconds: int
    look_seconds: int
    alarm_names: tuple[str, ...]
    trial_alarm_names: tuple[str, ...]

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Settings:
        """Raises SettingMissing by name."""
        for name in Settings.__dataclass_fields__:
            if name.upper() not in environment:
                raise SettingMissing(f"the environment variable {name.upper()} is not set")
        return Settings(
            data_bucket=environment["DATA_BUCKET"],
            contract_uri=environment["CONTRACT_URI"],
            model_package_group=environment["MODEL_PACKAGE_GROUP"],
            endpoint_name=environment["ENDPOINT_NAME"],
            poll_seconds=int(environment["POLL_SECONDS"]),
            shift_wait_seconds=int(environment["SHIFT_WAIT_SECONDS"]),
            bake_seconds=int(environment["BAKE_SECONDS"]),
            look_seconds=int(environment["LOOK_SECONDS"]),
            alarm_names=_names(environment["ALARM_NAMES"]),
            trial_alarm_names=_names(environment["TRIAL_ALARM_NAMES"]),
        )


def _object(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise DeploymentNotPossible(
            f"deployment in the execution's input is {given!r}, but must be an object such as "
            '{"strategy": "canary", "instance_count": 2}'
        )
    return given


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class Request:
    """What was left out is None: then the latest approved package, and the batch output it came with."""

    execution_id: str
    execution_name: str
    state_machine_id: str
    model_package_arn: str | None = None
    batch_uri: str | None = None
    transform_uri: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Request:
        return Request(
            execution_id=event["execution_id"],
            execution_name=event["execution_name"],
            state_machine_id=event["state_machine_id"],
            model_package_arn=event.get("model_package_arn"),
            batch_uri=event.get("batch_uri"),
            transform_uri=event.get("transform_uri"),
            overrides=_object(event.get("deployment") or {}),
        )

    def apply_to(self, deployment: Deployment) -> Deployment:
        """The contract's section with what the execution's input says otherwise; raises DeploymentNotPossible."""
        unknown = sorted(set(self.overrides) - set(_OVERRIDES))
        if unknown:
            raise DeploymentNotPossible(
                f"the execution's input cannot override deployment.{unknown[0]}; "
                f"it can override {' and '.join(_OVERRIDES)}"
            )
        given = {name: value for name, value in self.overrides.items() if value is not None}
        strategy = given.get("strategy", deployment.strategy)
        if strategy not in STRATEGIES:
            raise DeploymentNotPossible(
                f"deployment.strategy {strategy!r} is none of {', '.join(STRATEGIES)}"
            )
        count = given.get("instance_count", deployment.instance_count)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise DeploymentNotPossible(f"deployment.instance_count {count!r} is no whole number above 0")
        asked = replace(deployment, strategy=strategy, instance_count=count)
        found = problems(asked)
        if found:
            raise DeploymentNotPossible(
                "; ".join(f"deployment.{'.'.join(path)}: {message}" for path, message in found)
            )
        return asked
