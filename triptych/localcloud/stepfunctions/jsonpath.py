"""JSONPath in the dialect of Step Functions (Jayway's): compiled once, evaluated many times.

A *definite* path (only names and single indexes) has one value or fails; an *indefinite* one (wildcards,
slices, filters, unions, deep scans) has the list of what it finds, which may be empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from triptych.localcloud.stepfunctions.jsonpath_steps import (
    COMPARISONS,
    FUNCTIONS,
    MISSING,
    Step,
    Test,
    child_of,
    descend,
    each_child,
    filter_step,
    indexes_step,
    names_step,
    slice_step,
    wildcard,
)


class InvalidPath(ValueError):
    """The text is not a JSONPath."""


class PathNotFound(LookupError):
    """A definite path leads nowhere in this document."""


_NAME_END = frozenset(".[ ()=<>!&|,?@'\"]")


@dataclass(frozen=True)
class JsonPath:
    """A compiled path. ``root`` is ``input`` (``$``), ``context`` (``$$``) or ``variable`` (``$name``)."""

    text: str
    root: str
    variable: str | None
    keys: tuple[str | int, ...] | None
    """the plain way down, when the path is definite"""
    steps: tuple[Step, ...]
    function: str | None

    @property
    def definite(self) -> bool:
        return self.keys is not None

    def find(self, document: Any) -> Any:
        """The value (definite) or the list of values (indefinite); raises PathNotFound."""
        if self.keys is not None:
            value = self._walk(document)
        else:
            found: Iterable[Any] = (document,)
            for step in self.steps:
                found = step(found, document)
            value = list(found)
        return value if self.function is None else _apply(self.function, value, self.text)

    def _walk(self, document: Any) -> Any:
        value = document
        for position, key in enumerate(self.keys or ()):
            found = child_of(value, key)
            if found is MISSING:
                raise PathNotFound(self._explain(value, position))
            value = found
        return value

    def _explain(self, value: Any, position: int) -> str:
        keys = self.keys or ()
        key = keys[position]
        if isinstance(key, str) and isinstance(value, dict) and position < len(keys) - 1:
            return f"Missing property in path {_render(keys[: position + 1])}"
        if isinstance(key, str) and not isinstance(value, dict):
            return (
                f"Expected to find an object with property ['{key}'] in path {_render(keys[:position])} "
                "but found "
                f"'{_java_type(value)}'. This is not a json object according to the JsonProvider: "
                "'com.jayway.jsonpath.spi.json.JsonSmartJsonProvider'."
            )
        return f"No results for path: {_render(keys[: position + 1])}"


def _render(keys: Iterable[str | int]) -> str:
    return "$" + "".join(f"['{key}']" if isinstance(key, str) else f"[{key}]" for key in keys)


def _java_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, str):
        return "java.lang.String"
    if isinstance(value, int):
        return "java.lang.Integer" if -(2**31) <= value < 2**31 else "java.lang.Long"
    return "java.lang.Double" if isinstance(value, float) else "net.minidev.json.JSONArray"


def _apply(name: str, value: Any, text: str) -> Any:
    try:
        return FUNCTIONS[name](value)
    except (ValueError, ZeroDivisionError, TypeError) as error:
        raise PathNotFound(
            f"Aggregation function attempted to calculate value using empty array in {text}"
        ) from error


# ------------------------------------------------------------------------------------------------ parsing


@lru_cache(maxsize=4096)
def compile_path(text: str) -> JsonPath:
    """Parse a path; raises InvalidPath."""
    return _Parser(text).path()


class _Parser:
    def __init__(self, text: str, position: int = 0) -> None:
        self.text = text
        self.position = position

    def error(self, what: str) -> InvalidPath:
        return InvalidPath(f"{what} at position {self.position} of {self.text!r}")

    def peek(self) -> str:
        return self.text[self.position] if self.position < len(self.text) else ""

    def take(self, token: str) -> bool:
        if self.text.startswith(token, self.position):
            self.position += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.error(f"expected {token!r}")

    def spaces(self) -> None:
        while self.peek() in (" ", "\t", "\n", "\r") and self.peek():
            self.position += 1

    def path(self) -> JsonPath:
        self.expect("$")
        root, variable = "input", None
        if self.take("$"):
            root = "context"
        elif match := re.compile(r"[^\W\d]\w*").match(self.text, self.position):
            root, variable = "variable", match.group()
            self.position = match.end()
        parts, function = self.parts()
        if self.position != len(self.text):
            raise self.error(f"unexpected {self.peek()!r}")
        return _assemble(self.text, root, variable, parts, function)

    def parts(self) -> tuple[list[Any], str | None]:
        """Steps from here on: a str or int is a plain key, a callable anything else."""
        parts: list[Any] = []
        while True:
            if self.take(".."):
                parts.append(descend)
                if self.peek() == "[":
                    continue
                parts.append(wildcard if self.take("*") else each_child(self.name()))
            elif self.take("."):
                if self.take("*"):
                    parts.append(wildcard)
                    continue
                if self.peek() == "[":
                    raise self.error("unexpected '['")
                name = self.name()
                if self.take("("):
                    self.spaces()
                    self.expect(")")
                    if name not in FUNCTIONS:
                        raise self.error(f"no function {name!r}")
                    return parts, name
                parts.append(name)
            elif self.peek() == "[":
                parts.append(self.bracket())
            else:
                return parts, None

    def name(self) -> str:
        start = self.position
        while self.position < len(self.text) and self.text[self.position] not in _NAME_END:
            self.position += 1
        if start == self.position:
            raise self.error("expected a name")
        return self.text[start : self.position]

    def quoted(self) -> str:
        quote = self.peek()
        if quote not in ("'", '"'):
            raise self.error("expected a quoted name")
        self.position += 1
        out = []
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == "\\" and self.position < len(self.text):
                out.append(self.text[self.position])
                self.position += 1
            elif character == quote:
                return "".join(out)
            else:
                out.append(character)
        raise self.error("unterminated string")

    def bracket(self) -> Any:
        self.expect("[")
        self.spaces()
        if self.take("*"):
            self.spaces()
            self.expect("]")
            return wildcard
        if self.take("?"):
            self.spaces()
            self.expect("(")
            test = self.disjunction()
            self.spaces()
            self.expect(")")
            self.spaces()
            self.expect("]")
            return filter_step(test)
        if self.peek() in ("'", '"'):
            names = [self.quoted()]
            self.spaces()
            while self.take(","):
                self.spaces()
                names.append(self.quoted())
                self.spaces()
            self.expect("]")
            return names[0] if len(names) == 1 else names_step(tuple(names))
        return self.indexes()

    def integer(self) -> int | None:
        self.spaces()
        match = re.compile(r"-?\d+").match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        self.spaces()
        return int(match.group())

    def indexes(self) -> Any:
        first = self.integer()
        if self.take(":"):
            last = self.integer()
            self.expect("]")
            return slice_step(first, last)
        if first is None:
            raise self.error("expected an index, a name, a slice or a filter")
        numbers = [first]
        while self.take(","):
            number = self.integer()
            if number is None:
                raise self.error("expected an index")
            numbers.append(number)
        self.expect("]")
        return first if len(numbers) == 1 else indexes_step(tuple(numbers))

    # filters

    def disjunction(self) -> Test:
        tests = [self.conjunction()]
        self.spaces()
        while self.take("||"):
            tests.append(self.conjunction())
            self.spaces()
        return tests[0] if len(tests) == 1 else (lambda item, root: any(test(item, root) for test in tests))

    def conjunction(self) -> Test:
        tests = [self.negation()]
        self.spaces()
        while self.take("&&"):
            tests.append(self.negation())
            self.spaces()
        return tests[0] if len(tests) == 1 else (lambda item, root: all(test(item, root) for test in tests))

    def negation(self) -> Test:
        self.spaces()
        if self.take("!"):
            test = self.negation()
            return lambda item, root: not test(item, root)
        if self.take("("):
            inner = self.disjunction()
            self.spaces()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Test:
        left, left_is_path = self.operand()
        self.spaces()
        for symbol in ("==", "!=", "<=", ">=", "=~", "<", ">"):
            if self.take(symbol):
                right, _ = self.pattern() if symbol == "=~" else self.operand()
                compare = COMPARISONS[symbol]
                return lambda item, root: compare(left(item, root), right(item, root))
        match = re.compile(r"(in|nin|subsetof|anyof|noneof|size|empty|contains)\b").match(
            self.text, self.position
        )
        if match:
            self.position = match.end()
            right, _ = self.operand()
            compare = COMPARISONS[match.group(1)]
            return lambda item, root: compare(left(item, root), right(item, root))
        if not left_is_path:
            raise self.error("expected a comparison")
        return lambda item, root: left(item, root) is not MISSING

    def pattern(self) -> tuple[Operand, bool]:
        self.spaces()
        match = re.compile(r"/((?:\\.|[^/\\])*)/([a-z]*)").match(self.text, self.position)
        if match is None:
            raise self.error("expected a /regular expression/")
        self.position = match.end()
        flags = re.IGNORECASE if "i" in match.group(2) else 0
        try:
            compiled = re.compile(match.group(1), flags)
        except re.error as error:
            raise self.error(f"bad regular expression: {error}") from error
        return (lambda item, root: compiled), False

    def operand(self) -> tuple[Operand, bool]:
        self.spaces()
        character = self.peek()
        if character in ("@", "$"):
            from_root = character == "$"
            self.position += 1
            parts, function = self.parts()
            path = _assemble(self.text, "input", None, parts, function)
            return _path_operand(path, from_root), True
        if character in ("'", '"'):
            text = self.quoted()
            return (lambda item, root: text), False
        if character == "[":
            self.position += 1
            values: list[Any] = []
            self.spaces()
            while not self.take("]"):
                operand, _ = self.operand()
                values.append(operand(None, None))
                self.spaces()
                self.take(",")
                self.spaces()
            return (lambda item, root: values), False
        match = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null").match(self.text, self.position)
        if match is None:
            raise self.error("expected a value")
        self.position = match.end()
        word = match.group()
        value: Any = {"true": True, "false": False, "null": None}.get(word, MISSING)
        if value is MISSING:
            value = float(word) if re.search(r"[.eE]", word) else int(word)
        return (lambda item, root: value), False


Operand = Callable[[Any, Any], Any]


def _assemble(text: str, root: str, variable: str | None, parts: list[Any], function: str | None) -> JsonPath:
    if all(isinstance(part, (str, int)) for part in parts):
        return JsonPath(text, root, variable, tuple(parts), (), function)
    steps = tuple(each_child(part) if isinstance(part, (str, int)) else part for part in parts)
    return JsonPath(text, root, variable, None, steps, function)


def _path_operand(path: JsonPath, from_root: bool) -> Operand:
    def value(item: Any, root: Any) -> Any:
        try:
            return path.find(root if from_root else item)
        except PathNotFound:
            return MISSING

    return value
