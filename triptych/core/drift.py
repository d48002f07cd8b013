"""Has the data moved? Distances between a reference and what came later, what chance would make of them, and a verdict.

A feature has drifted when a statistic is both: more than chance explains (its p-value, corrected over all features and
statistics, is at most ``alpha``), and more than what matters (``Tolerance``). With few rows the first decides, with
millions the second. Works on profiles (``triptych.core.profiles``), so on arrays, streams and stored statistics alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from triptych.core.nulls import (
    chi_square_limit,
    chi_square_tail,
    equal_shares_tail,
    holm,
    kolmogorov_limit,
    kolmogorov_tail,
)
from triptych.core.profiles import (
    CategoryProfile,
    NumberProfile,
    Profile,
    ProfileMismatch,
    category_profile,
    number_profile,
    profile_like,
)

Verdict = Literal["stable", "drift", "no_data"]

# The chi-square limit of PSI and JS holds once every cell may expect this many rows in both samples.
_LEAST_EXPECTED = 25.0
_MOST_GROUPS = 20


@dataclass(frozen=True)
class Tolerance:
    """``alpha``: the share of runs without drift that may alarm. The others: what is too small to matter.

    ``psi`` is the population stability index, ``js`` the Jensen-Shannon distance (base 2, 0..1), ``ks`` the
    Kolmogorov-Smirnov distance, ``chi_square`` the effect w = sqrt(chi-square / effective rows); ``missing`` a
    difference of shares, ``new_categories`` and ``lost_categories`` shares of rows.
    """

    alpha: float = 0.01
    psi: float = 0.1
    js: float = 0.1
    ks: float = 0.05
    chi_square: float = 0.2
    missing: float = 0.02
    new_categories: float = 0.001
    lost_categories: float = 0.005


DEFAULT_TOLERANCE = Tolerance()


@dataclass(frozen=True)
class Finding:
    """One statistic of one feature.

    ``chance`` is what samples of these sizes reach without drift (at the level that the correction leaves a single
    test; None where the test is exact and has no such value), ``matters`` the tolerance, both in the statistic's unit.
    """

    statistic: str
    value: float
    matters: float
    chance: float | None
    p_value: float
    adjusted_p: float
    drifted: bool

    @property
    def threshold(self) -> float:
        """The larger of the two limits."""
        return max(self.matters, self.chance or 0.0)


@dataclass(frozen=True)
class FeatureDrift:
    """One feature: its statistics, and the categories that only one side has (the most frequent first, at most 20)."""

    feature: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    reference_rows: int
    current_rows: int
    new_categories: tuple[str, ...] = ()
    lost_categories: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **{name: value for name, value in vars(self).items() if name != "findings"},
            "findings": [{**vars(one), "threshold": one.threshold} for one in self.findings],
            "new_categories": list(self.new_categories),
            "lost_categories": list(self.lost_categories),
        }


@dataclass(frozen=True)
class DriftReport:
    """All features; ``verdict`` is ``drift`` if any has drifted, ``no_data`` if there was nothing to compare."""

    verdict: Verdict
    features: tuple[FeatureDrift, ...]
    tests: int
    alpha: float

    @property
    def drifted(self) -> tuple[str, ...]:
        """The names of the features that have drifted."""
        return tuple(one.feature for one in self.features if one.verdict == "drift")

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "verdict": self.verdict,
            "alpha": self.alpha,
            "tests": self.tests,
            "drifted": list(self.drifted),
            "features": [one.document() for one in self.features],
        }


@dataclass(frozen=True)
class _Test:
    """A statistic before correction; ``effect`` is what the tolerance is held against, ``value`` what is told."""

    statistic: str
    value: float
    matters: float
    p_value: float
    chance: tuple[str, float, int, int] | None = None
    """kind ("chi_square" or "ks"), scale (value = scale x chi-square, or its root), and the null's sizes"""


def compare_arrays(
    reference: Mapping[str, np.ndarray],
    current: Mapping[str, np.ndarray],
    tolerance: Tolerance = DEFAULT_TOLERANCE,
) -> DriftReport:
    """Columns by name: arrays of numbers (NaN is missing) or of anything else (None is missing), one dimension.

    Only names of both are compared: that a column is missing is not drift, and for the caller to judge.
    """
    pairs: dict[str, tuple[Profile, Profile]] = {}
    for name, values in reference.items():
        if name in current:
            array = np.asarray(values)
            is_number = array.dtype.kind in "fiu"
            profile: Profile = number_profile(array) if is_number else category_profile(array)
            pairs[name] = profile, profile_like(profile, current[name])
    return compare_profiles(pairs, tolerance)


def compare_profiles(
    pairs: Mapping[str, tuple[Profile, Profile]], tolerance: Tolerance = DEFAULT_TOLERANCE
) -> DriftReport:
    """Reference and current profile by feature; raises ProfileMismatch where a pair is not of one kind."""
    tests = {name: _tests(name, *pair, tolerance) for name, pair in pairs.items()}
    flat = [(name, test) for name, found in tests.items() for test in found]
    adjusted = holm([test.p_value for _, test in flat])
    level = tolerance.alpha / max(len(flat), 1)
    findings: dict[str, list[Finding]] = {name: [] for name in pairs}
    for (name, test), corrected in zip(flat, adjusted, strict=True):
        findings[name].append(
            Finding(
                statistic=test.statistic,
                value=test.value,
                matters=test.matters,
                chance=_chance(test, level),
                p_value=test.p_value,
                adjusted_p=corrected,
                drifted=corrected <= tolerance.alpha and test.value >= test.matters,
            )
        )
    features = tuple(
        _feature(name, reference, current, tuple(findings[name]))
        for name, (reference, current) in pairs.items()
    )
    return DriftReport(_worst(features), features, len(flat), tolerance.alpha)


def _feature(name: str, reference: Profile, current: Profile, findings: tuple[Finding, ...]) -> FeatureDrift:
    new: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    if isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile):
        new, lost = (
            _only_first(current, reference),
            _only_first(reference, current) if current.present else (),
        )
    verdict: Verdict = "drift" if any(one.drifted for one in findings) else "stable"
    if not reference.rows or not current.rows:
        verdict = "no_data"
    return FeatureDrift(name, verdict, findings, reference.rows, current.rows, new, lost)


def _worst(features: tuple[FeatureDrift, ...]) -> Verdict:
    verdicts = {one.verdict for one in features}
    if "drift" in verdicts:
        return "drift"
    return "stable" if "stable" in verdicts else "no_data"


def _only_first(first: CategoryProfile, second: CategoryProfile) -> tuple[str, ...]:
    if second.other:  # it may have them all
        return ()
    found = [name for name, count in first.counts.items() if count and not second.counts.get(name)]
    return tuple(sorted(found, key=lambda name: (-first.counts[name], name))[:20])


def _tests(name: str, reference: Profile, current: Profile, tolerance: Tolerance) -> list[_Test]:
    if not reference.rows or not current.rows:
        return []
    share = abs(current.missing / current.rows - reference.missing / reference.rows)
    p_value = equal_shares_tail(current.missing, current.rows, reference.missing, reference.rows)
    found = [_Test("missing", share, tolerance.missing, p_value)]
    if isinstance(reference, NumberProfile) and isinstance(current, NumberProfile):
        if not np.array_equal(reference.edges, current.edges):
            raise ProfileMismatch(
                f"feature {name} was counted in other bins than its reference; use its edges"
            )
        if reference.present and current.present:
            found += _number_tests(reference, current, tolerance)
    elif isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile):
        if reference.present and current.present:
            found += _category_tests(reference, current, tolerance)
    else:
        raise ProfileMismatch(f"feature {name} is a number on one side and a category on the other")
    return found


def _number_tests(reference: NumberProfile, current: NumberProfile, tolerance: Tolerance) -> list[_Test]:
    first, second = reference.present, current.present
    gap = np.cumsum(reference.counts) / first - np.cumsum(current.counts) / second
    distance = float(np.abs(gap).max())
    groups = _joined(reference.counts, current.counts)
    return [
        _Test(
            "ks", distance, tolerance.ks, kolmogorov_tail(distance, first, second), ("ks", 1.0, first, second)
        ),
        *_distances(*groups, tolerance),
    ]


def _category_tests(
    reference: CategoryProfile, current: CategoryProfile, tolerance: Tolerance
) -> list[_Test]:
    names = sorted({*reference.counts, *current.counts})
    other = reference.other or current.other
    if other:  # what one side could not name must not look new to the other
        names = [name for name in names if reference.counts.get(name) and current.counts.get(name)]
    left = np.array([reference.counts.get(name, 0) for name in names], dtype=np.int64)
    right = np.array([current.counts.get(name, 0) for name in names], dtype=np.int64)
    first, second = reference.present, current.present
    if other:
        left, right = np.append(left, first - left.sum()), np.append(right, second - right.sum())
    common = _rare_joined(left, right)
    found = _distances(*common, tolerance)
    degrees = len(common[0]) - 1
    if degrees:
        value = _chi_square(*common)
        effective = first * second / (first + second)
        found.append(
            _Test(
                "chi_square",
                math.sqrt(value / effective),
                tolerance.chi_square,
                chi_square_tail(value, degrees),
                ("root", 1 / effective, degrees, 0),
            )
        )
    if not other:
        kinds = len(names)
        new, lost = right[left == 0], left[right == 0]
        most_new, most_lost = int(new.max(initial=0)), int(lost.max(initial=0))
        found += [
            _Test(
                "new_categories",
                float(new.sum() / second),
                tolerance.new_categories,
                min(1.0, kinds * equal_shares_tail(most_new, second, 0, first)),
            ),
            _Test(
                "lost_categories",
                float(lost.sum() / first),
                tolerance.lost_categories,
                min(1.0, kinds * equal_shares_tail(0, second, most_lost, first)),
            ),
        ]
    return found


def _distances(left: np.ndarray, right: np.ndarray, tolerance: Tolerance) -> list[_Test]:
    """PSI and JS of grouped counts; nothing where one group is left.

    Without drift both are, times the effective rows, chi-square with a degree for each group but one.
    """
    degrees = len(left) - 1
    if degrees < 1:
        return []
    first, second = int(left.sum()), int(right.sum())
    effective = first * second / (first + second)
    # half a row in each group: an empty one must not make the index infinite
    p, q = (left + 0.5) / (first + 0.5 * len(left)), (right + 0.5) / (second + 0.5 * len(right))
    psi = float(((q - p) * np.log(q / p)).sum())
    middle = (p + q) / 2
    js = max(0.0, float((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum()) / 2)
    bits = 1 / (8 * math.log(2) * effective)
    return [
        _Test(
            "psi",
            psi,
            tolerance.psi,
            chi_square_tail(psi * effective, degrees),
            ("chi_square", 1 / effective, degrees, 0),
        ),
        _Test(
            "js",
            math.sqrt(js),
            tolerance.js,
            chi_square_tail(js / bits, degrees),
            ("root", bits, degrees, 0),
        ),
    ]


def _chi_square(left: np.ndarray, right: np.ndarray) -> float:
    first, second = left.sum(), right.sum()
    pooled = (left + right) / (first + second)
    return float(
        ((left - first * pooled) ** 2 / (first * pooled)).sum()
        + ((right - second * pooled) ** 2 / (second * pooled)).sum()
    )


def _least(left: np.ndarray, right: np.ndarray) -> float:
    """The pooled rows that a group needs, so that the smaller sample may expect _LEAST_EXPECTED in it."""
    first, second = int(left.sum()), int(right.sum())
    return _LEAST_EXPECTED * (first + second) / max(min(first, second), 1)


def _joined(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring bins joined, by both samples together, into at most _MOST_GROUPS groups that are large enough."""
    pooled = left + right
    least = max(_least(left, right), pooled.sum() / _MOST_GROUPS)
    groups = np.zeros(len(pooled), dtype=np.int64)
    group, held = 0, 0.0
    rest = float(pooled.sum())
    for index, count in enumerate(pooled.tolist()):
        groups[index] = group
        held += count
        rest -= count
        if held >= least and rest >= least:
            group, held = group + 1, 0.0
    return np.bincount(groups, left).astype(np.int64), np.bincount(groups, right).astype(np.int64)


def _rare_joined(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The categories that are frequent enough, and the rest as one; too small a rest joins the smallest of them."""
    pooled, least = left + right, _least(left, right)
    order = np.argsort(-pooled, kind="stable")
    left, right, pooled = left[order], right[order], pooled[order]
    kept = int((pooled >= least).sum())
    if pooled[kept:].sum() < least:
        kept = max(kept - 1, 0)
    return (
        np.append(left[:kept], left[kept:].sum()),
        np.append(right[:kept], right[kept:].sum()),
    )


def _chance(test: _Test, level: float) -> float | None:
    if test.chance is None:
        return None
    kind, scale, first, second = test.chance
    if kind == "ks":
        return kolmogorov_limit(level, first, second)
    limit = chi_square_limit(level, first) * scale
    return math.sqrt(limit) if kind == "root" else limit
