"""``triptych up``, ``down``, ``status``, ``env``: the local cloud's life."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from triptych.place import CommandFailed, Place


def up(place: Place, arguments: argparse.Namespace) -> int:
    """Start the gateway and deploy; says what runs where."""
    outputs = bring_up(place, arguments.use_case, lambda line: print(line, file=sys.stderr, flush=True))
    if arguments.json:
        print(json.dumps({"endpoint_url": place.endpoint_url, "home": str(place.home), "outputs": outputs}))
    else:
        print(f"local cloud at {place.endpoint_url}, home {place.home}")
        print(f'point any AWS client at it:  eval "$({place.advise("env")})"')
        print(f"start the pipeline:          {place.advise('run', arguments.use_case)}")
    return 0


def bring_up(place: Place, use_case: str, say: Callable[[str], None]) -> dict[str, str]:
    """A running gateway with the use case's stack deployed; returns the stack's outputs."""
    if not place.aws:
        _start(place, say)
    from triptych import deploy, packaging

    try:
        return deploy.deploy(
            place.project,
            place.target(use_case),
            place.client,
            place.exports(),
            say,
        )
    except (deploy.DeployFailed, packaging.SourceMissing) as error:
        raise CommandFailed(str(error)) from error


def _start(place: Place, say: Callable[[str], None]) -> None:
    from triptych.localcloud import daemon
    from triptych.localcloud.cloud import Settings
    from triptych.localcloud.home import HomeUnusable

    given: dict[str, Any] = {"region": place.region}
    port = place.port if place.port is not None else daemon.last_port(place.home)
    if port is not None:
        given["port"] = port
    if place.glue_engine is not None:
        given["glue_engine"] = place.glue_engine
    try:
        if daemon.status(place.home) is None:
            say(f"starting the local cloud in {place.home}")
        running = daemon.start(place.home, Settings(**given))
    except (daemon.DaemonFailed, HomeUnusable) as error:
        raise CommandFailed(str(error)) from error
    place.use(running)


def down(place: Place, arguments: argparse.Namespace) -> int:
    """Stop the gateway."""
    from triptych.localcloud import daemon

    try:
        stopped = daemon.stop(place.home)
    except daemon.DaemonFailed as error:
        raise CommandFailed(str(error)) from error
    if arguments.json:
        print(json.dumps({"stopped": stopped}))
    else:
        print(f"local cloud of {place.home} stopped" if stopped else f"no local cloud runs for {place.home}")
    return 0


def status(place: Place, arguments: argparse.Namespace) -> int:
    """Whether it runs, and the stacks with their status; exit code 3 when nothing runs."""
    from triptych.localcloud import daemon

    running = daemon.status(place.home)
    if running is None:
        print(json.dumps({"running": False}) if arguments.json else f"no local cloud runs for {place.home}")
        return 3
    place.use_running_gateway()
    stacks = {
        stack["StackName"]: stack["StackStatus"]
        for page in place.client("cloudformation").get_paginator("describe_stacks").paginate()
        for stack in page["Stacks"]
        if "ParentId" not in stack
    }
    if arguments.json:
        found = {"running": True, "endpoint_url": running.endpoint_url, "pid": running.pid, "stacks": stacks}
        print(json.dumps(found | {"home": str(place.home)}))
    else:
        print(f"running at {running.endpoint_url} (process {running.pid}), home {place.home}")
        for name, state in stacks.items():
            print(f"  stack {name}: {state}")
    return 0


def env(place: Place, arguments: argparse.Namespace) -> int:
    """Exports for a shell, or an object for machines."""
    place.use_running_gateway()
    if arguments.json:
        print(json.dumps(place.exports()))
    else:
        for name, value in place.exports().items():
            print(f"export {name}={value}")
    return 0
