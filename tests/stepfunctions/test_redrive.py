"""RedriveExecution: what failed runs again, what succeeded does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stepfunctions_harness import Harness

from triptych.localcloud.service import ServiceError
from triptych.localcloud.stepfunctions.tasks import TaskRequest, TaskSink

TASK = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}


class Repairable:
    """Fails for the given parameters until it is repaired; notes what ran."""

    def __init__(self, *bad: Any) -> None:
        self.bad = bad
        self.seen: list[Any] = []

    def __call__(self, request: TaskRequest, sink: TaskSink) -> None:
        self.seen.append(request.parameters)
        if request.parameters in self.bad:
            sink.failed(request.task_id, "Broken", "not yet")
        else:
            sink.succeeded(request.task_id, request.parameters)

    def repair(self) -> None:
        self.bad = ()
        self.seen = []


def test_goes_on_from_the_failed_state(sfn: Harness) -> None:
    work = Repairable("second")
    sfn.tasks.on("invoke", work)
    states = {
        "A": {**TASK, "Parameters": "first", "Next": "B"},
        "B": {**TASK, "Parameters": "second", "Next": "C"},
        "C": {**TASK, "Parameters": "third"},
    }
    for name in ("A", "B"):
        del states[name]["End"]
    execution = sfn.start(states)
    assert sfn.wait(execution)["redriveStatus"] == "REDRIVABLE"
    before = len(sfn.history(execution))
    work.repair()
    sfn.call("RedriveExecution", executionArn=execution)
    ended = sfn.wait(execution)
    assert (ended["status"], json.loads(ended["output"]), ended["redriveCount"]) == ("SUCCEEDED", "third", 1)
    assert "error" not in ended
    assert ended["redriveDate"] >= ended["startDate"]
    assert work.seen == ["second", "third"]
    types = sfn.types(execution)[before:]
    assert types[:3] == ["ExecutionRedriven", "TaskScheduled", "TaskStarted"]


def test_again_and_again_with_fresh_retries(sfn: Harness) -> None:
    work = Repairable("x")
    sfn.tasks.on("invoke", work)
    retry = [{"ErrorEquals": ["Broken"], "MaxAttempts": 1}]
    execution = sfn.start({"A": {**TASK, "Parameters": "x", "Retry": retry}})
    for round_ in range(1, 4):
        sfn.tasks.wait_for(lambda n=2 * round_ - 1: len(sfn.tasks.started) >= n)  # type: ignore[misc]
        sfn.advance(2)
        assert sfn.wait(execution)["redriveCount"] == round_ - 1
        sfn.call("RedriveExecution", executionArn=execution)
    assert sfn.call("DescribeExecution", executionArn=execution)["status"] == "RUNNING"
    arn = sfn.call("DescribeExecution", executionArn=execution)["stateMachineArn"]
    listed = sfn.call("ListExecutions", stateMachineArn=arn, redriveFilter="REDRIVEN")["executions"]
    assert [each["redriveCount"] for each in listed] == [3]


@pytest.mark.parametrize("kind", ["Parallel", "Map"])
def test_inside_branches_only_the_unsuccessful(sfn: Harness, kind: str) -> None:
    work = Repairable("b")
    sfn.tasks.on("invoke", work)
    task = {**TASK, "Parameters": {"never": "used"}}
    if kind == "Parallel":
        branches = [{"StartAt": x, "States": {x: {**TASK, "Parameters": x}}} for x in ("a", "b", "c")]
        states: dict[str, Any] = {"P": {"Type": "Parallel", "Branches": branches, "End": True}}
    else:
        del task["Parameters"]
        processor = {"StartAt": "I", "States": {"I": task}}
        states = {"M": {"Type": "Map", "ItemProcessor": processor, "MaxConcurrency": 2, "End": True}}
    execution = sfn.start(states, ["a", "b", "c"])
    assert sfn.wait(execution)["error"] == "Broken"
    seen = list(work.seen)
    work.repair()
    sfn.call("RedriveExecution", executionArn=execution)
    assert json.loads(sfn.wait(execution)["output"]) == ["a", "b", "c"]
    assert "a" in seen
    assert "a" not in work.seen
    assert "b" in work.seen


def test_a_distributed_map_redrives_its_failed_children(sfn: Harness) -> None:
    work = Repairable("b")
    sfn.tasks.on("invoke", work)
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "I",
        "States": {"I": TASK},
    }
    states = {"M": {"Type": "Map", "ItemProcessor": processor, "MaxConcurrency": 1, "End": True}}
    execution = sfn.start(states, ["a", "b", "c"])
    assert sfn.wait(execution)["error"] == "States.ExceedToleratedFailureThreshold"
    work.repair()
    sfn.call("RedriveExecution", executionArn=execution)
    assert json.loads(sfn.wait(execution)["output"]) == ["a", "b", "c"]
    assert work.seen == ["b", "c"]
    [run] = sfn.call("ListMapRuns", executionArn=execution)["mapRuns"]
    about = sfn.call("DescribeMapRun", mapRunArn=run["mapRunArn"])
    assert (about["status"], about["redriveCount"], about["executionCounts"]["succeeded"]) == (
        "SUCCEEDED",
        1,
        3,
    )
    assert "MapRunRedriven" in sfn.types(execution)


def test_stopped_and_timed_out_executions(sfn: Harness) -> None:
    definition = {"StartAt": "A", "States": {"A": {**TASK, "Parameters": "x"}}, "TimeoutSeconds": 100}
    execution = sfn.start(definition)
    sfn.call("StopExecution", executionArn=execution)
    assert sfn.wait(execution)["status"] == "ABORTED"
    sfn.call("RedriveExecution", executionArn=execution)
    sfn.advance(101)
    assert sfn.wait(execution)["status"] == "TIMED_OUT"
    sfn.tasks.on("invoke", Repairable())
    sfn.call("RedriveExecution", executionArn=execution)
    assert sfn.wait(execution)["status"] == "SUCCEEDED"


def test_what_cannot_be_redriven(sfn: Harness) -> None:
    fine = sfn.start({"P": {"Type": "Pass", "End": True}})
    sfn.wait(fine)
    failed = sfn.start({"F": {"Type": "Fail"}})
    sfn.wait(failed)
    sfn.advance(15 * 86_400)
    for execution in (fine, failed):
        with pytest.raises(ServiceError) as caught:
            sfn.call("RedriveExecution", executionArn=execution)
        assert caught.value.code == "ExecutionNotRedrivable"
