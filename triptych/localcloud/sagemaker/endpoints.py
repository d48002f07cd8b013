"""Endpoints: created, updated without losing a request, deleted, and back after a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.deployment_alarms import RollbackAlarms
from triptych.localcloud.sagemaker.deployment_plan import plan_deployment
from triptych.localcloud.sagemaker.deployment_rescale import check_rescaling, rescaled, resize
from triptych.localcloud.sagemaker.deployment_run import DRAIN_SECONDS, DeploymentRun, Outcome
from triptych.localcloud.sagemaker.deployment_states import DeploymentKeeper, EndpointStates, check_idle
from triptych.localcloud.sagemaker.deployment_summary import launching, rescaling
from triptych.localcloud.sagemaker.deployment_target import (
    Serving,
    plans,
    production,
    resolve_serving,
    retained,
    sizes_of_config,
    sizes_of_serving,
)
from triptych.localcloud.sagemaker.errors import JobRefused, check_name, invalid, require
from triptych.localcloud.sagemaker.fleet import Fleet, FleetFailed
from triptych.localcloud.sagemaker.live import LiveEndpoint, Share
from triptych.localcloud.sagemaker.models import Models
from triptych.localcloud.sagemaker.records import Record, Records, now, public
from triptych.localcloud.sagemaker.scaled_variants import check_scaled_variants
from triptych.localcloud.sagemaker.support import Arns
from triptych.localcloud.sagemaker.traffic import Traffic
from triptych.localcloud.service import Params, ServiceError

_log = logging.getLogger(__name__)

_DESCRIBE_HOLD_SECONDS = 0.25
_SUMMARY = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")


class Endpoints:
    """CreateEndpoint and its family.

    What was acknowledged is gone on with after a restart: an update begins anew, once; new weights and capacities
    are taken over.
    """

    def __init__(self, cloud: Cloud, records: Records, models: Models, traffic: Traffic) -> None:
        self._cloud = cloud
        self._models = models
        self._arns = Arns(cloud)
        self._states = EndpointStates(cloud, records)
        self._alarms = RollbackAlarms(cloud)
        self._traffic = traffic
        self._live: dict[str, LiveEndpoint] = {}
        self._runs: dict[str, DeploymentRun] = {}
        self._closing = False
        self._lives_lock = threading.Lock()

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
            "LastDeploymentConfig": params.get("DeploymentConfig"),
            "PendingDeploymentSummary": launching(
                config["EndpointConfigName"], sizes_of_config(config), moment
            ),
            "_birth": uuid4().hex,
        }
        self._states.insert(name, record, params.get("Tags") or [])
        self._in_background(self._bring_up, name)
        return {"EndpointArn": arn}

    def describe(self, name: str) -> Record:
        """The endpoint; one that is changing is looked at for up to 250 ms more, until it bakes or is done.

        A loop of describe and wait then mostly ends with its first look: servers start in less time here.
        """
        return public(self._states.look(name, _DESCRIBE_HOLD_SECONDS))

    def find(self, name: str) -> Record:
        """The record; raises ValidationException "Could not find endpoint …"."""
        return self._states.find(name)

    def list(self, params: Params) -> Params:
        found, token = self._states.page(params)
        answer: Params = {"Endpoints": [{key: record[key] for key in _SUMMARY} for record in found]}
        return answer | ({"NextToken": token} if token else {})

    def update(self, params: Params) -> Params:
        """Bring up the new configuration beside the old and move the requests by the DeploymentConfig.

        Raises ValidationException for what ``deployment_plan`` refuses, for alarms that do not exist, for scaled
        variants that would go, and where the configuration that serves was deleted.
        """
        record = self.find(params["EndpointName"])
        config = self._models.find_config(params["EndpointConfigName"])
        _check_may_change(record)
        self._models.find_config(record["EndpointConfigName"])  # SageMaker refuses where it is gone
        serving = record["_serving"]
        check_scaled_variants(
            self._cloud,
            record["EndpointName"],
            {variant["name"]: variant.get("instance_type") for variant in production(serving)},
            {item["VariantName"]: item.get("InstanceType") for item in config["ProductionVariants"]},
        )
        sizes = sizes_of_config(config)
        if any(size.serverless for size in sizes) and not all(
            size.serverless for size in sizes_of_serving(serving)
        ):
            raise invalid("An endpoint with instances cannot be made serverless: create another endpoint.")
        kept: dict[str, dict[str, Any]] = {}
        if params.get("RetainAllVariantProperties"):
            excluded = [
                item["VariantPropertyType"] for item in params.get("ExcludeRetainedVariantProperties") or []
            ]
            kept = retained(sizes, serving, excluded)
            sizes = [
                replace(size, instances=kept.get(size.name, {}).get("instances", size.instances))
                for size in sizes
            ]
        policy = params.get("DeploymentConfig")
        if policy is None and params.get("RetainDeploymentConfig"):
            policy = record.get("LastDeploymentConfig")
        plan = plan_deployment(policy, sizes_of_serving(serving), sizes)
        if plan.strategy == "ROLLING" and record["EndpointStatus"] == "UpdateRollbackFailed":
            raise invalid(
                "The endpoint serves a mix of two configurations, for a rollback failed. Update it with a blue/green "
                "deployment; RollingUpdatePolicy replaces one fleet."
            )
        missing = self._alarms.missing(plan.alarms)
        if missing:
            raise invalid(
                f"Could not find the CloudWatch alarm(s) [{', '.join(missing)}] of AutoRollbackConfiguration."
            )
        changes: Record = {
            "_deployment": {
                "config": config["EndpointConfigName"],
                "kept": kept,
                "policy": policy,
                "started": now(),
            },
            "PendingDeploymentSummary": launching(config["EndpointConfigName"], sizes, now()),
        }
        if policy is not None:
            changes["LastDeploymentConfig"] = policy
        self._states.begin(record, changes)
        self._in_background(self._deploy, record["EndpointName"])
        return {"EndpointArn": record["EndpointArn"]}

    def update_weights(self, params: Params) -> Params:
        """UpdateEndpointWeightsAndCapacities: new weights at once, servers started or stopped."""
        record = self.find(params["EndpointName"])
        wanted = {item["VariantName"]: item for item in params["DesiredWeightsAndCapacities"]}
        _check_may_change(record, "UpdateRollbackFailed")
        check_rescaling(record["_serving"], wanted)
        changes = {"_rescaling": wanted, "ProductionVariants": rescaling(record, wanted, now())}
        self._states.begin(record, changes)
        self._in_background(self._rescale, record["EndpointName"])
        return {"EndpointArn": record["EndpointArn"]}

    def delete(self, name: str) -> Params:
        if self._states.delete(name):
            self._in_background(self._take_down, name)
        return {}

    # What asynchronous inference asks

    def live(self, name: str) -> LiveEndpoint | None:
        """What serves the endpoint; None where nothing does."""
        return self._live.get(name)

    def all(self) -> Sequence[Record]:
        """The record of every endpoint."""
        return self._states.all()

    # Life of the process

    def start(self) -> None:
        """Bring back what served when the last process ended, and go on with what was under way."""
        for record in self._states.all():
            name, status = record["EndpointName"], record["EndpointStatus"]
            if status == "Deleting":
                self._in_background(self._take_down, name)
            elif status == "Creating":
                self._in_background(self._bring_up, name)
            elif record.get("_serving"):
                self._states.resume(record)
                live = self._live[name] = self._open(name)
                self._in_background(self._restore, name, live)

    def stop(self) -> None:
        """Stop the servers and write the captured data; the records stay as they are."""
        with self._lives_lock:
            self._closing = True
            runs = list(self._runs.values())
        self._states.close()
        for run in runs:
            run.cancel()
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
        fleet = None
        try:
            serving = resolve_serving(self._models, record["EndpointConfigName"])
            fleet = self._start_fleet(name, serving)
            live = self._enter(record)
            if live is None:  # deleted meanwhile
                fleet.stop()
                return
            live.route([Share(fleet, 1.0)], serving.get("capture"))
        except Exception as error:
            if fleet is not None:
                fleet.stop()
            expected = isinstance(error, FleetFailed | JobRefused | ServiceError)
            kind = "" if expected else f"InternalServerError: {type(error).__name__}: "
            self._states.fail(record, f"{kind}{error}")
            if not expected:
                raise
            return
        if self._states.serve(record, serving) is None:  # deleted meanwhile
            self._forget(live)
            self._end(live)

    def _restore(self, name: str, live: LiveEndpoint) -> None:
        """Bring the last configuration that counted back, whole, and go on with a change that was under way."""
        record = self.find(name)
        serving = record["_serving"]
        fleet = None
        try:
            fleet = self._start_fleet(name, serving)
            live.route([Share(fleet, 1.0)], serving.get("capture"))
        except Exception as error:
            if fleet is not None:
                fleet.stop()
            self._states.fail(record, f"The endpoint could not be brought back after a restart: {error}")
            self._forget(live)
            live.close()
            return
        if self._live.get(name) is not live:  # deleted meanwhile
            fleet.stop()
            return
        status = record["EndpointStatus"]
        if status == "Updating" and record.get("_deployment"):
            self._deploy(name)
        elif status == "Updating" and record.get("_rescaling"):
            self._rescale(name)
        elif status != "InService":
            self._states.serve(record, serving, record.get("FailureReason"))

    def _deploy(self, name: str) -> None:
        """Carry out the update in the record, from its beginning."""
        record = self.find(name)
        live = self._live.get(name)
        if live is None:
            return  # being deleted
        live.ready.wait()
        if not live.shares:
            return  # it could not be brought back, and has failed
        serving, change = record["_serving"], record["_deployment"]
        try:
            target = resolve_serving(self._models, change["config"])
            for variant in production(target):
                variant.update(change["kept"].get(variant["name"], {}))
            plan = plan_deployment(change["policy"], sizes_of_serving(serving), sizes_of_serving(target))
        except Exception as error:
            if not isinstance(error, JobRefused | ServiceError):
                _log.exception("endpoint %s could not be updated", name)
            keeper = DeploymentKeeper(self._states, record)
            keeper.going_back(str(error))
            keeper.ended(Outcome("rolled back", str(error)))
            return
        run = DeploymentRun(
            plan,
            serving,
            target,
            live,
            self._alarms,
            lambda wanted: Fleet(self._cloud, name, wanted),
            DeploymentKeeper(self._states, record, target),
        )
        with self._lives_lock:
            if self._closing or self._live.get(name) is not live:
                return
            self._runs[name] = run
        try:
            run.run()
        finally:
            with self._lives_lock:
                if self._runs.get(name) is run:
                    del self._runs[name]

    def _rescale(self, name: str) -> None:
        """Carry out the new weights and capacities in the record."""
        record = self.find(name)
        live = self._live.get(name)
        if live is None:
            return  # being deleted
        live.ready.wait()
        if not live.shares:
            return  # it could not be brought back, and has failed
        before, fleet = record["_serving"], live.shares[0].fleet
        after = rescaled(before, record["_rescaling"])
        try:
            resize(fleet, before, after)
        except Exception as error:
            self._states.change(record, EndpointStatus="RollingBack", FailureReason=str(error)[:1024])
            resize(fleet, after, before)
            kept = self._states.serve(record, before, str(error))
        else:
            kept = self._states.serve(record, after)
        if kept is None:  # deleted meanwhile: servers may have come after the others were stopped
            fleet.stop()

    def _take_down(self, name: str) -> None:
        record = self.find(name)
        with self._lives_lock:
            run = self._runs.get(name)
            live = self._live.pop(name, None)
        if run is not None:
            run.cancel()
        if live is not None:
            self._end(live)
        with self._lives_lock:
            self._states.remove(record)

    def _end(self, live: LiveEndpoint) -> None:
        shares = live.shares
        live.route((), None)
        self._retire(live, shares)
        live.close()

    def _retire(self, live: LiveEndpoint, shares: Sequence[Share]) -> None:
        """Let the requests of fleets that serve no longer end, then stop their servers."""
        for item in shares:
            live.drain(item.fleet, DRAIN_SECONDS)
            item.fleet.stop()

    def _enter(self, record: Record) -> LiveEndpoint | None:
        """Requests for the endpoint wait from now on; None when it is deleted, or the local cloud stops."""
        with self._lives_lock:
            if self._closing or not self._states.is_same(record):
                return None
            live = self._live[record["EndpointName"]] = self._open(record["EndpointName"])
            return live

    def _forget(self, live: LiveEndpoint) -> None:
        with self._lives_lock:
            if self._live.get(live.name) is live:
                del self._live[live.name]

    def _open(self, name: str) -> LiveEndpoint:
        return LiveEndpoint(self._traffic, name)

    def _start_fleet(self, name: str, serving: Serving) -> Fleet:
        fleet = Fleet(self._cloud, name, plans(serving))
        fleet.start()
        return fleet


def _check_may_change(record: Record, *refused: str) -> None:
    """Raises ValidationException when the endpoint's status allows no change."""
    check_idle(record)
    status = record["EndpointStatus"]
    if status == "Failed" or status in refused or not record.get("_serving"):
        raise invalid(
            f'Cannot update endpoint "{record["EndpointArn"]}" in status {status}.'
            + (" A failed endpoint can only be deleted." if status == "Failed" else "")
        )
