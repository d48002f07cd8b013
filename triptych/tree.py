"""The live tree of a run: machines, their states, times and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from triptych.executions import ExecutionRun, StateRun

if TYPE_CHECKING:
    from rich.console import RenderableType

_MARKS = {
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "succeeded": ("✓", "green"),
    "caught": ("!", "yellow"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "aborted": ("■", "red"),
}
_QUIET = ("Choice", "Pass", "Succeed")


def lines(run: ExecutionRun, depth: int = 0) -> Iterator[tuple[int, str, str, str]]:
    """The tree as (depth, status, text, seconds) rows, without the states that only route."""
    for state in run.states:
        status = state.status(run.status)
        child = run.children.get(state.child_arn or "")
        if state.kind in _QUIET and status == "succeeded":
            continue
        yield depth + state.depth(), status, _text(state, status), f"{_seconds(state):.1f} s"
        if child is not None:
            yield from lines(child, depth + state.depth() + 1)


def _seconds(state: StateRun) -> float:
    return ((state.exited or datetime.now(UTC)) - state.entered).total_seconds()


def _text(state: StateRun, status: str) -> str:
    text = state.name
    if state.items_total is not None:
        text += f"  {state.items_done} of {state.items_total}"
    if state.attempts > 1:
        text += f"  attempt {state.attempts}"
    if state.error and status != "succeeded":
        text += f"  {state.error}"
    return text


def plain(run: ExecutionRun) -> str:
    """The tree as text."""
    rows = [f"{_MARKS[run.status.lower()][0]} {run.machine}  {run.name}  {run.seconds:.1f} s"]
    for depth, status, text, seconds in lines(run):
        rows.append(f"{'  ' * (depth + 1)}{_MARKS[status][0]} {text}  {seconds}")
    return "\n".join(rows)


def renderable(run: ExecutionRun) -> RenderableType:
    """The tree for rich."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    mark, colour = _MARKS[run.status.lower()]
    table.add_row(Text(f"{mark} {run.machine}  {run.name}", style=f"bold {colour}"), f"{run.seconds:.1f} s")
    for depth, status, text, seconds in lines(run):
        mark, colour = _MARKS[status]
        row = Text("  " * (depth + 1))
        row.append(f"{mark} ", style=colour)
        row.append(text, style="" if status == "succeeded" else colour)
        table.add_row(row, Text(seconds, style="dim"))
    return table


class PlainView:
    """For a pipe or a log: one line when a state begins to matter and one when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: dict[tuple[str, int], str] = {}

    def update(self, run: ExecutionRun) -> None:
        executions = list(run.walk())
        # a nested execution begins after the state that started it, and ends before it
        self._say(executions, begun=True)
        self._say(executions[::-1], begun=False)

    def _say(self, executions: list[ExecutionRun], begun: bool) -> None:
        for execution in executions:
            for number, state in enumerate(execution.states):
                status = state.status(execution.status)
                place = (execution.arn, number)
                if state.kind in _QUIET or (status == "running") != begun or self._said.get(place) == status:
                    continue
                self._said[place] = status
                took = "" if begun else f"  {_seconds(state):.1f} s"
                text = f"{_MARKS[status][0]} {execution.machine}: {_text(state, status)}{took}"
                print(text, file=self._stream, flush=True)


def follow(refresh: Callable[[], ExecutionRun], pause: Callable[[float], None], quiet: bool) -> ExecutionRun:
    """Show a run until it ends; returns it. ``quiet`` shows nothing (for ``--json``)."""
    if quiet:
        return _until_end(refresh, pause, lambda run: None)
    if not sys.stderr.isatty():
        return _until_end(refresh, pause, PlainView(sys.stderr).update)
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, vertical_overflow="visible") as live:
        return _until_end(refresh, pause, lambda run: live.update(renderable(run), refresh=True))


def _until_end(
    refresh: Callable[[], ExecutionRun],
    pause: Callable[[float], None],
    show: Callable[[ExecutionRun], None],
) -> ExecutionRun:
    while True:
        run = refresh()
        show(run)
        if run.status != "RUNNING":
            return run
        pause(0.15)
