"""S3 within a whole local cloud: the AWS CLI, configuration kept by moto, notifications that arrive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.localcloud_fixture import RunningCloud

pytestmark = pytest.mark.cloud


def aws(cloud: RunningCloud, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *arguments],
        env={**os.environ, **cloud.environment, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_aws_cli(local_cloud: RunningCloud, tmp_path: Path) -> None:
    (tmp_path / "up" / "deep").mkdir(parents=True)
    (tmp_path / "up" / "a.csv").write_text("a\n")
    (tmp_path / "up" / "deep" / "b.csv").write_text("b\n")
    (tmp_path / "big.bin").write_bytes(os.urandom(9 << 20))
    aws(local_cloud, "s3", "mb", "s3://cli-bucket", folder=tmp_path)
    aws(local_cloud, "s3", "cp", "big.bin", "s3://cli-bucket/big.bin", folder=tmp_path)
    aws(local_cloud, "s3", "sync", "up", "s3://cli-bucket/up", folder=tmp_path)
    listed = aws(local_cloud, "s3", "ls", "s3://cli-bucket", "--recursive", folder=tmp_path)
    assert [line.split()[-1] for line in listed.splitlines()] == ["big.bin", "up/a.csv", "up/deep/b.csv"]
    aws(local_cloud, "s3", "cp", "s3://cli-bucket/big.bin", "back.bin", folder=tmp_path)
    assert (tmp_path / "back.bin").read_bytes() == (tmp_path / "big.bin").read_bytes()
    aws(local_cloud, "s3", "rb", "s3://cli-bucket", "--force", folder=tmp_path)
    assert not local_cloud.cloud.store.has_bucket("cli-bucket")


def test_bucket_configuration_is_kept(local_cloud: RunningCloud) -> None:
    client = local_cloud.client("s3")
    client.create_bucket(Bucket="configured")
    policy = {"Version": "2012-10-17", "Statement": []}
    client.put_bucket_policy(Bucket="configured", Policy=json.dumps(policy))
    client.put_bucket_tagging(Bucket="configured", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    client.put_public_access_block(
        Bucket="configured", PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    )
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    client.put_bucket_encryption(Bucket="configured", ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert json.loads(client.get_bucket_policy(Bucket="configured")["Policy"]) == policy
    assert client.get_bucket_tagging(Bucket="configured")["TagSet"] == [{"Key": "a", "Value": "b"}]
    client.put_object(Bucket="configured", Key="k", Body=b"x")
    assert client.get_object_acl(Bucket="configured", Key="k")["Grants"]
    client.delete_object(Bucket="configured", Key="k")
    client.delete_bucket(Bucket="configured")
    client.create_bucket(Bucket="configured")
    with pytest.raises(client.exceptions.ClientError, match="NoSuchBucketPolicy"):
        client.get_bucket_policy(Bucket="configured")
    client.delete_bucket(Bucket="configured")


def test_a_queue_is_told_of_uploads(local_cloud: RunningCloud) -> None:
    s3, sqs = local_cloud.client("s3"), local_cloud.client("sqs")
    url = sqs.create_queue(QueueName="uploads")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="telling")
    suffix = {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".csv"}]}}
    queue = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": suffix}
    s3.put_bucket_notification_configuration(
        Bucket="telling", NotificationConfiguration={"QueueConfigurations": [queue]}
    )
    told = s3.get_bucket_notification_configuration(Bucket="telling")["QueueConfigurations"]
    assert told[0]["QueueArn"] == arn
    sqs.purge_queue(QueueUrl=url)
    s3.put_object(Bucket="telling", Key="ignored.txt", Body=b"x")
    s3.put_object(Bucket="telling", Key="wanted one.csv", Body=b"xy")
    deadline = time.monotonic() + 20
    bodies: list[dict[str, object]] = []
    while not bodies and time.monotonic() < deadline:
        messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", [])
        bodies = [json.loads(message["Body"]) for message in messages]
    (record,) = bodies[0]["Records"]  # type: ignore[misc]
    assert record["eventName"] == "ObjectCreated:Put"
    assert (record["s3"]["object"]["key"], record["s3"]["object"]["size"]) == ("wanted+one.csv", 2)


def test_notifications_read_back_can_be_put_again(local_cloud: RunningCloud) -> None:
    s3 = local_cloud.client("s3")
    s3.create_bucket(Bucket="told-again")
    queue = local_cloud.client("sqs").create_queue(QueueName="told-again")["QueueUrl"]
    arn = local_cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    rules = [{"Name": "prefix", "Value": "raw/"}, {"Name": "suffix", "Value": ".csv"}]
    configuration = {
        "EventBridgeConfiguration": {},
        "QueueConfigurations": [
            {
                "Id": "one",
                "QueueArn": arn["Attributes"]["QueueArn"],
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": rules}},
            }
        ],
    }
    s3.put_bucket_notification_configuration(Bucket="told-again", NotificationConfiguration=configuration)
    for _ in range(2):
        answer = s3.get_bucket_notification_configuration(Bucket="told-again")
        del answer["ResponseMetadata"]
        assert answer == configuration
        s3.put_bucket_notification_configuration(Bucket="told-again", NotificationConfiguration=answer)
