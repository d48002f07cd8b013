"""Charts and pages: well-formed, self-contained, and safe with whatever the data hold."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from triptych.core.charts import Series, bar_chart, histogram, line_chart, number, share_bar
from triptych.core.report import Tile, figure, figures, page, section, table, tiles

HOSTILE = '<script>alert("x")</script>&'


@pytest.mark.parametrize(
    "svg",
    [
        bar_chart(HOSTILE, [HOSTILE, "b"], [3, 0], unit="rows"),
        bar_chart("empty", [], []),
        bar_chart("zeros", ["a"], [0]),
        histogram(HOSTILE, [0, 1, 2], [5, 0], unit="miles"),
        histogram("empty", [], []),
        line_chart(
            "gaps", ["1", "2", "3"], [Series(HOSTILE, [1.0, None, float("nan")]), Series("b", [2, 3, 4], 2)]
        ),
        line_chart("nothing", [], [Series("a", [])]),
        line_chart("constant", ["a"], [Series("a", [5.0])], zero=False),
        line_chart("negative", ["a", "b"], [Series("a", [-5.0, -1.0])], zero=False),
        share_bar(HOSTILE, 1.7),
    ],
)
def test_charts_are_well_formed(svg: str) -> None:
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert "<script" not in svg
    assert "nan" not in svg.lower().replace("nance", "")


def test_a_line_has_a_gap_where_a_value_is_missing() -> None:
    svg = line_chart("gap", ["1", "2", "3", "4"], [Series("a", [1.0, None, 2.0, 3.0])])
    path = ET.fromstring(svg).find("path")
    assert path is not None
    assert path.attrib["d"].count("M") == 2


def test_bars_are_as_high_as_their_values() -> None:
    bars = ET.fromstring(bar_chart("t", ["a", "b"], [10, 20])).findall("rect")
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)


@pytest.mark.parametrize(
    "svg",
    [
        bar_chart("t", ["a", "b"], [10, 20], unit="rows"),
        histogram("t", [0, 1, 2], [5, 0]),
        line_chart("t", ["1", "2"], [Series("a", [1.0, 2.0])], unit="rows"),
    ],
    ids=["bars", "histogram", "lines"],
)
def test_the_unit_stands_above_its_axis(svg: str) -> None:
    heights = {text.text: float(text.attrib["y"]) for text in ET.fromstring(svg).findall("text")}
    unit = heights.pop("rows")
    assert unit + 10 <= min(heights.values())


def test_pages_need_nothing_from_elsewhere() -> None:
    body = tiles([Tile(HOSTILE, HOSTILE, HOSTILE)]) + section(
        HOSTILE, table(["a"], [["1"]], numeric=(0,)), HOSTILE
    )
    text = page(HOSTILE, HOSTILE, body + figures([figure("<svg></svg>", HOSTILE, HOSTILE)]), HOSTILE)
    assert "<script" not in text
    assert "http" not in text
    assert "src=" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (336776, "336,776"),
        (12.6389, "12.6"),
        (0.03412, "0.0341"),
        (None, "–"),
        (float("inf"), "–"),
        (1.2e-7, "1.2e-07"),
        (15432.7, "15,433"),
    ],
)
def test_numbers_read_well(value: float | None, text: str) -> None:
    assert number(value) == text
