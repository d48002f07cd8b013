"""``drift.html``: what has moved, in one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from constraints_file import Violation
from measured import Dataset, Measured

from triptych.core.charts import Series, line_chart, number
from triptych.core.drift import DriftReport, FeatureDrift
from triptych.core.profiles import CategoryProfile, NumberProfile, Profile
from triptych.core.report import Tile, banner, escape, figure, figures, page, section, table, tiles

_FIGURES_SHOWN, _ROWS_SHOWN, _VIOLATIONS_SHOWN = 24, 200, 100
_GROUPS = 20


def render(
    title: str,
    window: str,
    report: DriftReport,
    found: Sequence[Violation],
    baseline: Mapping[str, Measured],
    current: Dataset,
) -> str:
    """The whole page; its size does not grow with rows, and with features only up to a bound."""
    order = sorted(report.features, key=lambda one: (one.verdict != "drift", -_excess(one), one.feature))
    body = [
        _banner(report, found, current),
        tiles(_tiles(report, found, current)),
        *([section("What does not hold", _violations(found))] if found else []),
        section(
            "All features",
            _features(order),
            "A statistic alarms when it is beyond chance, corrected over all of them (Holm), and beyond what matters. "
            "Its limit is the larger of the two.",
        ),
        section("Baseline and now", figures(_figures(order, baseline, current))),
    ]
    return page(title, window, "".join(body))


def _banner(report: DriftReport, found: Sequence[Violation], current: Dataset) -> str:
    if not current.rows:
        return banner("No data", "There were no rows in this window, so nothing can be said of them.", "warn")
    if report.drifted:
        return banner("Drift", f"These features have moved: {_list(report.drifted)}.", "bad")
    if found:
        return banner("Constraints violated", _list([one.description for one in found[:3]]), "bad")
    return banner("No drift", "No feature moved beyond chance and tolerance.", "good")


def _list(items: Sequence[str]) -> str:
    more = len(items) - 12
    return ", ".join(items[:12]) + (f" and {more} more" if more > 0 else "")


def _tiles(report: DriftReport, found: Sequence[Violation], current: Dataset) -> list[Tile]:
    skipped = current.skipped
    return [
        Tile("rows", number(current.rows)),
        Tile("features drifted", f"{len(report.drifted)} of {len(report.features)}"),
        Tile("violations", number(len(found)), tone="bad" if found else "good"),
        Tile("tests", number(report.tests), f"at most {report.alpha:.1%} of runs without drift alarm"),
        Tile(
            "lines not readable", number(skipped.lines), skipped.first[:80], "warn" if skipped.lines else ""
        ),
    ]


def _violations(found: Sequence[Violation]) -> str:
    rows = [
        [
            escape(one.feature_name),
            escape(one.constraint_check_type),
            f'<span class="wrap">{escape(one.description)}</span>',
        ]
        for one in found[:_VIOLATIONS_SHOWN]
    ]
    return table(["feature", "check", "why"], rows)


def _features(order: Sequence[FeatureDrift]) -> str:
    rows = []
    for one in order[:_ROWS_SHOWN]:
        values = {finding.statistic: finding for finding in one.findings}
        cells = []
        for name in ("psi", "js", "ks", "chi_square", "missing", "new_categories", "lost_categories"):
            finding = values.get(name)
            if finding is None:
                cells.append("")
                continue
            text = f"{number(finding.value)} <small>/ {number(finding.threshold)}</small>"
            cells.append(f'<span class="bad-text">{text}</span>' if finding.drifted else text)
        rows.append([escape(one.feature), escape(one.verdict), _p(one), *cells])
    header = [
        "feature",
        "verdict",
        "corrected p",
        "PSI",
        "JS",
        "KS",
        "chi-square w",
        "missing",
        "new",
        "lost",
    ]
    return table(header, rows, numeric=range(2, len(header)))


def _excess(one: FeatureDrift) -> float:
    """By how much a statistic exceeds its limit, at most."""
    return max(
        (finding.value / finding.threshold for finding in one.findings if finding.threshold), default=0.0
    )


def _p(one: FeatureDrift) -> str:
    least = min((finding.adjusted_p for finding in one.findings), default=1.0)
    return number(least) if least >= 1e-99 else "&lt; 1e-99"


def _figures(order: Sequence[FeatureDrift], baseline: Mapping[str, Measured], current: Dataset) -> list[str]:
    plots = []
    for one in order[:_FIGURES_SHOWN]:
        left, right = baseline[one.feature].profile, current.columns[one.feature].profile
        labels, first, second = _shares(left, right)
        if labels:
            series = [Series("baseline", first, 1), Series("now", second, 2)]
            note = "drift" if one.verdict == "drift" else ""
            plots.append(figure(line_chart(one.feature, labels, series, unit="share"), one.feature, note))
    return plots


def _shares(left: Profile, right: Profile) -> tuple[list[str], list[float], list[float]]:
    """Shares of about twenty bins, each with as many of the baseline's rows, or of the most frequent categories."""
    if isinstance(left, CategoryProfile) and isinstance(right, CategoryProfile):
        total = {
            name: left.counts.get(name, 0) / max(left.present, 1)
            + right.counts.get(name, 0) / max(right.present, 1)
            for name in {*left.counts, *right.counts}
        }
        names = sorted(total, key=lambda name: (-total[name], name))[:_GROUPS]
        return (
            [name[:24] for name in names],
            [left.counts.get(name, 0) / max(left.present, 1) for name in names],
            [right.counts.get(name, 0) / max(right.present, 1) for name in names],
        )
    if not isinstance(left, NumberProfile) or not isinstance(right, NumberProfile) or not left.present:
        return [], [], []
    below = np.cumsum(left.counts)[:-1]
    wanted = np.linspace(0, left.present, _GROUPS + 1)[1:]
    places = np.unique(np.minimum(np.searchsorted(below, wanted), len(left.edges) - 1))
    ends = np.append(places, len(left.counts) - 1)
    labels = [f"≤ {number(float(left.edges[place]))}" for place in places] + ["above"]
    first, second = (
        [float(share) for share in np.diff(np.cumsum(one.counts)[ends], prepend=0) / max(one.present, 1)]
        for one in (left, right)
    )
    return labels, first, second
