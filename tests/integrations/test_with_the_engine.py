"""Task states of a real engine on a real gateway; the services behind them are moto's and ours."""

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
ROLE = "arn:aws:iam::123456789012:role/machine"


def start(folder: Path) -> LocalCloud:
    factories = {name: service_factories()[name] for name in ("stepfunctions", "events", "scheduler")}
    forget_moto()
    local = assemble(Home(folder), Settings(port=0), factories)
    local.start()
    local.wait_ready()
    return local


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalCloud]:
    running = start(tmp_path)
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


def machine(local: LocalCloud, name: str, states: dict[str, Any]) -> str:
    definition = {"StartAt": next(iter(states)), "States": states}
    answer = client(local, "stepfunctions").create_state_machine(
        name=name, roleArn=ROLE, definition=json.dumps(definition)
    )
    return str(answer["stateMachineArn"])


def task(resource: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters}
    return state | (more if "Next" in more else more | {"End": True})


def outcome(local: LocalCloud, execution_arn: str) -> dict[str, Any]:
    states = client(local, "stepfunctions")
    for _ in range(2000):
        description: dict[str, Any] = states.describe_execution(executionArn=execution_arn)
        if description["status"] != "RUNNING":
            return description
        time.sleep(0.01)
    pytest.fail(f"{execution_arn} still runs")


def run(local: LocalCloud, machine_arn: str, given: Any = None) -> dict[str, Any]:
    answer = client(local, "stepfunctions").start_execution(
        stateMachineArn=machine_arn, input=json.dumps(given if given is not None else {})
    )
    return outcome(local, answer["executionArn"])


def executions(local: LocalCloud, machine_arn: str, count: int) -> list[str]:
    states = client(local, "stepfunctions")
    for _ in range(1000):
        found = states.list_executions(stateMachineArn=machine_arn)["executions"]
        if len(found) >= count:
            return [each["executionArn"] for each in found]
        time.sleep(0.01)
    pytest.fail(f"{machine_arn} has not had {count} executions")


def test_tasks_call_nest_map_and_catch(local: LocalCloud) -> None:
    queue = client(local, "sqs").create_queue(QueueName="q")["QueueUrl"]
    store = local.cloud.store
    store.create_bucket("data")
    store.put_bytes("data", "in/rows.csv", b"n\n1\n2\n3\n")
    child = machine(local, "child", {"Answer": {"Type": "Pass", "Result": {"ok": True}, "End": True}})
    parent = machine(
        local,
        "parent",
        {
            "Send": task(
                "sqs:sendMessage",
                {"QueueUrl": queue, "MessageBody.$": "$"},
                ResultSelector={"id.$": "$.MessageId"},
                ResultPath="$.sent",
                Next="Nest",
            ),
            "Nest": task(
                "states:startExecution.sync:2",
                {"StateMachineArn": child, "Input": {"n": 1}},
                ResultSelector={"given.$": "$.Input", "output.$": "$.Output", "status.$": "$.Status"},
                ResultPath="$.nested",
                Next="Fail to find",
            ),
            "Fail to find": task(
                "aws-sdk:sqs:getQueueUrl",
                {"QueueName": "none"},
                Catch=[
                    {
                        "ErrorEquals": ["Sqs.QueueDoesNotExistException"],
                        "ResultPath": "$.error",
                        "Next": "Map",
                    }
                ],
            ),
            "Map": {
                "Type": "Map",
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
                    "Parameters": {"Bucket": "data", "Key": "in/rows.csv"},
                },
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Tell",
                    "States": {"Tell": task("sqs:sendMessage", {"QueueUrl": queue, "MessageBody.$": "$.n"})},
                },
                "ResultWriter": {
                    "Resource": "arn:aws:states:::s3:putObject",
                    "Parameters": {"Bucket": "data", "Prefix": "out"},
                },
                "ResultPath": "$.map",
                "End": True,
            },
        },
    )
    description = run(local, parent, {"hello": "you"})
    assert description["status"] == "SUCCEEDED", json.dumps(description, default=str)
    output = json.loads(description["output"])
    assert output["nested"] == {"given": {"n": 1}, "output": {"ok": True}, "status": "SUCCEEDED"}
    assert output["error"]["Error"] == "Sqs.QueueDoesNotExistException"
    details = output["map"]["ResultWriterDetails"]
    manifest = json.loads(store.get_bytes(details["Bucket"], details["Key"]))
    (file,) = manifest["ResultFiles"]["SUCCEEDED"]
    results = json.loads(store.get_bytes("data", file["Key"]))
    assert sorted(json.loads(result["Input"])["n"] for result in results) == ["1", "2", "3"]
    received = client(local, "sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert sorted(message["Body"] for message in received) == ["1", "2", "3", '{"hello":"you"}']


def test_a_nested_failure_is_the_parents_with_its_description(local: LocalCloud) -> None:
    child = machine(local, "child", {"Stop": {"Type": "Fail", "Error": "Rejected", "Cause": "bad data"}})
    parent = machine(
        local, "parent", {"Nest": task("states:startExecution.sync:2", {"StateMachineArn": child})}
    )
    description = run(local, parent)
    assert (description["status"], description["error"]) == ("FAILED", "States.TaskFailed")
    cause = json.loads(description["cause"])
    assert (cause["Status"], cause["Error"], cause["Cause"]) == ("FAILED", "Rejected", "bad data")


def test_stopping_a_parent_stops_its_child(local: LocalCloud) -> None:
    child = machine(local, "child", {"Sleep": {"Type": "Wait", "Seconds": 3600, "End": True}})
    parent = machine(
        local, "parent", {"Nest": task("states:startExecution.sync", {"StateMachineArn": child})}
    )
    states = client(local, "stepfunctions")
    running = states.start_execution(stateMachineArn=parent)["executionArn"]
    (nested,) = executions(local, child, 1)
    states.stop_execution(executionArn=running)
    assert outcome(local, running)["status"] == "ABORTED"
    assert outcome(local, nested)["status"] == "ABORTED"


def test_a_parent_waits_on_after_a_restart(tmp_path: Path) -> None:
    local = start(tmp_path)
    child = machine(local, "child", {"Sleep": {"Type": "Wait", "Seconds": 1, "End": True}})
    parent = machine(
        local, "parent", {"Nest": task("states:startExecution.sync:2", {"StateMachineArn": child})}
    )
    running = client(local, "stepfunctions").start_execution(stateMachineArn=parent)["executionArn"]
    executions(local, child, 1)
    local.stop()
    local = start(tmp_path)
    try:
        assert outcome(local, running)["status"] == "SUCCEEDED"
        assert len(executions(local, child, 1)) == 1
    finally:
        local.stop()


def test_parameters_that_do_not_fit_end_the_execution(local: LocalCloud) -> None:
    bad = machine(local, "bad", {"Start": task("glue:startJobRun", {"JobName": "j", "Colour": "red"})})
    description = run(local, bad)
    assert (description["status"], description["error"]) == ("FAILED", "States.Runtime")
    assert 'The field "Colour" is not supported by Step Functions' in description["cause"]


def test_a_resource_that_nothing_serves_is_refused_at_creation(local: LocalCloud) -> None:
    states = client(local, "stepfunctions")
    with pytest.raises(states.exceptions.InvalidDefinition, match=r"batch:submitJob is not recognized"):
        machine(local, "unknown", {"Submit": task("batch:submitJob", {})})


def test_an_event_starts_a_machine_that_puts_an_event_that_starts_another(local: LocalCloud) -> None:
    events = client(local, "events")
    last = machine(local, "last", {"End": {"Type": "Succeed"}})
    entry = {"Source": "first", "DetailType": "Done", "Detail": {"from.$": "$.trigger"}}
    first = machine(local, "first", {"Tell": task("events:putEvents", {"Entries": [entry]})})
    for name, source, target in (("one", "test", first), ("two", "first", last)):
        events.put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))
        transformer = {"InputPathsMap": {"detail": "$.detail"}, "InputTemplate": '{"trigger": <detail>}'}
        arn = {"Id": "1", "Arn": target, "RoleArn": ROLE, "InputTransformer": transformer}
        assert events.put_targets(Rule=name, Targets=[arn])["FailedEntryCount"] == 0
    answer = events.put_events(Entries=[{"Source": "test", "DetailType": "Go", "Detail": '{"n": 1}'}])
    assert answer["FailedEntryCount"] == 0
    (execution,) = executions(local, last, 1)
    assert json.loads(outcome(local, execution)["input"]) == {"trigger": {"from": {"n": 1}}}
