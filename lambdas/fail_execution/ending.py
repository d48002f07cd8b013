"""Whether an execution ends here, and as what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


class ExecutionFailed(Exception):
    """The base of what ends an execution; its subclasses are named for the error that was caught."""


def ending(event: Mapping[str, Any]) -> ExecutionFailed | None:
    """The exception to end with, or None when the execution was redriven since the failure was explained."""
    failure = event["failure"]
    explained_at = failure.get("RedriveCount")
    redrives = int(event["redrive_count"])
    # without an explanation (its function failed too) only the very first attempt is known to be no redrive
    if redrives > (explained_at if explained_at is not None else 0):
        return None
    return _named(str(failure.get("Error") or "UnknownError"))(
        str(failure.get("Cause") or "no cause was given")
    )


def _named(error: str) -> type[ExecutionFailed]:
    """A class whose name is the error's: Step Functions takes a function's exception's name as the error.

    Names that begin with ``States.`` are reserved.
    """
    name = re.sub(r"[^A-Za-z0-9_.]", "", error.removeprefix("States.")) or "UnknownError"
    return type(name, (ExecutionFailed,), {})
