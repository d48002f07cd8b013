"""Which execution a run's name stands for: the pipeline's own first, then a machine's that was started by itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from triptych.commands.runs import PART_OUTPUTS, PIPELINE_OUTPUT, open_run
from triptych.place import CommandFailed, Place

PREFIX = "arn:aws:states:us-east-1:1"


class _StepFunctions:
    class exceptions:
        class ExecutionDoesNotExist(Exception):
            pass

    def __init__(self, *known: str) -> None:
        self._known = known

    def list_executions(self, stateMachineArn: str, maxResults: int) -> dict[str, Any]:
        prefix = f"{stateMachineArn.replace(':stateMachine:', ':execution:')}:"
        found = [arn for arn in self._known if arn.startswith(prefix)]
        return {"executions": [{"name": arn.removeprefix(prefix), "executionArn": arn} for arn in found]}

    def describe_execution(self, executionArn: str) -> dict[str, Any]:
        if executionArn not in self._known:
            raise self.exceptions.ExecutionDoesNotExist
        return {}


def _open(run: str, monkeypatch: pytest.MonkeyPatch) -> str:
    stepfunctions = _StepFunctions(
        f"{PREFIX}:execution:pipeline:run-1",
        f"{PREFIX}:execution:DeploymentStateMachineArn:run-1",
        f"{PREFIX}:execution:DeploymentStateMachineArn:demo-1",
    )
    outputs = {name: f"{PREFIX}:stateMachine:{name}" for name in PART_OUTPUTS}
    outputs[PIPELINE_OUTPUT] = f"{PREFIX}:stateMachine:pipeline"
    place = Place(Path("/checkout"), Path("/home"))
    monkeypatch.setattr(Place, "use_running_gateway", lambda self: None)
    monkeypatch.setattr(Place, "client", lambda self, service: stepfunctions)
    monkeypatch.setattr(Place, "outputs", lambda self, use_case: outputs)
    return open_run(place, argparse.Namespace(run=run, use_case="flights")).run.arn


@pytest.mark.parametrize(
    ("run", "arn"),
    [
        ("last", "pipeline:run-1"),
        ("run-1", "pipeline:run-1"),
        ("demo-1", "DeploymentStateMachineArn:demo-1"),
    ],
)
def test_a_name_stands_for_a_run(run: str, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _open(run, monkeypatch) == f"{PREFIX}:execution:{arn}"


def test_an_unknown_name_is_told_with_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandFailed, match="there is no run 'x'; the newest: run-1"):
        _open("x", monkeypatch)


@pytest.mark.parametrize("part", ["pipeline", "data-engineering", "model", "deployment"])
def test_a_machine_names_its_use_case(part: str) -> None:
    place = Place(Path("/checkout"), Path("/home"))
    assert place.use_case_of(f"triptych-flights-local-{part}") == "flights"
