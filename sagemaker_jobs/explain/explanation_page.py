"""``explanation.html``: what a model looks at, how each feature moves its scores, and whom it treats otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dependence import Dependence
from shap_charts import Bar, Step, beeswarm, dependence_chart, strengths_chart, waterfall

from triptych.core import bias
from triptych.core.charts import number
from triptych.core.report import Tile, escape, figure, figures, page, section, table, tiles

if TYPE_CHECKING:
    from explain import Explanation, FacetBias

_FEATURES_SHOWN = 20
_DOTS = 350
_STEPS = 8
_VALUES_SHOWN = 25
_CATEGORIES_SHOWN = 20
_FEW_ROWS = 100
_DISTANCES = {"JS", "KL", "KS", "LP", "TVD", "GE"}
_AGGREGATIONS = {
    "mean_abs": "mean |SHAP|",
    "median": "median |SHAP|",
    "mean_sq": "mean SHAP²",
    None: "",
}


def render(found: Explanation, details: Mapping[str, Any]) -> str:
    """The whole page; ``details`` is the document ``attributions.json``."""
    body = [tiles(_tiles(found, details))]
    if found.attributions is not None:
        body += [_strengths(found, details), _directions(found, details), _single_rows(found, details)]
    if found.dependence:
        body.append(_dependence(found.dependence))
    body += _bias(found)
    label = details["label"]
    return page(
        found.settings.title or f"Explanation: {details['use_case']}",
        label.get("description") or label["name"],
        "".join(body),
        f"Split '{details['split']}' of {number(details['rows'])} rows; {number(details['explained_rows'])} of them "
        f"explained, chosen with seed {details['seed']}. SHAP values are XGBoost's exact tree values, in log-odds; "
        "a row's values and the base value add up to its score.",
    )


def _tiles(found: Explanation, details: Mapping[str, Any]) -> list[Tile]:
    shown = [Tile("Rows", number(details["rows"]), f"{100 * float(found.rows.labels.mean()):.1f} % positive")]
    if found.attributions is not None:
        base = found.attributions.base
        first = details["features"][0]
        total = sum(entry["value"] for entry in details["features"]) or 1.0
        shown += [
            Tile("Explained", number(details["explained_rows"]), "rows, chosen at random"),
            Tile(
                "Strongest feature",
                f"{100 * first['value'] / total:.0f} %",
                f"{first['name']}, rank {_span(first)}",
            ),
            Tile("Base value", f"{base:.2f}", f"log-odds: a chance of {100 / (1 + math.exp(-base)):.1f} %"),
            Tile("Adds up to within", f"{found.largest_gap:.0e}", "log-odds, worst row"),
        ]
    outside = _outside_four_fifths(found.facets)
    if any(one.post_training for one in found.facets):
        shown.append(
            Tile(
                "Disparate impact",
                str(len(outside)),
                f"of {len(found.facets)} facet values outside 0.8 to 1.25",
                "warn" if outside else "good",
            )
        )
    return shown


def _strengths(found: Explanation, details: Mapping[str, Any]) -> str:
    total = sum(entry["value"] for entry in details["features"]) or 1.0
    bars = [
        Bar(
            entry["name"],
            entry["value"],
            entry["low"],
            entry["high"],
            f"{100 * entry['value'] / total:.0f} %, rank {_span(entry)}",
        )
        for entry in details["features"][:_FEATURES_SHOWN]
    ]
    what = _AGGREGATIONS[found.settings.aggregation]
    return section(
        "What it looks at",
        figure(
            strengths_chart("Global SHAP values", bars), what, "log-odds; whiskers and ranks: 95 % confidence"
        ),
        "How far each feature moves a score on average: what the model uses, not what causes the label.",
    )


def _directions(found: Explanation, details: Mapping[str, Any]) -> str:
    columns = _strongest(found, details)
    values = found.attributions.values if found.attributions is not None else np.empty((0, 0))
    step = max(1, math.ceil(len(values) / _DOTS))
    dots = values[::step, columns].astype(np.float64)
    inputs = found.rows.matrix[found.chosen][::step][:, columns].astype(np.float64)
    names = [found.rows.features[column].name for column in columns]
    swarm = beeswarm("SHAP values by feature", names, dots, _places(inputs))
    return section(
        "Which way it moves the score",
        figure(swarm, "One dot a row", f"log-odds; {number(len(dots))} rows; to the right: more likely"),
    )


def _single_rows(found: Explanation, details: Mapping[str, Any]) -> str:
    told = found.attributions
    if told is None:
        return ""
    label = details["label"]["name"]
    drawn = []
    for title, index in _examples(found):
        row = int(found.chosen[index])
        values, score = told.values[index].astype(np.float64), float(found.rows.scores[row])
        order = np.argsort(-np.abs(values))
        steps = [
            Step(
                f"{found.rows.features[column].name} = "
                f"{found.rows.features[column].say(float(found.rows.matrix[row, column]))}",
                float(values[column]),
            )
            for column in order[:_STEPS]
        ]
        if len(order) > _STEPS:
            steps.append(Step(f"{len(order) - _STEPS} others", float(values[order[_STEPS:]].sum())))
        truth = label if found.rows.labels[row] > 0.5 else f"not {label}"
        drawn.append(
            figure(
                waterfall(title, told.base, steps),
                title,
                f"row {number(row)}: score {score:.3f}, truth: {truth}",
            )
        )
    wide = '<div class="figures" style="grid-template-columns:repeat(auto-fill,minmax(430px,1fr))">'
    return section(
        "Single rows",
        f"{wide}{''.join(drawn)}</div>",
        "From the base value, feature by feature, to the row's score (log-odds).",
    )


def _examples(found: Explanation) -> Iterable[tuple[str, int]]:
    """Indexes into the explained rows: the most certain hits and the worst errors."""
    labels, scores = found.rows.labels[found.chosen] > 0.5, found.rows.scores[found.chosen]
    for title, wanted, best in (
        ("The surest hit", labels, np.argmax),
        ("The surest all-clear", ~labels, np.argmin),
        ("The worst miss", labels, np.argmin),
        ("The worst false alarm", ~labels, np.argmax),
    ):
        candidates = np.flatnonzero(wanted)
        if len(candidates):
            yield title, int(candidates[best(scores[candidates])])


def _dependence(found: Sequence[Dependence]) -> str:
    drawn = []
    for one in found:
        if one.error:
            drawn.append(figure("", one.feature.name, one.error))
            continue
        chosen = list(range(len(one.values)))
        note = one.feature.description
        if one.feature.categories and len(one.values) > _CATEGORIES_SHOWN:
            chosen = sorted(sorted(chosen, key=lambda index: -one.shares[index])[:_CATEGORIES_SHOWN])
            note = f"{note}; the {_CATEGORIES_SHOWN} most frequent of {len(one.values)}"
        chart = dependence_chart(
            one.feature.name,
            [_axis(one, index) for index in chosen],
            [one.scores[index] for index in chosen],
            [one.shares[index] for index in chosen],
            joined=not one.feature.categories,
        )
        drawn.append(figure(chart, one.feature.name, note))
    return section(
        "Partial dependence",
        figures(drawn),
        "The mean score if every row had this value, all else as it is. Grey: how many rows have it.",
    )


def _axis(one: Dependence, index: int) -> str:
    value = one.values[index]
    return one.feature.say(value) if one.feature.categories else number(float(f"{value:.2g}"))


def _bias(found: Explanation) -> list[str]:
    sections = []
    for column in dict.fromkeys(one.column for one in found.facets):
        entries = sorted((one for one in found.facets if one.column == column), key=lambda one: -one.rows)
        parts = [
            _metrics_table(column, title, entries[:_VALUES_SHOWN], stage)
            for title, stage in (
                ("Before training: labels", "pre_training"),
                ("After it: predictions", "post_training"),
            )
            if getattr(entries[0], stage)
        ]
        more = (
            f" The {_VALUES_SHOWN} largest of {len(entries)} values." if len(entries) > _VALUES_SHOWN else ""
        )
        sections.append(
            section(
                f"Bias by {column}",
                "".join(parts),
                "Each value against all other rows, with 1 as the favourable outcome. By Clarify's sign: red, the "
                "others are favoured; blue, this value is; purple, a distance without direction. The deeper, the "
                f"larger. Values with fewer than {_FEW_ROWS} rows are grey.{more}",
            )
        )
    return sections


def _metrics_table(column: str, title: str, entries: Sequence[FacetBias], stage: str) -> str:
    labels = stage == "pre_training"
    first: list[bias.Result] = getattr(entries[0], stage)
    known = [
        index
        for index in range(len(first))
        if any(getattr(one, stage)[index].value is not None for one in entries)
    ]
    left_out = "".join(
        f"; {result.name}: {result.error}" for index, result in enumerate(first) if index not in known
    )
    rows = []
    for one in entries:
        share = one.label_share if labels else one.predicted_share
        cells = [_cell(getattr(one, stage)[index], one.rows < _FEW_ROWS) for index in known]
        rows.append(
            [escape(one.value), number(one.rows), "–" if share is None else f"{100 * share:.1f} %", *cells]
        )
    header = [column, "Rows", "Positive" if labels else "Predicted", *(first[index].name for index in known)]
    body = table(header, rows, numeric=range(1, len(header)))
    for result in first:
        body = body.replace(
            f'<th class="n">{result.name}</th>',
            f'<th class="n" title="{escape(result.description)}">{result.name}</th>',
        )
    return f'<p class="note" style="margin:14px 0 4px">{escape(title + left_out)}</p>{body}'


def _cell(result: bias.Result, few: bool) -> str:
    if result.value is None:
        return f'<span title="{escape(result.error)}">–</span>'
    shown = f"{result.value:.3f}" if math.isfinite(result.value) else ("∞" if result.value > 0 else "−∞")
    if result.name == "CI" or few:
        return f'<span style="color:var(--soft)">{shown}</span>' if few else shown
    depth = round(55 * _size(result.name, result.value))
    if result.name in _DISTANCES:
        colour = "--c4"
    else:
        # DI falls below 1, and each difference rises above 0, where Clarify finds the others favoured
        colour = "--c6" if (result.value < 1 if result.name == "DI" else result.value > 0) else "--c1"
    return (
        f'<span style="display:block;padding:1px 5px;margin:-1px 0;border-radius:4px;'
        f'background:color-mix(in srgb,var({colour}) {depth}%,transparent)">{shown}</span>'
    )


def _size(name: str, value: float) -> float:
    """0 to 1: how deep a cell's colour is."""
    if name == "DI":
        value = math.log(value) / 2 if value > 0 and math.isfinite(value) else math.inf
    elif name in ("TE", "DCA", "DCR"):
        value /= 5
    elif name == "GE":
        value /= 2
    return min(1.0, abs(value) / 0.35)


def _outside_four_fifths(facets: Iterable[FacetBias]) -> list[str]:
    """Facet values whose positive predictions are less than four fifths of the others', or more than five quarters."""
    return [
        f"{one.column} {one.value}"
        for one in facets
        for result in one.post_training
        if result.name == "DI" and result.value is not None and not 0.8 <= result.value <= 1.25
    ]


def _strongest(found: Explanation, details: Mapping[str, Any]) -> list[int]:
    names = [feature.name for feature in found.rows.features]
    return [names.index(entry["name"]) for entry in details["features"][:_FEATURES_SHOWN]]


def _places(inputs: np.ndarray) -> np.ndarray:
    """The place of each value among its column's, 0 to 1, equal values at one place; NaN stays NaN."""
    places = np.full(inputs.shape, np.nan)
    for column in range(inputs.shape[1]):
        known = ~np.isnan(inputs[:, column])
        values = inputs[known, column]
        if len(values):
            ordered = np.sort(values)
            middle = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
            places[known, column] = middle / (2 * len(values))
    return places


def _span(entry: Mapping[str, Any]) -> str:
    low, high = entry["rank_low"], entry["rank_high"]
    return str(low) if low == high else f"{low}–{high}"
