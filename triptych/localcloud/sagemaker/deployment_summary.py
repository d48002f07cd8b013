"""What DescribeEndpoint says of an endpoint's variants, at rest and while it changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from triptych.localcloud.sagemaker.deployment_plan import Counts, Step, VariantSize
from triptych.localcloud.sagemaker.deployment_target import Serving, production, shadows

Summaries = list[dict[str, Any]]


def at_rest(serving: Serving, moment: datetime) -> dict[str, Any]:
    """The members that describe an endpoint that serves a configuration and is not changing."""
    return {
        "EndpointConfigName": serving["config"],
        "ProductionVariants": [_summary(variant, moment) for variant in production(serving)],
        "ShadowProductionVariants": [_summary(variant, moment) for variant in shadows(serving)] or None,
        "DataCaptureConfig": _capture(serving.get("capture")),
        "AsyncInferenceConfig": serving.get("asynchronous"),
        "PendingDeploymentSummary": None,
    }


def launching(
    config_name: str, sizes: list[VariantSize], started: datetime, moment: datetime | None = None
) -> dict[str, Any]:
    """PendingDeploymentSummary before the models are known: instances of each variant are being started.

    ``moment``: since when, where that is not when the deployment ``started``.
    """
    return {
        "EndpointConfigName": config_name,
        "StartTime": started,
        "ProductionVariants": [
            {
                "VariantName": size.name,
                "CurrentInstanceCount": 0,
                "DesiredInstanceCount": size.instances,
                "VariantStatus": [
                    _status("Creating", f"Launching {size.instances} instance(s).", moment or started)
                ],
            }
            for size in sizes
        ],
    }


def under_way(
    old: Serving, new: Serving, step: Step, before: Step | None, started: datetime, moment: datetime
) -> dict[str, Any]:
    """The members that describe an endpoint while ``step`` of its deployment is carried out.

    Weights are the variants' own times their fleet's share of the requests, so that all CurrentWeights, of
    ProductionVariants and of the pending ones, say together where requests go.
    """
    share = before.share if before is not None and step.action in ("provision", "terminate") else step.share
    standing = before or step
    pending = {
        "EndpointConfigName": new["config"],
        "StartTime": started,
        "ProductionVariants": [
            _moving(
                variant, share, step.serving, _new_status(variant["name"], step, standing, moment), moment
            )
            | ({"InstanceType": variant["instance_type"]} if variant.get("instance_type") else {})
            for variant in production(new)
        ],
    }
    copies = [_summary(variant, moment) for variant in shadows(new)]
    return {
        "ProductionVariants": [
            _moving(
                variant, 1 - share, standing.old, _old_status(variant["name"], step, standing, moment), moment
            )
            for variant in production(old)
        ],
        "PendingDeploymentSummary": pending | ({"ShadowProductionVariants": copies} if copies else {}),
    }


def rescaling(
    record: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]], moment: datetime
) -> Summaries:
    """ProductionVariants while UpdateEndpointWeightsAndCapacities is carried out."""
    summaries: Summaries = []
    for variant in record.get("ProductionVariants") or []:
        item = wanted.get(variant["VariantName"]) or {}
        changes: dict[str, Any] = {}
        if item.get("DesiredWeight") is not None:
            changes["DesiredWeight"] = float(item["DesiredWeight"])
        count = item.get("DesiredInstanceCount")
        if count is not None and count != variant.get("CurrentInstanceCount"):
            direction = "out" if count > variant.get("CurrentInstanceCount", 0) else "in"
            text = f"Scaling {direction} desired instance count to {count}."
            changes |= {
                "DesiredInstanceCount": int(count),
                "VariantStatus": [_status("Updating", text, moment)],
            }
        summaries.append(variant | changes)
    return summaries


def _summary(variant: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    summary = {
        "VariantName": variant["name"],
        "DeployedImages": [
            {
                "SpecifiedImage": variant["image"],
                "ResolvedImage": variant["image"],
                "ResolutionTime": moment,
            }
        ],
        "CurrentWeight": variant["weight"],
        "DesiredWeight": variant["weight"],
    }
    if variant.get("max_concurrency") is None:
        return summary | {
            "CurrentInstanceCount": variant["instances"],
            "DesiredInstanceCount": variant["instances"],
        }
    serverless = {
        "MemorySizeInMB": variant["memory_bytes"] // 2**20,
        "MaxConcurrency": variant["max_concurrency"],
    }
    return summary | {
        "CurrentInstanceCount": 0,
        "DesiredInstanceCount": 0,
        "CurrentServerlessConfig": serverless,
        "DesiredServerlessConfig": serverless,
    }


def _moving(
    variant: Mapping[str, Any], share: float, counts: Counts, status: Summaries, moment: datetime
) -> dict[str, Any]:
    summary = _summary(variant, moment) | {"CurrentWeight": variant["weight"] * share}
    if variant.get("max_concurrency") is None:
        summary["CurrentInstanceCount"] = counts.get(variant["name"], 0)
    return summary | ({"VariantStatus": status} if status else {})


def _capture(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not config:
        return None
    on = config.get("EnableCapture", True)
    return {
        "EnableCapture": on,
        "CaptureStatus": "Started" if on else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId") or "",
    }


def _new_status(name: str, step: Step, before: Step, moment: datetime) -> Summaries:
    active = step.serving.get(name, 0)
    more = step.new.get(name, 0) - (before.new.get(name, 0) if before is not step else 0)
    match step.action:
        case "provision" if more > 0:
            status = "Updating" if step.share else "Creating"
            return [_status(status, f"Launching {more} instance(s).", moment)]
        case "shift" if active:
            text = f"Activating traffic on {step.capacity} capacity of {active} instance(s)."
            return [_status("ActivatingTraffic", text, moment)]
        case "bake":
            text = (
                f"Baking for {step.seconds} seconds ({step.setting}) with traffic enabled on {step.capacity} "
                f"capacity of {active} instance(s)."
            )
            return [_status("Baking", text, moment)]
        case "terminate" if more < 0:
            return [_status("Deleting", f"Terminating {-more} instance(s).", moment)]
    return []


def _old_status(name: str, step: Step, before: Step, moment: datetime) -> Summaries:
    more = step.old.get(name, 0) - before.old.get(name, 0)
    if more > 0:
        return [_status("Updating", f"Launching {more} instance(s).", moment)]
    if more < 0:
        return [_status("Deleting", f"Terminating {-more} instance(s).", moment)]
    return []


def _status(status: str, message: str, moment: datetime) -> dict[str, Any]:
    return {"Status": status, "StatusMessage": message, "StartTime": moment}
