"""An execution in memory, and how what happened to it reaches its interpreter."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from triptych.localcloud.stepfunctions.interpreter import Interpreter
from triptych.localcloud.stepfunctions.journal import Input


@dataclass
class Live:
    """An execution in memory."""

    seq: int
    interpreter: Interpreter
    kept: bool
    """journalled; a StartSyncExecution is not"""
    inputs: int = 0
    map_run_arn: str | None = None
    item_index: int = 0
    item_count: int = 1
    waiter: Future[Interpreter] | None = None


def apply(interpreter: Interpreter, happened: Input) -> bool:
    """Give an interpreter an input; ``False`` when it has no use for it (then it must not be journalled)."""
    now, data = happened.time, happened.data
    if happened.kind == "timer":
        return interpreter.fire(now, data["key"])
    if happened.kind == "task":
        return interpreter.task_event(now, data["id"], data["kind"], data)
    if happened.kind == "items":
        return interpreter.items_read(now, data["key"], data)
    if happened.kind == "map_run":
        return interpreter.map_run_ended(now, data["key"], data)
    if happened.kind == "stop":
        interpreter.stop(now, data["error"], data["cause"])
        return True
    if happened.kind == "redrive":
        interpreter.redrive(now)
        return True
    raise ValueError(f"unknown kind of input {happened.kind!r}")
