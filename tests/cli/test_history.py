"""From history events to states: which state an event belongs to, and how each state stands."""

from __future__ import annotations

import json

import pytest

from tests.cli.histories import Event, arn, read
from triptych.states import ExecutionRun

CHAIN: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "TaskStateEntered", "A"),
    (2, "TaskScheduled"),
    (3, "TaskSucceeded"),
    (4, "TaskStateExited", "A"),
    (5, "TaskStateEntered", "B"),
    (6, "TaskScheduled"),
]
FAILED_ONCE: list[Event] = [*CHAIN, (7, "TaskFailed", "Broken")]
PARALLEL: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "ParallelStateEntered", "P"),
    (2, "ParallelStateStarted"),
    (3, "TaskStateEntered", "left"),
    (4, "TaskScheduled", {"side": "left"}),
    (3, "TaskStateEntered", "right"),
    (6, "TaskScheduled", {"side": "right"}),
    (7, "TaskFailed", "Broken"),
]
NESTED_PARALLEL: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "ParallelStateEntered", "outer"),
    (2, "ParallelStateStarted"),
    (3, "ParallelStateEntered", "inner"),
    (4, "ParallelStateStarted"),
    (3, "TaskStateEntered", "beside"),
    (6, "TaskScheduled"),
    (5, "TaskStateEntered", "deep"),
    (8, "TaskScheduled"),
    (5, "WaitStateEntered", "waiting"),
    (9, "TaskFailed", "Broken"),
    (10, "WaitStateAborted"),
    (11, "ParallelStateFailed"),
    (13, "ParallelStateFailed"),
    (7, "TaskStateAborted"),
]
MAP: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "MapStateEntered", "M"),
    (2, "MapStateStarted", {"length": 3}),
    (3, "MapIterationStarted", "M"),
    (4, "TaskStateEntered", "item"),
    (5, "TaskScheduled"),
    (6, "TaskSucceeded"),
    (7, "TaskStateExited", "item"),
    (8, "MapIterationSucceeded", "M"),
    (8, "MapIterationStarted", "M"),
    (10, "TaskStateEntered", "item"),
    (11, "TaskScheduled"),
]
FAILED_MAP: list[Event] = [
    *MAP,
    (12, "TaskFailed", "Broken"),
    (13, "MapIterationFailed", "M"),
    (13, "MapStateFailed"),
]

CASES = {
    "a chain": (CHAIN, "RUNNING", ["A succeeded", "B running"]),
    "a task that failed may be retried": (FAILED_ONCE, "RUNNING", ["A succeeded", "B retrying Broken"]),
    "a retry": ([*FAILED_ONCE, (8, "TaskScheduled")], "RUNNING", ["A succeeded", "B running attempt 2"]),
    "a failure that ends it": (
        [*FAILED_ONCE, (8, "ExecutionFailed")],
        "FAILED",
        ["A succeeded", "B failed Broken"],
    ),
    "a failure that is caught": (
        [*FAILED_ONCE, (8, "TaskStateExited", "B"), (9, "FailStateEntered", "Sorry")],
        "FAILED",
        ["A succeeded", "B caught Broken", "Sorry failed"],
    ),
    "stopped": (CHAIN, "ABORTED", ["A succeeded", "B aborted"]),
    "timed out": (CHAIN, "TIMED_OUT", ["A succeeded", "B timed_out"]),
    "redriven": (
        [*FAILED_ONCE, (8, "ExecutionFailed"), (9, "ExecutionRedriven"), (10, "TaskScheduled")],
        "RUNNING",
        ["A succeeded", "B running attempt 2"],
    ),
    "parallel": (PARALLEL[:-1], "RUNNING", ["P running", ".left running", ".right running"]),
    "parallel failed and caught": (
        [*PARALLEL, (5, "TaskStateAborted"), (8, "ParallelStateFailed"), (10, "ParallelStateExited", "P")],
        "RUNNING",
        ["P caught Broken", ".left aborted", ".right failed Broken"],
    ),
    "parallel retried": (
        [*PARALLEL, (8, "ParallelStateStarted"), (9, "TaskStateEntered", "left"), (10, "TaskScheduled")],
        "RUNNING",
        ["P running attempt 2", ".left aborted", ".right failed Broken", ".left running"],
    ),
    "parallel redriven": (
        [
            *PARALLEL,
            (8, "ParallelStateFailed"),
            (9, "ExecutionFailed"),
            (10, "ExecutionRedriven"),
            (11, "TaskScheduled", {"side": "left"}),
            (11, "TaskScheduled", {"side": "right"}),
            (12, "TaskSucceeded"),
            (14, "TaskStateExited", "left"),
        ],
        "RUNNING",
        ["P running", ".left succeeded attempt 2", ".right running attempt 2"],
    ),
    "parallel in parallel": (
        NESTED_PARALLEL,
        "FAILED",
        [
            "outer failed Broken",
            ".inner failed Broken",
            ".beside aborted",
            "..deep failed Broken",
            "..waiting aborted",
        ],
    ),
    "after a parallel": (
        [
            *PARALLEL,
            (8, "ParallelStateFailed"),
            (9, "ParallelStateExited", "P"),
            (10, "PassStateEntered", "Q"),
        ],
        "RUNNING",
        ["P caught Broken", ".left aborted", ".right failed Broken", "Q running"],
    ),
    "map": (MAP, "RUNNING", ["M running 1/3", ".item succeeded", ".item running"]),
    "map failed": (FAILED_MAP, "FAILED", ["M failed 1/3 Broken", ".item succeeded", ".item failed Broken"]),
    "map redriven": (
        [*FAILED_MAP, (15, "ExecutionFailed"), (16, "ExecutionRedriven"), (17, "TaskScheduled")],
        "RUNNING",
        ["M running 1/3", ".item succeeded", ".item running attempt 2"],
    ),
}


def told(run: ExecutionRun) -> list[str]:
    lines = []
    for state in run.states:
        line = f"{'.' * state.depth()}{state.name} {state.status(run.status)}"
        if state.items_total is not None:
            line += f" {state.items_done}/{state.items_total}"
        if state.attempts > 1:
            line += f" attempt {state.attempts}"
        lines.append(line + (f" {state.error}" if state.error else ""))
    return lines


@pytest.mark.parametrize("case", CASES)
def test_states_of_a_history(case: str) -> None:
    events, status, expected = CASES[case]
    assert told(read(events, status)) == expected


def test_a_state_that_failed_takes_no_longer() -> None:
    run = read([*FAILED_ONCE, (8, "ExecutionFailed")], "FAILED")
    assert run.state_seconds(run.states[1]) == 2


FAILURE_PATH: list[Event] = [
    *PARALLEL,
    (8, "ParallelStateFailed"),
    (9, "ParallelStateExited", "P"),
    (10, "TaskStateEntered", "Model failed"),
    (11, "TaskScheduled", {"Payload": {"failure": {"Error": "Broken"}}}),
    (12, "TaskFailed", "Broken"),
    (13, "ExecutionFailed"),
]
NESTED: list[Event] = [
    (0, "ExecutionStarted"),
    (0, "TaskStateEntered", "Run model"),
    (2, "TaskScheduled"),
    (3, "TaskSubmitted", {"output": json.dumps({"ExecutionArn": arn("demo-model")})}),
    (4, "TaskFailed", "States.TaskFailed"),
]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(FAILED_ONCE, "B", id="a task"),
        pytest.param(FAILURE_PATH, "right", id="in a branch, told by a failure path"),
        pytest.param(NESTED_PARALLEL, "deep", id="in a branch of a branch"),
        pytest.param(FAILED_MAP, "item", id="in a map"),
        pytest.param(
            [*FAILED_ONCE, (8, "TaskStateExited", "B"), (9, "TaskStateEntered", "C"), (10, "TaskScheduled"),
             (11, "TaskFailed", "Worse")],
            "C",
            id="after another failure was handled",
        ),
        pytest.param(
            [*FAILED_ONCE, (8, "TaskStateExited", "B"), (9, "FailStateEntered", "Rejected")],
            "Rejected",
            id="a fail state",
        ),
    ],
)  # fmt: skip
def test_where_a_run_failed(events: list[Event], expected: str) -> None:
    found = read(events, "FAILED").failed_state()
    assert found is not None
    assert found[1].name == expected


def test_a_nested_failure_is_found_in_the_nested_execution() -> None:
    run = read([*NESTED, (5, "TaskStateExited", "Run model"), (6, "FailStateEntered", "Rejected")], "FAILED")
    run.children[arn("demo-model")] = read(FAILURE_PATH, "FAILED", "demo-model")
    found = run.failed_state()
    assert found is not None
    assert (found[0].machine, found[1].name) == ("demo-model", "right")


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
def test_nothing_failed(status: str) -> None:
    assert read(CHAIN, status).failed_state() is None
