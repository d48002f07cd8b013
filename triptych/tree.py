"""The live tree of a run: machines, their states, times and progress."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from triptych.states import ExecutionRun, StateRun

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_MARKS = {
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "succeeded": ("✓", "green"),
    "caught": ("!", "yellow"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "aborted": ("■", "red"),
    "pending_redrive": ("●", "cyan"),
}
_ROUTING = ("Choice", "Pass", "Succeed")
_SECONDS_BETWEEN_LOOKS = 0.15


@dataclass(frozen=True)
class Row:
    """A line of the tree; ``folds`` when it may be left out, since what it is a part of has succeeded."""

    depth: int
    status: str
    text: str
    seconds: float
    folds: bool = False


def rows(run: ExecutionRun, depth: int = 0, folds: bool = False) -> Iterator[Row]:
    """The states in the order they were entered, nested executions below the state that started them.

    Left out: states that only route, and the finished parts of a Map, which its count tells of. The visits of
    a loop that polls share the row of the first one.
    """
    polls: dict[tuple[str, StateRun | None], list[StateRun]] = {}
    for state in run.states:
        if is_shown(state, run.status):
            polls.setdefault((state.name, state.parent), []).append(state)
    for state in run.states:
        if not is_shown(state, run.status):
            continue
        visits = _joined(polls[state.name, state.parent], run.status)
        if state in visits and state is not visits[0]:
            continue
        shown = visits[-1] if state in visits else state
        times = len(visits) if state in visits else 1
        status = shown.status(run.status)
        seconds = sum(run.state_seconds(visit) for visit in visits) if times > 1 else run.state_seconds(shown)
        text = _text(shown, status) + (f"  {times} times" if times > 1 else "")
        yield Row(depth + state.depth(), status, text, seconds, folds)
        child = run.children.get(state.child_arn or "")
        if child is not None:
            yield from rows(child, depth + state.depth() + 1, folds or status == "succeeded")


def is_shown(state: StateRun, execution: str) -> bool:
    """Whether a person is told of a state: not of routing that went well, nor of a Map's parts that did."""
    status = state.status(execution)
    if state.kind in _ROUTING:
        return status in ("failed", "caught")
    return status not in ("succeeded", "aborted") or all(each.kind != "Map" for each in state.ancestors())


def _joined(visits: list[StateRun], execution: str) -> list[StateRun]:
    """The first visits of a state that make one row: while each before the last went well and nested nothing."""
    joined = visits[:1]
    for visit in visits[1:]:
        if joined[-1].status(execution) != "succeeded" or joined[-1].child_arn:
            break
        joined.append(visit)
    return joined


def _text(state: StateRun, status: str) -> str:
    text = state.name
    if state.items_total is not None:
        text += f"  {state.items_done} of {state.items_total}"
    if state.attempts > 1:
        text += f"  attempt {state.attempts}"
    if state.error and status != "succeeded":
        text += f"  {'handled: ' if status == 'caught' else ''}{state.error}"
    return text


def plain(run: ExecutionRun) -> str:
    """The tree as text."""
    lines = [f"{_MARKS[run.status.lower()][0]} {run.machine}  {run.name}  {run.seconds:.1f} s"]
    lines += [
        f"{'  ' * (row.depth + 1)}{_MARKS[row.status][0]} {row.text}  {row.seconds:.1f} s"
        for row in rows(run)
    ]
    return "\n".join(lines)


def renderable(run: ExecutionRun, height: int | None = None) -> RenderableType:
    """The tree for rich; where it is higher than ``height`` lines, finished parts are left out, then old ones."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    mark, colour = _MARKS[run.status.lower()]
    table.add_row(Text(f"{mark} {run.machine}  {run.name}", style=f"bold {colour}"), f"{run.seconds:.1f} s")
    shown, left_out = fitted(list(rows(run)), None if height is None else height - 1)
    if left_out:
        table.add_row(Text(f"  … {left_out} more above", style="dim"), "")
    for row in shown:
        mark, colour = _MARKS[row.status]
        line = Text("  " * (row.depth + 1))
        line.append(f"{mark} ", style=colour)
        line.append(row.text, style="" if row.status == "succeeded" else colour)
        table.add_row(line, Text(f"{row.seconds:.1f} s", style="dim"))
    return table


def fitted(found: list[Row], height: int | None) -> tuple[list[Row], int]:
    """The rows that fit into ``height`` lines, and how many more there are, for which a line is kept."""
    if height is None or len(found) <= height:
        return found, 0
    found = [row for row in found if not row.folds]
    if len(found) <= height:
        return found, 0
    kept = max(height - 1, 1)
    return found[-kept:], len(found) - kept


class PlainView:
    """For a pipe or a log: one line when a state begins to matter and one when it ends, in their order.

    Of a loop that goes well, the second, fourth, eighth … visit of a state is told.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: dict[tuple[str, int], str] = {}

    def update(self, run: ExecutionRun) -> None:
        """Print what is new."""
        now = datetime.now(UTC)
        news: list[tuple[datetime, int, str]] = []
        # what the pipeline's machines are called, without what their names have in common
        family = run.machine.rpartition("-")[0] + "-"
        for level, execution in enumerate(run.walk()):
            visits: Counter[str] = Counter()
            for number, state in enumerate(execution.states):
                status = state.status(execution.status)
                visits[state.name] += 1
                visit = visits[state.name]
                if status not in ("running", "succeeded") or state.child_arn:
                    visits[state.name] = 0
                place = (execution.arn, number)
                if self._said.get(place) == status or not is_shown(state, execution.status):
                    continue
                self._said[place] = status
                repeated = visit > 1 and visits[state.name] == visit
                if repeated and (status == "running" or visit & (visit - 1)):
                    continue
                text = f"{_MARKS[status][0]} {execution.machine.removeprefix(family)}: {_text(state, status)}"
                text += f"  {visit} times" if repeated else ""
                begun = status in ("running", "retrying")
                if not begun:
                    text += f"  {execution.state_seconds(state):.1f} s"
                when = state.entered if begun else state.exited or state.stopped or execution.stopped or now
                # at the same moment a nested execution begins after the state that started it, and ends before
                news.append((when, level if begun else -level, text))
        for _, _, text in sorted(news, key=lambda item: item[:2]):
            print(text, file=self._stream, flush=True)


def follow(refresh: Callable[[], ExecutionRun], pause: Callable[[float], None], quiet: bool) -> ExecutionRun:
    """Show a run until it ends; returns it. ``quiet`` shows nothing (for ``--json``)."""
    if quiet:
        return _until_end(refresh, pause, lambda run: None)
    if not sys.stderr.isatty():
        return _until_end(refresh, pause, PlainView(sys.stderr).update)
    from rich.console import Console

    return _follow_live(refresh, pause, Console(stderr=True))


def _follow_live(
    refresh: Callable[[], ExecutionRun], pause: Callable[[float], None], console: Console
) -> ExecutionRun:
    """As much of the tree as the terminal holds while it changes, and then the whole of it, to stay."""
    from rich.live import Live

    newest: list[ExecutionRun] = []

    def show(run: ExecutionRun) -> None:
        newest[:] = [run]
        live.update(renderable(run, console.height - 1), refresh=True)

    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            return _until_end(refresh, pause, show)
    finally:
        for run in newest:
            console.print(renderable(run))


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
        pause(_SECONDS_BETWEEN_LOOKS)
