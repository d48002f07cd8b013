"""What carries a deployment out, on fleets and a clock that only pretend: time limits, giving up, trouble."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deployment_blocks import FakeAlarms

from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.sagemaker.deployment_alarms import RollbackAlarms
from triptych.localcloud.sagemaker.deployment_plan import Plan, Step, VariantSize, plan_deployment
from triptych.localcloud.sagemaker.deployment_run import DeploymentRun, Outcome
from triptych.localcloud.sagemaker.fleet import FleetFailed, VariantPlan
from triptych.localcloud.sagemaker.live import Share


class PretendedFleet:
    def __init__(self, name: str, diary: list[str], trouble: Callable[[str], None]) -> None:
        self.name, self._diary, self._trouble = name, diary, trouble

    def _note(self, what: str) -> None:
        self._diary.append(what)
        self._trouble(what)

    def start(self) -> None:
        self._note(f"start {self.name}")

    def resize(self, variant: str, instances: int) -> None:
        self._note(f"resize {self.name} {instances}")

    def stop(self) -> None:
        self._note(f"stop {self.name}")


class PretendedLive:
    def __init__(self, fleet: PretendedFleet, diary: list[str], trouble: Callable[[str], None]) -> None:
        self.shares: tuple[Share, ...] = (Share(fleet, 1.0),)  # type: ignore[arg-type]
        self._diary, self._trouble = diary, trouble

    def route(self, shares: list[Share], capture: dict[str, Any] | None) -> None:
        told = " ".join(f"{share.fleet.name} {share.share:g}" for share in shares if share.share)  # type: ignore[attr-defined]
        note = f"route {told} capture {capture and capture['name']}"
        self._diary.append(note)
        self._trouble(note)

    def drain(self, fleet: PretendedFleet, timeout_seconds: float) -> bool:
        self._diary.append(f"drain {fleet.name}")
        return True


class Diary:
    """The observer, and everything the run did, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.outcomes: list[Outcome] = []

    def doing(self, step: Step, before: Step | None) -> None:
        self.lines.append(f"{step.action} {step.share:g}")

    def going_back(self, reason: str) -> None:
        self.lines.append("back")

    def ended(self, outcome: Outcome) -> None:
        self.lines.append(outcome.ending)
        self.outcomes.append(outcome)


def serving(name: str, instances: int) -> dict[str, Any]:
    variant = {"name": "A", "weight": 1.0, "instances": instances, "image": "i", "model_dir": "/m"}
    return {"config": name, "variants": [variant], "capture": {"name": name}}


def policy(wait: int = 0, **changes: Any) -> dict[str, Any]:
    traffic = {
        "Type": "CANARY",
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": wait,
    }
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic, **changes}}


def rolling(wait: int = 0) -> dict[str, Any]:
    batch = {"Type": "INSTANCE_COUNT", "Value": 1}
    return {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": wait}}


def planned(deployment: dict[str, Any] | None) -> Plan:
    return plan_deployment(deployment, [VariantSize("A", 2)], [VariantSize("A", 2)])


class Stage:
    """A run over pretended fleets; ``trouble`` sees each thing that is done and may raise."""

    def __init__(
        self, tmp_path: Path, plan: Plan, trouble: Callable[[str], None] = lambda what: None
    ) -> None:
        cloud = Cloud(Home(tmp_path), Settings())
        self.alarms = FakeAlarms(cloud.bus)
        cloud.services["cloudwatch"] = self.alarms
        self.diary = Diary()
        self.clock_offset = 0.0
        lines = self.diary.lines
        live = PretendedLive(PretendedFleet("old", lines, trouble), lines, trouble)

        def make(plans: list[VariantPlan]) -> Any:
            lines.append(f"make {plans[0].instances}")
            return PretendedFleet("new", lines, trouble)

        self.run = DeploymentRun(
            plan,
            serving("old", 2),
            serving("new", 2),
            live,  # type: ignore[arg-type]
            RollbackAlarms(cloud),
            make,
            self.diary,
            clock=lambda: time.monotonic() + self.clock_offset,
        )

    def await_line(self, line: str) -> None:
        deadline = time.monotonic() + 30
        while line not in self.diary.lines:
            assert time.monotonic() < deadline, self.diary.lines
            time.sleep(0.002)

    def in_background(self) -> threading.Thread:
        thread = threading.Thread(target=self.run.run)
        thread.start()
        return thread


def raising(at: str, error: Exception) -> Callable[[str], None]:
    def trouble(what: str) -> None:
        if what == at:
            raise error

    return trouble


def test_the_order_of_a_canary(tmp_path: Path) -> None:
    """The new configuration counts before old servers stop; captured data follows the traffic's bulk."""
    stage = Stage(tmp_path, planned(policy()))
    stage.run.run()
    assert stage.diary.lines == [
        "provision 0",
        "make 2",
        "start new",
        "shift 0.5",
        "route old 0.5 new 0.5 capture old",
        "shift 1",
        "route new 1 capture new",
        "deployed",
        "drain old",
        "stop old",
    ]


def test_the_order_of_a_rolling_deployment(tmp_path: Path) -> None:
    """Old servers stop once their batch has baked; the last of them once the new configuration counts."""
    stage = Stage(tmp_path, planned(rolling()))
    stage.run.run()
    assert stage.diary.lines == [
        "provision 0",
        "make 1",
        "start new",
        "shift 0.5",
        "route old 0.5 new 0.5 capture old",
        "terminate 0.5",
        "resize old 1",
        "provision 0.5",
        "resize new 2",
        "shift 1",
        "route new 1 capture new",
        "deployed",
        "drain old",
        "stop old",
    ]


@pytest.mark.parametrize(
    ("deployment", "at", "error", "wanted"),
    [
        pytest.param(
            policy(),
            "start new",
            FleetFailed("no ping"),
            ["back", "rolled back"],
            id="new-fleet-does-not-start",
        ),
        pytest.param(
            policy(),
            "route old 0.5 new 0.5 capture old",
            RuntimeError("router gone"),
            ["back", "shift 0", "route old 1 capture old", "rolled back", "drain new", "stop new"],
            id="the-router-fails",
        ),
        pytest.param(
            rolling(),
            "resize new 2",
            FleetFailed("no room"),
            [
                "back",
                "provision 0.5",
                "resize old 2",
                "shift 0",
                "route old 1 capture old",
                "rolled back",
                "drain new",
                "stop new",
            ],
            id="second-batch-does-not-start",
        ),
        pytest.param(
            rolling(),
            "route new 1 capture new",
            RuntimeError("router gone"),
            [
                "back",
                "provision 0.5",
                "resize old 2",
                "shift 0",
                "route old 1 capture old",
                "rolled back",
                "drain new",
                "stop new",
            ],
            id="the-router-fails-late",
        ),
    ],
)
def test_trouble_on_the_way_leads_back(
    tmp_path: Path, deployment: dict[str, Any], at: str, error: Exception, wanted: list[str]
) -> None:
    stage = Stage(tmp_path, planned(deployment), raising(at, error))
    stage.run.run()
    lines = stage.diary.lines
    assert lines[lines.index("back") :] == wanted
    assert str(error) in stage.diary.outcomes[0].reason


@pytest.mark.parametrize(
    "error", [FleetFailed("no files"), RuntimeError("no files")], ids=["servers", "anything-else"]
)
def test_a_rollback_that_fails_stops_nothing(tmp_path: Path, error: Exception) -> None:
    def trouble(what: str) -> None:
        if what == "resize new 2":
            raise FleetFailed("no room")
        if what == "resize old 2":
            raise error

    stage = Stage(tmp_path, planned(rolling()), trouble)
    stage.run.run()
    (outcome,) = stage.diary.outcomes
    assert outcome == Outcome("rollback failed", "no room The rollback failed too: no files")
    assert not [line for line in stage.diary.lines if line.startswith(("stop", "drain"))]


def test_trouble_while_cleaning_up_changes_no_outcome(tmp_path: Path) -> None:
    stage = Stage(tmp_path, planned(None), raising("stop old", RuntimeError("cannot stop")))
    with pytest.raises(RuntimeError, match="cannot stop"):
        stage.run.run()
    assert [outcome.ending for outcome in stage.diary.outcomes] == ["deployed"]
    assert stage.diary.lines[-1] == "stop old"


def test_the_time_limit_rolls_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, planned(policy(500, MaximumExecutionTimeoutInSeconds=600)))
    thread = stage.in_background()
    stage.await_line("bake 0.5")
    stage.clock_offset = 601
    thread.join(30)
    (outcome,) = stage.diary.outcomes
    assert outcome.ending == "rolled back"
    assert outcome.reason == (
        "The deployment did not end within its MaximumExecutionTimeoutInSeconds of 600 seconds."
    )


@pytest.mark.parametrize("phase", ["bake 0.5", "start new"])
def test_a_deployment_that_is_given_up_moves_no_traffic_any_more(tmp_path: Path, phase: str) -> None:
    starting, stopped = threading.Event(), threading.Event()

    def trouble(what: str) -> None:
        if what == "start new" and phase == "start new":
            starting.set()
            assert stopped.wait(30)
            raise FleetFailed("stopped while it started")
        if what == "stop new":
            stopped.set()

    stage = Stage(tmp_path, planned(policy(500)), trouble)
    thread = stage.in_background()
    stage.await_line(phase)
    stage.run.cancel()
    routed = [line for line in stage.diary.lines if line.startswith("route")]
    thread.join(30)
    assert not thread.is_alive()
    assert [line for line in stage.diary.lines if line.startswith("route")] == routed
    assert [outcome.ending for outcome in stage.diary.outcomes] == ["cancelled"]
    assert stage.diary.lines[-4:] == ["drain new", "stop new", "drain old", "stop old"]


def test_no_alarm_is_looked_at_before_traffic_shifts(tmp_path: Path) -> None:
    """Only what is seen while the new fleet has requests, or is about to, says anything of it."""
    deployment = policy(500) | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}

    def trouble(what: str) -> None:
        if what == "start new":
            stage.alarms.set("a", "ALARM")
            stage.alarms.set("a", "INSUFFICIENT_DATA")

    stage = Stage(tmp_path, planned(deployment), trouble)
    thread = stage.in_background()
    stage.await_line("bake 0.5")
    stage.alarms.set("a", "ALARM")
    thread.join(30)
    (outcome,) = stage.diary.outcomes
    assert outcome == Outcome("rolled back", "Alarm(s) [a] went into the state ALARM. a became ALARM.")
