"""The triggers of the template: an upload and a schedule start the pipeline and say so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.localcloud_fixture import forget_moto
from triptych.localcloud.assembly import LocalCloud, assemble, service_factories
from triptych.localcloud.cloud import Settings
from triptych.localcloud.home import Home

pytestmark = pytest.mark.cloud
TEMPLATE = Path(__file__).parents[2] / "cloudformation" / "triggers.yaml"
SERVICES = ("s3", "stepfunctions", "events", "scheduler", "cloudformation")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalCloud]:
    forget_moto()
    running = assemble(
        Home(tmp_path), Settings(port=0), {name: service_factories()[name] for name in SERVICES}
    )
    running.start()
    running.wait_ready()
    yield running
    running.stop()


def client(local: LocalCloud, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=local.cloud.settings.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def deploy(local: LocalCloud, **parameters: str) -> str:
    """The triggers' stack with a pipeline that passes its input on; answers the pipeline's ARN."""
    s3, stacks = client(local, "s3"), client(local, "cloudformation")
    s3.create_bucket(Bucket="data")
    s3.put_bucket_notification_configuration(
        Bucket="data", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    definition = {"StartAt": "Pass on", "States": {"Pass on": {"Type": "Pass", "End": True}}}
    pipeline = client(local, "stepfunctions").create_state_machine(
        name="pipeline", roleArn="arn:aws:iam::123456789012:role/machine", definition=json.dumps(definition)
    )["stateMachineArn"]
    values = {
        "Prefix": "triptych-flights-test",
        "UseCase": "flights",
        "PipelineArn": pipeline,
        "DataBucket": "data",
        "PrimaryTable": "flights",
        "UploadTriggerState": "ENABLED",
        "ScheduleExpression": "cron(0 6 * * ? *)",
        "ScheduleState": "DISABLED",
    } | parameters
    stacks.create_stack(
        StackName="triggers",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    stacks.get_waiter("stack_create_complete").wait(StackName="triggers", WaiterConfig={"Delay": 1})
    return str(pipeline)


def inputs(local: LocalCloud, pipeline: str, count: int) -> list[dict[str, Any]]:
    """The inputs of the pipeline's executions, once there are ``count``."""
    states = client(local, "stepfunctions")
    for _ in range(1000):
        found = states.list_executions(stateMachineArn=pipeline)["executions"]
        if len(found) >= count:
            return [
                json.loads(states.describe_execution(executionArn=each["executionArn"])["input"])
                for each in found
            ]
        time.sleep(0.01)
    pytest.fail(f"the pipeline has not had {count} executions")


def test_an_upload_below_the_primary_table_starts_the_pipeline(local: LocalCloud) -> None:
    pipeline = deploy(local)
    for key in ("raw/weather/1.csv", "raw/flights/2013-03.csv"):
        client(local, "s3").put_object(Bucket="data", Key=key, Body=b"x")
    (given,) = inputs(local, pipeline, 1)
    assert given["use_case"] == "flights"
    assert given["trigger"]["kind"] == "upload"
    detail = given["trigger"]["detail"]
    assert (detail["bucket"], detail["key"]) == ("data", "raw/flights/2013-03.csv")


def test_an_upload_starts_nothing_while_the_trigger_is_off(local: LocalCloud) -> None:
    pipeline = deploy(
        local, UploadTriggerState="DISABLED", ScheduleState="ENABLED", ScheduleExpression="rate(1 day)"
    )
    client(local, "s3").put_object(Bucket="data", Key="raw/flights/2013-03.csv", Body=b"x")
    (given,) = inputs(local, pipeline, 1)
    assert given["trigger"]["kind"] == "schedule"
    assert given["trigger"]["detail"]["schedule"] == "triptych-flights-test-schedule"
