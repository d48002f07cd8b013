"""A process that ends in the midst of a stack operation: the next one rolls back, whatever was half done."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudformation.conftest import Deployer
from tests.gateway import harness
from triptych.localcloud.cloudformation.records import StackStore
from triptych.localcloud.cloudformation.resources.base import Made, Properties, ResourceContext, ResourceType
from triptych.localcloud.cloudformation.service import CloudFormationService


class PowerCut(BaseException):
    """What no handler catches: from here on nothing of the old process happens any more."""


class Fuse(ResourceType):
    """Blows when it is made with ``Blow``; otherwise it is a thing that only CloudFormation knows."""

    type = "Test::Fuse"

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        if properties.get("Blow"):
            raise PowerCut
        return Made(context.name(None))

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        """Nothing to be deleted."""


def with_fuse(cloud: Any, objects: harness.MemoryObjects) -> CloudFormationService:
    service = CloudFormationService(cloud, objects=objects)
    types = {**service._engine.types, Fuse.type: Fuse()}
    service._engine.types = types
    return service


@pytest.fixture
def deployer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    running = harness.start(tmp_path_factory.mktemp("home"), with_fuse, account_id="510987654321")
    yield Deployer(running)
    running.stop()


def parameter(value: str) -> dict[str, Any]:
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": value}}


def fuse(**properties: Any) -> dict[str, Any]:
    return {"Type": "Test::Fuse", "Properties": properties, "DependsOn": "Value"}


def restarted(deployer: Deployer, name: str, final: str) -> None:
    """A second service over the same home goes on with what the first one left."""
    running = deployer.running
    second = with_fuse(running.cloud, running.objects)
    running.gateway.add(second)
    second.start()
    deadline = time.monotonic() + 20
    while deployer.status(name) != final and time.monotonic() < deadline:
        time.sleep(0.02)
    assert deployer.status(name) == final, deployer.reasons(name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_creation_cut_short_is_rolled_back(deployer: Deployer) -> None:
    template = json.dumps({"Resources": {"Value": parameter("x"), "Fuse": fuse(Blow="yes")}})
    name = deployer.create(template)
    assert deployer.status(name) == "CREATE_IN_PROGRESS"
    made = deployer.resources(name)["Value"]["PhysicalResourceId"]
    restarted(deployer, name, "ROLLBACK_COMPLETE")
    assert "stopped in the midst" in deployer.reasons(name)
    ssm = deployer.running.client("ssm")
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name=made)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_update_cut_short_is_rolled_back(deployer: Deployer) -> None:
    before = {"Value": parameter("before")}
    name = deployer.create(json.dumps({"Resources": before}))
    made = deployer.resources(name)["Value"]["PhysicalResourceId"]
    after = {"Value": parameter("after"), "New": parameter("new"), "Fuse": fuse(Blow="yes")}
    after["Fuse"]["DependsOn"] = ["Value", "New"]
    deployer.update(name, json.dumps({"Resources": after}))
    ssm = deployer.running.client("ssm")
    assert ssm.get_parameter(Name=made)["Parameter"]["Value"] == "after"
    restarted(deployer, name, "UPDATE_ROLLBACK_COMPLETE")
    assert ssm.get_parameter(Name=made)["Parameter"]["Value"] == "before"
    assert set(deployer.resources(name)) == {"Value"}
    assert [one["Name"] for one in ssm.describe_parameters()["Parameters"]] == [made]


def test_an_operation_that_cannot_even_be_recorded_is_told(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = deployer.create(json.dumps({"Resources": {"Value": parameter("x")}}))

    def full(self: StackStore, *arguments: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(StackStore, "save_resource", full)
        disk.setattr(StackStore, "add_event", full)
        deployer.update(name, json.dumps({"Resources": {"Value": parameter("y")}}))
        with pytest.raises(ClientError, match=r"disk is full.*free some space.*triptych up"):
            deployer.api.describe_stacks(StackName=name)
    running = deployer.running
    second = with_fuse(running.cloud, running.objects)
    running.gateway.add(second)
    second.start()
    deadline = time.monotonic() + 20
    while second._store.stack(name).in_progress and time.monotonic() < deadline:
        time.sleep(0.02)
    assert deployer.status(name) == "UPDATE_ROLLBACK_COMPLETE"
    value = deployer.resources(name)["Value"]["PhysicalResourceId"]
    assert running.client("ssm").get_parameter(Name=value)["Parameter"]["Value"] == "x"
