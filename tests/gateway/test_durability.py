"""moto's state outlives the process: a new MotoBackend over the same home knows everything again.

The processes end without saying goodbye in effect: nothing is written when a harness stops.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.gateway import harness
from triptych.localcloud.moto_backend import changes_state

ACCOUNT_ID = "410987654321"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
Client = Callable[[str], Any]


def start(root: Path, objects: harness.MemoryObjects | None = None) -> harness.Harness:
    return harness.start(root, objects=objects, account_id=ACCOUNT_ID)


@dataclass
class Kept:
    """``make`` changes moto's state and returns what ``look`` needs; ``look`` must see the same
    afterwards.
    """

    make: Callable[[Client], Any]
    look: Callable[[Client, Any], Any]


def _without_metadata(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _role(client: Client) -> str:
    client("iam").create_role(RoleName="kept", AssumeRolePolicyDocument=TRUST)
    client("iam").attach_role_policy(
        RoleName="kept", PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    )
    return "kept"


def _encrypted(client: Client) -> tuple[str, bytes]:
    key = client("kms").create_key()["KeyMetadata"]["KeyId"]
    return key, client("kms").encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]


def _queue(client: Client) -> str:
    url = client("sqs").create_queue(QueueName="kept")["QueueUrl"]
    for text in ("deleted", "kept"):
        client("sqs").send_message(QueueUrl=url, MessageBody=text)
    message = client("sqs").receive_message(QueueUrl=url)["Messages"][0]
    assert message["Body"] == "deleted"
    client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return "kept"


def _published(client: Client) -> str:
    topic = client("sns").create_topic(Name="kept")["TopicArn"]
    client("sqs").create_queue(QueueName="subscribed")
    client("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT_ID}:subscribed"
    )
    client("sns").publish(TopicArn=topic, Message="news")
    return topic


def _messages(client: Client, queue: str) -> list[str]:
    url = client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    return [
        message["Body"]
        for message in client("sqs")
        .receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        .get("Messages", [])
    ]


def _job(client: Client) -> str:
    command = {"Name": "glueetl", "ScriptLocation": "s3://code/one.py"}
    client("glue").create_job(Name="kept", Role="r", Command=command, Tags={"a": "b"})
    client("glue").update_job(JobName="kept", JobUpdate={"Role": "other", "Command": command})
    return "kept"


def _item(client: Client) -> str:
    client("dynamodb").create_table(
        TableName="kept",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    client("dynamodb").put_item(TableName="kept", Item={"id": {"S": "1"}, "n": {"N": "2"}})
    return "kept"


def _rule(client: Client) -> str:
    client("events").put_rule(Name="kept", EventPattern='{"source": ["aws.s3"]}')
    client("events").put_targets(Rule="kept", Targets=[{"Id": "a", "Arn": "arn:aws:sqs:us-east-1:1:q"}])
    return "kept"


CASES: dict[str, Kept] = {
    "a role with its id, creation time and policies": Kept(
        _role,
        lambda client, name: (
            _without_metadata(client("iam").get_role(RoleName=name)),
            client("iam").list_attached_role_policies(RoleName=name)["AttachedPolicies"],
        ),
    ),
    "a key that decrypts what it encrypted": Kept(
        _encrypted, lambda client, made: client("kms").decrypt(CiphertextBlob=made[1])["Plaintext"]
    ),
    "a queue's messages, without those that were deleted": Kept(_queue, _messages),
    "what a topic delivered, once": Kept(
        _published,
        lambda client, topic: [json.loads(body)["Message"] for body in _messages(client, "subscribed")],
    ),
    "an updated Glue job": Kept(
        _job,
        lambda client, name: (
            client("glue").get_job(JobName=name)["Job"]["Role"],
            client("glue").get_job(JobName=name)["Job"]["CreatedOn"],
            client("glue").get_tags(ResourceArn=f"arn:aws:glue:us-east-1:{ACCOUNT_ID}:job/{name}")["Tags"],
        ),
    ),
    "a table and its items": Kept(
        _item,
        lambda client, name: client("dynamodb").get_item(TableName=name, Key={"id": {"S": "1"}})["Item"],
    ),
    "a rule and its targets": Kept(
        _rule,
        lambda client, name: (
            client("events").describe_rule(Name=name)["EventPattern"],
            client("events").list_targets_by_rule(Rule=name)["Targets"],
        ),
    ),
    "a parameter's versions": Kept(
        lambda client: [
            client("ssm").put_parameter(Name="/kept", Type="String", Value=value, Overwrite=True)
            for value in ("one", "two")
        ],
        lambda client, made: _without_metadata(client("ssm").get_parameter(Name="/kept"))["Parameter"],
    ),
    "a metric's datapoints": Kept(
        lambda client: client("cloudwatch").put_metric_data(
            Namespace="Kept", MetricData=[{"MetricName": "m", "Value": 4.0}]
        ),
        lambda client, made: [
            one["MetricName"] for one in client("cloudwatch").list_metrics(Namespace="Kept")["Metrics"]
        ],
    ),
}


def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    first = start(tmp_path)
    made = {name: case.make(first.client) for name, case in CASES.items()}
    before = {name: case.look(first.client, made[name]) for name, case in CASES.items()}
    first.stop()
    for _ in range(2):  # a replay must not add to the journal
        again = start(tmp_path)
        after = {name: case.look(again.client, made[name]) for name, case in CASES.items()}
        assert again.moto.replay_failures == []
        again.stop()
        assert after == before


def test_lambda_code_survives_the_deletion_of_its_object(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("handler.py", "def handler(event, context): return event")
    first = start(tmp_path)
    first.objects.put_bytes("deploy", "code.zip", archive.getvalue())
    role = first.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    made = first.client("lambda").create_function(
        FunctionName="kept",
        Runtime="python3.11",
        Handler="handler.handler",
        Role=role,
        Code={"S3Bucket": "deploy", "S3Key": "code.zip"},
    )
    first.stop()
    again = start(tmp_path, objects=harness.MemoryObjects())
    found = again.client("lambda").get_function(FunctionName="kept")["Configuration"]
    again.stop()
    assert found["CodeSha256"] == made["CodeSha256"]


def test_a_request_that_cannot_be_replayed_is_named_and_kept(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.client("ssm").put_parameter(Name="/a", Type="String", Value="x")
    first.client("ssm").put_parameter(Name="/b", Type="String", Value="y")
    first.stop()
    with sqlite3.connect(tmp_path / "state" / "requests.sqlite") as journal:
        journal.execute("UPDATE requests SET body = ? WHERE id = 1", (b"{}",))
    again = start(tmp_path)
    assert again.client("ssm").get_parameter(Name="/b")["Parameter"]["Value"] == "y"
    assert again.moto.replay_failures == ["ssm.PutParameter (entry 1)"]
    assert again.moto.journal.count() == 2
    again.stop()


def test_refused_and_reading_requests_leave_no_trace(tmp_path: Path) -> None:
    running = start(tmp_path)
    with pytest.raises(ClientError):
        running.client("iam").delete_role(RoleName="nobody")
    running.client("iam").list_roles()
    running.client("sts").assume_role(RoleArn="arn:aws:iam::1:role/x", RoleSessionName="session")
    assert running.moto.journal.count() == 0
    running.stop()


@pytest.mark.parametrize(
    ("service", "operation", "method", "expected"),
    [
        ("iam", "CreateRole", "POST", True),
        ("iam", "GetRole", "POST", False),
        ("dynamodb", "TransactGetItems", "POST", False),
        ("dynamodb", "TransactWriteItems", "POST", True),
        ("kms", "GenerateDataKey", "POST", False),
        ("sts", "AssumeRole", "POST", False),
        ("s3", "", "PUT", True),
        ("s3", "", "GET", False),
    ],
)
def test_what_belongs_in_the_journal(service: str, operation: str, method: str, expected: bool) -> None:
    assert changes_state(service, operation, method) is expected


def test_moto_does_not_bring_the_operations_that_we_add_to_it(tmp_path: Path) -> None:
    """When this fails, moto has caught up: delete ours from moto_missing_operations.py."""
    from triptych.localcloud.moto_missing_operations import added_operations

    running = start(tmp_path)
    running.moto.wait_ready()
    running.stop()
    assert added_operations() == {
        "GlueResponse": {"update_job", "update_crawler"},
        "SageMakerResponse": {"delete_model_package_group", "delete_feature_group"},
    }
