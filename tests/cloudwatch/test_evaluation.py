"""From data points to a state: the documented tables, and the words of the reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from triptych.localcloud.cloudwatch.evaluation import (
    Criteria,
    Point,
    judge,
    reason_data,
    too_few_samples,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
THRESHOLD = 10.0
RETAINED = None


def points(text: str) -> list[Point]:
    """``0`` below the threshold, ``X`` above it, ``-`` missing; oldest first, a minute each."""
    values = {"0": 1.0, "X": 99.0, "-": None}
    return [
        Point(START + timedelta(minutes=number), values[symbol]) for number, symbol in enumerate(text.split())
    ]


def criteria(m: int, n: int, missing: str = "missing", comparison: str = "GreaterThanThreshold") -> Criteria:
    return Criteria(comparison, THRESHOLD, n, m, missing)


DOCUMENTED = {
    # (M, N, data): missing, ignore, breaching, notBreaching
    "3 of 3, enough real data": (3, 3, "0 - X - X", "OK", "OK", "OK", "OK"),
    "3 of 3, one good point": (3, 3, "0 - - - -", "OK", "OK", "OK", "OK"),
    "3 of 3, nothing": (3, 3, "- - - - -", "INSUFFICIENT_DATA", RETAINED, "ALARM", "OK"),
    "3 of 3, three real breaches": (3, 3, "0 X X - X", "ALARM", "ALARM", "ALARM", "ALARM"),
    "3 of 3, premature": (3, 3, "- - X - -", "ALARM", RETAINED, "ALARM", "OK"),
    "2 of 3, enough real data": (2, 3, "0 - X - X", "ALARM", "ALARM", "ALARM", "ALARM"),
    "2 of 3, nothing missing": (2, 3, "0 0 X 0 X", "ALARM", "ALARM", "ALARM", "ALARM"),
    "2 of 3, one missing": (2, 3, "0 - X - -", "OK", "OK", "ALARM", "OK"),
    "2 of 3, one good point": (2, 3, "- - - - 0", "OK", "OK", "ALARM", "OK"),
    "2 of 3, premature": (2, 3, "- - - X -", "ALARM", RETAINED, "ALARM", "OK"),
}


@pytest.mark.parametrize(
    ("m", "n", "data", "missing", "ignore", "breaching", "not_breaching"), DOCUMENTED.values(), ids=DOCUMENTED
)
def test_the_documented_tables(
    m: int, n: int, data: str, missing: str, ignore: str | None, breaching: str, not_breaching: str
) -> None:
    wanted = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    found = {treat: judge(criteria(m, n, treat), points(data)).state for treat in wanted}
    assert found == wanted


FURTHER = {
    "not at once alarmed by the newest point alone": (3, 3, "missing", "- - - - X", "OK"),
    "nor by the one before": (3, 3, "missing", "- - - X -", "OK"),
    "older extra points do not count": (1, 3, "missing", "X X 0 0 0", "OK"),
    "1 of 3": (1, 3, "missing", "0 0 0 0 X", "ALARM"),
    "1 of 1, last real point": (1, 1, "missing", "X - -", "ALARM"),
    "1 of 1, recovered": (1, 1, "missing", "X 0 -", "OK"),
    "1 of 1, silence": (1, 1, "notBreaching", "- - -", "OK"),
    "ignore holds while what there is breaches": (3, 3, "ignore", "- - - - X", RETAINED),
    "breaching with too few missing": (3, 3, "breaching", "- 0 - - 0", "OK"),
    "not breaching still counts real breaches": (2, 4, "notBreaching", "- - - - X X", "ALARM"),
}


@pytest.mark.parametrize(("m", "n", "missing", "data", "state"), FURTHER.values(), ids=FURTHER)
def test_further_cases(m: int, n: int, missing: str, data: str, state: str | None) -> None:
    assert judge(criteria(m, n, missing), points(data)).state == state


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("GreaterThanThreshold", "OK", "OK", "ALARM"),
        ("GreaterThanOrEqualToThreshold", "OK", "ALARM", "ALARM"),
        ("LessThanThreshold", "ALARM", "OK", "OK"),
        ("LessThanOrEqualToThreshold", "ALARM", "ALARM", "OK"),
    ],
)
def test_comparisons(comparison: str, below: str, equal: str, above: str) -> None:
    found = [
        judge(criteria(1, 1, comparison=comparison), [Point(START, THRESHOLD + difference)]).state
        for difference in (-0.5, 0.0, 0.5)
    ]
    assert found == [below, equal, above]


REASONS = {
    "alarm": (
        (1, 1, "missing"),
        "0 0 X",
        "Threshold Crossed: 1 out of the last 1 datapoints [99.0 (01/03/26 12:02:00)] was greater than the "
        "threshold (10.0) (minimum 1 datapoint for OK -> ALARM transition).",
    ),
    "recovered": (
        (2, 3, "missing"),
        "0 0 X 0 0",
        "Threshold Crossed: 2 out of the last 3 datapoints [1.0 (01/03/26 12:04:00), 1.0 (01/03/26 12:03:00)] "
        "were not greater than the threshold (10.0) (minimum 2 datapoints for ALARM -> OK transition).",
    ),
    "missing treated as breaching": (
        (2, 2, "breaching"),
        "- - - -",
        "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as "
        "[Breaching].",
    ),
    "one missing treated as breaching": (
        (2, 2, "breaching"),
        "- - - 0",
        "Threshold Crossed: 1 datapoint [1.0 (01/03/26 12:03:00)] was not greater than the threshold (10.0) and "
        "1 missing datapoint was treated as [Breaching].",
    ),
    "insufficient": ((3, 3, "missing"), "- - - - -", "Insufficient Data: 3 datapoints were unknown."),
}


@pytest.mark.parametrize(("setting", "data", "reason"), REASONS.values(), ids=REASONS)
def test_reasons_are_in_the_words_of_aws(setting: tuple[int, int, str], data: str, reason: str) -> None:
    assert judge(criteria(*setting), points(data)).reason == reason


def test_reason_data_lists_what_was_judged() -> None:
    given = [
        Point(START, 1.0, 4.0),
        Point(START + timedelta(minutes=1), None),
        Point(START + timedelta(minutes=2), 12.5, 2.0),
    ]
    chosen = criteria(1, 2)
    data = reason_data(chosen, judge(chosen, given), START + timedelta(minutes=3), 60, "Average", "Percent")
    assert data == {
        "version": "1.0",
        "queryDate": "2026-03-01T12:03:00.000+0000",
        "startDate": "2026-03-01T12:00:00.000+0000",
        "unit": "Percent",
        "statistic": "Average",
        "period": 60,
        "recentDatapoints": [1.0, 12.5],
        "threshold": 10.0,
        "evaluatedDatapoints": [
            {"timestamp": "2026-03-01T12:02:00.000+0000", "sampleCount": 2.0, "value": 12.5},
            {"timestamp": "2026-03-01T12:00:00.000+0000", "sampleCount": 4.0, "value": 1.0},
        ],
    }


@pytest.mark.parametrize(
    ("percent", "samples", "few"),
    [
        (99, 999, True),
        (99, 1000, False),
        (50, 19, True),
        (50, 20, False),
        (10, 99, True),
        (10, 100, False),
        (100, 1, False),
    ],
)
def test_percentiles_of_few_samples(percent: float, samples: float, few: bool) -> None:
    assert too_few_samples(percent, [Point(START, 1.0, samples)]) is few
