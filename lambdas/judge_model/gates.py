"""The gates: limits on metrics and slices, and at least as good as the champion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from triptych.core.contract import ChampionGate, Gates, Limits, SliceGate

LOWER_IS_BETTER = ("log_loss", "brier", "calibration_error")
_ROWS_SHOWN = 20


class NotMeasured(Exception):
    """A gate asks for a metric, split or slice that the evaluation does not hold."""


@dataclass(frozen=True)
class Evaluation:
    """What gates read of ``evaluation.json``: metrics by split, and the test split's slices by column."""

    splits: Mapping[str, Mapping[str, Any]]
    slices: Mapping[str, list[Mapping[str, Any]]]

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Evaluation:
        extra = document["triptych"]
        return Evaluation(extra["splits"], extra["slices"])

    def metric(self, split: str, name: str) -> float:
        """Raises NotMeasured."""
        try:
            value = self.splits[split][name]
        except KeyError:
            raise NotMeasured(f"the evaluation has no {name} of the {split} split") from None
        return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class Verdict:
    """``checks`` are all gates with limit and value, ``reasons`` sentences about those that failed."""

    verdict: Literal["pass", "stop"]
    reasons: list[str]
    checks: list[dict[str, Any]]


def judge(gates: Gates, evaluation: Evaluation, champion: Mapping[str, float]) -> Verdict:
    """Hold every gate against the evaluation. ``champion``: its test metrics, empty where there is none."""
    checks = [
        _check(f"{gate.metric} on {gate.split}", gate.limits, evaluation.metric(gate.split, gate.metric))
        for gate in gates.metrics
    ]
    for gate in gates.slices:
        checks += _slice_checks(gate, evaluation)
    if gates.champion is not None and gates.champion.metric in champion:
        checks.append(_champion_check(gates.champion, evaluation, champion))
    reasons = [check["reason"] for check in checks if not check["passed"]]
    shown = [check for check in checks if not check["passed"] or not check["check"].startswith("slice")]
    return Verdict("stop" if reasons else "pass", reasons[:_ROWS_SHOWN], shown[: 2 * _ROWS_SHOWN])


def properties(
    event: Mapping[str, Any], evaluation: Evaluation, git_commit: str, use_case: str
) -> dict[str, str]:
    """CustomerMetadataProperties of the package: where it comes from, and its test metrics, all as text."""
    known = {
        "use_case": use_case,
        "dataset_version": event["dataset_version"],
        "training_job": event["training_job"],
        "execution": event["execution_name"],
        "trigger": (event.get("trigger") or {}).get("kind", "unknown"),
        "git_commit": git_commit,
        "batch_uri": event["batch_uri"],
        "transform_uri": event["transform_uri"],
        "champion": (event.get("champion") or {}).get("model_package_arn") or "none",
    }
    measured = {
        f"test_{name}": f"{value:.6g}"
        for name, value in evaluation.splits["test"].items()
        if isinstance(value, int | float)
    }
    return {name: str(value)[:256] for name, value in {**known, **measured}.items()}


def _check(name: str, limits: Limits, value: float) -> dict[str, Any]:
    passed = not math.isnan(value) and limits.allows(value)
    check = {
        "check": name,
        "min": limits.min,
        "max": limits.max,
        "value": None if math.isnan(value) else round(value, 6),
        "passed": passed,
    }
    if not passed:
        check["reason"] = f"{name} is {_shown(value)}, {_wanted(limits)}"
    return check


def _slice_checks(gate: SliceGate, evaluation: Evaluation) -> list[dict[str, Any]]:
    if gate.column not in evaluation.slices:
        raise NotMeasured(f"the evaluation has no slices by {gate.column}")
    return [
        _check(
            f"slice {gate.column}={entry['value']}: {gate.metric}",
            gate.limits,
            float("nan") if entry[gate.metric] is None else float(entry[gate.metric]),
        )
        for entry in evaluation.slices[gate.column]
        if entry["rows"] >= gate.min_rows
    ]


def _champion_check(
    gate: ChampionGate, evaluation: Evaluation, champion: Mapping[str, float]
) -> dict[str, Any]:
    value, rival = evaluation.metric(gate.split, gate.metric), champion[gate.metric]
    if gate.metric in LOWER_IS_BETTER:
        limits = Limits(max=rival - gate.margin)
    else:
        limits = Limits(min=rival + gate.margin)
    return _check(f"{gate.metric} on {gate.split} against the champion's {_shown(rival)}", limits, value)


def _shown(value: float) -> str:
    return "not defined (one class only)" if math.isnan(value) else f"{value:.4f}"


def _wanted(limits: Limits) -> str:
    parts = [
        f"at least {limits.min:g}" if limits.min is not None else "",
        f"at most {limits.max:g}" if limits.max is not None else "",
    ]
    return "must be " + " and ".join(part for part in parts if part)
