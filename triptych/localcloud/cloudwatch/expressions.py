"""Metric math: expressions over metrics, parsed once and evaluated on time series.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from triptych.localcloud.cloudwatch.functions import FUNCTIONS, METRICS
from triptych.localcloud.cloudwatch.timeseries import (
    Environment,
    InvalidExpression,
    Series,
    Value,
    combine,
)

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<symbol>&&|\|\||<=|>=|==|!=|[-+*/^()\[\],<>]))""",
    re.VERBOSE,
)
_NOT_SERVED = ("SEARCH", "ANOMALY_DETECTION_BAND", "INSIGHT_RULE_METRIC", "DB_PERF_INSIGHTS", "LAMBDA",
               "SERVICE_QUOTA", "SORT", "SLICE", "SELECT")  # fmt: skip

Evaluate = Callable[[Environment], Value]

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Expression:
    """A parsed expression; ``names`` are the ids it refers to."""

    text: str
    evaluate: Evaluate
    names: frozenset[str]


def parse(text: str) -> Expression:
    """Raises InvalidExpression, which says where the text goes wrong."""
    return _Parser(text).parse()


class _Parser:
    """Precedence climbing: OR, AND, comparisons, sums, products, signs, powers."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._wrong(f"unexpected text {text[position:].strip()[:20]!r}")
            position = match.end()
            kind = str(match.lastgroup)
            self._tokens.append((kind, match.group(kind)))
        self._next = 0
        self._names: set[str] = set()

    def parse(self) -> Expression:
        evaluate = self._either()
        if self._next < len(self._tokens):
            raise self._wrong(f"unexpected {self._tokens[self._next][1]!r}")
        return Expression(self._text, evaluate, frozenset(self._names))

    def _wrong(self, what: str) -> InvalidExpression:
        return InvalidExpression(f"Expression '{self._text}': {what}")

    def _either(self) -> Evaluate:
        return self._binary(
            self._both, {name: lambda a, b: float(bool(a) or bool(b)) for name in ("OR", "||")}
        )

    def _both(self) -> Evaluate:
        return self._binary(
            self._compared, {name: lambda a, b: float(bool(a) and bool(b)) for name in ("AND", "&&")}
        )

    def _compared(self) -> Evaluate:
        def truth(compare: Callable[[float, float], bool]) -> Callable[[float, float], float]:
            return lambda a, b: float(compare(a, b))

        return self._binary(self._sum, {name: truth(compare) for name, compare in _COMPARISONS.items()})

    def _sum(self) -> Evaluate:
        return self._binary(self._product, {"+": operator.add, "-": operator.sub})

    def _product(self) -> Evaluate:
        return self._binary(self._signed, {"*": operator.mul, "/": operator.truediv})

    def _binary(
        self, operand: Callable[[], Evaluate], operators: Mapping[str, Callable[[float, float], float]]
    ) -> Evaluate:
        left = operand()
        while (found := self._take_one(operators)) is not None:
            left = _applied(operators[found], left, operand())
        return left

    def _signed(self) -> Evaluate:
        sign = self._take_one({"-", "+"})
        if sign is None:
            return self._power()
        inner = self._signed()
        return _applied(operator.sub, lambda _: 0.0, inner) if sign == "-" else inner

    def _power(self) -> Evaluate:
        base = self._primary()
        if self._take_one({"^"}) is None:
            return base
        return _applied(operator.pow, base, self._signed())

    def _primary(self) -> Evaluate:
        if self._next >= len(self._tokens):
            raise self._wrong("it ends where an operand is wanted")
        kind, text = self._tokens[self._next]
        self._next += 1
        if kind == "number":
            number = float(text)
            return lambda _: number
        if kind == "text":
            inner = text[1:-1]
            return lambda _: inner
        if text == "(":
            value = self._either()
            self._expect(")")
            return value
        if text == "[":
            return self._array()
        if kind == "name":
            return self._named(text)
        raise self._wrong(f"unexpected {text!r}")

    def _array(self) -> Evaluate:
        parts = self._arguments("]")

        def evaluate(environment: Environment) -> Value:
            found: list[Series] = []
            for part in parts:
                value = part(environment)
                if isinstance(value, Series):
                    found.append(value)
                elif isinstance(value, list):
                    found += value
                else:
                    raise self._wrong("an array holds time series")
            return found

        return evaluate

    def _named(self, name: str) -> Evaluate:
        if self._peek() == "(" and not name[0].islower():
            return self._call(name)
        if name in ("TRUE", "FALSE"):
            truth = float(name == "TRUE")
            return lambda _: truth
        if name in ("REPEAT", "LINEAR"):
            return lambda _: name
        if name in _NOT_SERVED:
            raise self._wrong(f"{name} is not served by the local cloud")
        self._names.add(name)

        def evaluate(environment: Environment) -> Value:
            if name not in environment.values:
                raise self._wrong(f"there is no '{name}'")
            return environment.values[name]

        return evaluate

    def _call(self, name: str) -> Evaluate:
        self._expect("(")
        arguments = self._arguments(")")
        if name == METRICS:
            return self._metrics(arguments)
        if name not in FUNCTIONS:
            served = "is not served by the local cloud" if name in _NOT_SERVED else "is no function"
            raise self._wrong(f"{name} {served}; use one of {', '.join([*sorted(FUNCTIONS), METRICS])}")
        least, most, function = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self._wrong(f"{name} takes {wanted} arguments, not {len(arguments)}")

        def evaluate(environment: Environment) -> Value:
            values = [argument(environment) for argument in arguments]
            try:
                return function(environment, *values)
            except InvalidExpression as error:
                raise self._wrong(f"{name}: {error}") from None

        return evaluate

    def _metrics(self, arguments: Sequence[Evaluate]) -> Evaluate:
        if len(arguments) > 1:
            raise self._wrong("METRICS takes at most one text")

        def evaluate(environment: Environment) -> Value:
            part = arguments[0](environment) if arguments else ""
            if not isinstance(part, str):
                raise self._wrong("METRICS takes a text in quotes")
            return [series for name, series in environment.metrics.items() if part in name]

        return evaluate

    def _arguments(self, closing: str) -> list[Evaluate]:
        found: list[Evaluate] = []
        if self._take_one({closing}) is not None:
            return found
        while True:
            found.append(self._either())
            if self._take_one({closing}) is not None:
                return found
            self._expect(",")

    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _take_one(self, wanted: Mapping[str, object] | set[str]) -> str | None:
        found = self._peek()
        if found and found in wanted and self._tokens[self._next][0] in ("symbol", "name"):
            self._next += 1
            return found
        return None

    def _expect(self, symbol: str) -> None:
        if self._take_one({symbol}) is None:
            raise self._wrong(f"'{symbol}' is wanted before {self._peek()!r}")


def _applied(function: Callable[[float, float], float], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda environment: combine(function, left(environment), right(environment))
