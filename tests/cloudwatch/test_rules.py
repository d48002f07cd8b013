"""Composite alarms' rules: what holds, and what is no rule."""

from __future__ import annotations

import pytest

from triptych.localcloud.cloudwatch.rules import InvalidRule, parse_rule

STATES = {
    "a": "ALARM",
    "b": "OK",
    "c": "INSUFFICIENT_DATA",
    "with space (1)": "ALARM",
    "path/to-x": "OK",
    "AND": "OK",
}

HOLDS = {
    "ALARM(a)": True,
    "OK(a)": False,
    'ALARM("a")': True,
    "ALARM( a )": True,
    'ALARM("with space (1)")': True,
    "ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:a)": True,
    "OK(path/to-x)": True,
    'OK("AND")': True,
    "INSUFFICIENT_DATA(c)": True,
    "TRUE": True,
    "FALSE": False,
    "NOT FALSE": True,
    "NOT NOT ALARM(a)": True,
    "ALARM(a) AND OK(b)": True,
    "ALARM(b) OR ALARM(a)": True,
    "ALARM(b) OR ALARM(a) AND FALSE": False,
    "(ALARM(b) OR ALARM(a)) AND TRUE": True,
    "NOT ALARM(b) AND ALARM(a)": True,
    "NOT (ALARM(b) OR ALARM(a))": False,
    "ALARM(a)\n  AND\tOK(b)": True,
    "((((TRUE))))": True,
}


@pytest.mark.parametrize(("text", "holds"), HOLDS.items(), ids=HOLDS)
def test_rules(text: str, holds: bool) -> None:
    assert parse_rule(text).holds(STATES.__getitem__) is holds


def test_children_are_named_once_in_order() -> None:
    assert parse_rule("ALARM(b) OR OK(a) OR NOT ALARM(b)").children == ("b", "a")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("ALARM", "ends where '\\('"),
        ("ALARM()", "names no alarm"),
        ("ALARM(a", "ends where"),
        ("ALARM a", "followed by an alarm"),
        ("ALARM(a))", "after the end"),
        ("ALARM(a) ALARM(b)", "after the end"),
        ("ALARM(a) AND", "ends where an operand"),
        ("AND ALARM(a)", "neither TRUE"),
        ("alarm(a)", "neither TRUE"),
        ("ALARM(a(b))", "double quotes"),
        ('ALARM("a)', "unexpected text|ends where"),
        ("(TRUE", "ends where"),
        (" OR ".join(f"ALARM(a{number})" for number in range(101)), "101 alarms"),
        (" OR ".join(["TRUE"] * 501), "501 elements"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_rule_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidRule, match=why):
        parse_rule(text)
