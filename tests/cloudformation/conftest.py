"""One CloudFormation service over moto for all tests of this folder; stacks have names of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.gateway import harness
from triptych.localcloud.cloudformation.service import CloudFormationService
from triptych.localcloud.cloudwatch.service import CloudWatchService
from triptych.localcloud.cloudwatch.store import MetricStore

_numbers = itertools.count(1)


@dataclass
class Deployer:
    """Creates, updates and deletes stacks over HTTP, waiting for the end."""

    running: harness.Harness

    @property
    def api(self) -> Any:
        return self.running.client("cloudformation")

    def create(self, template: str, name: str = "", **options: Any) -> str:
        name = name or f"stack{next(_numbers)}"
        self.api.create_stack(
            StackName=name, TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"], **options
        )
        return name

    def update(self, name: str, template: str, **options: Any) -> None:
        self.api.update_stack(
            StackName=name, TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"], **options
        )

    def status(self, name: str) -> str:
        return str(self.api.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])

    def outputs(self, name: str) -> dict[str, str]:
        stack = self.api.describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def resources(self, name: str) -> dict[str, dict[str, Any]]:
        found = self.api.describe_stack_resources(StackName=name)["StackResources"]
        return {resource["LogicalResourceId"]: resource for resource in found}

    def events(self, name: str) -> list[tuple[str, str]]:
        """(logical id, status), oldest first."""
        pages = self.api.get_paginator("describe_stack_events").paginate(StackName=name)
        newest_first = [event for page in pages for event in page["StackEvents"]]
        return [(event["LogicalResourceId"], event["ResourceStatus"]) for event in reversed(newest_first)]

    def reasons(self, name: str) -> str:
        pages = self.api.get_paginator("describe_stack_events").paginate(StackName=name)
        return "\n".join(
            f"{event['LogicalResourceId']} {event['ResourceStatus']}: {event.get('ResourceStatusReason', '')}"
            for page in pages
            for event in page["StackEvents"]
        )


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Harness]:
    started = harness.start(tmp_path_factory.mktemp("home"), cloudwatch, cloudformation)
    yield started
    started.stop()


@pytest.fixture
def stacks(running: harness.Harness) -> Deployer:
    return Deployer(running)


@pytest.fixture
def stack_name() -> str:
    return f"named{next(_numbers)}"


def cloudwatch(cloud: Any, objects: harness.MemoryObjects) -> CloudWatchService:
    cloud.metrics = MetricStore(cloud.home)
    return CloudWatchService(cloud)


def cloudformation(cloud: Any, objects: harness.MemoryObjects) -> CloudFormationService:
    return CloudFormationService(cloud, objects=objects)
