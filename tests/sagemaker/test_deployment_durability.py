"""kill -9 in every phase of an endpoint's change: one configuration serves afterwards, and the change goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment_blocks import GUARD, FakeAlarms, Subject, stage
from endpoint_blocks import invoke
from sagemaker_laptop import Laptop

NAMES = (
    "provisioning",
    "canary",
    "final-bake",
    "rolling",
    "rolling-back",
    "rescaling",
    "cleaning-up",
    "creating",
)
OPTIONS: dict[str, Any] = {"stop_grace_seconds": 1.0, "capture_flush_seconds": 0.05}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laptop, FakeAlarms]]:
    """A laptop over the home of one that was killed with an endpoint in each phase."""
    home = tmp_path_factory.mktemp("killed")
    gate = home / "gate"
    program = Path(__file__).with_name("deployment_phases.py")
    with subprocess.Popen(
        [sys.executable, program, home, gate], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert told == "ready\n"
    gate.touch()
    alarms = FakeAlarms()
    alarms.set(GUARD, "OK")
    laptop = Laptop(home, {"cloudwatch": alarms}, **OPTIONS)
    alarms.bus = laptop.cloud.bus
    yield laptop, alarms
    laptop.close()


def words(laptop: Laptop, name: str, count: int = 12) -> set[str]:
    return {invoke(laptop, name, b"x")["Body"].decode() for _ in range(count)}


def test_each_phase(killed: tuple[Laptop, FakeAlarms]) -> None:
    laptop, alarms = killed
    subjects = {name: Subject.found(laptop, name) for name in NAMES}
    firsts = {name: words(laptop, name, 1) for name in NAMES if name != "creating"}
    assert firsts.pop("cleaning-up") == {"new:x"}, "the change had counted already"
    assert set().union(*firsts.values()) <= {"old:x", "new:x"}

    described = subjects["creating"].settled()
    assert (described["EndpointStatus"], words(laptop, "creating")) == ("InService", {"new:x"})

    described = subjects["provisioning"].settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "provisioning-1")
    assert words(laptop, "provisioning") == {"new:x"}

    described = subjects["cleaning-up"].settled()
    assert described["EndpointConfigName"] == "cleaning-up-1"

    described = subjects["rolling-back"].settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == (
        "InService",
        "rolling-back-config",
    )
    assert "Alarm(s) [other] went into the state ALARM" in described["FailureReason"]
    (served,) = described["ProductionVariants"]
    assert (served["CurrentInstanceCount"], served["CurrentWeight"]) == (2, 1.0)
    assert words(laptop, "rolling-back") == {"old:x"}

    (served,) = subjects["rescaling"].settled()["ProductionVariants"]
    assert (served["CurrentInstanceCount"], served["CurrentWeight"]) == (2, 7.0)

    # Those that baked do so again, from the beginning …
    subjects["canary"].baking(0.5)
    assert words(laptop, "canary", 40) == {"old:x", "new:x"}
    subjects["final-bake"].baking(1.0)
    assert words(laptop, "final-bake") == {"new:x"}
    (served,) = subjects["rolling"].baking(0.5)["ProductionVariants"]
    assert served["CurrentInstanceCount"] == 2, "the old fleet is whole again"

    # … and are still guarded …
    alarms.set(GUARD, "ALARM")
    alarms.set(GUARD, "OK")
    for name in ("canary", "final-bake", "rolling"):
        described = subjects[name].settled()
        assert described["EndpointConfigName"] == f"{name}-config"
        assert "[guard]" in described["FailureReason"]
        assert words(laptop, name) == {"old:x"}

    # … and what is lost a second time is rolled back: it may be what brings the machine down.
    laptop.call(
        "UpdateEndpoint",
        EndpointName="canary",
        EndpointConfigName="canary-1",
        RetainDeploymentConfig=True,
    )
    for life in range(2):
        assert stage(subjects["canary"].baking(0.5))[1] == 0.5, life
        laptop.sagemaker.stop()
        laptop.restart(**OPTIONS)
    described = subjects["canary"].settled()
    assert "stopped twice while the endpoint was being updated" in described["FailureReason"]
    assert (described["EndpointConfigName"], words(laptop, "canary")) == ("canary-config", {"old:x"})
    for name in NAMES:
        laptop.call("DeleteEndpoint", EndpointName=name)
