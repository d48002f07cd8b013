"""Composite alarms' rules: ``ALARM("a") AND NOT (OK(b) OR INSUFFICIENT_DATA(c))``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from triptych.localcloud.cloudwatch.evaluation import STATES

MOST_CHILDREN = 100
MOST_ELEMENTS = 500

_TOKEN = re.compile(r'\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|([^\s()"]+))')

States = Callable[[str], str]
"""The state of an alarm by its name"""


class InvalidRule(ValueError):
    """The text is no rule."""


@dataclass(frozen=True)
class Rule:
    """A parsed rule: ``holds(state_of)`` and the ``children`` it asks about, in order of appearance."""

    holds: Callable[[States], bool]
    children: tuple[str, ...]


def parse_rule(text: str) -> Rule:
    """Raises InvalidRule, which says where the text goes wrong."""
    return _Parser(text).parse()


def alarm_name(reference: str) -> str:
    """The name in a reference, which may be an ARN."""
    return (
        reference.split(":alarm:", 1)[1]
        if reference.startswith("arn:") and ":alarm:" in reference
        else reference
    )


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str
    """``(``, ``)``, ``quoted`` or ``word``"""


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            if not text[position:].strip():
                return
            raise InvalidRule(f"unexpected text at position {position}: {text[position : position + 20]!r}")
        position = match.end()
        if match.group(1):
            yield _Token("(", "(")
        elif match.group(2):
            yield _Token(")", ")")
        elif match.group(3) is not None:
            yield _Token(re.sub(r"\\(.)", r"\1", match.group(3)), "quoted")
        else:
            yield _Token(match.group(4), "word")


class _Parser:
    """Recursive descent: OR binds weakest, then AND, then NOT."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._children: dict[str, None] = {}
        self._elements = 0

    def parse(self) -> Rule:
        if not self._tokens:
            raise InvalidRule("the rule is empty")
        holds = self._any()
        if self._peek() is not None:
            raise InvalidRule(f"unexpected {self._tokens[self._next].text!r} after the end of the rule")
        if len(self._children) > MOST_CHILDREN:
            raise InvalidRule(f"{len(self._children)} alarms; a rule has at most {MOST_CHILDREN}")
        if self._elements > MOST_ELEMENTS:
            raise InvalidRule(f"{self._elements} elements; a rule has at most {MOST_ELEMENTS}")
        return Rule(holds, tuple(self._children))

    def _any(self) -> Callable[[States], bool]:
        parts = [self._all()]
        while self._take_word("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda states: any(part(states) for part in parts)

    def _all(self) -> Callable[[States], bool]:
        parts = [self._negated()]
        while self._take_word("AND"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else lambda states: all(part(states) for part in parts)

    def _negated(self) -> Callable[[States], bool]:
        if self._take_word("NOT"):
            inner = self._negated()
            return lambda states: not inner(states)
        return self._operand()

    def _operand(self) -> Callable[[States], bool]:
        token = self._take("an operand")
        self._elements += 1
        if token.kind == "(":
            inner = self._any()
            self._close()
            return inner
        if token.kind == "word" and token.text in ("TRUE", "FALSE"):
            value = token.text == "TRUE"
            return lambda states: value
        if token.kind == "word" and token.text in STATES:
            return self._state(token.text)
        raise InvalidRule(f"{token.text!r} is neither TRUE, FALSE, a state function nor '('")

    def _state(self, wanted: str) -> Callable[[States], bool]:
        if self._take(f"'(' after {wanted}").kind != "(":
            raise InvalidRule(f"{wanted} must be followed by an alarm in parentheses")
        words = []
        while (token := self._take("')'")).kind != ")":
            if token.kind == "(":
                raise InvalidRule(f"{wanted} takes one alarm's name; put it in double quotes")
            words.append(token.text)
        if not words:
            raise InvalidRule(f"{wanted}() names no alarm")
        name = alarm_name(" ".join(words))
        self._children[name] = None
        return lambda states: states(name) == wanted

    def _close(self) -> None:
        if self._take("')'").kind != ")":
            raise InvalidRule("a parenthesis is not closed")

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self, wanted: str) -> _Token:
        token = self._peek()
        if token is None:
            raise InvalidRule(f"the rule ends where {wanted} is wanted")
        self._next += 1
        return token

    def _take_word(self, word: str) -> bool:
        token = self._peek()
        if token is not None and token.kind == "word" and token.text == word:
            self._next += 1
            return True
        return False
