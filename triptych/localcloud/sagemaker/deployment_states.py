"""The endpoints' records: each change is kept, then told to those who wait for it and to the event bus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.deployment_plan import Step, VariantSize
from triptych.localcloud.sagemaker.deployment_run import Outcome
from triptych.localcloud.sagemaker.deployment_summary import at_rest, launching, under_way
from triptych.localcloud.sagemaker.deployment_target import Serving
from triptych.localcloud.sagemaker.errors import already_exists, could_not_find, invalid
from triptych.localcloud.sagemaker.records import Record, RecordExists, Records, now
from triptych.localcloud.sagemaker.support import Arns, announce
from triptych.localcloud.service import Params

MOVING = ("Creating", "Updating", "RollingBack")
"""Statuses that end by themselves, soon here."""
_BUSY = (*MOVING, "SystemUpdating", "Deleting")
_KIND = "endpoint"
_LOST = (
    "The local cloud stopped twice while the endpoint was being updated; the former configuration serves. "
    "Update the endpoint again."
)
_STATE_CHANGE = "SageMaker Endpoint State Change"
_DEPLOYMENT_CHANGE = "SageMaker Endpoint Deployment State Change"


class EndpointStates:
    """The records of one account's endpoints.

    Besides what DescribeEndpoint answers a record holds ``_birth`` (tells namesakes apart), ``_serving`` (what a
    restart brings back), ``_deployment`` (an update under way) and ``_rescaling`` (new weights and capacities
    under way).
    """

    def __init__(self, cloud: Cloud, records: Records) -> None:
        self._cloud = cloud
        self._records = records
        self._arns = Arns(cloud)
        self._changed = threading.Condition()
        self._closed = False

    def insert(self, name: str, record: Record, tags: list[dict[str, str]]) -> None:
        """Keep a new endpoint; raises ValidationException for a name in use."""
        try:
            self._records.insert(_KIND, name, record, record["EndpointStatus"])
        except RecordExists:
            raise already_exists("endpoint", record["EndpointArn"]) from None
        self._records.tag(record["EndpointArn"], tags)
        self._announce(record, _STATE_CHANGE)

    def find(self, name: str) -> Record:
        """The record; raises ValidationException "Could not find endpoint …"."""
        record = self._records.get(_KIND, name)
        if record is None:
            raise could_not_find("endpoint", self._arns.of("endpoint", name))
        return record

    def all(self) -> list[Record]:
        return self._records.with_status(_KIND)

    def page(self, params: Params) -> tuple[list[Record], str | None]:
        return self._records.page(_KIND, params)

    def look(self, name: str, hold_seconds: float) -> Record:
        """The record; one that is changing is held for up to ``hold_seconds``, until it comes to a rest.

        A rest is the end of the change, or a bake. What passes quickly does not end the hold: a loop of looks and
        waits would wait in the middle of a quick change.
        """
        deadline = monotonic() + hold_seconds
        with self._changed:
            first = record = self.find(name)
            while record["EndpointStatus"] in MOVING and not self._closed:
                remaining = deadline - monotonic()
                if remaining <= 0 or (record != first and _bakes(record)):
                    break
                self._changed.wait(remaining)
                record = self.find(name)
        return record

    def is_same(self, record: Record) -> bool:
        """Whether the endpoint of this name is still that one: it may be deleted, and made anew."""
        current = self._records.get(_KIND, record["EndpointName"])
        return current is not None and current.get("_birth") == record.get("_birth")

    def begin(self, record: Record, changes: Mapping[str, Any]) -> None:
        """Set the status to Updating, if nothing else is under way; raises ValidationException."""

        def mutate(kept: Record) -> None:
            check_idle(kept)
            kept.update(changes)
            kept["EndpointStatus"] = "Updating"
            kept.pop("FailureReason", None)

        changed = self._records.change(_KIND, record["EndpointName"], mutate, "EndpointStatus")
        if changed is not None:
            self._announce(changed, _STATE_CHANGE)

    def change(self, record: Record, detail_type: str = _STATE_CHANGE, /, **changes: Any) -> Record | None:
        """Change the endpoint; None when it is deleted, being deleted, or the local cloud stops."""
        return self._mutate(record, lambda kept: kept.update(changes), detail_type)

    def resume(self, record: Record) -> None:
        """After a restart: an update that was under way begins anew, from the former configuration alone.

        One that is lost a second time is rolled back: it may be what brings the machine down.
        """

        def mutate(kept: Record) -> None:
            change, pending = kept["_deployment"], kept["PendingDeploymentSummary"]
            kept |= at_rest(kept["_serving"], now())
            if kept["EndpointStatus"] == "Updating" and not change.get("begun_anew"):
                change["begun_anew"] = True
                sizes = [
                    VariantSize(variant["VariantName"], variant["DesiredInstanceCount"])
                    for variant in pending["ProductionVariants"]
                ]
                kept["PendingDeploymentSummary"] = launching(
                    pending["EndpointConfigName"], sizes, pending["StartTime"], now()
                )
            elif kept["EndpointStatus"] == "Updating":
                kept |= {"EndpointStatus": "RollingBack", "FailureReason": _LOST}

        if record["EndpointStatus"] in ("Updating", "RollingBack") and record.get("_deployment"):
            self._mutate(record, mutate, _STATE_CHANGE)

    def serve(self, record: Record, serving: Serving, failure: str | None = None) -> Record | None:
        """Keep what serves now: the endpoint is InService. ``failure``: why an update was not carried through."""

        def mutate(kept: Record) -> None:
            kept |= at_rest(serving, now())
            kept |= {"EndpointStatus": "InService", "_serving": serving}
            kept["FailureReason"] = failure[:1024] if failure else None
            for done in ("_deployment", "_rescaling"):
                kept.pop(done, None)

        return self._mutate(record, mutate, _STATE_CHANGE)

    def fail(self, record: Record, reason: str) -> None:
        self.change(
            record, EndpointStatus="Failed", FailureReason=reason[:1024], PendingDeploymentSummary=None
        )

    def delete(self, name: str) -> bool:
        """Set the status to Deleting; False when it is already."""
        deleting = self.change(self.find(name), EndpointStatus="Deleting", PendingDeploymentSummary=None)
        return deleting is not None

    def remove(self, record: Record) -> None:
        self._records.delete(_KIND, record["EndpointName"])
        self._records.untag(record["EndpointArn"])
        self._announce(record, _STATE_CHANGE)

    def close(self) -> None:
        """From now on nothing is kept: the next start goes on from the records as they are."""
        self._closed = True
        with self._changed:
            self._changed.notify_all()

    def _mutate(self, record: Record, mutate: Callable[[Record], None], detail_type: str) -> Record | None:
        changed = False

        def guarded(kept: Record) -> None:
            nonlocal changed
            changed = (
                not self._closed
                and kept["EndpointStatus"] != "Deleting"
                and kept.get("_birth") == record.get("_birth")
            )
            if changed:
                mutate(kept)

        result = self._records.change(_KIND, record["EndpointName"], guarded, "EndpointStatus")
        if result is None or not changed:
            return None
        self._announce(result, detail_type)
        return result

    def _announce(self, record: Record, detail_type: str) -> None:
        with self._changed:
            self._changed.notify_all()
        announce(self._cloud, detail_type, record["EndpointArn"], record)


class DeploymentKeeper:
    """Keeps what one deployment does in its endpoint's record (the observer of a ``DeploymentRun``)."""

    def __init__(self, states: EndpointStates, record: Record, target: Serving | None = None) -> None:
        self._states = states
        self._record = record
        self._old: Serving = record["_serving"]
        self._target = target
        self._started = record["_deployment"]["started"]

    def doing(self, step: Step, before: Step | None) -> None:
        assert self._target is not None
        members = under_way(self._old, self._target, step, before, self._started, now())
        self._states.change(self._record, _DEPLOYMENT_CHANGE, **members)

    def going_back(self, reason: str) -> None:
        self._states.change(self._record, EndpointStatus="RollingBack", FailureReason=reason[:1024])

    def ended(self, outcome: Outcome) -> None:
        match outcome.ending:
            case "deployed":
                assert self._target is not None
                self._states.serve(self._record, self._target)
            case "rolled back":
                self._states.serve(self._record, self._old, outcome.reason)
            case "rollback failed":
                self._states.change(
                    self._record, EndpointStatus="UpdateRollbackFailed", FailureReason=outcome.reason[:1024]
                )


def _bakes(record: Record) -> bool:
    pending = record.get("PendingDeploymentSummary") or {}
    return any(
        status["Status"] == "Baking"
        for variant in pending.get("ProductionVariants") or []
        for status in variant.get("VariantStatus") or []
    )


def check_idle(record: Record) -> None:
    """Raises ValidationException when another change is under way."""
    if record["EndpointStatus"] in _BUSY:
        raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')
