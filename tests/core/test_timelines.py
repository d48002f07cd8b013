"""Plots over time: well-formed, aligned with each other, and safe with whatever the data hold."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from triptych.core.charts import interval_chart
from triptych.core.report import banner
from triptych.core.timelines import (
    Axis,
    Lane,
    Line,
    Mark,
    Span,
    lanes_chart,
    lines_chart,
    shares_chart,
    stacked_chart,
)

HOSTILE = '<script>alert("x")</script>&'
START = datetime(2026, 11, 21, 9, 30, 7, tzinfo=UTC)
AXIS = Axis(START, START + timedelta(seconds=60), (Mark(START + timedelta(seconds=30), HOSTILE, "bad"),))
NAN = float("nan")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "svg",
    [
        shares_chart(
            HOSTILE, AXIS, [(at(-5), {"a": 1.0}), (at(20), {"a": 0.5, HOSTILE: 0.5})], {"a": 1, HOSTILE: 2}
        ),
        shares_chart("nothing", AXIS, [], {}),
        lines_chart(HOSTILE, AXIS, [Line(HOSTILE, [(at(1), 2.0), (at(2), NAN), (at(3), 1.0)])], unit=HOSTILE),
        lines_chart("limit", AXIS, [Line("a", [])], limit=(HOSTILE, 3.0)),
        lines_chart("many", AXIS, [Line("a", [(at(index / 9), float(index)) for index in range(500)])]),
        stacked_chart(
            HOSTILE, AXIS, [Line("a", [(at(1), 2.0)]), Line(HOSTILE, [(at(1), 1.0)])], period_seconds=1
        ),
        stacked_chart("nothing", AXIS, [], period_seconds=1),
        lanes_chart(HOSTILE, AXIS, [Lane(HOSTILE, [Span(at(-9), at(70), HOSTILE, "good")])]),
        lanes_chart("nothing", AXIS, []),
        lines_chart("an instant", Axis(START, START), [Line("a", [(START, 1.0)])]),
        interval_chart(HOSTILE, [(HOSTILE, -1.0, 0.5, 2.0)], limit=-0.1),
        interval_chart("nothing", []),
        interval_chart("no width", [("a", 0.0, 0.0, 0.0)]),
    ],
)
def test_plots_are_well_formed(svg: str) -> None:
    assert ET.fromstring(svg).tag == "svg"
    assert "<script" not in svg
    assert "nan" not in svg.lower().replace("nance", "")


def test_the_same_moment_is_at_the_same_place_in_every_plot() -> None:
    plots = [
        shares_chart("a", AXIS, [(at(0), {"a": 1.0})], {"a": 1}),
        lines_chart("a", AXIS, []),
        stacked_chart("a", AXIS, [], period_seconds=1),
        lanes_chart("a", AXIS, []),
    ]
    places = {
        line.attrib["x1"] for plot in plots for line in ET.fromstring(plot).findall("line[@class='mark bad']")
    }
    assert len(places) == 1


def test_shares_are_drawn_as_long_and_as_high_as_they_are() -> None:
    svg = shares_chart(
        "a", AXIS, [(at(0), {"old": 1.0}), (at(15), {"old": 0.25, "new": 0.75})], {"old": 1, "new": 2}
    )
    first, old, new = ET.fromstring(svg).findall("rect[@y]")[:3]
    assert float(old.attrib["width"]) == pytest.approx(3 * float(first.attrib["width"]), abs=0.5)
    assert float(new.attrib["height"]) == pytest.approx(3 * float(old.attrib["height"]), abs=0.3)


def test_a_pause_breaks_a_line() -> None:
    points = [(at(1), 1.0), (at(2), 1.0), (at(20), 1.0), (at(21), 1.0)]
    svg = lines_chart("a", AXIS, [Line("a", points, gap_seconds=5)])
    path = ET.fromstring(svg).find("path")
    assert path is not None
    assert path.attrib["d"].count("M") == 2


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(30, "09:30:10"), (3600, "09:40"), (3 * 86_400, "22 Nov"), (0, "09:30:07"), (400 * 86_400, "17 Jan")],
)
def test_times_are_round(seconds: int, expected: str) -> None:
    ticks = [text for _, text in Axis(START, START + timedelta(seconds=seconds)).ticks()]
    assert expected in ticks
    assert 1 <= len(ticks) <= 10


def test_a_state_that_ended_before_the_window_is_not_drawn() -> None:
    svg = lanes_chart("a", AXIS, [Lane("a", [Span(at(-20), at(-10), "old"), Span(at(-10), at(5), "now")])])
    assert len(ET.fromstring(svg).findall("rect")) == 1


def test_banners_are_safe() -> None:
    assert "<script" not in banner(HOSTILE, HOSTILE, "bad")
