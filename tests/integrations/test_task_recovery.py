"""``kill -9`` while a task's job runs: the job begins anew, and the execution goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from triptych.localcloud import daemon
from triptych.localcloud.cloud import Settings

pytestmark = [pytest.mark.cloud, pytest.mark.slow]
ROLE = "arn:aws:iam::123456789012:role/machine"
SCRIPT = """
import pathlib, sys, time
mark = pathlib.Path(sys.argv[sys.argv.index("--mark") + 1])
if not mark.exists():
    mark.touch()
    time.sleep(600)
"""


def client(running: daemon.Running, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=running.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def wait_for(condition: Any) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("the condition did not come true")


def test_a_job_that_died_with_the_local_cloud_begins_anew(tmp_path: Path) -> None:
    home, mark = tmp_path / "home", tmp_path / "begun"
    running = daemon.start(home, Settings(port=0))
    try:
        client(running, "s3").create_bucket(Bucket="code")
        client(running, "s3").put_object(Bucket="code", Key="job.py", Body=SCRIPT.encode())
        command = {"Name": "glueetl", "ScriptLocation": "s3://code/job.py"}
        client(running, "glue").create_job(Name="job", Role=ROLE, Command=command)
        state = {
            "Type": "Task",
            "Resource": "arn:aws:states:::glue:startJobRun.sync",
            "Parameters": {"JobName": "job", "Arguments": {"--mark": str(mark)}},
            "End": True,
        }
        states = client(running, "stepfunctions")
        machine = states.create_state_machine(
            name="machine",
            roleArn=ROLE,
            definition=json.dumps({"StartAt": "Work", "States": {"Work": state}}),
        )
        execution = states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]
        wait_for(mark.exists)
        os.kill(running.pid, signal.SIGKILL)
        wait_for(lambda: daemon.status(home) is None)

        running = daemon.start(home, Settings(port=0))
        states = client(running, "stepfunctions")
        wait_for(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING")
        description = states.describe_execution(executionArn=execution)
        assert description["status"] == "SUCCEEDED", description
        runs = client(running, "glue").get_job_runs(JobName="job")["JobRuns"]
        # the same run, once more: the script goes past its sleep only when its mark is there already
        assert [run["JobRunState"] for run in runs] == ["SUCCEEDED"]
    finally:
        daemon.stop(home)
