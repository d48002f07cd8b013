"""Small plots as inline SVG text: no dependency, no script; colours come from the page's CSS variables.

Every function returns one ``<svg>`` element with a title and, on each mark, a tooltip with its value. Values that are
None or not finite are left out of a line and empty in bars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_UNIT_HEIGHT = 10


@dataclass(frozen=True)
class Series:
    """One line: its name, y values (None leaves a gap) and which of the page's colours (1 to 6) it has."""

    name: str
    values: Sequence[float | None]
    colour: int = 1
    dashed: bool = False


def bar_chart(
    title: str,
    labels: Sequence[str],
    values: Sequence[float],
    *,
    colour: int = 1,
    unit: str = "",
    width: int = WIDTH,
    height: int = HEIGHT,
) -> str:
    """Vertical bars, one a label; as many labels are written as fit."""
    frame = _Frame(width, height, 0.0, max([*_finite(values), 0.0]) or 1.0, unit)
    step = frame.inner_width / max(len(values), 1)
    gap = min(step * 0.18, 6)
    marks = []
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        top = frame.y(value)
        marks.append(
            f'<rect class="c{colour}" x="{_LEFT + index * step + gap / 2:.1f}" y="{top:.1f}" '
            f'width="{max(step - gap, 0.5):.1f}" height="{max(frame.y(0) - top, 0):.1f}" rx="{min(2.0, step / 4):.1f}">'
            f"<title>{escape(label)}: {number(value)}{_unit(unit)}</title></rect>"
        )
    return frame.svg(title, "".join(marks) + frame.label_axis(labels, centred=True))


def histogram(
    title: str,
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    colour: int = 1,
    unit: str = "",
    height: int = HEIGHT,
) -> str:
    """Bars on a number axis: bin ``i`` covers ``edges[i]`` to ``edges[i + 1]``."""
    frame = _Frame(WIDTH, height, 0.0, max([*_finite(counts), 0.0]) or 1.0, "rows")
    low, high = (edges[0], edges[-1]) if len(edges) > 1 else (0.0, 1.0)
    scale = frame.inner_width / ((high - low) or 1.0)
    marks = []
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            top = frame.y(count)
            marks.append(
                f'<rect class="c{colour}" x="{_LEFT + (left - low) * scale:.1f}" y="{top:.1f}" '
                f'width="{max((right - left) * scale - 0.6, 0.4):.1f}" height="{frame.y(0) - top:.1f}">'
                f"<title>{number(left)} to {number(right)}{_unit(unit)}: {number(count)}</title></rect>"
            )
    ticks = "".join(
        f'<text class="tick" x="{_LEFT + (tick - low) * scale:.1f}" y="{frame.height - _BOTTOM + 15}" '
        f'text-anchor="middle">{number(tick)}</text>'
        for tick in nice_ticks(low, high, 6)
        if low <= tick <= high
    )
    return frame.svg(title, "".join(marks) + ticks)


def line_chart(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str = "",
    zero: bool = True,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> str:
    """Lines over the same labels; ``zero`` makes the axis begin at 0. Several lines get a legend."""
    known = [value for one in series for value in _finite(one.values)]
    low = 0.0 if zero else min(known, default=0.0)
    high = max(known, default=1.0)
    frame = _Frame(width, height, low, high if high > low else low + 1.0, unit)
    step = frame.inner_width / max(len(labels) - 1, 1)
    marks = []
    for one in series:
        path, pen = [], "M"
        for index, value in enumerate(one.values):
            if value is None or not math.isfinite(value):
                pen = "M"
                continue
            path.append(f"{pen}{_LEFT + index * step:.1f} {frame.y(value):.1f}")
            pen = "L"
        dash = ' stroke-dasharray="5 4"' if one.dashed else ""
        marks.append(f'<path class="line l{one.colour}" d="{" ".join(path)}"{dash}/>')
        if len(labels) <= 60:
            marks += [
                f'<circle class="c{one.colour}" cx="{_LEFT + index * step:.1f}" cy="{frame.y(value):.1f}" r="3">'
                f"<title>{escape(one.name)}, {escape(labels[index])}: {number(value)}{_unit(unit)}</title></circle>"
                for index, value in enumerate(one.values)
                if value is not None and math.isfinite(value)
            ]
    legend = _legend(series) if len(series) > 1 else ""
    return frame.svg(title, "".join(marks) + frame.label_axis(labels, centred=False) + legend)


def interval_chart(
    title: str,
    rows: Sequence[tuple[str, float, float, float]],
    *,
    limit: float = 0.0,
    width: int = 2 * WIDTH,
) -> str:
    """One row an interval (label, low, middle, high) on a common number axis, with a line at ``limit``."""
    left, row_height, bottom = 170, 28, 26
    height = row_height * len(rows) + bottom
    # the latest interval is what matters: much wider ones are cut off at the edges
    spread = (
        max((max(abs(low - limit), abs(high - limit)) for _, low, _, high in rows[-2:]), default=1.0) or 1.0
    )
    ticks = nice_ticks(limit - spread, limit + spread, 8)
    scale = (width - left - _RIGHT) / (ticks[-1] - ticks[0])

    def x(value: float) -> float:
        return left + (min(max(value, ticks[0]), ticks[-1]) - ticks[0]) * scale

    marks = [
        f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{height - bottom}"/>'
        f'<text class="tick" x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{number(tick)}</text>'
        for tick in ticks
    ]
    marks.append(
        f'<line class="limit" x1="{x(limit):.1f}" x2="{x(limit):.1f}" y1="0" y2="{height - bottom}"/>'
    )
    for index, (label, low, middle, high) in enumerate(rows):
        y = row_height * index + row_height / 2
        colour = 3 if high < limit else 6 if low > limit else 1
        marks.append(
            f'<text class="tick" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
            f'<line class="whisker l{colour}" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="c{colour}" cx="{x(middle):.1f}" cy="{y:.1f}" r="5"><title>{escape(label)}: '
            f"{number(middle)}, from {number(low)} to {number(high)}</title></circle>"
        )
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(marks)}</svg>"
    )


def share_bar(title: str, share: float, *, colour: int = 1, width: int = 120) -> str:
    """A thin bar filled to ``share`` (0..1), for tables."""
    filled = max(0.0, min(1.0, share)) * width
    return (
        f'<svg class="share" width="{width}" height="8" role="img" aria-label="{escape(title)}">'
        f'<title>{escape(title)}</title><rect class="empty" width="{width}" height="8" rx="4"/>'
        f'<rect class="c{colour}" width="{filled:.1f}" height="8" rx="4"/></svg>'
    )


def number(value: float | None) -> str:
    """A number as a person writes it: 336,776; 12.6; 0.034; 1.2e-7."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 0.001:
        return f"{value:.3g}"
    return f"{value:.1e}"


class _Frame:
    """Axes of a plot: maps y values to pixels and draws the horizontal grid; the unit stands above the y axis."""

    def __init__(self, width: int, height: int, low: float, high: float, unit: str) -> None:
        self.width, self.height = width, height
        self._unit, self._top = unit, _TOP + (_UNIT_HEIGHT if unit else 0)
        self.inner_width = width - _LEFT - _RIGHT
        self._ticks = nice_ticks(low, high, 4)
        self._low, self._high = min(low, self._ticks[0]), max(high, self._ticks[-1])

    def y(self, value: float) -> float:
        """The pixel of a value; 0 and below for what is not finite."""
        if not math.isfinite(value):
            value = self._low
        inner = self.height - self._top - _BOTTOM
        return self._top + inner * (1 - (value - self._low) / (self._high - self._low))

    def label_axis(self, labels: Sequence[str], *, centred: bool) -> str:
        """The labels under the plot, thinned out so that they do not touch."""
        count = len(labels)
        if not count:
            return ""
        step = self.inner_width / (count if centred else max(count - 1, 1))
        longest = max(len(label) for label in labels)
        every = max(1, math.ceil((longest * 6.2 + 8) / step))
        return "".join(
            f'<text class="tick" x="{_LEFT + (index + (0.5 if centred else 0)) * step:.1f}" '
            f'y="{self.height - _BOTTOM + 15}" text-anchor="middle">{escape(labels[index])}</text>'
            for index in range(0, count, every)
        )

    def svg(self, title: str, marks: str) -> str:
        """The whole element, with grid and y ticks behind ``marks``."""
        grid = "".join(
            f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" '
            f'y1="{self.y(tick):.1f}" y2="{self.y(tick):.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{self.y(tick) + 3.5:.1f}" text-anchor="end">{short(tick)}</text>'
            for tick in self._ticks
        )
        note = f'<text class="tick" x="2" y="9">{escape(self._unit)}</text>' if self._unit else ""
        return (
            f'<svg class="plot" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{grid}{marks}{note}</svg>"
        )


def _legend(series: Sequence[Series]) -> str:
    parts, x = [], float(_LEFT)
    for one in series:
        parts.append(
            f'<rect class="c{one.colour}" x="{x:.0f}" y="0" width="9" height="9" rx="2"/>'
            f'<text class="tick" x="{x + 13:.0f}" y="8.5">{escape(one.name)}</text>'
        )
        x += 13 + 6.2 * len(one.name) + 16
    return "".join(parts)


def nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """About ``wanted`` steps of round numbers that cover ``low`` to ``high``."""
    span = (high - low) or 1.0
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _finite(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def short(value: float) -> str:
    """A number for an axis: 1.5, 20k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:,g}"


def _unit(unit: str) -> str:
    return f" {escape(unit)}" if unit else ""
