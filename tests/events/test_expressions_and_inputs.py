"""When schedule expressions fire, and what targets are given."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from triptych.localcloud.events.expressions import InvalidExpression, parse_expression
from triptych.localcloud.events.inputs import target_input


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "after", "firings"),
    [
        pytest.param(
            "rate(5 minutes)", "UTC", "2026-01-01T00:07", ["2026-01-01T00:10", "2026-01-01T00:15"], id="rate"
        ),
        pytest.param("rate(1 day)", "UTC", "2026-01-01T00:00", ["2026-01-02T00:00"], id="rate, on the dot"),
        pytest.param(
            "rate(1 hour)", "UTC", "2025-12-31T22:30", ["2026-01-01T00:00"], id="rate, before its anchor"
        ),
        pytest.param(
            "at(2026-03-01T06:30:00)", "UTC", "2026-01-01T00:00", ["2026-03-01T06:30", None], id="at"
        ),
        pytest.param(
            "at(2026-07-01T06:30:00)",
            "America/New_York",
            "2026-01-01T00:00",
            ["2026-07-01T10:30"],
            id="at in a zone",
        ),
        pytest.param("at(2026-03-01T06:30:00)", "UTC", "2026-03-01T06:30", [None], id="at, over"),
        pytest.param("cron(0 6 * * ? *)", "UTC", "2026-01-01T06:00", ["2026-01-02T06:00"], id="daily"),
        pytest.param(
            "cron(0/15 8-9 * * ? *)",
            "UTC",
            "2026-01-01T08:40",
            ["2026-01-01T08:45", "2026-01-01T09:00"],
            id="steps and ranges",
        ),
        pytest.param(
            "cron(0 18 ? * MON-FRI *)",
            "UTC",
            "2026-01-02T18:00",
            ["2026-01-05T18:00"],
            id="weekdays: Friday, Monday",
        ),
        pytest.param("cron(0 0 ? * 1 *)", "UTC", "2026-01-01T00:00", ["2026-01-04T00:00"], id="1 is Sunday"),
        pytest.param(
            "cron(0 0 ? * FRI-MON *)",
            "UTC",
            "2026-01-02T00:00",
            ["2026-01-03T00:00", "2026-01-04T00:00", "2026-01-05T00:00", "2026-01-09T00:00"],
            id="a range over the weekend",
        ),
        pytest.param("cron(0 0 L * ? *)", "UTC", "2026-02-01T00:00", ["2026-02-28T00:00"], id="last day"),
        pytest.param(
            "cron(0 0 L-2 * ? *)", "UTC", "2026-02-01T00:00", ["2026-02-26T00:00"], id="two before the last"
        ),
        pytest.param(
            "cron(0 0 LW * ? *)", "UTC", "2026-01-01T00:00", ["2026-01-30T00:00"], id="last workday"
        ),
        pytest.param(
            "cron(0 0 1W * ? *)", "UTC", "2026-08-01T00:00", ["2026-08-03T00:00"], id="workday near the 1st"
        ),
        pytest.param(
            "cron(0 0 15W * ? *)", "UTC", "2026-02-01T00:00", ["2026-02-16T00:00"], id="Sunday to Monday"
        ),
        pytest.param(
            "cron(0 8 ? * 2#1 *)", "UTC", "2026-01-01T00:00", ["2026-01-05T08:00"], id="first Monday"
        ),
        pytest.param("cron(0 8 ? * 6L *)", "UTC", "2026-01-01T00:00", ["2026-01-30T08:00"], id="last Friday"),
        pytest.param(
            "cron(0 8 ? * MON#5 *)", "UTC", "2026-01-01T00:00", ["2026-03-30T08:00"], id="fifth Monday"
        ),
        pytest.param(
            "cron(0 0 29 FEB ? 2026-2030)",
            "UTC",
            "2026-01-01T00:00",
            ["2028-02-29T00:00", None],
            id="leap days",
        ),
        pytest.param("cron(0 0 1 1 ? 2025)", "UTC", "2026-01-01T00:00", [None], id="a year that is over"),
        pytest.param(
            "cron(0 6 * * ? *)",
            "Europe/Berlin",
            "2026-07-01T00:00",
            ["2026-07-01T04:00"],
            id="in a zone, summer",
        ),
        pytest.param(
            "cron(30 2 * * ? *)",
            "America/New_York",
            "2026-03-07T12:00",
            ["2026-03-09T06:30"],
            id="a wall time that daylight saving skips",
        ),
        pytest.param(
            "cron(30 1 * * ? *)",
            "America/New_York",
            "2026-10-31T12:00",
            ["2026-11-01T05:30", "2026-11-02T06:30"],
            id="a wall time that comes twice",
        ),
    ],
)
def test_an_expression_names_its_firings(
    expression: str, zone: str, after: str, firings: list[str | None]
) -> None:
    parsed = parse_expression(expression, zone)
    moment = at(after)
    for firing in firings:
        following = parsed.next_after(moment, at("2026-01-01T00:00"))
        assert following == (at(firing) if firing else None)
        moment = following or moment


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "5 minutes",
        "rate(0 minutes)",
        "rate(5)",
        "rate(5 weeks)",
        "cron(0 6 * * *)",
        "cron(0 6 * * * *)",
        "cron(0 6 ? * ? *)",
        "cron(60 6 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 0 32 * ? *)",
        "cron(0 0 * 13 ? *)",
        "cron(0 0 ? * XYZ *)",
        "cron(0 0 ? * 8 *)",
        "cron(0/0 0 * * ? *)",
        "at(2026-13-01T00:00:00)",
        "at(tomorrow)",
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidExpression):
        parse_expression(expression)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(InvalidExpression, match="Mars/Base"):
        parse_expression("cron(0 6 * * ? *)", "Mars/Base")


EVENT = {
    "id": "e-1",
    "source": "aws.s3",
    "detail-type": "Object Created",
    "resources": ["arn:one", "arn:two"],
    "detail": {
        "bucket": {"name": "data"},
        "object": {"key": 'a "b".csv', "size": 5},
        "list": [{"n": 1}, {"n": 2}],
    },
}
RULE = "arn:aws:events:us-east-1:123456789012:rule/upload"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param({}, EVENT, id="the event itself"),
        pytest.param({"Input": '{"a": 1}'}, {"a": 1}, id="constant"),
        pytest.param({"InputPath": "$.detail.object"}, EVENT["detail"]["object"], id="path"),  # type: ignore[index]
        pytest.param({"InputPath": "$.resources[1]"}, "arn:two", id="path with an index"),
        pytest.param({"InputPath": "$.detail-type"}, "Object Created", id="path with a hyphen"),
        pytest.param({"InputPath": "$.detail.list[*].n"}, [1, 2], id="path over all"),
        pytest.param({"InputPath": "$.detail.none"}, None, id="path to nothing"),
    ],
)
def test_a_target_is_given_what_it_asks_for(target: dict[str, Any], expected: Any) -> None:
    assert json.loads(target_input(target, EVENT, RULE, "now")) == expected


PATHS = {
    "bucket": "$.detail.bucket.name",
    "key": "$.detail.object.key",
    "size": "$.detail.object.size",
    "object": "$.detail.object",
    "gone": "$.detail.gone",
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            '{"bucket": <bucket>, "size": <size>, "object": <object>}',
            {"bucket": "data", "size": 5, "object": {"key": 'a "b".csv', "size": 5}},
            id="values outside quotes are JSON",
        ),
        pytest.param(
            '{"uri": "s3://<bucket>/<key>", "n": "<size>"}',
            {"uri": 's3://data/a "b".csv', "n": "5"},
            id="values inside quotes are escaped",
        ),
        pytest.param('"<bucket> got \\"<size>\\" bytes"', 'data got "5" bytes', id="a text template"),
        pytest.param('{"a": <gone>, "b": "<gone>"}', {"a": None, "b": ""}, id="an absent value"),
        pytest.param('{"a": "<unknown>"}', {"a": "<unknown>"}, id="an unknown name stays"),
        pytest.param(
            '{"rule": <aws.events.rule-name>, "arn": "<aws.events.rule-arn>"}',
            {"rule": "upload", "arn": RULE},
            id="the rule",
        ),
        pytest.param('{"all": <aws.events.event.json>}', {"all": EVENT}, id="the whole event"),
        pytest.param(
            '{"rest": <aws.events.event>}',
            {"rest": {name: value for name, value in EVENT.items() if name != "detail"}},
            id="the event without its detail",
        ),
    ],
)
def test_a_template_is_filled_in(template: str, expected: Any) -> None:
    target = {"InputTransformer": {"InputPathsMap": PATHS, "InputTemplate": template}}
    assert json.loads(target_input(target, EVENT, RULE, "now")) == expected
