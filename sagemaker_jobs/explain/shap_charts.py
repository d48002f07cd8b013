"""Plots of SHAP values as inline SVG: strengths with bounds, a beeswarm, one row's waterfall, partial dependence.

They use the page's CSS variables, so they follow its light and dark colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triptych.core.charts import nice_ticks, number, short
from triptych.core.report import escape

_WIDTH, _LABELS, _RIGHT = 1080, 190, 110
_LOW_COLOUR, _HIGH_COLOUR = "var(--c1)", "var(--c6)"
_SHADES = 7


@dataclass(frozen=True)
class Bar:
    """One feature's strength with its bounds and a note at the end of the line."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class Step:
    """One feature's part in a row's score: log-odds, with what the feature was."""

    label: str
    value: float


def strengths_chart(title: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars with whiskers, one a feature."""
    height, bottom = 27 * len(bars), 26
    ticks = nice_ticks(0.0, max([bar.high for bar in bars], default=1.0) or 1.0, 6)
    scale = (_WIDTH - _LABELS - _RIGHT) / ticks[-1]
    marks = [_vertical(_LABELS + tick * scale, height, number(tick)) for tick in ticks]
    for index, bar in enumerate(bars):
        y = 27 * index + 13.5
        low, middle, high = (_LABELS + scale * value for value in (bar.low, bar.value, bar.high))
        marks.append(
            f'{_label(bar.label, _LABELS - 12, y)}<rect class="c1" x="{_LABELS}" y="{y - 8:.1f}" '
            f'width="{max(middle - _LABELS, 0.5):.1f}" height="16" rx="3" opacity=".85"><title>{escape(bar.label)}: '
            f"{number(bar.value)}, from {number(bar.low)} to {number(bar.high)}</title></rect>"
            f'<path d="M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {y - 4:.1f}v8M{high:.1f} {y - 4:.1f}v8" '
            f'stroke="var(--ink)" stroke-width="1.4" fill="none"/>'
            f'<text class="tick" x="{high + 9:.1f}" y="{y + 4:.1f}">{escape(bar.note)}</text>'
        )
    return _svg(title, _WIDTH, height + bottom, "".join(marks))


def beeswarm(title: str, labels: Sequence[str], values: np.ndarray, places: np.ndarray) -> str:
    """A dot a row and feature: to the right it raised the score, its colour is the feature's value.

    ``values`` (rows, features) are SHAP values; ``places`` the rank of each feature value among its column's, 0 to 1,
    NaN where it is missing.
    """
    row_height, bottom = 34, 40
    height = row_height * len(labels)
    reach = float(np.percentile(np.abs(values), 99.7)) or 1.0
    ticks = nice_ticks(-reach, reach, 8)
    scale = (_WIDTH - _LABELS - 20) / (ticks[-1] - ticks[0])

    def x(value: np.ndarray | float) -> np.ndarray | float:
        return _LABELS + (np.clip(value, ticks[0], ticks[-1]) - ticks[0]) * scale

    marks = [_vertical(float(x(tick)), height, f"{tick:+g}" if tick else "0") for tick in ticks]
    marks.append(f'<path d="M{x(0.0):.1f} 0V{height}" stroke="var(--soft)"/>')
    for column, label in enumerate(labels):
        middle = row_height * column + row_height / 2
        across = np.asarray(x(values[:, column]))
        down = middle + _spread(across, row_height / 2 - 3)
        marks.append(_label(label, _LABELS - 12, middle))
        place = places[:, column]
        shades = np.where(
            np.isnan(place), -1, np.minimum(np.nan_to_num(place) * _SHADES, _SHADES - 1)
        ).astype(int)
        for shade in np.unique(shades):
            dots = "".join(f"M{across[row]:.1f} {down[row]:.1f}h0" for row in np.flatnonzero(shades == shade))
            marks.append(
                f'<path d="{dots}" style="stroke:{_shade(int(shade))}" stroke-width="4.6" stroke-linecap="round" '
                'opacity=".8"/>'
            )
    marks.append(_scale_of_shades(height + bottom - 2))
    return _svg(title, _WIDTH, height + bottom, "".join(marks))


def waterfall(title: str, base: float, steps: Sequence[Step]) -> str:
    """How a row's score comes about: from the base, feature by feature, to the row's log-odds at the bottom."""
    width, labels, row_height = 540, 240, 25
    height = row_height * len(steps)
    reached = np.concatenate([[base], base + np.cumsum([step.value for step in steps])])
    ticks = nice_ticks(float(reached.min()), float(reached.max()), 4)
    scale = (width - labels - 56) / ((ticks[-1] - ticks[0]) or 1.0)

    def x(value: float) -> float:
        return labels + (value - ticks[0]) * scale

    marks = [_vertical(x(tick), height, f"{tick:g}") for tick in ticks]
    for index, step in enumerate(steps):
        start, end = x(float(reached[index])), x(float(reached[index + 1]))
        y = row_height * index + row_height / 2
        left, colour = min(start, end), 6 if step.value > 0 else 1
        marks.append(
            f'{_label(step.label, labels - 10, y)}<rect class="c{colour}" x="{left:.1f}" y="{y - 7.5:.1f}" '
            f'width="{max(abs(end - start), 1):.1f}" height="15" rx="2"><title>{escape(step.label)}: '
            f"{step.value:+.3f}</title></rect>"
            f'<text class="tick" x="{max(start, end) + 5:.1f}" y="{y + 4:.1f}">{step.value:+.2f}</text>'
        )
        if index + 1 < len(steps):
            marks.append(f'<path d="M{end:.1f} {y + 7.5:.1f}v{row_height - 15}" stroke="var(--soft)"/>')
    return _svg(title, width, height + 24, "".join(marks))


def dependence_chart(
    title: str, labels: Sequence[str], scores: Sequence[float], shares: Sequence[float], *, joined: bool
) -> str:
    """Mean scores (a line where ``joined``, else dots) over grey bars: how many rows have such a value."""
    width, height, left, top, bottom = 460, 210, 46, 12, 34
    inner, step = height - top - bottom, (width - left - 12) / max(len(labels), 1)
    ticks = nice_ticks(min(scores), max(scores) if max(scores) > min(scores) else min(scores) + 0.01, 4)

    def y(score: float) -> float:
        return top + inner * (1 - (score - ticks[0]) / (ticks[-1] - ticks[0]))

    def x(index: int) -> float:
        return left + (index + 0.5) * step

    marks = [
        f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{short(tick)}</text>'
        for tick in ticks
    ]
    for index, share in enumerate(shares):
        tall = inner * 0.45 * share / (max(shares) or 1.0)
        marks.append(
            f'<rect class="empty" x="{left + index * step + 1:.1f}" y="{top + inner - tall:.1f}" '
            f'width="{max(step - 2, 1):.1f}" height="{tall:.1f}"><title>{escape(labels[index])}: '
            f"{100 * share:.1f} % of the rows</title></rect>"
        )
    if joined:
        path = "L".join(f"{x(index):.1f} {y(score):.1f}" for index, score in enumerate(scores))
        marks.append(f'<path class="line l1" d="M{path}"/>')
    marks += [
        f'<circle class="c1" cx="{x(index):.1f}" cy="{y(score):.1f}" r="{3 if joined else 4.5}">'
        f"<title>{escape(labels[index])}: {score:.4f}</title></circle>"
        for index, score in enumerate(scores)
    ]
    every = max(1, int(np.ceil((max(map(len, labels)) * 6.2 + 8) / step)))
    marks += [
        f'<text class="tick" x="{x(index):.1f}" y="{height - bottom + 15}" text-anchor="middle">'
        f"{escape(labels[index])}</text>"
        for index in range(0, len(labels), every)
    ]
    return _svg(title, width, height, "".join(marks))


def _spread(across: np.ndarray, most: float) -> np.ndarray:
    """How far from the middle line each dot stands, so that dots of like value lie side by side."""
    bins = np.round(across / 4).astype(int)
    order = np.argsort(bins, kind="stable")
    _, starts, counts = np.unique(bins[order], return_index=True, return_counts=True)
    rank = np.arange(len(bins)) - np.repeat(starts, counts)
    side = np.where(rank % 2 == 1, 1, -1) * ((rank + 1) // 2)
    gap = min(2.6, 2 * most / max(int(counts.max(initial=1)), 1))
    spread = np.empty(len(bins))
    spread[order] = side * gap
    return spread


def _shade(index: int) -> str:
    if index < 0:
        return "var(--soft)"
    return f"color-mix(in srgb,{_HIGH_COLOUR} {100 * index / (_SHADES - 1):.0f}%,{_LOW_COLOUR})"


def _scale_of_shades(y: float) -> str:
    left = _WIDTH - 330
    parts = "".join(
        f'<rect x="{left + 70 + 12 * index}" y="{y - 9}" width="12" height="9" style="fill:{_shade(index)}"/>'
        for index in range(_SHADES)
    )
    return (
        f'<text class="tick" x="{left + 62}" y="{y}" text-anchor="end">low value</text>{parts}'
        f'<text class="tick" x="{left + 78 + 12 * _SHADES}" y="{y}">high</text>'
        f'<rect x="{left + 230}" y="{y - 9}" width="12" height="9" style="fill:{_shade(-1)}"/>'
        f'<text class="tick" x="{left + 248}" y="{y}">missing</text>'
    )


def _vertical(x: float, height: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>'
        f'<text class="tick" x="{x:.1f}" y="{height + 16}" text-anchor="middle">{text}</text>'
    )


def _label(text: str, x: float, y: float) -> str:
    shown = text if len(text) <= 34 else text[:33] + "…"
    return f'<text class="lane" x="{x}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>'


def _svg(title: str, width: float, height: float, marks: str) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{marks}</svg>"
    )
