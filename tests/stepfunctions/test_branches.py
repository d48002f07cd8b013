"""Parallel and Map states, inline and distributed, and their map runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stepfunctions_harness import Harness

from triptych.localcloud.stepfunctions.tasks import TaskError, TaskRequest, TaskSink

INVOKE = "arn:aws:states:::lambda:invoke"
TASK = {"Type": "Task", "Resource": INVOKE, "End": True}
PASS = {"Type": "Pass", "End": True}


def a_map(state: dict[str, Any], distributed: bool = False, **fields: Any) -> dict[str, Any]:
    processor: dict[str, Any] = {"StartAt": "I", "States": {"I": state}}
    if distributed:
        processor["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    return {"M": {"Type": "Map", "ItemProcessor": processor, "End": True, **fields}}


def failing_for(*bad: Any) -> Any:
    def behaviour(request: TaskRequest, sink: TaskSink) -> None:
        if request.parameters in bad:
            sink.failed(request.task_id, "Bad", f"item {request.parameters}")
        else:
            sink.succeeded(request.task_id, request.parameters)

    return behaviour


def test_parallel(sfn: Harness) -> None:
    branches = [{"StartAt": name, "States": {name: {**PASS, "Result": name}}} for name in "abc"]
    fields = {"Parameters": {"x.$": "$.i"}, "ResultSelector": {"all.$": "$"}, "ResultPath": "$.r"}
    states = {"P": {"Type": "Parallel", "Branches": branches, "End": True, **fields}}
    execution = sfn.start(states, {"i": 1})
    assert json.loads(sfn.wait(execution)["output"]) == {"i": 1, "r": {"all": ["a", "b", "c"]}}
    assert sfn.types(execution)[1:3] == ["ParallelStateEntered", "ParallelStateStarted"]


def test_a_failing_branch_stops_its_siblings(sfn: Harness) -> None:
    waits = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1000, "End": True}}}
    works = {"StartAt": "T", "States": {"T": {**TASK, "Parameters": "never"}}}
    fails = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E", "Cause": "c"}}}
    states = {"P": {"Type": "Parallel", "Branches": [waits, works, fails], "End": True}}
    execution = sfn.start(states)
    assert sfn.wait(execution)["error"] == "E"
    types = sfn.types(execution)
    assert {"WaitStateAborted", "TaskStateAborted"} <= set(types)
    assert types[-2:] == ["ParallelStateFailed", "ExecutionFailed"]
    sfn.tasks.wait_for(lambda: len(sfn.tasks.cancelled) == 1)


@pytest.mark.parametrize("concurrency", [0, 1, 3])
def test_map_keeps_the_order(sfn: Harness, concurrency: int) -> None:
    sfn.tasks.on("invoke", failing_for())
    states = a_map(
        TASK,
        MaxConcurrency=concurrency,
        ItemSelector={"n.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index"},
    )
    assert sfn.output(states, [10, 20, 30, 40]) == [{"n": n, "i": i} for i, n in enumerate([10, 20, 30, 40])]


def test_map_runs_no_more_than_it_may_at_once(sfn: Harness) -> None:
    open_tasks: list[tuple[TaskRequest, TaskSink]] = []
    sfn.tasks.on("invoke", lambda request, sink: open_tasks.append((request, sink)))
    execution = sfn.start(a_map(TASK, MaxConcurrency=2), list(range(5)))
    for done in range(5):
        expected = min(5, done + 2)
        sfn.tasks.wait_for(lambda n=expected: len(sfn.tasks.started) >= n)  # type: ignore[misc]
        assert len(sfn.tasks.started) == expected
        request, sink = open_tasks[done]
        sink.succeeded(request.task_id, done)
    assert json.loads(sfn.wait(execution)["output"]) == [0, 1, 2, 3, 4]


def test_a_map_of_nothing(sfn: Harness) -> None:
    execution = sfn.start(a_map(PASS, ItemsPath="$.items"), {"items": []})
    assert json.loads(sfn.wait(execution)["output"]) == []
    assert sfn.types(execution)[2:5] == ["MapStateStarted", "MapStateSucceeded", "MapStateExited"]


def test_a_map_over_no_array(sfn: Harness) -> None:
    ended = sfn.run(a_map(PASS, ItemsPath="$.items"), {"items": 3})
    assert (ended["error"], 'Reference path "$.items" must point to array.' in ended["cause"]) == (
        "States.Runtime",
        True,
    )


def test_map_retries_as_a_whole_and_catches(sfn: Harness) -> None:
    sfn.tasks.on("invoke", failing_for(2))
    fields = {
        "Retry": [{"ErrorEquals": ["Bad"], "MaxAttempts": 1}],
        "Catch": [{"ErrorEquals": ["Bad"], "Next": "C", "ResultPath": "$"}],
    }
    execution = sfn.start({**a_map(TASK, MaxConcurrency=1, **fields), "C": PASS}, [1, 2])
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 2)
    sfn.advance(2)
    assert json.loads(sfn.wait(execution)["output"]) == {"Error": "Bad", "Cause": "item 2"}
    types = sfn.types(execution)
    assert types.count("MapStateStarted") == 2
    assert types.count("MapIterationFailed") == 2
    assert types.count("MapStateFailed") == 1


def test_nested_maps(sfn: Harness) -> None:
    inner = a_map({**PASS, "Parameters": {"v.$": "$$.Map.Item.Value"}})["M"]
    inner["ItemProcessor"] = {"StartAt": "Leaf", "States": {"Leaf": inner["ItemProcessor"]["States"]["I"]}}
    assert sfn.output(a_map(inner), [[1, 2], [3]]) == [[{"v": 1}, {"v": 2}], [{"v": 3}]]


# ------------------------------------------------------------------------------------------ distributed


def run_of(sfn: Harness, execution: str) -> dict[str, Any]:
    [run] = sfn.call("ListMapRuns", executionArn=execution)["mapRuns"]
    return sfn.call("DescribeMapRun", mapRunArn=run["mapRunArn"])


def test_distributed_map(sfn: Harness) -> None:
    sfn.tasks.on("invoke", failing_for())
    execution = sfn.start(a_map(TASK, distributed=True, MaxConcurrency=2, Label="Each"), [1, 2, 3])
    assert json.loads(sfn.wait(execution)["output"]) == [1, 2, 3]
    assert sfn.types(execution)[2:7] == [
        "MapStateStarted", "MapRunStarted", "MapRunSucceeded", "MapStateSucceeded", "MapStateExited",
    ]  # fmt: skip
    run = run_of(sfn, execution)
    assert (run["status"], run["executionCounts"]["succeeded"], run["itemCounts"]["total"]) == (
        "SUCCEEDED",
        3,
        3,
    )
    children = sfn.call("ListExecutions", mapRunArn=run["mapRunArn"])["executions"]
    assert len(children) == 3
    assert all(":execution:machine-1/Each:" in child["executionArn"] for child in children)
    child = sfn.call("DescribeExecution", executionArn=children[0]["executionArn"])
    assert child["mapRunArn"] == run["mapRunArn"]
    about = sfn.call("DescribeStateMachineForExecution", executionArn=children[0]["executionArn"])
    assert json.loads(about["definition"])["StartAt"] == "I"
    assert sfn.types(children[0]["executionArn"])[-1] == "ExecutionSucceeded"


def test_items_from_a_reader_in_batches_with_a_writer(sfn: Harness) -> None:
    sfn.tasks.on("invoke", failing_for())
    sfn.tasks.items = [{"k": str(number)} for number in range(10)]
    fields = {
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW", "MaxItems": 5},
            "Parameters": {"Bucket.$": "$.bucket", "Key": "items.csv"},
        },
        "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {"b.$": "$.bucket"}},
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {"Bucket.$": "$.bucket", "Prefix": "results"},
        },
    }
    execution = sfn.start(a_map(TASK, distributed=True, **fields), {"bucket": "data"})
    output = json.loads(sfn.wait(execution)["output"])
    read, written = sfn.tasks.item_requests[0], sfn.tasks.result_requests[0]
    assert read.arguments == {"Bucket": "data", "Key": "items.csv"}
    assert output["MapRunArn"] == written.map_run_arn
    assert output["ResultWriterDetails"] == {
        "Bucket": "data",
        "Key": f"results/{written.map_run_uuid}/manifest.json",
    }
    assert [json.loads(child.output or "") for child in written.succeeded] == [
        {"BatchInput": {"b": "data"}, "Items": [{"k": str(number)} for number in group]}
        for group in ([0, 1], [2, 3], [4])
    ]
    assert run_of(sfn, execution)["itemCounts"]["succeeded"] == 5


def test_the_writer_gets_the_child_that_ended_last(sfn: Harness) -> None:
    """Its end and the writer's turn come in one transaction: whoever writes must not look before it is kept."""
    sfn.tasks.on("invoke", failing_for())
    fields = {
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {"Bucket": "data", "Prefix": "results"},
        }
    }
    states = a_map(TASK, distributed=True, **fields)
    for _ in range(40):
        sfn.wait(sfn.start(states, [1, 2, 3]))
    assert [len(request.succeeded) for request in sfn.tasks.result_requests] == [3] * 40
    assert not any(request.pending for request in sfn.tasks.result_requests)


def test_a_reader_that_fails(sfn: Harness) -> None:
    def refuse(request: Any) -> Any:
        raise TaskError("States.ItemReaderFailed", "no such key")

    sfn.tasks.read_items = refuse  # type: ignore[method-assign]
    reader = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "k"}}
    execution = sfn.start(a_map(TASK, distributed=True, ItemReader=reader))
    ended = sfn.wait(execution)
    assert (ended["error"], ended["cause"]) == ("States.ItemReaderFailed", "no such key")
    assert sfn.types(execution)[-3:] == ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]


@pytest.mark.parametrize(
    ("tolerance", "status"),
    [
        ({}, "FAILED"),
        ({"ToleratedFailureCount": 1}, "FAILED"),
        ({"ToleratedFailureCount": 2}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 19}, "FAILED"),
        ({"ToleratedFailurePercentage": 20}, "SUCCEEDED"),
        ({"ToleratedFailureCountPath": "$[0]"}, "SUCCEEDED"),
    ],
    ids=str,
)
def test_tolerated_failures(sfn: Harness, tolerance: dict[str, Any], status: str) -> None:
    sfn.tasks.on("invoke", failing_for(3, 7))
    execution = sfn.start(a_map(TASK, distributed=True, **tolerance), [9, *range(1, 10)])
    ended = sfn.wait(execution)
    assert ended["status"] == status
    if status == "FAILED":
        assert ended["error"] == "States.ExceedToleratedFailureThreshold"
        assert ended["cause"] == "The specified tolerated failure threshold was exceeded"
    run = run_of(sfn, execution)
    assert run["status"] == status
    assert run["executionCounts"]["failed"] == 2 or status == "FAILED"


def test_update_map_run(sfn: Harness) -> None:
    sfn.tasks.on("invoke", lambda request, sink: None)
    execution = sfn.start(a_map(TASK, distributed=True, MaxConcurrency=1), [1, 2, 3])
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 1)
    run = run_of(sfn, execution)
    assert (run["executionCounts"]["running"], run["executionCounts"]["pending"]) == (1, 2)
    sfn.call("UpdateMapRun", mapRunArn=run["mapRunArn"], maxConcurrency=3)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 3)
    sfn.call("StopExecution", executionArn=execution)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.cancelled) == 3)
    assert run_of(sfn, execution)["status"] == "ABORTED"
