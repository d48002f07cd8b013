"""``triptych traffic``, ``rollback`` and ``demo``: an endpoint under load, and back to what it served before."""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from triptych.commands.cloud import bring_up
from triptych.place import CommandFailed, Place, who

_SECONDS_BETWEEN_LINES = 5.0
_THREADS = 16
_DEMO_RATE = 40.0
_DEMO_ROWS = 3000
_DEMO_SECONDS_AROUND = 5.0
"""of traffic before the deployment and after it: so that its page shows what the rollback brought back"""
_LONGEST_ALARM_SECONDS = 60.0


def traffic(place: Place, arguments: argparse.Namespace) -> int:
    """Send real rows at a steady rate and judge each answer; exit code 1 when one was lost or wrong."""
    from triptych.traffic import NoRows

    place.use_running_gateway()
    outputs = place.outputs(arguments.use_case)
    endpoint = arguments.endpoint or outputs["EndpointName"]
    try:
        sender = _traffic(
            place, arguments.use_case, outputs, endpoint, arguments.rate, arguments.rows, arguments.labels
        )
    except NoRows as error:
        raise CommandFailed(str(error)) from error
    sender.start()
    until = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    try:
        while until is None or time.monotonic() < until:
            remaining = _SECONDS_BETWEEN_LINES if until is None else until - time.monotonic()
            time.sleep(max(0.0, min(_SECONDS_BETWEEN_LINES, remaining)))
            if not arguments.json:
                print(sender.tally().line(), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        if until is not None:
            raise
    finally:
        tally = sender.stop()
    print(json.dumps(tally.as_json()) if arguments.json else f"{endpoint}: {tally.line()}")
    if tally.first_problem and not arguments.json:
        print(f"the first problem: {tally.first_problem}", file=sys.stderr)
    return 1 if tally.lost or tally.wrong else 0


def rollback(place: Place, arguments: argparse.Namespace) -> int:
    """Put back what an endpoint served before, reject what it serves now, and tell."""
    from triptych.rollback import CannotRollBack, Rollback

    place.use_running_gateway()
    reason = arguments.reason or f"{who()} rolled back by hand"
    work = Rollback(
        place.client("sagemaker"),
        place.client("cloudwatch"),
        arguments.endpoint,
        reason,
        say=lambda line: print(line, file=sys.stderr, flush=True),
        poll_seconds=5.0 if place.aws else 0.2,
    )
    try:
        done = work.run(arguments.to)
    except CannotRollBack as error:
        raise CommandFailed(str(error)) from error
    place.client("sns").publish(
        TopicArn=place.outputs(arguments.use_case)["NotificationsTopicArn"],
        Subject=f"{done.endpoint_name} was rolled back"[:100],
        Message=f"Endpoint {done.endpoint_name} serves {done.configuration} again, instead of {done.left}. "
        f"Why: {reason}. By: {who()}.",
    )
    if arguments.json:
        print(
            json.dumps(
                {
                    "endpoint_name": done.endpoint_name,
                    "configuration": done.configuration,
                    "left": done.left,
                    "rejected": done.rejected,
                }
            )
        )
    else:
        print(f"endpoint {done.endpoint_name} serves {done.configuration} again")
    return 0


def demo(place: Place, arguments: argparse.Namespace) -> int:
    """``demo rollback``: bad models go into production under load and are taken out again by the alarms."""
    from triptych.demo import BAD_MODELS

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    outputs = bring_up(place, arguments.use_case, say)
    package = _package_in_service(place, outputs["EndpointName"])
    if package is None:
        raise CommandFailed(
            f"no model of this pipeline serves at {outputs['EndpointName']} yet; deploy one first: "
            f"{place.advise('run', arguments.use_case)}"
        )
    chosen = [model for model in BAD_MODELS if arguments.model in (None, model.name)]
    results = [_demonstrate(place, arguments, outputs, package, model, say) for model in chosen]
    if arguments.json:
        print(json.dumps(results))
    return 0 if all(result["rolled_back"] and not result["traffic"]["lost"] for result in results) else 1


def _demonstrate(
    place: Place, arguments: argparse.Namespace, outputs: Any, package: str, model: Any, say: Any
) -> dict[str, Any]:
    from triptych import demo as demonstration
    from triptych import tree
    from triptych.executions import ExecutionReader
    from triptych.summary import ROLLED_BACK

    endpoint = outputs["EndpointName"]
    sagemaker = place.client("sagemaker")
    served = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    bad = demonstration.register(place.client("s3"), sagemaker, outputs["DataBucket"], package, model)
    say(f"\na model that is bad for evening flights: {model.what}; every test passes. {bad}")
    say(f"traffic: {_DEMO_RATE:g} requests a second, real flights with their labels")
    sender = _traffic(place, arguments.use_case, outputs, endpoint, _DEMO_RATE, _DEMO_ROWS, True)
    sender.start()
    try:
        time.sleep(_DEMO_SECONDS_AROUND)
        _await_quiet_alarms(place, place.target(arguments.use_case).stack_name)
        name = f"demo-{model.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        started = place.client("stepfunctions").start_execution(
            stateMachineArn=outputs["DeploymentStateMachineArn"],
            name=name,
            input=json.dumps(
                {
                    "use_case": arguments.use_case,
                    "trigger": {
                        "kind": "person",
                        "detail": {"user": who(), "command": "triptych demo rollback"},
                    },
                    "model_package_arn": bad,
                    "deployment": {"strategy": arguments.deploy, "instance_count": 2},
                }
            ),
        )
        lines = _Lines(sender, quiet=arguments.json)
        reader = ExecutionReader(place.client("stepfunctions"), started["executionArn"])
        try:
            ended = tree.follow(reader.refresh, time.sleep, arguments.json)
        finally:
            lines.stop()
        time.sleep(_DEMO_SECONDS_AROUND)
    finally:
        tally = sender.stop()
    now = sagemaker.describe_endpoint(EndpointName=endpoint)
    status = sagemaker.describe_model_package(ModelPackageName=bad)["ModelApprovalStatus"]
    back = now["EndpointStatus"] == "InService" and now["EndpointConfigName"] == served
    result = {
        "model": model.name,
        "execution": name,
        "error": ended.error,
        "cause": ended.cause,
        "rolled_back": back and ended.error == ROLLED_BACK and status == "Rejected",
        "package": {"arn": bad, "status": status},
        "serves": now["EndpointConfigName"],
        "traffic": tally.as_json(),
        "report": f"s3://{outputs['DataBucket']}/deployments/{name}/deployment.html",
    }
    if not arguments.json:
        _print_result(place, result, tally)
    return result


def _await_quiet_alarms(place: Place, prefix: str) -> None:
    """A deployment before this one may have set alarms off: they would take this one back for its errors."""
    until = time.monotonic() + _LONGEST_ALARM_SECONDS
    cloudwatch = place.client("cloudwatch")
    while cloudwatch.describe_alarms(AlarmNamePrefix=f"{prefix}-endpoint", StateValue="ALARM")[
        "MetricAlarms"
    ]:
        if time.monotonic() > until:
            raise CommandFailed(f"an alarm of {prefix}-endpoint-* stays in ALARM; look at the endpoint first")
        time.sleep(0.5)


def _print_result(place: Place, result: dict[str, Any], tally: Any) -> None:
    print(f"\n{'rolled back' if result['rolled_back'] else 'NOT rolled back'}: {result['cause']}")
    print(f"  serves    {result['serves']}")
    print(f"  package   {result['package']['arn'].rsplit('/', 1)[-1]} is {result['package']['status']}")
    print(f"  traffic   {tally.line()}")
    if tally.lost or tally.wrong:
        print(f"            the first problem: {tally.first_problem}")
    print(f"  page      {place.file_of(result['report']) or result['report']}")


class _Lines:
    """The traffic's tally, a line every few seconds while a deployment is followed."""

    def __init__(self, sender: Any, quiet: bool) -> None:
        self._sender = sender
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        if not quiet and not sys.stderr.isatty():
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LINES):
            print(f"  traffic: {self._sender.tally().line()}", file=sys.stderr, flush=True)


def _traffic(
    place: Place, use_case: str, outputs: Any, endpoint: str, rate: float, rows: int, labels: bool
) -> Any:
    from triptych import traffic as load

    read = load.read_rows(
        place.client, outputs["DataBucket"], use_case, outputs["ModelPackageGroup"], rows, labels=labels
    )
    random.Random(7).shuffle(read)
    labelled = None
    if labels:
        where = load.Labels(f"s3://{outputs['DataBucket']}/ground-truth/{endpoint}", f"Triptych/{use_case}")
        labelled = load.telling(place.client("s3"), place.client("cloudwatch"), endpoint, where)
    runtime = place.new_client("sagemaker-runtime", **load.runtime_config(_THREADS))
    return load.Traffic(load.asking(runtime, endpoint), read, rate, threads=_THREADS, labelled=labelled)


def _package_in_service(place: Place, endpoint: str) -> str | None:
    """The model package that an endpoint's tags say it serves."""
    from triptych.rollback import PACKAGE, find_endpoint, tags_of

    sagemaker = place.client("sagemaker")
    found = find_endpoint(sagemaker, endpoint)
    return tags_of(sagemaker, found["EndpointArn"]).get(PACKAGE) if found else None
