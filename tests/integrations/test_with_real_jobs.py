"""Task states over the local cloud's own Lambda and Glue: real processes, woken by their real ends."""

from __future__ import annotations

import io
import json
import time
import zipfile
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
SERVICES = ("s3", "logs", "lambda", "glue", "stepfunctions")
HANDLER = """
def handler(event, context):
    if "reject" in event:
        raise ValueError(event["reject"])
    return {"got": event}
"""
SCRIPTS = {
    "good": "print('done')\n",
    "broken": "raise RuntimeError('no rows')\n",
    "endless": "import time\nprint('begun', flush=True)\ntime.sleep(600)\n",
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder: Path = tmp_path_factory.mktemp("home")
    forget_moto()
    running = assemble(Home(folder), Settings(port=0), {name: service_factories()[name] for name in SERVICES})
    running.start()
    running.wait_ready()
    role = client(running, "iam").create_role(RoleName="machine", AssumeRolePolicyDocument="{}")["Role"][
        "Arn"
    ]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("app.py", HANDLER)
    client(running, "lambda").create_function(
        FunctionName="echo",
        Runtime="python3.11",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": archive.getvalue()},
    )
    s3, glue = client(running, "s3"), client(running, "glue")
    s3.create_bucket(Bucket="code")
    for name, script in SCRIPTS.items():
        s3.put_object(Bucket="code", Key=f"{name}.py", Body=script.encode())
        glue.create_job(
            Name=name, Role=role, Command={"Name": "glueetl", "ScriptLocation": f"s3://code/{name}.py"}
        )
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


def begin(local: LocalCloud, name: str, resource: str, parameters: dict[str, Any]) -> str:
    state = {
        "Type": "Task",
        "Resource": f"arn:aws:states:::{resource}",
        "Parameters": parameters,
        "End": True,
    }
    states = client(local, "stepfunctions")
    machine = states.create_state_machine(
        name=name, roleArn=ROLE, definition=json.dumps({"StartAt": "Work", "States": {"Work": state}})
    )
    return str(states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"])


def outcome(local: LocalCloud, execution_arn: str) -> dict[str, Any]:
    states = client(local, "stepfunctions")
    for _ in range(3000):
        description: dict[str, Any] = states.describe_execution(executionArn=execution_arn)
        if description["status"] != "RUNNING":
            return description
        time.sleep(0.01)
    pytest.fail(f"{execution_arn} still runs")


def test_a_function_answers(local: LocalCloud) -> None:
    parameters = {"FunctionName": "echo", "Payload": {"n": 1}}
    description = outcome(local, begin(local, "call", "lambda:invoke", parameters))
    assert description["status"] == "SUCCEEDED", description
    output = json.loads(description["output"])
    assert (output["Payload"], output["StatusCode"], output["ExecutedVersion"]) == (
        {"got": {"n": 1}},
        200,
        "$LATEST",
    )


def test_a_functions_exception_is_the_states_error(local: LocalCloud) -> None:
    parameters = {"FunctionName": "echo", "Payload": {"reject": "bad rows"}}
    description = outcome(local, begin(local, "reject", "lambda:invoke", parameters))
    assert (description["status"], description["error"]) == ("FAILED", "ValueError")
    assert json.loads(description["cause"])["errorMessage"] == "bad rows"


def test_a_job_run_that_succeeds_is_the_output(local: LocalCloud) -> None:
    description = outcome(local, begin(local, "good", "glue:startJobRun.sync", {"JobName": "good"}))
    assert description["status"] == "SUCCEEDED", description
    output = json.loads(description["output"])
    assert (output["JobName"], output["JobRunState"]) == ("good", "SUCCEEDED")
    assert output["CompletedOn"] >= output["StartedOn"] > 1_600_000_000_000


def test_a_job_run_that_fails_is_the_cause(local: LocalCloud) -> None:
    description = outcome(local, begin(local, "broken", "glue:startJobRun.sync", {"JobName": "broken"}))
    assert (description["status"], description["error"]) == ("FAILED", "States.TaskFailed")
    cause = json.loads(description["cause"])
    assert cause["JobRunState"] == "FAILED"
    assert "no rows" in cause["ErrorMessage"]


def test_stopping_the_execution_stops_the_job_run(local: LocalCloud) -> None:
    execution = begin(local, "endless", "glue:startJobRun.sync", {"JobName": "endless"})
    glue = client(local, "glue")
    run: dict[str, Any] = {}

    def state() -> str:
        runs = glue.get_job_runs(JobName="endless")["JobRuns"]
        run.update(runs[0] if runs else {})
        return str(run.get("JobRunState"))

    wait_for(lambda: state() == "RUNNING")
    client(local, "stepfunctions").stop_execution(executionArn=execution)
    wait_for(lambda: state() == "STOPPED")
    assert outcome(local, execution)["status"] == "ABORTED"


def wait_for(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("the condition did not come true")
