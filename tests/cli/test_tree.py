"""The tree as it is printed: which states, in which order, how much of it a low terminal gets."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from tests.cli.histories import Event, arn, read
from triptych import tree
from triptych.states import ExecutionRun

ROUTED: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "PassStateEntered", "Defaults"),
    (2, "PassStateExited", "Defaults"),
    (3, "ChoiceStateEntered", "Which?"),
]
POLLED: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "TaskStateEntered", "Look"),
    (2, "TaskScheduled"),
    (3, "TaskStateExited", "Look"),
    (4, "WaitStateEntered", "Wait"),
    (5, "WaitStateExited", "Wait"),
    (6, "TaskStateEntered", "Look"),
    (7, "TaskScheduled"),
    (8, "TaskStateExited", "Look"),
    (9, "WaitStateEntered", "Wait"),
]
HANDLED: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "TaskStateEntered", "Look"),
    (2, "TaskScheduled"),
    (3, "TaskFailed", "NotThere"),
    (4, "TaskStateExited", "Look"),
    (5, "TaskStateEntered", "Make"),
    (6, "TaskScheduled"),
]
MAP: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "MapStateEntered", "Each"),
    (2, "MapStateStarted", {"length": 2}),
    (3, "MapIterationStarted", "Each"),
    (4, "TaskStateEntered", "Item"),
    (5, "TaskScheduled"),
    (6, "TaskStateExited", "Item"),
    (7, "MapIterationSucceeded", "Each"),
    (7, "MapIterationStarted", "Each"),
    (9, "TaskStateEntered", "Item"),
    (10, "TaskScheduled"),
]
PARENT: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "TaskStateEntered", "Run model"),
    (2, "TaskScheduled"),
    (3, "TaskSubmitted", {"output": json.dumps({"ExecutionArn": arn("demo-model")})}),
]


def nested(parent: list[Event] = PARENT, status: str = "RUNNING") -> ExecutionRun:
    run = read(parent, status)
    run.children[arn("demo-model")] = read(HANDLED[:-2], status, "demo-model")
    return run


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(read(ROUTED), [], id="routing is not shown"),
        pytest.param(
            read(POLLED), ["✓ Look  2 times  4.0 s", "● Wait  2 times"], id="a loop that polls is one row"
        ),
        pytest.param(
            read(HANDLED),
            ["! Look  handled: NotThere  3.0 s", "● Make"],
            id="a handled failure says that it was",
        ),
        pytest.param(read(MAP), ["● Each  1 of 2", "  ● Item"], id="a map's finished parts are its count"),
        pytest.param(nested(), ["● Run model", "  ! Look  handled: NotThere  3.0 s"], id="nested"),
        pytest.param(
            read([*HANDLED, (7, "TaskFailed", "Broken")], "FAILED"),
            ["! Look  handled: NotThere  3.0 s", "✗ Make  Broken  2.0 s"],
            id="failed",
        ),
    ],
)
def test_rows(run: ExecutionRun, expected: list[str]) -> None:
    head, *lines = tree.plain(run).splitlines()
    assert head.split("  ")[1] == "run-1"
    # what still runs takes ever longer
    told = [re.sub(r"  \d{4,}\.\d s$", "", line.removeprefix("  ")) for line in lines]
    assert told == expected


def test_a_branch_that_comes_to_life_again_is_a_row_of_its_own() -> None:
    again: list[Event] = [*HANDLED[:-2], (5, "TaskStateEntered", "Look"), (6, "TaskScheduled")]
    assert [row.text for row in tree.rows(read(again))] == ["Look  handled: NotThere", "Look"]


def row(text: str, folds: bool = False) -> tree.Row:
    return tree.Row(0, "succeeded", text, 1.0, folds)


@pytest.mark.parametrize(
    ("height", "expected", "left_out"),
    [(None, "abcd", 0), (4, "abcd", 0), (3, "acd", 0), (2, "d", 2), (1, "d", 2), (0, "d", 2)],
)
def test_a_low_terminal_gets_the_newest_rows(height: int | None, expected: str, left_out: int) -> None:
    found = [row("a"), row("b", folds=True), row("c"), row("d")]
    shown, more = tree.fitted(found, height)
    assert ("".join(each.text for each in shown), more) == (expected, left_out)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (30, 6), (10, 3)])
def test_the_tree_keeps_to_the_terminal(width: int, height: int) -> None:
    stream = io.StringIO()
    run = read(HANDLED, "FAILED")
    for number in range(20):
        run.states.append(read(HANDLED[:3]).states[0])
        run.states[-1].name = f"State {number} with quite a long name"
    Console(file=stream, width=width, height=height).print(tree.renderable(run, height - 1))
    lines = stream.getvalue().splitlines()
    assert len(lines) <= max(height - 1, 3)
    assert all(len(line.rstrip()) <= width for line in lines)


def test_a_log_tells_in_the_order_in_which_it_happened() -> None:
    stream = io.StringIO()
    view = tree.PlainView(stream)
    view.update(nested())
    first = stream.getvalue().splitlines()
    assert first == ["● pipeline: Run model", "! model: Look  handled: NotThere  3.0 s"]
    view.update(nested())
    assert stream.getvalue().splitlines() == first
    ended: list[Event] = [*PARENT, (4, "TaskSucceeded"), (5, "TaskStateExited", "Run model")]
    view.update(nested(ended, "SUCCEEDED"))
    assert stream.getvalue().splitlines()[2:] == ["✓ pipeline: Run model  4.0 s"]


def test_a_log_tells_of_a_long_loop_ever_more_rarely() -> None:
    events: list[Event] = [(0, "ExecutionStarted")]
    for _ in range(9):
        last = len(events)
        events += [
            (last, "TaskStateEntered", "Look"),
            (last + 1, "TaskScheduled"),
            (last + 2, "TaskStateExited", "Look"),
        ]
    stream = io.StringIO()
    view = tree.PlainView(stream)
    for end in range(1, len(events) + 1):
        view.update(read(events[:end]))
    assert [line.split("  ")[:-1] for line in stream.getvalue().splitlines()[1:]] == [
        ["✓ pipeline: Look"],
        ["✓ pipeline: Look", "2 times"],
        ["✓ pipeline: Look", "4 times"],
        ["✓ pipeline: Look", "8 times"],
    ]


def test_following_ends_with_the_run_and_says_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [read(HANDLED), read(HANDLED), read(HANDLED, "SUCCEEDED")]
    pauses: list[float] = []
    ended = tree.follow(lambda: looks.pop(0), pauses.append, quiet=True)
    assert ended.status == "SUCCEEDED"
    assert len(pauses) == 2
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""
