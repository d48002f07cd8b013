"""What every committed definition promises: timeouts, retries, one failure path, valid calls."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import pytest
from rendered_machines import MACHINES, RENDERED, definition, filled, states, tasks

from triptych.localcloud.stepfunctions.validation import validate

ALL_TASKS = [
    pytest.param(machine, name, state, inside, id=f"{machine}: {name}")
    for machine in MACHINES
    for name, state, inside in tasks(machine)
]
ENDS = {"Data engineering failed", "Model failed", "Deployment failed", "Pipeline failed"}
"""they raise what the failure path caught: a Catch there would be a circle"""

SERVICES = {
    "aws-sdk:sagemaker": "sagemaker",
    "aws-sdk:sfn": "stepfunctions",
    "aws-sdk:cloudwatch": "cloudwatch",
    "aws-sdk:applicationautoscaling": "application-autoscaling",
    "states": "stepfunctions",
}


@pytest.mark.slow
def test_the_committed_definitions_are_what_the_sdk_renders() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "workflows.render", "--check"],
        cwd=RENDERED.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("machine", MACHINES)
def test_the_engine_finds_nothing_wrong(machine: str) -> None:
    assert list(validate(filled(machine), check_resource=lambda resource: None)) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_of_an_account_is_baked_in(machine: str) -> None:
    text = json.dumps(definition(machine))
    assert re.findall(r"arn:aws|\b\d{12}\b|[a-z]{2}-[a-z]+-\d\b", text) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_states_have_comments_and_names_fit(machine: str) -> None:
    for name, state, _ in states(machine):
        assert state.get("Comment"), f"{name} has no Comment"
        assert len(name) <= 80, name
        assert name[0].isupper(), name


@pytest.mark.parametrize(("machine", "name", "state", "inside"), ALL_TASKS)
def test_every_task_has_timeout_retry_and_catch(
    machine: str, name: str, state: dict[str, Any], inside: bool
) -> None:
    assert state["TimeoutSeconds"] > 0
    assert state["Retry"]
    errors = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
    assert not errors & {"States.ALL", "States.TaskFailed"}, "only transient errors are tried again"
    assert all(retry["JitterStrategy"] == "FULL" and retry["MaxDelaySeconds"] for retry in state["Retry"])
    if name in ENDS:
        return
    if inside:  # the Map or Parallel state around it has the Catch
        assert "Catch" not in state
    else:
        assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_map_and_parallel_is_caught(machine: str) -> None:
    for name, state, inside in states(machine):
        if state["Type"] in ("Map", "Parallel") and not inside:
            assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name


@pytest.mark.parametrize("machine", MACHINES)
def test_whatever_is_caught_can_be_gone_on_from(machine: str) -> None:
    parsed = definition(machine)["States"]
    noted = {
        catcher["Assign"]["resume_at"]
        for state in parsed.values()
        for catcher in state.get("Catch", [])
        if "Assign" in catcher
    }
    led_to = {choice["Next"] for choice in parsed["Go on where it failed"]["Choices"]}
    assert noted
    assert noted <= led_to <= parsed.keys()


@pytest.mark.parametrize(("machine", "name", "state", "inside"), ALL_TASKS)
def test_parameters_fit_the_service_model(
    machine: str, name: str, state: dict[str, Any], inside: bool
) -> None:
    integration = state["Resource"].removeprefix("arn:${Partition}:states:::")
    service, _, rest = (
        integration.rpartition(":") if not integration.endswith(":2") else ("states", "", integration)
    )
    action = re.sub(
        r"\.(sync|waitForTaskToken)(:2)?$",
        "",
        rest.rpartition(":")[2] if service != "states" else "startExecution",
    )
    model = _model(SERVICES.get(service, service))
    operation = next(found for found in model["operations"] if found.lower() == action.lower())
    shape = model["operations"][operation]["input"]["shape"]
    problems = list(_problems(model["shapes"], shape, state["Parameters"], service, "Parameters"))
    assert problems == []


@pytest.mark.parametrize(("machine", "name", "state", "inside"), ALL_TASKS)
def test_names_of_jobs_survive_retries_and_redrives(
    machine: str, name: str, state: dict[str, Any], inside: bool
) -> None:
    created = {
        "TrainingJobName",
        "ProcessingJobName",
        "TransformJobName",
        "EndpointConfigName",
    } & {key.removesuffix(".$") for key in state["Parameters"]}
    if "createModel" in state["Resource"] and "Package" not in state["Resource"]:
        created.add("ModelName")
    if not re.search(
        r"sagemaker:create(Training|Processing|Transform|Model|EndpointConfig)(Job)?(\.sync)?$",
        state["Resource"],
    ):
        return
    for member in created:
        value = state["Parameters"][f"{member}.$"]
        assert "$$.State.RetryCount" in value
        assert "$$.Execution.RedriveCount" in value


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_read_was_written(machine: str) -> None:
    """Each ``$.name`` that a top-level state reads is written by some state of the machine."""
    parsed = definition(machine)["States"]
    written = {"defaults", "request", "failure"}
    for state in parsed.values():
        if state.get("ResultPath"):
            written.add(state["ResultPath"].removeprefix("$.").split(".")[0])
        for catcher in state.get("Catch", []):
            if catcher.get("ResultPath"):
                written.add(catcher["ResultPath"].removeprefix("$."))
        if state["Type"] == "Pass":
            written |= {key.removesuffix(".$") for key in state.get("Parameters", {})}
    for name, state in parsed.items():
        own = {
            key: value
            for key, value in state.items()
            if key not in ("ItemProcessor", "Branches", "ResultSelector", "Comment")
        }
        read = set(re.findall(r"(?<!\$)\$\.([A-Za-z_]+)", json.dumps(own)))
        assert read <= written, f"{name} reads {sorted(read - written)}"


def _problems(shapes: dict[str, Any], name: str, value: Any, service: str, where: str) -> Any:
    shape = shapes[name]
    kind = shape["type"]
    if kind == "structure" and isinstance(value, dict):
        # aws-sdk and states spell members in Pascal case, whatever the service's own
        members = {member.lower(): (member, target) for member, target in shape["members"].items()}
        given = {}
        for key, item in value.items():
            plain = key.removesuffix(".$")
            if plain.lower() not in members:
                yield f"{where}: {name} has no member {plain}"
            else:
                given[plain.lower()] = (plain, key.endswith(".$"), item)
        for member in shape.get("required", []):
            if member.lower() not in given:
                yield f"{where}: {name} needs {member}"
        for plain, is_path, item in given.values():
            if is_path:
                if not re.match(r"\$|States\.", str(item)):
                    yield f"{where}.{plain}: {item!r} is no path"
            else:
                target = members[plain.lower()][1]["shape"]
                yield from _problems(shapes, target, item, service, f"{where}.{plain}")
    elif kind == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(shapes, shape["member"]["shape"], item, service, f"{where}[{index}]")
    elif kind == "map" and isinstance(value, dict):
        for key, item in value.items():
            if not key.endswith(".$"):
                yield from _problems(shapes, shape["value"]["shape"], item, service, f"{where}.{key}")
    elif kind == "string" and isinstance(value, dict) and service in ("sns", "states"):
        return  # these two take JSON objects and send their text
    elif kind == "blob":
        return
    else:
        expected = {"string": str, "integer": int, "long": int, "boolean": bool, "float": (int, float)}[kind]
        if not isinstance(value, expected) or (kind != "boolean" and isinstance(value, bool)):
            yield f"{where}: {value!r} is no {kind}"
        elif shape.get("enum") and value not in shape["enum"]:
            yield f"{where}: {value!r} is none of {shape['enum']}"


@cache
def _model(service: str) -> dict[str, Any]:
    folder = Path(botocore.__file__).parent / "data" / service
    newest = max(path for path in folder.iterdir() if path.is_dir())
    packed = newest / "service-2.json.gz"
    raw = (
        gzip.decompress(packed.read_bytes()) if packed.is_file() else (newest / "service-2.json").read_bytes()
    )
    parsed: dict[str, Any] = json.loads(raw)
    return parsed
