"""``triptych runs``, ``show``, ``logs``, ``resume``: looking at runs, and going on with one that failed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from triptych.executions import ExecutionReader, ExecutionRun, StateRun
from triptych.place import CommandFailed, Place

PIPELINE_OUTPUT = "PipelineStateMachineArn"
PART_OUTPUTS = ("DataEngineeringStateMachineArn", "ModelStateMachineArn", "DeploymentStateMachineArn")


def runs(place: Place, arguments: argparse.Namespace) -> int:
    """A line a run, newest first: name, status, start, duration, why it was started."""
    place.use_running_gateway()
    stepfunctions = place.client("stepfunctions")
    machine = pipeline_arn(place, arguments.use_case)
    rows = []
    for entry in stepfunctions.list_executions(stateMachineArn=machine, maxResults=arguments.limit)[
        "executions"
    ]:
        described = stepfunctions.describe_execution(executionArn=entry["executionArn"])
        stopped = entry.get("stopDate") or datetime.now(UTC)
        trigger = json.loads(described["input"]).get("trigger", {})
        rows.append(
            {
                "run": entry["name"],
                "status": entry["status"],
                "started": entry["startDate"].astimezone(UTC).isoformat(timespec="seconds"),
                "seconds": round((stopped - entry["startDate"]).total_seconds(), 1),
                "trigger": trigger.get("kind", "unknown"),
            }
        )
    if arguments.json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no runs yet; start one with `{place.advise('run', arguments.use_case)}`")
    else:
        print(f"{'RUN':40} {'STATUS':10} {'STARTED':26} {'SECONDS':>8}  STARTED BY")
        for row in rows:
            print(
                f"{row['run']:40} {row['status']:10} {row['started']:26} {row['seconds']:8}  {row['trigger']}"
            )
    return 0


def show(place: Place, arguments: argparse.Namespace) -> int:
    """The tree of one run, and its results or what went wrong."""
    from triptych import summary, tree

    run = open_run(place, arguments).refresh()
    if arguments.json:
        print(json.dumps(as_json(run)))
        return 0
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(tree.renderable(run))
    else:
        print(tree.plain(run))
    summary.print_ending(place, run)
    return 0


def logs(place: Place, arguments: argparse.Namespace) -> int:
    """What the run's functions and jobs wrote, by state, in the order of the states."""
    run = open_run(place, arguments).refresh()
    known: list[str] = []
    printed = False
    for execution in run.walk():
        for state in execution.states:
            if state.resource is None or state.child_arn:
                continue
            known.append(state.name)
            if arguments.state and state.name.lower() != arguments.state.lower():
                continue
            printed = True
            if not arguments.json:
                print(f"== {execution.machine}: {state.name}")
            for line in log_lines(place, state):
                print(json.dumps({"state": state.name, "line": line}) if arguments.json else line)
    if arguments.state and not printed:
        raise CommandFailed(
            f"run {run.name} has no task '{arguments.state}'; it has: {', '.join(dict.fromkeys(known))}",
            2,
        )
    return 0


def resume(place: Place, arguments: argparse.Namespace) -> int:
    """Redrive an unsuccessful run from the state that failed, and follow it."""
    from triptych.commands.run import watch

    reader = open_run(place, arguments)
    run = reader.refresh()
    if run.status == "SUCCEEDED":
        raise CommandFailed(f"run {run.name} succeeded; there is nothing to resume", 2)
    if run.status != "RUNNING":
        stepfunctions = place.client("stepfunctions")
        failed = run.failed_state()
        try:
            stepfunctions.redrive_execution(executionArn=run.arn)
        except stepfunctions.exceptions.ExecutionNotRedrivable as error:
            raise CommandFailed(
                f"run {run.name} cannot go on: {error.response['Error']['Message']}; "
                f"start a new one with `{place.advise('run', arguments.use_case)}`"
            ) from error
        if failed and not arguments.json:
            print(f"resuming {run.name} at '{failed[1].name}'", file=sys.stderr)
    return watch(place, run.arn, quiet=arguments.json)


def open_run(place: Place, arguments: argparse.Namespace) -> ExecutionReader:
    """A reader of the named run; 'last' is the newest one of the use case's pipeline.

    A name that no pipeline run has may be that of a machine that was started by itself.
    """
    place.use_running_gateway()
    stepfunctions = place.client("stepfunctions")
    machine = pipeline_arn(place, arguments.use_case)
    if arguments.run == "last":
        newest = stepfunctions.list_executions(stateMachineArn=machine, maxResults=1)["executions"]
        if not newest:
            raise CommandFailed(f"no runs yet; start one with `{place.advise('run', arguments.use_case)}`", 3)
        return ExecutionReader(stepfunctions, newest[0]["executionArn"])
    outputs = place.outputs(arguments.use_case)
    for each in (machine, *(outputs[name] for name in PART_OUTPUTS)):
        arn = f"{each.replace(':stateMachine:', ':execution:')}:{arguments.run}"
        try:
            stepfunctions.describe_execution(executionArn=arn)
        except stepfunctions.exceptions.ExecutionDoesNotExist:
            continue
        return ExecutionReader(stepfunctions, arn)
    newest = stepfunctions.list_executions(stateMachineArn=machine, maxResults=5)["executions"]
    names = ", ".join(entry["name"] for entry in newest)
    raise CommandFailed(
        f"there is no run '{arguments.run}'; the newest: {names or 'none'} (`triptych runs`)", 2
    )


def pipeline_arn(place: Place, use_case: str) -> str:
    """The pipeline state machine of a deployed use case."""
    return place.outputs(use_case)[PIPELINE_OUTPUT]


def log_lines(place: Place, state: StateRun) -> Iterator[str]:
    """The CloudWatch log lines that a Task state's function or job wrote."""
    group, prefix = log_place(state)
    if group is None:
        return
    query: dict[str, Any] = {"logGroupName": group}
    if prefix:
        query["logStreamNamePrefix"] = prefix
    else:
        query["startTime"] = int(state.entered.timestamp() * 1000)
        if state.exited:
            query["endTime"] = int((state.exited + timedelta(seconds=1)).timestamp() * 1000)
    client = place.client("logs")
    try:
        for page in client.get_paginator("filter_log_events").paginate(**query):
            for event in page["events"]:
                yield event["message"].rstrip("\n")
    except client.exceptions.ResourceNotFoundException:
        return


def log_place(state: StateRun) -> tuple[str | None, str | None]:
    """The log group and stream prefix of a Task state; no prefix where only the time tells."""
    resource = state.resource or ""
    parameters = state.parameters
    if resource.startswith("lambda"):
        name = str(parameters.get("FunctionName", "")).split(":function:")[-1].split(":")[0]
        return f"/aws/lambda/{name}", None
    if resource.startswith("glue:startJobRun"):
        return "/aws-glue/jobs/output", state.submitted.get("JobRunId")
    for kind, name in (
        ("Training", "TrainingJob"),
        ("Processing", "ProcessingJob"),
        ("Transform", "TransformJob"),
    ):
        if resource.startswith(f"sagemaker:create{name}"):
            return f"/aws/sagemaker/{kind}Jobs", parameters.get(f"{name}Name")
    return None, None


def as_json(run: ExecutionRun) -> dict[str, Any]:
    """A run with its states and nested runs, for machines."""
    return {
        "run": run.name,
        "machine": run.machine,
        "status": run.status,
        "seconds": round(run.seconds, 3),
        "input": run.input,
        "output": run.output,
        "error": run.error,
        "cause": run.cause,
        "states": [
            {
                "name": state.name,
                "type": state.kind,
                "status": state.status(run.status),
                "entered": state.entered.isoformat(timespec="milliseconds"),
                "seconds": round(run.state_seconds(state), 3) if state.exited or state.stopped else None,
                "attempts": state.attempts,
                "error": state.error,
                "cause": state.cause,
                "resource": state.resource,
                "execution": as_json(run.children[state.child_arn])
                if state.child_arn in run.children
                else None,
            }
            for state in run.states
        ],
    }
