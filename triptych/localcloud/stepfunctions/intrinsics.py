"""The intrinsic functions (``States.Format(…)`` and its kin): parsed when a definition is, then evaluated.

Specification: https://states-language.net/#intrinsic-functions
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from triptych.localcloud.stepfunctions.failures import INTRINSIC_FAILURE, ProcessingFailure
from triptych.localcloud.stepfunctions.jsonpath import InvalidPath, JsonPath, PathNotFound, compile_path
from triptych.localcloud.stepfunctions.jsontext import decode, encode, is_number
from triptych.localcloud.stepfunctions.scope import Scope

MAX_RANGE = 1_000
MAX_TEXT = 10_000
_HASHES = {
    "MD5": hashlib.md5,
    "SHA-1": hashlib.sha1,
    "SHA-256": hashlib.sha256,
    "SHA-384": hashlib.sha384,
    "SHA-512": hashlib.sha512,
}


class InvalidIntrinsic(ValueError):
    """The text is no call of a known intrinsic function."""


@dataclass(frozen=True)
class Literal:
    value: Any
    raw: str | None = None
    """a string as written, with its escapes: Format needs to tell ``{}`` from ``\\{\\}``"""


@dataclass(frozen=True)
class Call:
    """A call of an intrinsic function, arguments still to be evaluated."""

    name: str
    arguments: tuple[Literal | JsonPath | Call, ...]
    text: str

    def evaluate(self, scope: Scope) -> Any:
        """The function's value; raises ProcessingFailure (States.Runtime or States.IntrinsicFailure)."""
        values = [self._argument(argument, scope) for argument in self.arguments]
        try:
            if self.name == "States.Format":
                return _format(self.arguments[0], values)
            if self.name in ("States.UUID", "States.MathRandom"):
                return _RANDOM[self.name](scope.random, *values)
            return _FUNCTIONS[self.name][0](*values)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise ProcessingFailure(
                f"The function '{self.text}' had the following error: {error}", INTRINSIC_FAILURE
            ) from error

    def _argument(self, argument: Literal | JsonPath | Call, scope: Scope) -> Any:
        if isinstance(argument, Literal):
            return argument.value
        if isinstance(argument, Call):
            return argument.evaluate(scope)
        try:
            return scope.find(argument)
        except PathNotFound as error:
            raise ProcessingFailure(
                f"The function '{self.text}' had the following error: The JsonPath argument for the field "
                f"'{argument.text}' could not be found in the input '{encode(scope.input)}'"
            ) from error


# ------------------------------------------------------------------------------------------------ parsing

_NAME = re.compile(r"States\.[A-Za-z0-9]+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WORD = re.compile(r"true|false|null")


@lru_cache(maxsize=4096)
def compile_intrinsic(text: str) -> Call:
    """Parse ``States.Name(argument, …)``; raises InvalidIntrinsic."""
    parser = _Parser(text)
    call = parser.call()
    parser.spaces()
    if parser.position != len(text):
        raise InvalidIntrinsic(f"unexpected text after the call in {text!r}")
    return call


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def spaces(self) -> None:
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1

    def call(self) -> Call:
        start = self.position
        match = _NAME.match(self.text, self.position)
        if match is None or match.group() not in _ARITY:
            raise InvalidIntrinsic(f"no intrinsic function at position {self.position} of {self.text!r}")
        self.position = match.end()
        if self.text[self.position : self.position + 1] != "(":
            raise InvalidIntrinsic(f"expected '(' at position {self.position} of {self.text!r}")
        self.position += 1
        arguments: list[Literal | JsonPath | Call] = []
        self.spaces()
        if self.text[self.position : self.position + 1] == ")":
            self.position += 1
        else:
            while True:
                arguments.append(self.argument())
                self.spaces()
                separator = self.text[self.position : self.position + 1]
                self.position += 1
                if separator == ")":
                    break
                if separator != ",":
                    raise InvalidIntrinsic(
                        f"expected ',' or ')' at position {self.position - 1} of {self.text!r}"
                    )
        least, most = _ARITY[match.group()]
        if not least <= len(arguments) <= most:
            raise InvalidIntrinsic(f"{match.group()} takes another number of arguments than {len(arguments)}")
        return Call(match.group(), tuple(arguments), self.text[start : self.position])

    def argument(self) -> Literal | JsonPath | Call:
        self.spaces()
        character = self.text[self.position : self.position + 1]
        if character == "'":
            return self.string()
        if character == "$":
            return self.path()
        for pattern in (_NUMBER, _WORD):
            if match := pattern.match(self.text, self.position):
                self.position = match.end()
                return Literal(json.loads(match.group()))
        return self.call()

    def string(self) -> Literal:
        self.position += 1
        out: list[str] = []
        raw: list[str] = []
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == "'":
                return Literal("".join(out), "".join(raw))
            if character == "\\":
                escaped = self.text[self.position : self.position + 1]
                if escaped not in ("'", "\\", "{", "}"):
                    raise InvalidIntrinsic(f"illegal escape '\\{escaped}' in {self.text!r}")
                self.position += 1
                out.append(escaped)
                raw.append("\\" + escaped)
            else:
                out.append(character)
                raw.append(character)
        raise InvalidIntrinsic(f"unterminated string in {self.text!r}")

    def path(self) -> JsonPath:
        start, depth, quote = self.position, 0, ""
        while self.position < len(self.text):
            character = self.text[self.position]
            if quote:
                if character == "\\":
                    self.position += 1
                elif character == quote:
                    quote = ""
            elif character in "'\"":
                quote = character
            elif character in "[(":
                depth += 1
            elif character in "])":
                if depth == 0:
                    break
                depth -= 1
            elif character == "," and depth == 0:
                break
            self.position += 1
        try:
            return compile_path(self.text[start : self.position].rstrip())
        except InvalidPath as error:
            raise InvalidIntrinsic(str(error)) from error


# ------------------------------------------------------------------------------------------------ functions


def java_text(value: Any) -> str:
    """A value as Format writes it: strings bare, objects as ``{key=value}``."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "[" + ", ".join(map(java_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java_text(item)}" for key, item in value.items()) + "}"
    return encode(value)


def _format(template: Literal | JsonPath | Call, values: list[Any]) -> str:
    text = template.raw if isinstance(template, Literal) and template.raw is not None else values[0]
    if not isinstance(text, str):
        raise ValueError("the first argument must be a string")
    waiting = iter(values[1:])
    out: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2] in ("'", "\\", "{", "}"):
            out.append(text[position + 1])
            position += 2
        elif text.startswith("{}", position):
            try:
                out.append(java_text(next(waiting)))
            except StopIteration:
                raise ValueError("number of arguments do not match the occurrences of {}") from None
            position += 2
        else:
            out.append(text[position])
            position += 1
    if next(waiting, None) is not None:
        raise ValueError("number of arguments do not match the occurrences of {}")
    return "".join(out)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string but was {encode(value)}")
    return value


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected an array but was {encode(value)}")
    return value


def _whole(value: Any) -> int:
    """An integer; fractions round half up, as Java's Math.round does."""
    if not is_number(value):
        raise ValueError(f"expected a number but was {encode(value)}")
    return value if isinstance(value, int) else math.floor(value + 0.5)


def _limited(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(f"the string is longer than {MAX_TEXT} characters")
    return text


def _string_to_json(text: Any) -> Any:
    return decode(text) if _text(text).strip() else None


def _partition(array: Any, size: Any) -> list[list[Any]]:
    items, width = _array(array), _whole(size)
    if width < 1:
        raise ValueError("the chunk size must be a positive number")
    return [items[start : start + width] for start in range(0, len(items), width)]


def _range(first: Any, last: Any, step: Any) -> list[int]:
    start, end, stride = _whole(first), _whole(last), _whole(step)
    if stride == 0:
        raise ValueError("the increment must not be zero")
    numbers = range(start, end + (1 if stride > 0 else -1), stride)
    if len(numbers) > MAX_RANGE:
        raise ValueError(f"the array would have more than {MAX_RANGE} elements")
    return list(numbers)


def _get_item(array: Any, index: Any) -> Any:
    items, position = _array(array), _whole(index)
    if not 0 <= position < len(items):
        raise ValueError(f"the index {position} is out of bounds for an array of length {len(items)}")
    return items[position]


def _identity(value: Any) -> str:
    """Equal JSON values have equal texts: 1 and 1.0 are two, key order does not matter."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _unique(array: Any) -> list[Any]:
    first: dict[str, Any] = {}
    for item in _array(array):
        first.setdefault(_identity(item), item)
    return list(first.values())


def _contains(array: Any, wanted: Any) -> bool:
    identity = _identity(wanted)
    return any(_identity(item) == identity for item in _array(array))


def _base64_encode(text: Any) -> str:
    return base64.b64encode(_limited(_text(text)).encode()).decode()


def _base64_decode(text: Any) -> str:
    try:
        return base64.b64decode(_limited(_text(text)), validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise ValueError("the argument is not valid Base64") from error


def hash_text(data: Any, algorithm: Any) -> str:
    """A hexadecimal digest; data other than strings are hashed as their JSON text."""
    if algorithm not in _HASHES:
        raise ValueError(f"the algorithm must be one of {', '.join(_HASHES)}")
    return _HASHES[algorithm](_limited(data if isinstance(data, str) else encode(data)).encode()).hexdigest()


def _merge(first: Any, second: Any, deep: Any) -> dict[str, Any]:
    if not isinstance(first, dict) or not isinstance(second, dict):
        raise ValueError("both arguments must be objects")
    if deep is not False:
        raise ValueError("only the shallow merge (false) is supported")
    return {**first, **second}


def _split(text: Any, splitter: Any) -> list[str]:
    characters = "".join(map(re.escape, _text(splitter)))
    return (
        [part for part in re.split(f"[{characters}]", _text(text)) if part] if characters else [_text(text)]
    )


def _math_random(source: random.Random, first: Any, last: Any, seed: Any = None) -> int:
    start, end = _whole(first), _whole(last)
    if start >= end:
        raise ValueError("the start must be less than the end")
    return (source if seed is None else random.Random(_whole(seed))).randrange(start, end)


def uuid_text(source: random.Random) -> str:
    """A version 4 UUID."""
    digits = f"{(source.getrandbits(128) & ~(0xF << 76) | (4 << 76)) & ~(3 << 62) | (2 << 62):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_MANY = 10_000
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "States.StringToJson": (_string_to_json, 1, 1),
    "States.JsonToString": (encode, 1, 1),
    "States.Array": (lambda *values: list(values), 0, _MANY),
    "States.ArrayPartition": (_partition, 2, 2),
    "States.ArrayContains": (_contains, 2, 2),
    "States.ArrayRange": (_range, 3, 3),
    "States.ArrayGetItem": (_get_item, 2, 2),
    "States.ArrayLength": (lambda array: len(_array(array)), 1, 1),
    "States.ArrayUnique": (_unique, 1, 1),
    "States.Base64Encode": (_base64_encode, 1, 1),
    "States.Base64Decode": (_base64_decode, 1, 1),
    "States.Hash": (hash_text, 2, 2),
    "States.JsonMerge": (_merge, 3, 3),
    "States.MathAdd": (lambda first, second: _whole(first) + _whole(second), 2, 2),
    "States.StringSplit": (_split, 2, 2),
}
_RANDOM: dict[str, Callable[..., Any]] = {"States.MathRandom": _math_random, "States.UUID": uuid_text}
_ARITY: dict[str, tuple[int, int]] = {
    **{name: (least, most) for name, (_, least, most) in _FUNCTIONS.items()},
    "States.Format": (1, _MANY),
    "States.MathRandom": (2, 3),
    "States.UUID": (0, 0),
}
