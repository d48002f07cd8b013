"""Plots over time as inline SVG text, made to be read one above the other: all share one axis and one width.

Like ``triptych.core.charts``: no dependency, no script, colours from the page's CSS variables, a tooltip on each mark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from triptych.core.charts import nice_ticks, number, short

_WIDTH = 1080
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 24, 20
_LANE = 42
_FARTHEST_NAME = 120
_FEWEST_LETTERS = 6
_TICK_SECONDS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
)
_MOST_TICKS = 9


@dataclass(frozen=True)
class Mark:
    """A moment that matters in every plot; ``tone`` is "", "good", "warn" or "bad"."""

    at: datetime
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Axis:
    """The time that every plot covers, and the moments marked in it."""

    start: datetime
    end: datetime
    marks: tuple[Mark, ...] = ()

    @property
    def seconds(self) -> float:
        """Its length, at least one second."""
        return max((self.end - self.start).total_seconds(), 1.0)

    def x(self, moment: datetime) -> float:
        """The pixel of a moment; what lies outside is drawn at the edge."""
        share = (moment - self.start).total_seconds() / self.seconds
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(share, 0.0), 1.0)

    def ticks(self) -> Iterator[tuple[datetime, str]]:
        """Round moments and their texts; UTC."""
        step = next(
            (size for size in _TICK_SECONDS if self.seconds / size <= _MOST_TICKS),
            math.ceil(self.seconds / _MOST_TICKS / 86_400) * 86_400,
        )
        form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43_200 else "%d %b"
        first = math.ceil(self.start.timestamp() / step) * step
        for moment in range(first, int(self.end.timestamp()) + 1, step):
            at = datetime.fromtimestamp(moment, UTC)
            if self.x(at) <= _WIDTH - 30:  # the text is centred and must not be cut off
                yield at, f"{at:{form}}"


@dataclass(frozen=True)
class Line:
    """Points in order of time. A pause longer than ``gap_seconds`` breaks the line."""

    name: str
    points: Sequence[tuple[datetime, float]]
    colour: int = 1
    dashed: bool = False
    gap_seconds: float = math.inf


@dataclass(frozen=True)
class Span:
    """A state that lasted; ``tone`` is "", "good", "warn", "bad" or "busy"."""

    start: datetime
    end: datetime
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Lane:
    """The states of one thing, one after the other."""

    name: str
    spans: Sequence[Span]


def shares_chart(
    title: str,
    axis: Axis,
    steps: Sequence[tuple[datetime, Mapping[str, float]]],
    colours: Mapping[str, int],
    *,
    height: int = 150,
) -> str:
    """Shares (0..1, adding up to 1) stacked in the order of ``colours``; each step lasts until the next."""
    frame = _Frame(axis, height, 0.0, 1.0, percent=True)
    marks = []
    ends = [*(at for at, _ in steps[1:]), axis.end]
    for (at, shares), end in zip(steps, ends, strict=False):
        bottom = 0.0
        for name, colour in colours.items():
            share = shares.get(name, 0.0)
            if share <= 0:
                continue
            left, right = axis.x(at), axis.x(end)
            top = frame.y(bottom + share)
            marks.append(
                f'<rect class="c{colour} area" x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.5):.1f}" '
                f'height="{frame.y(bottom) - top:.1f}"><title>{escape(name)}, {at:%H:%M:%S}: {share:.0%}</title></rect>'
            )
            bottom += share
    return frame.svg(
        title, "".join(marks), _legend([(name, colour, False) for name, colour in colours.items()])
    )


def lines_chart(
    title: str,
    axis: Axis,
    lines: Sequence[Line],
    *,
    unit: str = "",
    limit: tuple[str, float] | None = None,
    height: int = 150,
) -> str:
    """Lines from 0 up; ``limit`` is a level with its name, drawn across."""
    highest = max((value for line in lines for _, value in line.points if math.isfinite(value)), default=0.0)
    if limit:
        highest = max(highest, limit[1])
    frame = _Frame(axis, height, 0.0, highest or 1.0, unit)
    marks = []
    for line in lines:
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        marks.append(f'<path class="line l{line.colour}" d="{_path(frame, axis, line)}"{dash}/>')
        if len(line.points) <= 150:
            marks += [
                f'<circle class="c{line.colour}" cx="{axis.x(at):.1f}" cy="{frame.y(value):.1f}" r="2.4">'
                f"<title>{escape(line.name)}, {at:%H:%M:%S}: {number(value)} {escape(unit)}</title></circle>"
                for at, value in line.points
                if math.isfinite(value)
            ]
    legend = [(line.name, line.colour, line.dashed) for line in lines]
    if limit:
        y = frame.y(limit[1])
        marks.append(
            f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick bad-ink" x="{_LEFT + 4}" y="{y - 4:.1f}">'
            f"{escape(limit[0])}</text>"
        )
    return frame.svg(title, "".join(marks), _legend(legend))


def stacked_chart(
    title: str,
    axis: Axis,
    layers: Sequence[Line],
    *,
    unit: str = "",
    period_seconds: float,
    height: int = 150,
) -> str:
    """Bars, one a period of ``period_seconds``, the layers stacked in their order."""
    totals: dict[datetime, float] = {}
    for layer in layers:
        for at, value in layer.points:
            totals[at] = totals.get(at, 0.0) + value
    frame = _Frame(axis, height, 0.0, max(totals.values(), default=0.0) or 1.0, unit)
    marks = []
    bottoms: dict[datetime, float] = {}
    length = timedelta(seconds=period_seconds)
    for layer in layers:
        for at, value in layer.points:
            if value <= 0:
                continue
            bottom = bottoms.get(at, 0.0)
            bottoms[at] = bottom + value
            left, right = axis.x(at), axis.x(at + length)
            if right <= left:
                continue
            marks.append(
                f'<rect class="c{layer.colour}" x="{left:.1f}" y="{frame.y(bottom + value):.1f}" '
                f'width="{max(right - left - (0.6 if right - left > 2 else 0), 0.4):.1f}" '
                f'height="{frame.y(bottom) - frame.y(bottom + value):.1f}">'
                f"<title>{escape(layer.name)}, {at:%H:%M:%S}: {number(value)} {escape(unit)}</title></rect>"
            )
    return frame.svg(title, "".join(marks), _legend([(layer.name, layer.colour, False) for layer in layers]))


def lanes_chart(title: str, axis: Axis, lanes: Sequence[Lane]) -> str:
    """One row a lane, its name above its states' bars; the marks' texts at the top."""
    height = _TOP + _LANE * len(lanes) + _BOTTOM
    marks = []
    for index, lane in enumerate(lanes):
        top = _TOP + index * _LANE
        marks.append(f'<text class="lane" x="{_LEFT}" y="{top + 11}">{escape(lane.name)}</text>')
        for span in lane.spans:
            left, right = axis.x(span.start), axis.x(span.end)
            if right < left or span.end < axis.start:
                continue
            width = max(right - left - 1, 1.5)
            marks.append(
                f'<rect class="span {span.tone}" x="{left:.1f}" y="{top + 16}" width="{width:.1f}" '
                f'height="{_LANE - 22}" rx="3"><title>{escape(lane.name)}: {escape(span.text)}, '
                f"{span.start:%H:%M:%S} to {span.end:%H:%M:%S}</title></rect>"
            )
            fits = _shortened(span.text, int((width - 10) / 6.2))
            if len(fits) >= _FEWEST_LETTERS or fits == span.text:
                marks.append(
                    f'<text class="span-text {span.tone}" x="{left + 6:.1f}" y="{top + 29}">{escape(fits)}</text>'
                )
    ticks = "".join(
        f'<text class="tick" x="{axis.x(at):.1f}" y="{height - 4}" text-anchor="middle">{text}</text>'
        for at, text in axis.ticks()
    )
    return _element(
        title,
        height,
        "".join(marks) + _mark_lines(axis, _TOP - 8, height - _BOTTOM) + _mark_names(axis) + ticks,
    )


class _Frame:
    """The y axis of a plot and what all plots have: grid, time ticks, marks."""

    def __init__(
        self, axis: Axis, height: int, low: float, high: float, unit: str = "", percent: bool = False
    ) -> None:
        self._axis, self._height, self._unit, self._percent = axis, height, unit, percent
        self._ticks = [0.0, 0.5, 1.0] if percent else nice_ticks(low, high, 3)
        self._low, self._high = min(low, self._ticks[0]), max(high, self._ticks[-1])

    def y(self, value: float) -> float:
        """The pixel of a value."""
        inner = self._height - _TOP - _BOTTOM
        return _TOP + inner * (1 - (value - self._low) / (self._high - self._low))

    def svg(self, title: str, marks: str, legend: str) -> str:
        """The whole element."""
        grid = "".join(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{self.y(tick):.1f}" y2="{self.y(tick):.1f}"/>'
            f'<text class="tick" x="{_LEFT - 7}" y="{self.y(tick) + 4:.1f}" text-anchor="end">'
            f"{f'{tick:.0%}' if self._percent else short(tick)}</text>"
            for tick in self._ticks
        )
        bottom = self._height - _BOTTOM
        times = "".join(
            f'<text class="tick" x="{self._axis.x(at):.1f}" y="{self._height - 4}" text-anchor="middle">{text}</text>'
            for at, text in self._axis.ticks()
        )
        lines = _mark_lines(self._axis, _TOP, bottom)
        unit = f'<text class="tick" x="{_LEFT - 7}" y="11" text-anchor="end">{escape(self._unit)}</text>'
        return _element(
            title, self._height, grid + marks + lines + times + (unit if self._unit else "") + legend
        )


def _element(title: str, height: int, inner: str) -> str:
    return (
        f'<svg class="plot timeline" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{inner}</svg>"
    )


def _path(frame: _Frame, axis: Axis, line: Line) -> str:
    path: list[str] = []
    last: datetime | None = None
    for at, value in line.points:
        if not math.isfinite(value):
            last = None
            continue
        joined = last is not None and (at - last).total_seconds() <= line.gap_seconds
        path.append(f"{'L' if joined else 'M'}{axis.x(at):.1f} {frame.y(value):.1f}")
        last = at
    return " ".join(path)


def _mark_lines(axis: Axis, top: int, bottom: int) -> str:
    return "".join(
        f'<line class="mark {mark.tone}" x1="{axis.x(mark.at):.1f}" x2="{axis.x(mark.at):.1f}" '
        f'y1="{top}" y2="{bottom}"><title>{escape(mark.text)}</title></line>'
        for mark in axis.marks
    )


def _mark_names(axis: Axis) -> str:
    """The marks' texts, each where it covers no other; one without a place is left to the line's tooltip."""
    parts = []
    free = float(_LEFT)
    for mark in sorted(axis.marks, key=lambda one: one.at):
        width = 6.6 * len(mark.text)
        begin = min(max(axis.x(mark.at) - width / 2, free), _WIDTH - width)
        if begin < free or begin > axis.x(mark.at) + _FARTHEST_NAME:
            continue
        parts.append(f'<text class="tick {mark.tone}-ink" x="{begin:.1f}" y="11">{escape(mark.text)}</text>')
        free = begin + width + 12
    return "".join(parts)


def _legend(entries: Sequence[tuple[str, int, bool]]) -> str:
    """What the colours mean; nothing where there is only one."""
    if len(entries) < 2:
        return ""
    parts, x = [], float(_LEFT + 4)
    for name, colour, dashed in entries:
        if dashed:
            parts.append(
                f'<line class="line l{colour}" x1="{x:.0f}" x2="{x + 14:.0f}" y1="7" y2="7" stroke-dasharray="4 3"/>'
            )
        else:
            parts.append(f'<rect class="c{colour}" x="{x + 2:.0f}" y="2" width="10" height="10" rx="2"/>')
        parts.append(f'<text class="tick" x="{x + 19:.0f}" y="11">{escape(name)}</text>')
        x += 19 + 6.4 * len(name) + 18
    return "".join(parts)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 0)].rstrip() + "…"
