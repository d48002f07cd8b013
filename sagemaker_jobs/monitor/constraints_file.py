"""``constraints.json``: suggested from a baseline, edited by a person, and held against later data.

Model Monitor's schema (https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-constraints.html) with one
more key, ``triptych``: the tolerances of the drift tests. A feature's ``monitoringConfigOverrides`` may switch its
comparison off: ``{"distribution_constraints": {"perform_comparison": "Disabled"}}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from measured import Dataset, Measured
from sources import CannotMonitor

from triptych.core.drift import DriftReport, FeatureDrift, Tolerance
from triptych.core.nulls import equal_shares_tail
from triptych.core.profiles import CategoryProfile, NumberProfile

_SMALL_CARDINALITY = 100
_NEGATIVE_MATTERS = 0.001


@dataclass(frozen=True)
class Violation:
    """One entry of ``constraint_violations.json``."""

    feature_name: str
    constraint_check_type: str
    description: str


def suggest(dataset: Dataset, tolerance: Tolerance) -> dict[str, Any]:
    """Constraints that the baseline meets, completeness with the tolerance to spare, so that chance does not alarm."""
    features: list[dict[str, Any]] = []
    for name, measured in dataset.columns.items():
        one: dict[str, Any] = {
            "name": name,
            "inferred_type": measured.inferred_type,
            "completeness": round(max(0.0, measured.completeness - tolerance.missing), 4),
        }
        if isinstance(measured.profile, NumberProfile):
            one["num_constraints"] = {"is_non_negative": bool(measured.finite) and not measured.negative}
        elif 0 < len(measured.profile.counts) <= _SMALL_CARDINALITY:
            one["string_constraints"] = {"domains": sorted(measured.profile.counts)}
        features.append(one)
    return {
        "version": 0.0,
        "features": features,
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Enabled",
            "datatype_check_threshold": 0.1,
            "domain_content_threshold": 0.1,
            "distribution_constraints": {
                "perform_comparison": "Enabled",
                "comparison_threshold": tolerance.ks,
                "comparison_method": "Robust",
                "categorical_comparison_threshold": tolerance.chi_square,
                "categorical_drift_method": "ChiSquared",
            },
        },
        "triptych": {"tolerance": asdict(tolerance)},
    }


def tolerance_of(constraints: Mapping[str, Any]) -> Tolerance:
    """The tolerances of the file; raises CannotMonitor naming one that is unknown or no number."""
    given = constraints.get("triptych", {}).get("tolerance", {})
    known = {one.name for one in fields(Tolerance)}
    for name, value in given.items():
        if name not in known or not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            raise CannotMonitor(
                f"constraints.json: triptych.tolerance.{name} is {value!r}; "
                f"it must be a number from 0, one of {', '.join(sorted(known))}"
            )
    return Tolerance(**given)


def enabled(constraints: Mapping[str, Any], option: str) -> bool:
    """Whether ``evaluate_constraints`` or ``emit_metrics`` is on; they are unless they are Disabled."""
    return bool(constraints.get("monitoring_config", {}).get(option, "Enabled") == "Enabled")


def compared(constraints: Mapping[str, Any]) -> list[str]:
    """The features whose distribution is to be compared with the baseline's."""
    config = constraints.get("monitoring_config", {}).get("distribution_constraints", {})
    names = []
    for feature in constraints["features"]:
        overrides = feature.get("monitoringConfigOverrides", {}).get("distribution_constraints", {})
        if {**config, **overrides}.get("perform_comparison", "Enabled") == "Enabled":
            names.append(feature["name"])
    return names


def violations(
    constraints: Mapping[str, Any], baseline: Mapping[str, Measured], current: Dataset, report: DriftReport
) -> list[Violation]:
    """Every constraint that does not hold; none for an empty window, which says nothing of the data."""
    if not current.rows:
        return []
    drift = {one.feature: one for one in report.features}
    names = {feature["name"] for feature in constraints["features"]}
    config = constraints.get("monitoring_config", {})
    found: list[Violation] = []
    for feature in constraints["features"]:
        name = feature["name"]
        measured = current.columns.get(name)
        if measured is None:
            found.append(
                Violation(name, "missing_column_check", f"column {name} of the baseline is not in the data")
            )
        else:
            found += _of_feature(feature, config, baseline.get(name), measured, drift.get(name), report.alpha)
    for name in current.others:
        if name not in names:
            text = f"column {name} is in the data but not in the baseline"
            found.append(Violation(name, "extra_column_check", text))
    return found


def _of_feature(
    feature: Mapping[str, Any],
    config: Mapping[str, Any],
    baseline: Measured | None,
    current: Measured,
    drift: FeatureDrift | None,
    alpha: float,
) -> Iterator[Violation]:
    name, rows = feature["name"], current.profile.rows
    config = {**config, **feature.get("monitoringConfigOverrides", {})}
    drifted = {one.statistic: one for one in drift.findings if one.drifted} if drift else {}

    wanted = feature.get("completeness", 0.0)
    if current.completeness < wanted:
        text = f"{name} is {current.completeness:.2%} complete ({current.missing:,} of {rows:,} rows missing)"
        yield Violation(name, "completeness_check", f"{text}; the constraint is {wanted:.2%}")
    elif "missing" in drifted:
        text = f"{name}: the share of missing or unreadable values moved by {drifted['missing'].value:.2%}"
        yield Violation(name, "completeness_check", f"{text} from the baseline's")

    present = rows - current.missing
    threshold = config.get("datatype_check_threshold", 0.1)
    if present and current.unparseable / present > threshold:
        share = current.unparseable / present
        text = f"{name}: {share:.2%} of the values are not {feature['inferred_type']}; {threshold:.2%} may be"
        yield Violation(name, "data_type_check", text)
    if feature.get("num_constraints", {}).get("is_non_negative") and current.negative:
        share = current.negative / rows
        earlier = baseline.negative if baseline else 0
        # one below zero in a window, none in the baseline, may be chance; a person's own constraint is not
        beyond = bool(earlier) or (
            equal_shares_tail(current.negative, rows, 0, baseline.profile.rows if baseline else 0) <= alpha
            and share >= _NEGATIVE_MATTERS
        )
        if beyond:
            text = f"{name}: {current.negative:,} of {rows:,} values are negative; the constraint allows none"
            yield Violation(name, "data_type_check", text)

    yield from _categories(feature, config, current, drift, "new_categories" in drifted)
    rest = [one for one in drifted.values() if one.statistic not in ("missing", "new_categories")]
    if rest:
        told = ", ".join(f"{one.statistic} {one.value:.3g} (limit {one.threshold:.3g})" for one in rest)
        text = f"{name} has moved from the baseline: {told}"
        if drift and drift.lost_categories:
            text += f"; no longer there: {', '.join(drift.lost_categories[:5])}"
        yield Violation(name, "baseline_drift_check", text)


def _categories(
    feature: Mapping[str, Any],
    config: Mapping[str, Any],
    current: Measured,
    drift: FeatureDrift | None,
    drifted: bool,
) -> Iterator[Violation]:
    domains = feature.get("string_constraints", {}).get("domains")
    profile = current.profile
    if not isinstance(profile, CategoryProfile) or not profile.present:
        return
    known = set(domains or ())
    unknown = sorted(name for name, count in profile.counts.items() if count and name not in known)
    share = sum(profile.counts[name] for name in unknown) / profile.present if domains else 0.0
    threshold = config.get("domain_content_threshold", 0.1)
    if drifted or share > threshold:
        names = list(drift.new_categories) if drifted and drift else unknown
        text = f"{feature['name']}: values that the baseline does not know: {', '.join(names[:5])}"
        yield Violation(feature["name"], "categorical_values_check", text)
