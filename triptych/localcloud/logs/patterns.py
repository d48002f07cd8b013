"""CloudWatch Logs' filter patterns: terms over text, and conditions over JSON messages.

Source of the syntax: Amazon CloudWatch Logs user guide, "Filter pattern syntax".
"""

from __future__ import annotations

import fnmatch
import json
import operator
import re
from collections.abc import Callable
from typing import Any

from triptych.localcloud.service import ServiceError

Matcher = Callable[[str], bool]

_TERM = re.compile(r'([-?]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))')
_CONDITION = re.compile(
    r"""\s*\$\.(?P<path>[\w.\[\]-]+)\s*
        (?: (?P<keyword>IS\ NULL|IS\ TRUE|IS\ FALSE|NOT\ EXISTS|EXISTS)
          | (?P<operator>!=|>=|<=|=|>|<)\s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s()&|]+) )\s*""",
    re.VERBOSE,
)
MISSING = object()
"""what ``lookup`` gives for a member that is not there"""
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def compile_pattern(pattern: str) -> Matcher:
    """A test for messages; an empty pattern matches all. Raises InvalidParameterException."""
    text = pattern.strip()
    if not text:
        return lambda message: True
    if text.startswith("{"):
        if not text.endswith("}"):
            raise _invalid(pattern)
        condition = _Conditions(text[1:-1], pattern).parse()

        def matches(message: str) -> bool:
            try:
                document = json.loads(message)
            except ValueError:
                return False
            return isinstance(document, dict) and condition(document)

        return matches
    if text.startswith("%") and text.endswith("%") and len(text) > 2:
        try:
            expression = re.compile(text[1:-1])
        except re.error as error:
            raise _invalid(pattern) from error
        return lambda message: expression.search(message) is not None
    if text.startswith("["):
        raise ServiceError(
            "InvalidParameterException",
            "Space-delimited filter patterns ([a, b, …]) are not served here; use terms or { $.member = … }",
        )
    return _terms(text)


def _terms(text: str) -> Matcher:
    wanted: list[str] = []
    optional: list[str] = []
    excluded: list[str] = []
    for sign, quoted, plain in _TERM.findall(text):
        term = quoted.replace('\\"', '"') if quoted else plain
        {"": wanted, "?": optional, "-": excluded}[sign].append(term)

    def matches(message: str) -> bool:
        return (
            all(term in message for term in wanted)
            and not any(term in message for term in excluded)
            and (not optional or any(term in message for term in optional))
        )

    return matches


class _Conditions:
    """A small parser of ``a && (b || c)``."""

    def __init__(self, text: str, pattern: str) -> None:
        self._rest = text.strip()
        self._pattern = pattern

    def parse(self) -> Callable[[Any], bool]:
        condition = self._any()
        if self._rest:
            raise _invalid(self._pattern)
        return condition

    def _any(self) -> Callable[[Any], bool]:
        parts = [self._all()]
        while self._take("||"):
            parts.append(self._all())
        return lambda document: any(part(document) for part in parts)

    def _all(self) -> Callable[[Any], bool]:
        parts = [self._one()]
        while self._take("&&"):
            parts.append(self._one())
        return lambda document: all(part(document) for part in parts)

    def _one(self) -> Callable[[Any], bool]:
        if self._take("("):
            inner = self._any()
            if not self._take(")"):
                raise _invalid(self._pattern)
            return inner
        found = _CONDITION.match(self._rest)
        if not found:
            raise _invalid(self._pattern)
        self._rest = self._rest[found.end() :]
        path = found["path"]
        if found["keyword"]:
            return _keyword(path, found["keyword"])
        return _comparison(path, found["operator"], found["value"])

    def _take(self, token: str) -> bool:
        self._rest = self._rest.lstrip()
        if self._rest.startswith(token):
            self._rest = self._rest[len(token) :]
            return True
        return False


def _keyword(path: str, keyword: str) -> Callable[[Any], bool]:
    tests: dict[str, Callable[[Any], bool]] = {
        "IS NULL": lambda value: value is None,
        "IS TRUE": lambda value: value is True,
        "IS FALSE": lambda value: value is False,
        "EXISTS": lambda value: value is not MISSING,
        "NOT EXISTS": lambda value: value is MISSING,
    }
    test = tests[keyword]
    return lambda document: test(lookup(document, path))


def _comparison(path: str, sign: str, text: str) -> Callable[[Any], bool]:
    wanted = text[1:-1].replace('\\"', '"') if text.startswith('"') else text
    number = _number(wanted)

    def equal(value: Any) -> bool:
        if isinstance(value, bool) or value is None or isinstance(value, dict | list):
            return False
        if isinstance(value, int | float):
            return number is not None and value == number
        return value is not MISSING and fnmatch.fnmatchcase(str(value), wanted)

    if sign == "=":
        return lambda document: equal(lookup(document, path))
    if sign == "!=":
        return lambda document: (value := lookup(document, path)) is not MISSING and not equal(value)
    compare = _COMPARISONS[sign]

    def ordered(document: Any) -> bool:
        value = lookup(document, path)
        number_like = isinstance(value, int | float) and not isinstance(value, bool)
        return number is not None and number_like and compare(value, number)

    return ordered


def lookup(document: Any, path: str) -> Any:
    """The member at ``path`` (``a.b[0].c``, without ``$.``), or MISSING."""
    value = document
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return MISSING
    return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _invalid(pattern: str) -> ServiceError:
    return ServiceError("InvalidParameterException", f"Invalid filter pattern: {pattern}")
