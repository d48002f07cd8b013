"""A validated definition, compiled: blocks of states whose expressions are ready to evaluate.

States compile on first use, so that a machine of a thousand states costs little to create or to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from triptych.localcloud.stepfunctions.choices import Rule, compile_rule
from triptych.localcloud.stepfunctions.jsonata_query import Query, compile_json
from triptych.localcloud.stepfunctions.jsonpath import JsonPath, compile_path
from triptych.localcloud.stepfunctions.templates import Evaluator, compile_template, expression_evaluator

JSONPATH = "JSONPath"
JSONATA = "JSONata"
Pointer = tuple[str | int, ...]
_ROOT = compile_path("$")


@dataclass(frozen=True)
class Retrier:
    """One entry of ``Retry``; times in seconds."""

    errors: tuple[str, ...]
    interval_seconds: float
    max_attempts: int
    backoff_rate: float
    max_delay_seconds: float | None
    full_jitter: bool

    def delay_seconds(self, attempt: int, fraction: float) -> float:
        """The wait before retry ``attempt`` (the first is 0); ``fraction`` in [0, 1) is the jitter."""
        try:
            delay = self.interval_seconds * self.backoff_rate**attempt
        except OverflowError:
            delay = 31_622_400.0
        delay = min(delay, self.max_delay_seconds or 31_622_400.0)
        return delay * fraction if self.full_jitter else delay


@dataclass(frozen=True)
class Catcher:
    """One entry of ``Catch``."""

    errors: tuple[str, ...]
    next: str
    result_path: JsonPath | None
    assign: Mapping[str, Any] | None
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class ChoiceBranch:
    """One entry of ``Choices``."""

    next: str
    raw: Mapping[str, Any]
    rule: Rule | None
    condition: Query | None
    assign: Evaluator | Query | None
    output: Query | None


class State:
    """One state; every attribute beyond the first few is compiled when it is first read."""

    def __init__(self, name: str, raw: Mapping[str, Any], language: str, pointer: Pointer) -> None:
        self.name = name
        self.raw = raw
        self.type: str = raw["Type"]
        self.language: str = raw.get("QueryLanguage", language)
        self.jsonata = self.language == JSONATA
        self.pointer = pointer
        self.next: str | None = raw.get("Next")
        self.entered_type = f"{self.type}StateEntered"
        self.exited_type = f"{self.type}StateExited"

    # payload fields of JSONPath

    def _path(self, name: str) -> JsonPath | None:
        """``None`` means the field is null; the whole document when it is absent."""
        if name not in self.raw:
            return _ROOT
        text = self.raw[name]
        return None if text is None else compile_path(text)

    @cached_property
    def input_path(self) -> JsonPath | None:
        return self._path("InputPath")

    @cached_property
    def output_path(self) -> JsonPath | None:
        return self._path("OutputPath")

    @cached_property
    def result_path(self) -> JsonPath | None:
        return self._path("ResultPath")

    @cached_property
    def passes_input(self) -> bool:
        """InputPath selects all (the usual case, worth a short cut)."""
        return self.jsonata or bool(self.raw.get("InputPath", "$") == "$")

    @cached_property
    def passes_output(self) -> bool:
        return self.jsonata or bool(self.raw.get("OutputPath", "$") == "$")

    def _template(self, name: str) -> Evaluator | None:
        return compile_template(self.raw[name]) if name in self.raw else None

    @cached_property
    def parameters(self) -> Evaluator | None:
        return self._template("Parameters")

    @cached_property
    def result_selector(self) -> Evaluator | None:
        return self._template("ResultSelector")

    @cached_property
    def assign(self) -> Evaluator | None:
        return self._template("Assign")

    @cached_property
    def item_selector(self) -> Evaluator | None:
        return self._template("ItemSelector" if "ItemSelector" in self.raw else "Parameters")

    @cached_property
    def credentials(self) -> Evaluator | None:
        return self._template("Credentials")

    def evaluator(self, text: str, name: str) -> Evaluator:
        """A field that is a path or an intrinsic call."""
        return expression_evaluator(text, name)

    # fields of JSONata

    @cached_property
    def queries(self) -> dict[str, Query]:
        return {}

    def query(self, name: str) -> Query | None:
        """The compiled JSONata field, or ``None`` when the state lacks it."""
        if name not in self.raw:
            return None
        found = self.queries.get(name)
        if found is None:
            found = self.queries[name] = compile_json(self.raw[name], name)
        return found

    # errors

    @cached_property
    def retriers(self) -> tuple[Retrier, ...]:
        return tuple(
            Retrier(
                tuple(raw["ErrorEquals"]),
                raw.get("IntervalSeconds", 1),
                raw.get("MaxAttempts", 3),
                raw.get("BackoffRate", 2.0),
                raw.get("MaxDelaySeconds"),
                raw.get("JitterStrategy", "NONE") == "FULL",
            )
            for raw in self.raw.get("Retry", ())
        )

    @cached_property
    def catchers(self) -> tuple[Catcher, ...]:
        return tuple(
            Catcher(
                tuple(raw["ErrorEquals"]),
                raw["Next"],
                (None if raw["ResultPath"] is None else compile_path(raw["ResultPath"]))
                if "ResultPath" in raw
                else _ROOT,
                raw.get("Assign"),
                raw,
            )
            for raw in self.raw.get("Catch", ())
        )

    # Choice

    @cached_property
    def choices(self) -> tuple[ChoiceBranch, ...]:
        out = []
        for index, raw in enumerate(self.raw["Choices"]):
            where = f"Choices[{index}]"
            if self.jsonata:
                assign: Evaluator | Query | None = (
                    compile_json(raw["Assign"], f"{where}/Assign") if "Assign" in raw else None
                )
                condition = compile_json(raw["Condition"], f"{where}/Condition")
                output = compile_json(raw["Output"], f"{where}/Output") if "Output" in raw else None
                out.append(ChoiceBranch(raw["Next"], raw, None, condition, assign, output))
            else:
                assign = compile_template(raw["Assign"]) if "Assign" in raw else None
                out.append(ChoiceBranch(raw["Next"], raw, compile_rule(raw), None, assign, None))
        return tuple(out)

    # blocks within

    @cached_property
    def branches(self) -> tuple[Block, ...]:
        return tuple(
            Block(raw, self.default_language, (*self.pointer, "Branches", index))
            for index, raw in enumerate(self.raw["Branches"])
        )

    @cached_property
    def processor(self) -> Block:
        name = "ItemProcessor" if "ItemProcessor" in self.raw else "Iterator"
        return Block(self.raw[name], self.default_language, (*self.pointer, name))

    default_language: str = JSONPATH
    """of the whole machine: what states within use unless they say otherwise"""

    @cached_property
    def distributed(self) -> bool:
        return bool(self.processor.raw.get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED")


class Block:
    """States with a start: a whole machine, a Parallel's branch, a Map's processor."""

    def __init__(self, raw: Mapping[str, Any], language: str, pointer: Pointer = ()) -> None:
        self.raw = raw
        self.language: str = raw.get("QueryLanguage", language)
        self.pointer = pointer
        self.start_at: str = raw["StartAt"]
        self._states: dict[str, State] = {}

    def state(self, name: str) -> State:
        found = self._states.get(name)
        if found is None:
            found = State(name, self.raw["States"][name], self.language, (*self.pointer, "States", name))
            found.default_language = self.language
            self._states[name] = found
        return found


@dataclass
class Program:
    """A compiled definition."""

    raw: Mapping[str, Any]
    blocks: dict[Pointer, Block] = field(default_factory=dict)

    @property
    def timeout_seconds(self) -> float | None:
        return self.raw.get("TimeoutSeconds")

    def block(self, pointer: Pointer = ()) -> Block:
        """The whole machine, or the block at a pointer (a Distributed Map's processor)."""
        found = self.blocks.get(pointer)
        if found is None:
            raw: Any = self.raw
            for key in pointer:
                raw = raw[key]
            found = self.blocks[pointer] = Block(raw, self.raw.get("QueryLanguage", JSONPATH), pointer)
        return found
