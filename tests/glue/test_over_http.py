"""Glue and Lambda through the gateway, as any AWS client sees them."""

from __future__ import annotations

import io
import json
import queue
import zipfile
from typing import Any

import pytest

from triptych.localcloud.bus import JobEnded

pytestmark = pytest.mark.cloud

SCRIPT = b"""
import json, sys
import boto3
from awsglue.utils import getResolvedOptions
from pyspark.sql import SparkSession

args = getResolvedOptions(sys.argv, ["JOB_NAME", "bucket"])
spark = SparkSession.builder.getOrCreate()
rows = spark.createDataFrame([(1, "a"), (2, "b")], "n int, t string")
rows.write.mode("overwrite").parquet(f"s3://{args['bucket']}/rows/")
boto3.client("s3").put_object(Bucket=args["bucket"], Key="note.json", Body=json.dumps({"rows": rows.count()}))
print("wrote", rows.count())
"""

HANDLER = """
import json, os
import boto3

def handler(event, context):
    body = boto3.client("s3").get_object(Bucket=event["bucket"], Key="note.json")["Body"].read()
    return json.loads(body)
"""


@pytest.fixture(scope="module")
def bucket(local_cloud: Any) -> str:
    local_cloud.client("s3").create_bucket(Bucket="glue-over-http")
    return "glue-over-http"


@pytest.fixture(scope="module")
def role(local_cloud: Any) -> str:
    iam = local_cloud.client("iam")
    answer = iam.create_role(RoleName="glue-over-http", AssumeRolePolicyDocument="{}")
    arn: str = answer["Role"]["Arn"]
    return arn


def test_a_job_and_a_function_share_s3(local_cloud: Any, bucket: str, role: str) -> None:
    s3, glue, functions = (local_cloud.client(name) for name in ("s3", "glue", "lambda"))
    s3.put_object(Bucket=bucket, Key="code/job.py", Body=SCRIPT)
    glue.create_job(
        Name="over-http",
        Role=role,
        Command={"Name": "glueetl", "ScriptLocation": f"s3://{bucket}/code/job.py"},
        DefaultArguments={"--bucket": bucket},
    )
    ended: queue.Queue[JobEnded] = queue.Queue()
    local_cloud.cloud.bus.subscribe(JobEnded, ended.put)
    run_id = glue.start_job_run(JobName="over-http")["JobRunId"]
    while ended.get(timeout=60).identity != run_id:
        pass
    run = glue.get_job_run(JobName="over-http", RunId=run_id)["JobRun"]
    assert run["JobRunState"] == "SUCCEEDED", run
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix="rows/")["Contents"]]
    assert [key.rsplit(".", 1)[1] for key in keys] == ["parquet"]
    events = local_cloud.client("logs").get_log_events(
        logGroupName="/aws-glue/jobs/output", logStreamName=run_id
    )
    assert [event["message"] for event in events["events"]] == ["wrote 2"]

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("app.py", HANDLER)
    s3.put_object(Bucket=bucket, Key="code/function.zip", Body=content.getvalue())
    functions.create_function(
        FunctionName="over-http",
        Runtime="python3.11",
        Role=role,
        Handler="app.handler",
        Code={"S3Bucket": bucket, "S3Key": "code/function.zip"},
        MemorySize=256,
        Timeout=20,
    )
    answer = functions.invoke(FunctionName="over-http", Payload=json.dumps({"bucket": bucket}))
    assert json.loads(answer["Payload"].read()) == {"rows": 2}
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    failing = functions.invoke(FunctionName="over-http", Payload=b"{}", LogType="Tail")
    assert failing["FunctionError"] == "Unhandled"
    assert json.loads(failing["Payload"].read())["errorType"] == "KeyError"
    log = local_cloud.client("logs").filter_log_events(
        logGroupName="/aws/lambda/over-http", filterPattern="ERROR"
    )
    assert "[ERROR] KeyError: 'bucket'" in [event["message"] for event in log["events"]]


def test_what_does_not_exist(local_cloud: Any) -> None:
    glue, functions = local_cloud.client("glue"), local_cloud.client("lambda")
    with pytest.raises(glue.exceptions.EntityNotFoundException):
        glue.start_job_run(JobName="nobody-over-http")
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.invoke(FunctionName="nobody-over-http")
    with pytest.raises(functions.exceptions.InvalidRequestContentException):
        functions.invoke(FunctionName="over-http", Payload=b"{")
