"""``triptych run``: bring everything up, start the pipeline, watch it, and say what came out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime

from triptych import sample
from triptych.commands.cloud import bring_up
from triptych.executions import ExecutionReader, ExecutionRun
from triptych.place import CommandFailed, Place, who

EXIT_FAILED, EXIT_REJECTED = 1, 4


def run(place: Place, arguments: argparse.Namespace) -> int:
    """The whole pipeline on the use case's data; exit code 0 only when it succeeded."""

    def say(line: str) -> None:
        if not arguments.json:
            print(line, file=sys.stderr, flush=True)

    outputs = bring_up(place, arguments.use_case, say)
    sample.upload_if_empty(
        place.project,
        arguments.use_case,
        outputs["DataBucket"],
        place.client("s3"),
        say,
    )
    name = arguments.name or f"run-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"[:-3]
    stepfunctions = place.client("stepfunctions")
    if not arguments.beside:
        _refuse_beside_another(place, arguments.use_case, outputs["PipelineStateMachineArn"])
    given = {
        "use_case": arguments.use_case,
        "force": not arguments.if_new,
        "trigger": {"kind": "person", "detail": {"user": who(), "command": "triptych run"}},
    }
    if arguments.deploy:
        given["deployment"] = {"strategy": arguments.deploy}
    try:
        started = stepfunctions.start_execution(
            stateMachineArn=outputs["PipelineStateMachineArn"], name=name, input=json.dumps(given)
        )
    except stepfunctions.exceptions.ExecutionAlreadyExists as error:
        raise CommandFailed(f"there is a run named '{name}' already; choose another --name", 2) from error
    except stepfunctions.exceptions.InvalidName as error:
        raise CommandFailed(f"'{name}' cannot name a run: {error}", 2) from error
    if arguments.no_follow:
        watching = place.advise("resume", name, use_case=arguments.use_case)
        print(json.dumps({"run": name}) if arguments.json else f"started {name}; watch: {watching}")
        return 0
    return watch(place, started["executionArn"], quiet=arguments.json)


def _refuse_beside_another(place: Place, use_case: str, pipeline: str) -> None:
    """Two runs would both change the endpoint, and one of them would lose."""
    going_on = place.client("stepfunctions").list_executions(
        stateMachineArn=pipeline, statusFilter="RUNNING", maxResults=1
    )
    for entry in going_on["executions"]:
        raise CommandFailed(
            f"run {entry['name']} is going on; watch it with "
            f"`{place.advise('resume', entry['name'], use_case=use_case)}`, "
            "or start another beside it with --beside"
        )


def watch(place: Place, arn: str, quiet: bool) -> int:
    """Follow an execution to its end and print its ending; returns the exit code."""
    from triptych import summary, tree

    reader = ExecutionReader(place.client("stepfunctions"), arn)
    try:
        ended = tree.follow(reader.refresh, time.sleep, quiet)
    except KeyboardInterrupt:
        name, use_case = reader.run.name, place.use_case_of(reader.run.machine)
        print(
            f"\nno longer watching; {name} goes on\n"
            f"  watch again: {place.advise('resume', name, use_case=use_case)}\n"
            f"  look at it:  {place.advise('show', name, use_case=use_case)}",
            file=sys.stderr,
        )
        raise
    if quiet:
        print(json.dumps(summary.as_json(place, ended)))
    else:
        summary.print_ending(place, ended)
    return exit_code(ended)


def exit_code(ended: ExecutionRun) -> int:
    """0 for success, 4 where the data or the model was rejected, else 1."""
    from triptych import summary

    if ended.status == "SUCCEEDED":
        return 0
    return EXIT_REJECTED if summary.is_rejected(ended) else EXIT_FAILED
