"""Endpoints: created, updated without losing a request, deleted, and back after a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from time import monotonic
from typing import Any
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.capture import Invocation
from triptych.localcloud.sagemaker.errors import (
    JobRefused,
    already_exists,
    check_name,
    could_not_find,
    invalid,
    require,
)
from triptych.localcloud.sagemaker.fleet import Fleet, FleetFailed, VariantPlan
from triptych.localcloud.sagemaker.live import LiveEndpoint, Share
from triptych.localcloud.sagemaker.models import Models
from triptych.localcloud.sagemaker.records import Record, RecordExists, Records, now, public
from triptych.localcloud.sagemaker.support import Arns, announce
from triptych.localcloud.service import Params, ServiceError

_log = logging.getLogger(__name__)

_KIND = "endpoint"
_DRAIN_SECONDS = 60.0
_MOVING = ("Creating", "Updating")
_DESCRIBE_HOLD_SECONDS = 0.25
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_SUMMARY = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")


class Endpoints:
    """CreateEndpoint and its family. ``observers`` hear of every invocation (metrics can be one)."""

    def __init__(
        self, cloud: Cloud, records: Records, models: Models, *, capture_flush_seconds: float = 1.0
    ) -> None:
        self._cloud = cloud
        self._records = records
        self._models = models
        self._arns = Arns(cloud)
        self._flush_seconds = capture_flush_seconds
        self._live: dict[str, LiveEndpoint] = {}
        self._closing = False
        self._changed = threading.Condition()
        self._lives_lock = threading.Lock()
        self.observers: list[Callable[[Invocation], None]] = []

    # The API

    def create(self, params: Params) -> Params:
        name = check_name(params, "EndpointName")
        require(params, "EndpointConfigName")
        config = self._models.find_config(params["EndpointConfigName"])
        arn = self._arns.of("endpoint", name)
        moment = now()
        record: Record = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": config["EndpointConfigName"],
            "EndpointStatus": "Creating",
            "CreationTime": moment,
            "LastModifiedTime": moment,
            "_target": config["EndpointConfigName"],
            "_birth": uuid4().hex,
        }
        try:
            self._records.insert(_KIND, name, record, "Creating")
        except RecordExists:
            raise already_exists("endpoint", arn) from None
        self._records.tag(arn, params.get("Tags") or [])
        self._announce(record)
        self._in_background(self._bring_up, name)
        return {"EndpointArn": arn}

    def describe(self, name: str) -> Record:
        """The endpoint; one that is changing is looked at for up to 250 ms more, until the change ends.

        A loop of describe and wait then mostly ends with its first look: servers start in less time here.
        """
        deadline = monotonic() + _DESCRIBE_HOLD_SECONDS
        with self._changed:
            record = self.find(name)
            while record["EndpointStatus"] in _MOVING and not self._closing:
                remaining = deadline - monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
                record = self.find(name)
        return public(record)

    def find(self, name: str) -> Record:
        """The record; raises ValidationException "Could not find endpoint …"."""
        record = self._records.get(_KIND, name)
        if record is None:
            raise could_not_find("endpoint", self._arns.of("endpoint", name))
        return record

    def list(self, params: Params) -> Params:
        found, token = self._records.page(_KIND, params)
        answer: Params = {"Endpoints": [{key: record[key] for key in _SUMMARY} for record in found]}
        return answer | ({"NextToken": token} if token else {})

    def update(self, params: Params) -> Params:
        """Bring up the new configuration beside the old; switch once it is healthy; drain the old."""
        record = self.find(params["EndpointName"])
        config = self._models.find_config(params["EndpointConfigName"])
        self._begin_change(record, {"_target": config["EndpointConfigName"]}, params.get("DeploymentConfig"))
        retain = bool(params.get("RetainAllVariantProperties"))
        self._in_background(self._replace, record["EndpointName"], retain)
        return {"EndpointArn": record["EndpointArn"]}

    def update_weights(self, params: Params) -> Params:
        """UpdateEndpointWeightsAndCapacities: new weights at once, servers started or stopped."""
        record = self.find(params["EndpointName"])
        wanted = {item["VariantName"]: item for item in params["DesiredWeightsAndCapacities"]}
        known = {variant["VariantName"] for variant in record.get("ProductionVariants") or []}
        unknown = sorted(set(wanted) - known)
        if unknown:
            raise invalid(f'The variant name(s) "{", ".join(unknown)}" is/are not present within endpoint.')
        self._begin_change(record, {}, None)
        self._in_background(self._rebalance, record["EndpointName"], wanted)
        return {"EndpointArn": record["EndpointArn"]}

    def delete(self, name: str) -> Params:
        record = self.find(name)
        if record["EndpointStatus"] == "Deleting":
            return {}
        self._change(name, EndpointStatus="Deleting")
        self._in_background(self._take_down, name)
        return {}

    # What the runtime asks

    def live(self, name: str) -> LiveEndpoint | None:
        return self._live.get(name)

    # Life of the process

    def start(self) -> None:
        """Bring back what served when the last process ended, and go on with what was under way."""
        for record in self._records.with_status(_KIND):
            name, status = record["EndpointName"], record["EndpointStatus"]
            if status == "Deleting":
                self._in_background(self._take_down, name)
            elif status == "Creating":
                self._in_background(self._bring_up, name)
            elif record.get("_serving"):
                live = self._live[name] = self._open(name)
                self._in_background(self._restore, name, live)

    def stop(self) -> None:
        """Stop the servers and write the captured data; the records stay as they are."""
        self._closing = True
        for live in list(self._live.values()):
            shares = live.shares
            live.close()
            for item in shares:
                item.fleet.stop()
        self._live.clear()

    # Background work

    def _in_background(self, work: Callable[..., None], name: str, *arguments: Any) -> None:
        def run() -> None:
            try:
                work(name, *arguments)
            except Exception:
                if not self._closing:
                    _log.exception("endpoint %s", name)

        threading.Thread(target=run, name=f"endpoint {name}", daemon=True).start()

    def _bring_up(self, name: str) -> None:
        record = self.find(name)
        try:
            serving = self._plan(record["_target"])
            fleet = self._start_fleet(name, serving)
        except (FleetFailed, JobRefused, ServiceError) as error:
            self._creation_failed(record, str(error))
            return
        except Exception as error:
            self._creation_failed(record, f"InternalServerError: {type(error).__name__}: {error}")
            raise
        live = self._open(name)
        live.route([Share(fleet, 1.0)], serving.get("capture"))
        with self._lives_lock:
            ours = self._is(name, record)
            if ours:
                self._live[name] = live
                ours = self._set_serving(name, serving) is not None
                if not ours:
                    del self._live[name]
        if not ours:
            self._end(live)

    def _restore(self, name: str, live: LiveEndpoint) -> None:
        record = self.find(name)
        serving = record["_serving"]
        try:
            fleet = self._start_fleet(name, serving)
        except Exception as error:
            self._live.pop(name, None)
            live.close()
            self._fail(name, f"The endpoint could not be brought back after a restart: {error}")
            return
        live.route([Share(fleet, 1.0)], serving.get("capture"))
        if record["EndpointStatus"] == "Updating":
            if record.get("_target") and record["_target"] != record["EndpointConfigName"]:
                self._replace(name, False)
            else:
                self._set_serving(name, serving)

    def _replace(self, name: str, retain: bool) -> None:
        record = self.find(name)
        live = self._live.get(name)
        try:
            serving = self._plan(record["_target"])
            if retain:
                _keep_properties(serving, record)
            fleet = self._start_fleet(name, serving)
        except Exception as error:
            if not isinstance(error, FleetFailed | JobRefused | ServiceError):
                _log.exception("endpoint %s could not be updated", name)
            self._update_failed(name, live is not None, str(error))
            return
        if live is None:
            live = self._live[name] = self._open(name)
        old = live.shares
        live.route([Share(fleet, 1.0)], serving.get("capture"))
        if self._set_serving(name, serving) is None:
            self._discard(name)
        self._retire(live, old)

    def _rebalance(self, name: str, wanted: dict[str, dict[str, Any]]) -> None:
        record = self.find(name)
        live = self._live.get(name)
        serving = record["_serving"]
        if live is None or not live.shares:
            self._update_failed(name, False, "The endpoint has no running servers.")
            return
        fleet = live.shares[0].fleet
        try:
            for variant in serving["variants"]:
                item = wanted.get(variant["name"], {})
                if item.get("DesiredInstanceCount") is not None:
                    fleet.resize(variant["name"], int(item["DesiredInstanceCount"]))
                    variant["instances"] = int(item["DesiredInstanceCount"])
                if item.get("DesiredWeight") is not None:
                    variant["weight"] = float(item["DesiredWeight"])
            fleet.reweigh({variant["name"]: variant["weight"] for variant in serving["variants"]})
        except Exception as error:
            self._update_failed(name, True, str(error))
            return
        self._set_serving(name, serving)

    def _take_down(self, name: str) -> None:
        record = self.find(name)
        self._discard(name)
        with self._lives_lock:
            self._records.delete(_KIND, name)
            self._records.untag(record["EndpointArn"])
        self._announce(record)

    def _discard(self, name: str) -> None:
        live = self._live.pop(name, None)
        if live is not None:
            self._end(live)

    def _end(self, live: LiveEndpoint) -> None:
        shares = live.shares
        live.route((), None)
        self._retire(live, shares)
        live.close()

    def _retire(self, live: LiveEndpoint, shares: Sequence[Share]) -> None:
        """Let the requests of fleets that serve no longer end, then stop their servers."""
        for item in shares:
            live.drain(item.fleet, _DRAIN_SECONDS)
            item.fleet.stop()

    # Inside

    def _open(self, name: str) -> LiveEndpoint:
        return LiveEndpoint(self._cloud, name, self._flush_seconds)

    def _is(self, name: str, record: Record) -> bool:
        """Whether the endpoint of this name is still that one: it may be deleted, and made anew."""
        current = self._records.get(_KIND, name)
        return current is not None and current.get("_birth") == record.get("_birth")

    def _creation_failed(self, record: Record, reason: str) -> None:
        with self._lives_lock:
            if self._is(record["EndpointName"], record):
                self._fail(record["EndpointName"], reason)

    def _plan(self, config_name: str) -> dict[str, Any]:
        """What to run for an endpoint configuration, kept in the record. Raises JobRefused, ServiceError."""
        config = self._models.find_config(config_name)
        variants = []
        for variant in config["ProductionVariants"]:
            container = self._models.container(variant["ModelName"])
            plan = VariantPlan(
                name=variant["VariantName"],
                weight=float(variant.get("InitialVariantWeight", 1.0)),
                instances=int(variant.get("InitialInstanceCount") or 1),
                image=container.image.uri,
                model_dir=str(container.model_dir),
                code_dir=str(container.code_dir) if container.code_dir else None,
                environment=container.serving_environment(),
                instance_type=variant.get("InstanceType"),
            )
            seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
            variants.append(asdict(plan) | ({"startup_seconds": float(seconds)} if seconds else {}))
        return {"config": config_name, "variants": variants, "capture": config.get("DataCaptureConfig")}

    def _start_fleet(self, name: str, serving: dict[str, Any]) -> Fleet:
        fleet = Fleet(self._cloud, name, [VariantPlan.from_record(item) for item in serving["variants"]])
        fleet.start()
        return fleet

    def _begin_change(self, record: Record, changes: Record, deployment: Any) -> None:
        """Set the status to Updating, if nothing else is under way; raises ValidationException."""

        def mutate(kept: Record) -> None:
            if kept["EndpointStatus"] in _BUSY:
                raise invalid(f'Cannot update in-progress endpoint "{kept["EndpointArn"]}".')
            kept.update(changes)
            kept["EndpointStatus"] = "Updating"
            kept.pop("FailureReason", None)
            if deployment is not None:
                kept["LastDeploymentConfig"] = deployment

        changed = self._records.change(_KIND, record["EndpointName"], mutate, "EndpointStatus")
        if changed is not None:
            self._announce(changed)

    def _set_serving(self, name: str, serving: dict[str, Any]) -> Record | None:
        """Record what serves now; None when the endpoint was deleted meanwhile."""
        moment = now()
        summaries = [
            {
                "VariantName": variant["name"],
                "DeployedImages": [
                    {
                        "SpecifiedImage": variant["image"],
                        "ResolvedImage": variant["image"],
                        "ResolutionTime": moment,
                    }
                ],
                "CurrentWeight": variant["weight"],
                "DesiredWeight": variant["weight"],
                "CurrentInstanceCount": variant["instances"],
                "DesiredInstanceCount": variant["instances"],
            }
            for variant in serving["variants"]
        ]
        capture = serving.get("capture")
        summary = None
        if capture:
            on = capture.get("EnableCapture", True)
            summary = {
                "EnableCapture": on,
                "CaptureStatus": "Started" if on else "Stopped",
                "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
                "DestinationS3Uri": capture["DestinationS3Uri"],
                "KmsKeyId": capture.get("KmsKeyId") or "",
            }

        def mutate(record: Record) -> None:
            if record["EndpointStatus"] == "Deleting":
                return
            record |= {
                "EndpointStatus": "InService",
                "EndpointConfigName": serving["config"],
                "ProductionVariants": summaries,
                "DataCaptureConfig": summary,
                "_serving": serving,
            }
            record.pop("_target", None)

        record = self._records.change(_KIND, name, mutate, "EndpointStatus")
        if record is None or record["EndpointStatus"] == "Deleting":
            return None
        self._announce(record)
        return record

    def _fail(self, name: str, reason: str) -> None:
        if not self._closing:
            self._change(name, EndpointStatus="Failed", FailureReason=reason[:1024])

    def _update_failed(self, name: str, serves: bool, reason: str) -> None:
        """The old configuration goes on serving; the endpoint is InService with the reason beside it."""
        if not self._closing:
            status = "InService" if serves else "Failed"
            self._change(name, EndpointStatus=status, FailureReason=reason[:1024], _target=None)

    def _change(self, name: str, **changes: Any) -> None:
        def mutate(record: Record) -> None:
            if record["EndpointStatus"] != "Deleting":
                record.update(changes)

        record = self._records.change(_KIND, name, mutate, "EndpointStatus")
        if record is not None:
            self._announce(record)

    def _announce(self, record: Record) -> None:
        """Tell who waits in DescribeEndpoint, and the event bus, of a state that is kept already."""
        with self._changed:
            self._changed.notify_all()
        announce(self._cloud, "SageMaker Endpoint State Change", record["EndpointArn"], record)


def _keep_properties(serving: dict[str, Any], record: Record) -> None:
    """RetainAllVariantProperties: weights and instance counts stay as they are now."""
    current = {variant["VariantName"]: variant for variant in record.get("ProductionVariants") or []}
    for variant in serving["variants"]:
        if variant["name"] in current:
            variant["weight"] = current[variant["name"]]["CurrentWeight"]
            variant["instances"] = current[variant["name"]]["CurrentInstanceCount"]
