"""What expressions of one state can see: its input, the context object, variables, a clock and randomness."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.stepfunctions.failures import ProcessingFailure
from triptych.localcloud.stepfunctions.jsonpath import JsonPath, PathNotFound
from triptych.localcloud.stepfunctions.jsontext import encode


@dataclass(slots=True)
class Scope:
    """``input`` is what ``$`` stands for; ``context`` makes the context object when it is asked for.

    ``random`` and ``now`` (seconds since the epoch) come from the execution, so that a replay sees the same.
    """

    input: Any
    context: Callable[[], dict[str, Any]]
    variables: Mapping[str, Any]
    random: random.Random
    now: float

    def over(self, value: Any) -> Scope:
        """The same scope with another ``$``."""
        return Scope(value, self.context, self.variables, self.random, self.now)

    def document(self, path: JsonPath) -> Any:
        """The document that a path starts in; raises ProcessingFailure for a variable that has no value."""
        if path.root == "input":
            return self.input
        if path.root == "context":
            return self.context()
        name = path.variable or ""
        if name not in self.variables:
            raise ProcessingFailure(
                f"The variable '${name}' referenced by '{path.text}' has not been assigned."
            )
        return self.variables[name]

    def find(self, path: JsonPath) -> Any:
        """The value at a path; raises PathNotFound, ProcessingFailure."""
        return path.find(self.document(path))

    def find_for_field(self, path: JsonPath, field: str) -> Any:
        """The value at a path that stands in ``field``; raises ProcessingFailure in AWS's words."""
        try:
            return path.find(self.document(path))
        except PathNotFound as error:
            raise ProcessingFailure(
                f"The JSONPath '{path.text}' specified for the field '{field}' could not be found in "
                "the input "
                f"'{encode(self.input)}'"
            ) from error
