"""Deployment guardrails with servers that really run, under a load that must not notice."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment_blocks import (
    GUARD,
    HALF,
    ONE,
    FakeAlarms,
    Subject,
    blue_green,
    guarded,
    rolling,
    stage,
)
from endpoint_blocks import (
    await_deleted,
    create_config,
    create_endpoint,
    create_model,
    echo,
    invoke,
    load,
    variant,
)
from sagemaker_laptop import Laptop


@pytest.fixture(scope="module")
def alarms(laptop: Laptop) -> Iterator[FakeAlarms]:
    alarms = FakeAlarms(laptop.cloud.bus)
    laptop.cloud.services["cloudwatch"] = alarms
    yield alarms
    del laptop.cloud.services["cloudwatch"]


@pytest.fixture(autouse=True)
def quiet(alarms: FakeAlarms) -> None:
    alarms.set(GUARD, "OK")


@pytest.fixture(scope="module")
def models(laptop: Laptop, alarms: FakeAlarms) -> tuple[str, str]:
    return create_model(laptop, "d-old", echo("old")), create_model(laptop, "d-new", echo("new"))


def wholly(word: str, words: list[str]) -> bool:
    return set(words) == {word}


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        pytest.param(
            blue_green("CANARY", 1, 1, CanarySize=HALF),
            [
                ("Updating", 0.0, "Creating"),
                ("Updating", 0.5, "ActivatingTraffic"),
                ("Updating", 0.5, "Baking"),
                ("Updating", 1.0, "ActivatingTraffic"),
                ("Updating", 1.0, "Baking"),
            ],
            id="canary",
        ),
        pytest.param(
            blue_green("LINEAR", 1, 0, LinearStepSize=ONE),
            [
                ("Updating", 0.0, "Creating"),
                ("Updating", 0.5, "ActivatingTraffic"),
                ("Updating", 0.5, "Baking"),
                ("Updating", 1.0, "ActivatingTraffic"),
            ],
            id="linear",
        ),
        pytest.param(
            rolling(1),
            [
                ("Updating", 0.0, "Creating"),
                ("Updating", 0.5, "ActivatingTraffic"),
                ("Updating", 0.5, "Baking"),
                ("Updating", 0.5, ""),
                ("Updating", 0.5, "Updating"),
                ("Updating", 1.0, "ActivatingTraffic"),
                ("Updating", 1.0, "Baking"),
            ],
            id="rolling",
        ),
        pytest.param(
            blue_green("ALL_AT_ONCE", 0, 1),
            [
                ("Updating", 0.0, "Creating"),
                ("Updating", 1.0, "ActivatingTraffic"),
                ("Updating", 1.0, "Baking"),
            ],
            id="all-at-once",
        ),
        pytest.param(
            {}, [("Updating", 0.0, "Creating"), ("Updating", 1.0, "ActivatingTraffic")], id="default"
        ),
    ],
)
def test_traffic_shifts_and_no_request_notices(
    laptop: Laptop,
    models: tuple[str, str],
    policy: dict[str, Any],
    wanted: list[tuple[str, float, str]],
    request: pytest.FixtureRequest,
) -> None:
    old, new = models
    subject = Subject(laptop, f"shift-{request.node.callspec.id}", old)
    with load(laptop, subject.name) as asked:
        config = subject.update(new, guarded(policy))
        if any(step[1:] == (0.5, "Baking") for step in wanted):
            subject.baking(0.5)
            assert set(asked.more(60)) == {"old", "new"}
        if wanted[-1][2] == "Baking":
            subject.baking(1.0)
            asked.more(4)  # those that were under way
            assert wholly("new", asked.more(20))
        described = subject.settled()
        asked.more(4)
        assert wholly("new", asked.more(20))
    asked.check()
    assert subject.stages() == wanted
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)
    assert "PendingDeploymentSummary" not in described
    assert "FailureReason" not in described
    (served,) = described["ProductionVariants"]
    assert (served["CurrentWeight"], served["CurrentInstanceCount"]) == (1.0, 2)
    assert described["LastDeploymentConfig"] == guarded(policy)
    subject.delete()


def test_what_is_told_while_it_shifts(laptop: Laptop, models: tuple[str, str]) -> None:
    subject = Subject(laptop, "told", models[0])
    config = subject.update(models[1], blue_green("CANARY", 2, CanarySize=HALF))
    described = subject.baking(0.5)
    pending = described["PendingDeploymentSummary"]
    assert described["EndpointConfigName"] == "told-config"
    assert pending["EndpointConfigName"] == config
    assert pending["StartTime"] <= described["LastModifiedTime"]
    (coming,) = pending["ProductionVariants"]
    (going,) = described["ProductionVariants"]
    assert (coming["CurrentWeight"], coming["DesiredWeight"]) == (0.5, 1.0)
    assert (coming["CurrentInstanceCount"], coming["DesiredInstanceCount"]) == (1, 2)
    assert (going["CurrentWeight"], going["CurrentInstanceCount"]) == (0.5, 2)
    (status,) = coming["VariantStatus"]
    assert status["StatusMessage"] == (
        "Baking for 2 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s)."
    )
    refused = laptop.refused("UpdateEndpoint", EndpointName="told", EndpointConfigName=config)
    assert refused.message.startswith("Cannot update in-progress endpoint")
    subject.settled()
    subject.delete()


@pytest.mark.parametrize(
    ("policy", "share", "flaps"),
    [
        pytest.param(blue_green("CANARY", 600, CanarySize=HALF), 0.5, False, id="canary"),
        pytest.param(blue_green("CANARY", 600, CanarySize=HALF), 0.5, True, id="canary-and-a-flapping-alarm"),
        pytest.param(blue_green("CANARY", 1, 600, CanarySize=ONE), 1.0, False, id="canary-at-the-end"),
        pytest.param(blue_green("LINEAR", 600, LinearStepSize=HALF), 0.5, False, id="linear"),
        pytest.param(blue_green("ALL_AT_ONCE", 0, 600), 1.0, True, id="all-at-once-and-a-flapping-alarm"),
        pytest.param(rolling(600), 0.5, True, id="rolling-and-a-flapping-alarm"),
        pytest.param(rolling(1, RollbackMaximumBatchSize=ONE), 1.0, False, id="rolling-back-in-batches"),
        pytest.param(rolling(1), 1.0, False, id="rolling-back-at-once"),
    ],
)
def test_an_alarm_rolls_back_and_no_request_notices(
    laptop: Laptop,
    models: tuple[str, str],
    alarms: FakeAlarms,
    policy: dict[str, Any],
    share: float,
    flaps: bool,
    request: pytest.FixtureRequest,
) -> None:
    old, new = models
    subject = Subject(laptop, f"back-{request.node.callspec.id}", old)
    with load(laptop, subject.name) as asked:
        subject.update(new, guarded(policy))
        subject.baking(share)
        asked.until("new")
        alarms.set(GUARD, "ALARM")
        if flaps:
            alarms.set(GUARD, "OK")
        described = subject.settled()
        asked.more(4)
        assert wholly("old", asked.more(20))
    asked.check()
    assert ("RollingBack", 0.0, "") in subject.stages()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == (
        "InService",
        f"{subject.name}-config",
    )
    assert (
        described["FailureReason"] == f"Alarm(s) [{GUARD}] went into the state ALARM. {GUARD} became ALARM."
    )
    (served,) = described["ProductionVariants"]
    assert (served["CurrentWeight"], served["CurrentInstanceCount"]) == (1.0, 2)
    assert "PendingDeploymentSummary" not in described
    subject.delete()


SLOW = {"load": "time.sleep(0.7)"}


def test_an_alarm_that_rings_already_keeps_every_request_from_the_new_fleet(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    subject = Subject(laptop, "ringing", models[0])
    alarms.set(GUARD, "ALARM")
    with load(laptop, "ringing") as asked:
        subject.update(models[1], guarded(blue_green("CANARY", 600, CanarySize=HALF)))
        described = subject.settled()
    asked.check()
    assert wholly("old", asked.words)
    assert "[guard]" in described["FailureReason"]
    subject.delete()


def test_an_alarm_that_calms_down_before_the_traffic_shifts_does_not_count(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    subject = Subject(laptop, "calmed", models[0], instances=1)
    slow = create_model(laptop, "calmed-slow", echo("slow", **SLOW))
    alarms.set(GUARD, "ALARM")
    config = subject.update(slow, guarded(blue_green("ALL_AT_ONCE")))
    subject.until(lambda d: stage(d)[2] == "Creating")
    alarms.set(GUARD, "OK")
    assert subject.settled()["EndpointConfigName"] == config
    subject.delete()


def test_a_deployment_without_its_guard_is_rolled_back(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    subject = Subject(laptop, "unguarded", models[0])
    subject.update(models[1], guarded(blue_green("CANARY", 600, CanarySize=HALF)))
    subject.baking(0.5)
    alarms.remove(GUARD)
    described = subject.settled()
    assert "no longer exist" in described["FailureReason"]
    assert described["EndpointConfigName"] == "unguarded-config"
    subject.delete()


@pytest.mark.parametrize(
    ("files", "changes", "wanted"),
    [
        pytest.param(None, {}, "s3://data/gone.tar.gz", id="artefact-missing"),
        pytest.param(
            {"xgboost-model": b"{broken"}, {}, "cannot be read as an XGBoost", id="artefact-corrupt"
        ),
        pytest.param({"code/inference.py": "import os\nos._exit(9)"}, {}, "ping health check", id="dies"),
        pytest.param(
            {"code/inference.py": "import time\ndef model_fn(d): time.sleep(600)"},
            {"ContainerStartupHealthCheckTimeoutInSeconds": 1},
            "no answer within 1 seconds",
            id="starts-too-slowly",
        ),
    ],
)
@pytest.mark.parametrize(
    "policy", [blue_green("CANARY", 600, CanarySize=HALF), rolling(600)], ids=["canary", "rolling"]
)
def test_a_new_fleet_that_does_not_start_changes_nothing(
    laptop: Laptop,
    models: tuple[str, str],
    files: dict[str, Any] | None,
    changes: dict[str, Any],
    wanted: str,
    policy: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    name = f"broken-{request.node.callspec.id}"
    if files is None:
        model = create_model(laptop, name, echo("never"), ModelDataUrl=laptop.put("gone.tar.gz", "gone"))
        laptop.cloud.store.delete("data", "gone.tar.gz")
    else:
        model = create_model(laptop, name, files)
    subject = Subject(laptop, name, models[0])
    with load(laptop, name) as asked:
        subject.update(model, guarded(policy), variant=changes)
        described = subject.settled()
        asked.more(10)
    asked.check()
    assert wholly("old", asked.words)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", f"{name}-config")
    assert wanted in described["FailureReason"]
    subject.delete()


def test_a_model_that_crashes_after_some_requests_is_rolled_back_by_its_errors(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    """The fake alarm does what one on Invocation5XXErrors does: it rings once there is an error."""
    crash = "globals()['n'] = globals().get('n', 0) + 1; n > 5 and os._exit(3); return 'crashing:' + body"
    model = create_model(laptop, "crashing", echo("crashing", predict=crash))
    subject = Subject(laptop, "crashing", models[0])
    with load(laptop, "crashing", threads=2) as asked:
        subject.update(model, guarded(blue_green("CANARY", 600, CanarySize=HALF)))
        deadline = time.monotonic() + 60
        while not asked.failures:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        alarms.set(GUARD, "ALARM")
        described = subject.settled()
        asked.more(4)
        failures = len(asked.failures)
        assert wholly("old", asked.more(40))
        assert len(asked.failures) == failures
    assert asked.wrong == []
    # A request that a server died over, and one that waited too long for the next server of a model that keeps dying.
    assert {getattr(error, "code", "") for error in asked.failures} <= {"ModelError", "ServiceUnavailable"}
    assert described["EndpointConfigName"] == "crashing-config"
    subject.delete()


def test_a_model_that_hangs_does_not_hold_the_rollback_up(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms, tmp_path: Path
) -> None:
    """Requests that hang in the new fleet are waited for, but everyone else is served by the old one again."""
    gate = tmp_path / "gate"
    wait = f"open({str(tmp_path / 'asked')!r}, 'a').close()"
    hang = "\n    ".join(
        [wait, f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)", "return 'late:' + body"]
    )
    model = create_model(laptop, "hangs", echo("late", predict=hang))
    subject = Subject(laptop, "hangs", models[0])
    with load(laptop, "hangs", threads=4) as asked:
        subject.update(model, guarded(blue_green("CANARY", 600, CanarySize=HALF)))
        deadline = time.monotonic() + 60
        while not (tmp_path / "asked").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        alarms.set(GUARD, "ALARM")
        described = subject.settled()
        late = threading.Thread(target=invoke, args=(laptop, "hangs", b"x"))
        late.start()
        late.join(30)
        assert not late.is_alive()
        assert "late" not in asked.words
        gate.touch()
    asked.check()
    assert "late" in asked.words
    assert described["EndpointConfigName"] == "hangs-config"
    subject.delete()


def test_a_router_that_dies_does_not_end_a_deployment(laptop: Laptop, models: tuple[str, str]) -> None:
    subject = Subject(laptop, "rerouted", models[0])
    config = subject.update(models[1], blue_green("CANARY", 1, CanarySize=HALF))
    subject.baking(0.5)
    pid = laptop.sagemaker.traffic.router_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert subject.settled()["EndpointConfigName"] == config
    assert wholly("new:x", [invoke(laptop, "rerouted", b"x")["Body"].decode() for _ in range(10)])
    assert laptop.sagemaker.traffic.router_pid != pid
    subject.delete()


def test_many_switches_and_rollbacks_lose_no_request(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    subject = Subject(laptop, "many", models[0])
    serving, coming = models[0], models[1]
    with load(laptop, "many") as asked:
        for policy, rolls_back in [
            (blue_green("ALL_AT_ONCE"), False),
            (blue_green("CANARY", 0, 600, CanarySize=HALF), True),
            (blue_green("LINEAR", 0, 0, LinearStepSize=ONE), False),
            (rolling(0), False),
            (rolling(600, RollbackMaximumBatchSize=ONE), True),
            (blue_green("ALL_AT_ONCE", 0, 600), True),
            ({}, False),
            (blue_green("CANARY", 0, 0, CanarySize=ONE), False),
        ]:
            alarms.set(GUARD, "OK")
            subject.update(coming, guarded(policy))
            if rolls_back:
                subject.until(lambda d: stage(d)[2] == "Baking")
                alarms.set(GUARD, "ALARM")
            else:
                serving, coming = coming, serving
            subject.settled()
            asked.more(4)
            assert wholly(serving.removeprefix("d-"), asked.more(12))
    asked.check()
    subject.delete()


def remove_files_of(laptop: Laptop, word: str) -> None:
    """The unpacked model that answers with the word is gone: its servers cannot start again."""
    (code,) = [
        path for path in laptop.cloud.home.code.glob("*/code") if word in (path / "inference.py").read_text()
    ]
    shutil.rmtree(code.parent)


def test_a_rollback_that_fails_leaves_both_serving(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    """The old model's files are gone when a rolling deployment must start its servers again."""
    fragile = create_model(laptop, "fading", echo("fading"))
    subject = Subject(laptop, "fading", fragile)
    with load(laptop, "fading") as asked:
        subject.update(models[1], guarded(rolling(1)))
        subject.until(lambda d: stage(d) == ("Updating", 1.0, "Baking"))
        remove_files_of(laptop, "fading")
        alarms.set(GUARD, "ALARM")
        described = subject.settled()
        assert described["EndpointStatus"] == "UpdateRollbackFailed"
        assert "The rollback failed too" in described["FailureReason"]
        asked.more(20)
        error = laptop.refused(
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="fading",
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 2.0}],
        )
        assert "in status UpdateRollbackFailed" in error.message
        config = subject.config(models[0])
        error = laptop.refused(
            "UpdateEndpoint", EndpointName="fading", EndpointConfigName=config, DeploymentConfig=rolling()
        )
        assert "mix of two configurations" in error.message
        config = subject.update(models[0], blue_green("ALL_AT_ONCE"))
        described = subject.settled()
        asked.more(4)
        assert wholly("old", asked.more(20))
    asked.check()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)
    subject.delete()


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        pytest.param(
            {"DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "nobody"}]}}},
            "Could not find the CloudWatch alarm(s) [nobody]",
            id="unknown-alarm",
        ),
        pytest.param(
            {"DeploymentConfig": blue_green("CANARY", CanarySize={"Type": "CAPACITY_PERCENT", "Value": 60})},
            "at most 50 percent",
            id="canary-too-large",
        ),
        pytest.param({"EndpointConfigName": "none"}, "Could not find endpoint configuration", id="no-config"),
    ],
)
def test_what_is_refused_changes_nothing(
    laptop: Laptop,
    models: tuple[str, str],
    params: dict[str, Any],
    wanted: str,
    request: pytest.FixtureRequest,
) -> None:
    subject = Subject(laptop, f"refused-{request.node.callspec.id}", models[0], instances=1)
    config = subject.config(models[1])
    before = subject.describe()
    error = laptop.refused(
        "UpdateEndpoint", **({"EndpointName": subject.name, "EndpointConfigName": config} | params)
    )
    assert (error.code, wanted in error.message) == ("ValidationException", True), error.message
    assert subject.describe() == before
    subject.delete()


def test_an_endpoint_whose_configuration_was_deleted_cannot_be_updated(
    laptop: Laptop, models: tuple[str, str]
) -> None:
    """So it is on SageMaker, and so clean-up that comes too early is found here."""
    subject = Subject(laptop, "orphan", models[0], instances=1)
    laptop.call("DeleteEndpointConfig", EndpointConfigName="orphan-config")
    config = subject.config(models[1])
    error = laptop.refused("UpdateEndpoint", EndpointName="orphan", EndpointConfigName=config)
    assert "Could not find endpoint configuration" in error.message
    assert "orphan-config" in error.message
    assert invoke(laptop, "orphan", b"x")["Body"] == b"old:x"
    subject.delete()


def test_a_failed_endpoint_can_only_be_deleted(laptop: Laptop, models: tuple[str, str]) -> None:
    bad = create_model(laptop, "doomed", {"readme.txt": "nothing"})
    assert create_endpoint(laptop, "doomed", variant(bad))["EndpointStatus"] == "Failed"
    config = create_config(laptop, "doomed-next", variant(models[0]))
    error = laptop.refused("UpdateEndpoint", EndpointName="doomed", EndpointConfigName=config)
    assert "in status Failed. A failed endpoint can only be deleted." in error.message
    laptop.call("DeleteEndpoint", EndpointName="doomed")
    await_deleted(laptop, "doomed")


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        pytest.param({}, (1.0, 1), id="as-configured"),
        pytest.param({"RetainAllVariantProperties": True}, (3.0, 2), id="retained"),
        pytest.param(
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredInstanceCount"}],
            },
            (3.0, 1),
            id="but-for-the-instances",
        ),
        pytest.param(
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
            },
            (1.0, 2),
            id="but-for-the-weight",
        ),
    ],
)
def test_retained_properties(
    laptop: Laptop,
    models: tuple[str, str],
    params: dict[str, Any],
    wanted: tuple[float, int],
    request: pytest.FixtureRequest,
) -> None:
    subject = Subject(laptop, f"kept-{request.node.callspec.id}", models[0], instances=1)
    laptop.call(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName=subject.name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredWeight": 3.0, "DesiredInstanceCount": 2}
        ],
    )
    (served,) = subject.settled()["ProductionVariants"]
    assert (served["CurrentWeight"], served["CurrentInstanceCount"]) == (3.0, 2)
    subject.update(models[1], **params)
    (served,) = subject.settled()["ProductionVariants"]
    assert (served["CurrentWeight"], served["CurrentInstanceCount"]) == wanted
    subject.delete()


def test_the_last_deployment_config_can_be_used_again(laptop: Laptop, models: tuple[str, str]) -> None:
    policy = blue_green("CANARY", 1, CanarySize=HALF)
    config = create_config(laptop, "again-config", variant(models[0], InitialInstanceCount=2))
    laptop.call("CreateEndpoint", EndpointName="again", EndpointConfigName=config, DeploymentConfig=policy)
    laptop.await_endpoint("again")
    laptop.events.clear()
    subject = Subject.found(laptop, "again", instances=2)
    assert subject.describe()["LastDeploymentConfig"] == policy
    subject.update(models[1], RetainDeploymentConfig=True)
    subject.settled()
    assert ("Updating", 0.5, "Baking") in subject.stages()
    laptop.events.clear()
    subject.update(models[0])
    subject.settled()
    assert ("Updating", 1.0, "ActivatingTraffic") in subject.stages()
    assert ("Updating", 0.5, "Baking") not in subject.stages()
    subject.delete()


@pytest.mark.parametrize("phase", ["Creating", "Baking"])
def test_an_endpoint_deleted_while_it_is_updated_leaves_no_server(
    laptop: Laptop, models: tuple[str, str], phase: str, tmp_path: Path
) -> None:
    """Also no traffic: its namesake must not be served from the deployment that was given up."""
    note = f"open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()"
    model = create_model(laptop, f"leftover-{phase}", echo("left", load=f"{note}; time.sleep(0.3)"))
    subject = Subject(laptop, f"cut-{phase.lower()}", models[0])
    subject.update(model, guarded(blue_green("CANARY", 600, CanarySize=HALF)))
    subject.until(lambda d: stage(d)[2] == phase)
    deadline = time.monotonic() + 30
    while len(os.listdir(tmp_path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    subject.delete()
    await_deleted(laptop, subject.name)
    while any(Path(f"/proc/{pid}").exists() for pid in os.listdir(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    config = create_config(laptop, f"{subject.name}-anew", variant(models[1]))
    laptop.call("CreateEndpoint", EndpointName=subject.name, EndpointConfigName=config)
    laptop.await_endpoint(subject.name)
    assert invoke(laptop, subject.name, b"x")["Body"] == b"new:x"
    subject.delete()


def test_an_endpoint_deleted_while_it_is_scaled_leaves_no_server(laptop: Laptop, tmp_path: Path) -> None:
    gate, pids = tmp_path / "gate", tmp_path / "pids"
    pids.mkdir()
    load = [
        f"begun = len(os.listdir({str(pids)!r}))",
        f"open({str(pids)!r} + '/' + str(os.getpid()), 'w').close()",
        f"while begun and not os.path.exists({str(gate)!r}): time.sleep(0.02)",
    ]
    model = create_model(laptop, "scaled-away", echo("x", load="\n    ".join(load)))
    create_endpoint(laptop, "scaled-away", variant(model))
    laptop.call(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="scaled-away",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
    )
    deadline = time.monotonic() + 30
    while len(os.listdir(pids)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    laptop.call("DeleteEndpoint", EndpointName="scaled-away")
    await_deleted(laptop, "scaled-away")
    gate.touch()
    while any(Path(f"/proc/{pid}").exists() for pid in os.listdir(pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_look_ends_at_the_next_visible_change(laptop: Laptop, models: tuple[str, str]) -> None:
    """Looks that end only with their time would see few of the stages, and see them late."""
    subject = Subject(laptop, "seen", models[0])
    subject.update(models[1], blue_green("LINEAR", 1, 1, LinearStepSize=ONE))
    seen: list[Any] = []
    looks = 0
    while not seen or seen[-1][0] != "InService":
        looks += 1
        assert looks < 200  # an answer at once would be asked for thousands of times
        now = stage(subject.describe())
        if not seen or seen[-1] != now:
            seen.append(now)
    assert ("Updating", 0.5, "Baking") in seen
    assert ("Updating", 1.0, "Baking") in seen
    subject.delete()


def test_new_weights_and_capacities_that_cannot_be_had_are_rolled_back(
    laptop: Laptop, models: tuple[str, str]
) -> None:
    fragile = create_model(laptop, "stretched", echo("stretched"))
    create_endpoint(
        laptop, "stretched", variant(models[0], "Firm"), variant(fragile, "Frail", InitialVariantWeight=0.0)
    )
    remove_files_of(laptop, "stretched")
    laptop.events.clear()
    laptop.call(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="stretched",
        DesiredWeightsAndCapacities=[
            {"VariantName": "Firm", "DesiredInstanceCount": 2, "DesiredWeight": 5.0},
            {"VariantName": "Frail", "DesiredInstanceCount": 2},
        ],
    )
    described = laptop.await_endpoint("stretched")
    assert [
        (v["CurrentWeight"], v["CurrentInstanceCount"], v["DesiredInstanceCount"])
        for v in described["ProductionVariants"]
    ] == [(1.0, 1, 1), (0.0, 1, 1)]
    assert "ping health check" in described["FailureReason"]
    assert "RollingBack" in [event.detail.get("EndpointStatus") for event in laptop.events]
    laptop.call("DeleteEndpoint", EndpointName="stretched")


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ({"VariantName": "Other"}, "not present within endpoint"),
        ({"VariantName": "AllTraffic", "DesiredInstanceCount": 0}, "must be at least 1"),
        ({"VariantName": "AllTraffic", "DesiredWeight": -1.0}, "must not be negative"),
        ({"VariantName": "AllTraffic", "ServerlessUpdateConfig": {}}, "ServerlessUpdateConfig"),
    ],
)
def test_weights_and_capacities_refused(
    laptop: Laptop, models: tuple[str, str], item: dict[str, Any], wanted: str, request: pytest.FixtureRequest
) -> None:
    subject = Subject(laptop, f"steady-{request.node.callspec.id.split('-')[0]}", models[0], instances=1)
    error = laptop.refused(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName=subject.name,
        DesiredWeightsAndCapacities=[item],
    )
    assert wanted in error.message
    subject.delete()


SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}


def serverless(model: str, **changes: Any) -> dict[str, Any]:
    return {"VariantName": "AllTraffic", "ModelName": model, "ServerlessConfig": SERVERLESS | changes}


def test_a_serverless_endpoint_is_described_and_updated(laptop: Laptop, models: tuple[str, str]) -> None:
    described = create_endpoint(laptop, "lambda-like", serverless(models[0]))
    (served,) = described["ProductionVariants"]
    assert served["CurrentServerlessConfig"] == SERVERLESS
    assert served["CurrentInstanceCount"] == 0
    config = create_config(laptop, "lambda-like-next", serverless(models[1], MaxConcurrency=5))
    laptop.events.clear()
    laptop.call(
        "UpdateEndpoint",
        EndpointName="lambda-like",
        EndpointConfigName=config,
        DeploymentConfig=blue_green("CANARY", 0, CanarySize={"Type": "CAPACITY_PERCENT", "Value": 30}),
    )
    (served,) = laptop.await_endpoint("lambda-like")["ProductionVariants"]
    assert served["CurrentServerlessConfig"]["MaxConcurrency"] == 5
    assert invoke(laptop, "lambda-like", b"x")["Body"] == b"new:x"
    laptop.call("DeleteEndpoint", EndpointName="lambda-like")


def test_a_serverless_endpoint_serves_as_many_at_once_as_it_may(laptop: Laptop, tmp_path: Path) -> None:
    gate, asked = tmp_path / "gate", tmp_path / "asked"
    asked.mkdir()
    wait = f"open({str(asked)!r} + '/' + body, 'w').close()"
    hang = "\n    ".join(
        [wait, f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)", "return 'done:' + body"]
    )
    model = create_model(laptop, "busy", echo("done", predict=hang))
    create_endpoint(laptop, "busy", serverless(model, MaxConcurrency=1))
    answers: list[bytes] = []
    first = threading.Thread(target=lambda: answers.append(invoke(laptop, "busy", b"one")["Body"]))
    first.start()
    deadline = time.monotonic() + 30
    while not (asked / "one").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    refused = laptop.refused("InvokeEndpoint", EndpointName="busy", Body=b"two", ContentType="text/csv")
    assert refused.code == "ThrottlingException"
    gate.touch()
    first.join(30)
    assert answers == [b"done:one"]
    assert invoke(laptop, "busy", b"three")["Body"] == b"done:three"
    assert not (asked / "two").exists()
    laptop.call("DeleteEndpoint", EndpointName="busy")


def test_a_new_fleet_out_of_memory_changes_nothing(laptop: Laptop, models: tuple[str, str]) -> None:
    hungry = create_model(
        laptop, "hungry", {"code/inference.py": "def model_fn(d): return b'x' * (2 * 2**30)"}
    )
    create_endpoint(laptop, "fed", serverless(models[0]))
    config = create_config(laptop, "fed-next", serverless(hungry))
    laptop.events.clear()
    with load(laptop, "fed", threads=1) as asked:
        laptop.call("UpdateEndpoint", EndpointName="fed", EndpointConfigName=config)
        described = laptop.await_endpoint("fed")
        asked.more(5)
    asked.check()
    assert wholly("old", asked.words)
    assert described["EndpointConfigName"] == "fed-config"
    assert "ping health check" in described["FailureReason"]
    laptop.call("DeleteEndpoint", EndpointName="fed")


def test_an_endpoint_with_instances_does_not_become_serverless(
    laptop: Laptop, models: tuple[str, str]
) -> None:
    subject = Subject(laptop, "instances", models[0], instances=1)
    config = create_config(laptop, "instances-none", serverless(models[1]))
    error = laptop.refused("UpdateEndpoint", EndpointName="instances", EndpointConfigName=config)
    assert "cannot be made serverless" in error.message
    subject.delete()


def test_a_challenger_joins_and_takes_over(
    laptop: Laptop, models: tuple[str, str], alarms: FakeAlarms
) -> None:
    """Variants come and go without an update policy; alarms guard the change all the same."""
    old, new = models
    subject = Subject(laptop, "contest", old, instances=1)
    both = create_config(laptop, "contest-both", variant(old), variant(new, "Challenger"))
    alone = create_config(laptop, "contest-alone", variant(new))
    guards = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": GUARD}]}}
    with load(laptop, "contest") as asked:
        for config, wanted in [(both, {"old", "new"}), (alone, {"new"})]:
            laptop.call(
                "UpdateEndpoint", EndpointName="contest", EndpointConfigName=config, DeploymentConfig=guards
            )
            assert subject.settled()["EndpointConfigName"] == config
            asked.more(4)
            assert set(asked.more(40)) == wanted
    asked.check()
    subject.delete()


def test_a_shadow_variant_is_described(laptop: Laptop, models: tuple[str, str]) -> None:
    config = create_config(
        laptop, "shadowed-config", variant(models[0]), ShadowProductionVariants=[variant(models[1], "Shadow")]
    )
    laptop.call("CreateEndpoint", EndpointName="shadowed", EndpointConfigName=config)
    described = laptop.await_endpoint("shadowed")
    assert [v["VariantName"] for v in described["ProductionVariants"]] == ["AllTraffic"]
    assert [v["VariantName"] for v in described["ShadowProductionVariants"]] == ["Shadow"]
    assert {invoke(laptop, "shadowed", b"x")["Body"] for _ in range(10)} == {b"old:x"}
    config = create_config(laptop, "shadowed-alone", variant(models[1], InitialInstanceCount=2))
    laptop.call(
        "UpdateEndpoint",
        EndpointName="shadowed",
        EndpointConfigName=config,
        DeploymentConfig=blue_green("CANARY", 0, CanarySize=HALF),
    )
    described = laptop.await_endpoint("shadowed")
    assert described["EndpointConfigName"] == config
    assert "ShadowProductionVariants" not in described
    assert {invoke(laptop, "shadowed", b"x")["Body"] for _ in range(10)} == {b"new:x"}
    laptop.call("DeleteEndpoint", EndpointName="shadowed")


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        pytest.param({"ProductionVariants": []}, "at least one variant", id="none"),
        pytest.param(
            {"ProductionVariants": [variant("d-old", str(n)) for n in range(11)]}, "more than 10", id="eleven"
        ),
        pytest.param(
            {"ProductionVariants": [variant("d-old"), variant("d-new")]}, "must be unique", id="same-names"
        ),
        pytest.param(
            {"ShadowProductionVariants": [variant("d-old", "S1"), variant("d-old", "S2")]},
            "there are 1 and 2",
            id="two-shadows",
        ),
        pytest.param(
            {"ProductionVariants": [{"VariantName": "A", "ModelName": "d-old"}]},
            "needs an InstanceType, or a ServerlessConfig",
            id="no-instances",
        ),
        pytest.param(
            {"ProductionVariants": [variant("d-old", InitialInstanceCount=0)]},
            "InitialInstanceCount of at least 1",
            id="zero-instances",
        ),
        pytest.param(
            {"ProductionVariants": [variant("d-old", ServerlessConfig=SERVERLESS)]},
            "InstanceType cannot be given with ServerlessConfig",
            id="serverless-with-instances",
        ),
        pytest.param(
            {"ProductionVariants": [serverless("d-old", MemorySizeInMB=1500)]},
            "MemorySizeInMB is 1500",
            id="memory",
        ),
        pytest.param(
            {"ProductionVariants": [serverless("d-old", MaxConcurrency=201)]},
            "MaxConcurrency is 201",
            id="concurrency",
        ),
        pytest.param(
            {"ProductionVariants": [serverless("d-old", ProvisionedConcurrency=3)]},
            "ProvisionedConcurrency is 3; it is between 1 and MaxConcurrency, 2",
            id="provisioned",
        ),
        pytest.param(
            {
                "ProductionVariants": [serverless("d-old")],
                "DataCaptureConfig": {"DestinationS3Uri": "s3://data/x"},
            },
            "does not support DataCaptureConfig",
            id="serverless-capture",
        ),
        pytest.param(
            {"ProductionVariants": [{"VariantName": "A", "InstanceType": "ml.m5.large"}]},
            "has no ModelName",
            id="inference-components",
        ),
    ],
)
def test_endpoint_configurations_refused(
    laptop: Laptop, models: tuple[str, str], params: dict[str, Any], wanted: str
) -> None:
    base = {"EndpointConfigName": "refused", "ProductionVariants": [variant(models[0])]}
    error = laptop.refused("CreateEndpointConfig", **(base | params))
    assert (error.code, wanted in error.message) == ("ValidationException", True), error.message
