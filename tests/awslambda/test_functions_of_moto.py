"""Function records as they are read from moto's Lambda backend."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from triptych.localcloud.awslambda.functions import function_of_moto
from triptych.localcloud.service import RequestContext, ServiceError

CONTEXT = RequestContext("lambda", "Invoke")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:shout"


def zipped(text: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("app.py", text)
    return content.getvalue()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Version 1 of the function is published, alias ``live`` points at it, and $LATEST has newer code."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    with mock_aws():
        iam = boto3.client("iam", **keys)
        role = iam.create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        client = boto3.client("lambda", **keys)
        layer = client.publish_layer_version(LayerName="core", Content={"ZipFile": zipped("layer")})
        client.create_function(
            FunctionName="shout",
            Runtime="python3.11",
            Role=role,
            Handler="app.handler",
            Code={"ZipFile": zipped("one")},
            MemorySize=256,
            Timeout=7,
            Environment={"Variables": {"A": "1"}},
            Layers=[layer["LayerVersionArn"]],
        )
        client.publish_version(FunctionName="shout")
        client.create_alias(FunctionName="shout", Name="live", FunctionVersion="1")
        client.update_function_code(FunctionName="shout", ZipFile=zipped("two"))
        client.put_function_event_invoke_config(
            FunctionName="shout",
            MaximumRetryAttempts=1,
            DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:dead"}},
        )
        yield client


REFERENCES = {
    "name": ("shout", None, ARN, "$LATEST"),
    "ARN": (ARN, None, ARN, "$LATEST"),
    "partial ARN": ("123456789012:function:shout", None, ARN, "$LATEST"),
    "latest by name": ("shout", "$LATEST", f"{ARN}:$LATEST", "$LATEST"),
    "name with version": ("shout:1", None, f"{ARN}:1", "1"),
    "version as qualifier": ("shout", "1", f"{ARN}:1", "1"),
    "ARN with alias": (f"{ARN}:live", None, f"{ARN}:live", "1"),
    "alias as qualifier": ("shout", "live", f"{ARN}:live", "1"),
}


@pytest.mark.parametrize(("name", "qualifier", "arn", "version"), REFERENCES.values(), ids=REFERENCES)
def test_references(client: Any, name: str, qualifier: str | None, arn: str, version: str) -> None:
    record = function_of_moto(CONTEXT, name, qualifier)
    assert (record.name, record.arn, record.version) == ("shout", arn, version)


def test_what_is_read(client: Any) -> None:
    record = function_of_moto(CONTEXT, "shout", None)
    assert (record.runtime, record.handler, record.memory_mb, record.timeout_seconds) == (
        "python3.11",
        "app.handler",
        256,
        7,
    )
    assert record.environment == {"A": "1"}
    assert zipfile.ZipFile(io.BytesIO(record.code.read())).read("app.py") == b"two"
    [layer] = record.layers
    assert zipfile.ZipFile(io.BytesIO(layer.read())).read("app.py") == b"layer"
    assert record.retry_attempts == 1
    assert record.destinations == {"OnFailure": "arn:aws:sqs:us-east-1:123456789012:dead"}
    assert record.fingerprint == function_of_moto(CONTEXT, ARN, None).fingerprint


UNKNOWN = {"function": ("whisper", None), "version": ("shout", "9"), "alias": (f"{ARN}:dead", None)}


@pytest.mark.parametrize(("name", "qualifier"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_does_not_exist(client: Any, name: str, qualifier: str | None) -> None:
    with pytest.raises(ServiceError, match="Function not found: arn:aws:lambda") as refusal:
        function_of_moto(CONTEXT, name, qualifier)
    assert (refusal.value.code, refusal.value.status) == ("ResourceNotFoundException", 404)


def test_published_versions_keep_their_code(client: Any) -> None:
    """moto copies the function object when it publishes; its code must not follow $LATEST."""
    record = function_of_moto(CONTEXT, "shout", "1")
    assert zipfile.ZipFile(io.BytesIO(record.code.read())).read("app.py") == b"one"
