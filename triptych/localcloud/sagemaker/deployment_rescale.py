"""UpdateEndpointWeightsAndCapacities: what it refuses, and how it is carried out or taken back."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from triptych.localcloud.sagemaker.deployment_target import Serving, production
from triptych.localcloud.sagemaker.errors import invalid
from triptych.localcloud.sagemaker.fleet import Fleet

Wanted = Mapping[str, Mapping[str, Any]]
"""DesiredWeightsAndCapacities by variant."""


def check_rescaling(serving: Serving, wanted: Wanted) -> None:
    """Raises ValidationException. Only an asynchronous endpoint's requests can wait for an instance."""
    known = {variant["name"]: variant for variant in production(serving)}
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise invalid(f'The variant name(s) "{", ".join(unknown)}" is/are not present within endpoint.')
    least = 0 if serving.get("asynchronous") else 1
    for name, item in wanted.items():
        count, weight = item.get("DesiredInstanceCount"), item.get("DesiredWeight")
        if item.get("ServerlessUpdateConfig") is not None:
            raise invalid(
                "ServerlessUpdateConfig is not supported here: update the endpoint's configuration instead."
            )
        if count is not None and known[name].get("max_concurrency") is not None:
            raise invalid(f"Variant {name} is serverless: it has no DesiredInstanceCount.")
        if count is not None and count < least:
            raise invalid(f"DesiredInstanceCount of variant {name} is {count}; it must be at least {least}.")
        if weight is not None and weight < 0:
            raise invalid(f"DesiredWeight of variant {name} is {weight}; it must not be negative.")


def rescaled(serving: Serving, wanted: Wanted) -> Serving:
    """What serves once the weights and capacities are as wanted."""
    serving = deepcopy(serving)
    for variant in serving["variants"]:
        item = wanted.get(variant["name"], {})
        if item.get("DesiredInstanceCount") is not None:
            variant["instances"] = int(item["DesiredInstanceCount"])
        if item.get("DesiredWeight") is not None:
            variant["weight"] = float(item["DesiredWeight"])
    return serving


def resize(fleet: Fleet, now: Serving, then: Serving) -> None:
    """Start or stop servers, then set the weights at once. Raises FleetFailed; some variants may be resized."""
    before = {variant["name"]: variant["instances"] for variant in now["variants"]}
    for variant in then["variants"]:
        if variant["instances"] != before[variant["name"]]:
            fleet.resize(variant["name"], variant["instances"])
    fleet.reweigh({variant["name"]: variant["weight"] for variant in then["variants"]})
