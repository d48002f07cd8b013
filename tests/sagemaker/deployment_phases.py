"""Run as a program: a laptop with one endpoint in each phase of a change, kept there until it is killed.

``deployment_phases.py HOME GATE`` prints ``ready`` once all are where they should be. Models that would let a phase
end wait until the file GATE exists.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from deployment_blocks import GUARD, HALF, FakeAlarms, Subject, blue_green, guarded, rolling, stage
from endpoint_blocks import create_config, create_model, echo, invoke, variant
from sagemaker_laptop import Laptop


def gated(gate: Path, starts: Path | None = None, free: int = 0) -> str:
    """Loading waits for the gate; the first ``free`` servers do not."""
    lines = [f"free = {free}"]
    if starts is not None:
        starts.mkdir()
        lines += [
            f"begun = len(os.listdir({str(starts)!r}))",
            f"open({str(starts)!r} + '/' + str(os.getpid()), 'w').close()",
        ]
    else:
        lines.append("begun = 0")
    lines.append(f"while begun >= free and not os.path.exists({str(gate)!r}): time.sleep(0.02)")
    return "\n    ".join(lines)


def park(home: Path, gate: Path) -> None:
    laptop = Laptop(home, stop_grace_seconds=1.0, capture_flush_seconds=0.05)
    alarms = FakeAlarms(laptop.cloud.bus)
    laptop.cloud.services["cloudwatch"] = alarms
    alarms.set(GUARD, "OK")
    alarms.set("other", "OK")
    old = create_model(laptop, "old", echo("old"))
    new = create_model(laptop, "new", echo("new"))
    slow = create_model(laptop, "slow", echo("new", load=gated(gate)))
    shy = create_model(laptop, "shy", echo("old", load=gated(gate, home / "shy", 2)))
    shyer = create_model(laptop, "shyer", echo("old", load=gated(gate, home / "shyer", 1)))
    hang = f"while body == 'hang' and not os.path.exists({str(gate)!r}): time.sleep(0.02)"
    hanging = create_model(laptop, "hanging", echo("old", predict=f"{hang}\n    return 'old:' + body"))

    subjects = {
        name: Subject(laptop, name, model, instances)
        for name, model, instances in [
            ("provisioning", old, 1),
            ("canary", old, 2),
            ("final-bake", old, 1),
            ("rolling", old, 2),
            ("rolling-back", shy, 2),
            ("rescaling", shyer, 1),
            ("cleaning-up", hanging, 1),
        ]
    }
    config = create_config(laptop, "creating-config", variant(slow))
    laptop.call("CreateEndpoint", EndpointName="creating", EndpointConfigName=config)
    subjects["provisioning"].update(slow, guarded(blue_green("ALL_AT_ONCE")))
    subjects["canary"].update(new, guarded(blue_green("CANARY", 600, CanarySize=HALF)))
    subjects["final-bake"].update(new, guarded(blue_green("ALL_AT_ONCE", 0, 600)))
    subjects["rolling"].update(new, guarded(rolling(600)))
    other = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "other"}]}}
    subjects["rolling-back"].update(new, rolling(1) | other)
    laptop.call(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="rescaling",
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredWeight": 7.0, "DesiredInstanceCount": 2}
        ],
    )
    threading.Thread(target=invoke, args=(laptop, "cleaning-up", b"hang"), daemon=True).start()
    time.sleep(0.2)
    subjects["cleaning-up"].update(new)

    subjects["rolling-back"].baking(1.0)
    alarms.set("other", "ALARM")
    subjects["rolling-back"].until(lambda described: described["EndpointStatus"] == "RollingBack")
    subjects["provisioning"].until(lambda described: stage(described)[2] == "Creating")
    subjects["canary"].baking(0.5)
    subjects["final-bake"].baking(1.0)
    subjects["rolling"].baking(0.5)
    subjects["cleaning-up"].until(lambda described: described["EndpointStatus"] == "InService")
    print("ready", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    park(Path(sys.argv[1]), Path(sys.argv[2]))
