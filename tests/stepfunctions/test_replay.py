"""Any execution, restarted between any two of its steps, ends as an undisturbed one does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stepfunctions_harness import Harness

TASK = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"


def states_of(shape: Any, names: list[str]) -> dict[str, Any]:
    """A state for each part of a shape: a list is a Parallel of its parts, ``("map", shape)`` a Map."""
    states: dict[str, Any] = {}
    for part in shape:
        name = f"S{len(names)}"
        names.append(name)
        if part == "pass":
            state: dict[str, Any] = {"Type": "Pass", "Assign": {"u.$": "States.UUID()"}}
        elif part == "task":
            retry = [{"ErrorEquals": ["Again"], "MaxAttempts": 2, "IntervalSeconds": 5}]
            catch = [{"ErrorEquals": ["Caught"], "Next": f"{name}C"}]
            state = {
                "Type": "Task",
                "Resource": TASK,
                "Retry": retry,
                "Catch": catch,
                "HeartbeatSeconds": 10_000,
            }
        elif part == "wait":
            state = {"Type": "Wait", "Seconds": 50}
        elif isinstance(part, tuple):
            state = {
                "Type": "Map",
                "InputPath": "$$.Execution.Input",
                "ItemsPath": "$.items",
                "MaxConcurrency": 2,
            }
            state["ItemProcessor"] = states_of(part[1], names)
        else:
            state = {"Type": "Parallel", "Branches": [states_of(branch, names) for branch in part]}
        states[name] = state
        if part == "task":
            states[f"{name}C"] = {"Type": "Pass", "Result": "caught"}
    order = list(states)
    for here, after in zip(order, [*order[1:], None], strict=True):
        states[here] |= {"Next": after} if after else {"End": True}
    return {"StartAt": order[0], "States": states}


LEAF = st.sampled_from(["pass", "task", "wait"])
SHAPES = st.recursive(
    st.lists(LEAF, min_size=1, max_size=3),
    lambda inner: st.lists(
        st.one_of(LEAF, st.lists(inner, min_size=1, max_size=2), st.tuples(st.just("map"), inner)),
        min_size=1,
        max_size=3,
    ),
    max_leaves=6,
)
ANSWERS = st.lists(st.sampled_from(["ok", "Again", "Caught"]), min_size=40, max_size=40)


def outcome(shape: Any, answers: list[str], restarts: bool) -> tuple[str, Any, int]:
    """Status, output and number of events, answering the waiting task of the lowest id at each step."""
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder))
        try:
            execution = harness.start(states_of(shape, []), {"items": [1, 2, 3]})
            for answer in answers:
                if restarts:
                    harness.close()
                    harness.open()
                live = harness.service.engine.live.get(execution)
                if live is None:
                    break
                waiting = sorted(live.interpreter.tasks, key=lambda task: int(task.rpartition("#")[2]))
                if not waiting:
                    harness.advance(60)
                    continue
                token = live.interpreter.tasks[waiting[0]].request.task_token
                if answer == "ok":
                    harness.call("SendTaskSuccess", taskToken=token, output='"done"')
                else:
                    harness.call("SendTaskFailure", taskToken=token, error=answer, cause="as told")
            described = harness.call("DescribeExecution", executionArn=execution)
            output = json.loads(described["output"]) if "output" in described else None
            return described["status"], output, len(harness.history(execution, maxResults=1000))
        finally:
            harness.close()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(SHAPES, ANSWERS)
def test_restarts_change_nothing(shape: Any, answers: list[str]) -> None:
    assert outcome(shape, answers, restarts=True) == outcome(shape, answers, restarts=False)
