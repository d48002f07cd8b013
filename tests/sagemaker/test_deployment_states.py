"""The endpoints' records: what a look at one that is changing waits for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.sagemaker.deployment_states import EndpointStates
from triptych.localcloud.sagemaker.records import Records
from triptych.localcloud.service import ServiceError

LONG = 60.0
"""seconds that a look would be held if nothing ended it: far more than the test waits"""


@pytest.fixture
def states(tmp_path: Path) -> EndpointStates:
    cloud = Cloud(Home(tmp_path), Settings())
    cloud.home.create()
    return EndpointStates(cloud, Records(cloud.home))


def endpoint(status: str, birth: str = "1") -> dict[str, Any]:
    return {
        "EndpointName": "e",
        "EndpointArn": "arn:e",
        "EndpointStatus": status,
        "_birth": birth,
        "_serving": {"config": "c", "variants": [], "capture": None},
    }


def pending(status: str) -> dict[str, Any]:
    return {"ProductionVariants": [{"VariantName": "A", "VariantStatus": [{"Status": status}]}]}


class Looker:
    """One look, in a thread of its own."""

    def __init__(self, states: EndpointStates) -> None:
        self.seen: dict[str, Any] | None = None

        def look() -> None:
            self.seen = states.look("e", LONG)

        self._thread = threading.Thread(target=look, daemon=True)
        self._thread.start()

    def is_held(self) -> bool:
        self._thread.join(0.2)
        return self._thread.is_alive()

    def answer(self) -> dict[str, Any]:
        self._thread.join(LONG / 4)
        assert self.seen is not None, "still held"
        return self.seen


def test_a_look_is_held_until_a_bake_or_the_end(states: EndpointStates) -> None:
    record = endpoint("Updating")
    states.insert("e", record, [])
    looker = Looker(states)
    assert looker.is_held()
    states.change(record, PendingDeploymentSummary=pending("ActivatingTraffic"))
    assert looker.is_held(), "the middle of a quick change"
    states.change(record, PendingDeploymentSummary=pending("Baking"))
    assert looker.answer()["PendingDeploymentSummary"] == pending("Baking")

    looker = Looker(states)
    assert looker.is_held(), "that bake was seen already"
    states.serve(record, record["_serving"])
    assert looker.answer()["EndpointStatus"] == "InService"


@pytest.mark.parametrize("status", ["InService", "Failed", "UpdateRollbackFailed", "Deleting"])
def test_a_look_at_rest_is_not_held(states: EndpointStates, status: str) -> None:
    states.insert("e", endpoint(status), [])
    assert Looker(states).answer()["EndpointStatus"] == status


def test_a_look_ends_when_the_local_cloud_stops(states: EndpointStates) -> None:
    states.insert("e", endpoint("Updating"), [])
    looker = Looker(states)
    assert looker.is_held()
    states.close()
    assert looker.answer()["EndpointStatus"] == "Updating"


def test_a_namesake_is_not_changed(states: EndpointStates) -> None:
    """What was started for an endpoint that was deleted must not touch the next one of its name."""
    old, new = endpoint("Creating", "1"), endpoint("Creating", "2")
    states.insert("e", old, [])
    states.remove(old)
    states.insert("e", new, [])
    assert states.serve(old, old["_serving"]) is None
    assert states.change(old, FailureReason="late") is None
    assert states.find("e") == new
    assert states.serve(new, new["_serving"]) is not None


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"])
def test_one_change_at_a_time(states: EndpointStates, status: str) -> None:
    record = endpoint(status)
    states.insert("e", record, [])
    with pytest.raises(ServiceError, match="Cannot update in-progress endpoint"):
        states.begin(record, {"x": 1})
    assert states.find("e") == record
