"""Names of the SDK for Java, and JSON to and from botocore's shapes."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from integration_fakes import FakeClients

from triptych.localcloud.integrations.naming import exception_name, member_name, pascal_case
from triptych.localcloud.integrations.resource import parse_resource
from triptych.localcloud.integrations.shapes import (
    AWS_SDK,
    OPTIMISED,
    Dialect,
    ParametersRejected,
    to_json,
    to_request,
)

SHAPES = FakeClients({})


def shape(service: str, operation: str, side: str) -> Any:
    model = SHAPES.get(service).meta.service_model.operation_model(operation)
    return model.input_shape if side == "input" else model.output_shape


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DynamoDB", "DynamoDb"),
        ("SageMaker", "SageMaker"),
        ("SageMaker Runtime", "SageMakerRuntime"),
        ("SFN", "Sfn"),
        ("S3", "S3"),
        ("CloudWatch Logs", "CloudWatchLogs"),
        ("IoT", "Iot"),
    ],
)
def test_pascal_case_is_the_java_sdks(name: str, expected: str) -> None:
    assert pascal_case(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ETag", "ETag"),
        ("SSEKMSKeyId", "SsekmsKeyId"),
        ("SSECustomerKeyMD5", "SseCustomerKeyMD5"),
        ("MD5OfMessageBody", "Md5OfMessageBody"),
        ("executionArn", "ExecutionArn"),
        ("VPCSecurityGroupIds", "VpcSecurityGroupIds"),
        ("SupportedResponseMIMETypes", "SupportedResponseMIMETypes"),
        ("ARN", "Arn"),
        ("S", "S"),
        ("BOOL", "Bool"),
    ],
)
def test_members_have_the_java_sdks_names(name: str, expected: str) -> None:
    assert member_name(name) == expected


@pytest.mark.parametrize(
    ("shape_name", "expected"),
    [
        ("NoSuchKey", "NoSuchKeyException"),
        ("ResourceInUse", "ResourceInUseException"),
        ("EntityNotFoundException", "EntityNotFoundException"),
        ("ClusterNotFoundFault", "ClusterNotFoundException"),
    ],
)
def test_exception_names_end_in_exception(shape_name: str, expected: str) -> None:
    assert exception_name(shape_name) == expected


@pytest.mark.parametrize(
    ("arn", "service", "action", "pattern"),
    [
        ("arn:aws:states:::glue:startJobRun.sync", "glue", "startJobRun", "sync"),
        ("arn:aws:states:::states:startExecution.sync:2", "states", "startExecution", "sync:2"),
        ("arn:aws:states:::aws-sdk:s3:listObjectsV2", "aws-sdk:s3", "listObjectsV2", ""),
        ("arn:aws-cn:states:::sqs:sendMessage.waitForTaskToken", "sqs", "sendMessage", "waitForTaskToken"),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f:live", "lambda-function", "invoke", ""),
        ("arn:aws:states:eu-west-1:123456789012:activity:approve", "activity", "", ""),
    ],
)
def test_resources_are_parsed(arn: str, service: str, action: str, pattern: str) -> None:
    parsed = parse_resource(arn)
    assert parsed is not None
    assert (parsed.service, parsed.action, parsed.pattern) == (service, action, pattern)


@pytest.mark.parametrize(
    "arn", ["", "glue:startJobRun", "arn:aws:states:::glue", "arn:aws:states:::glue:x.async"]
)
def test_no_resource_is_parsed_from_other_text(arn: str) -> None:
    assert parse_resource(arn) is None


@pytest.mark.parametrize(
    ("service", "operation", "dialect", "given", "expected"),
    [
        pytest.param(
            "glue",
            "StartJobRun",
            OPTIMISED,
            {"JobName": "j", "Arguments": {"--rows": 5, "--on": True}, "Timeout": "10", "MaxCapacity": 2},
            {"JobName": "j", "Arguments": {"--rows": "5", "--on": "true"}, "Timeout": 10, "MaxCapacity": 2.0},
            id="scalars are turned into what the model wants",
        ),
        pytest.param(
            "stepfunctions",
            "StartExecution",
            AWS_SDK,
            {"StateMachineArn": "a", "Input": {"b": [1, "ä"]}},
            {"stateMachineArn": "a", "input": '{"b":[1,"ä"]}'},
            id="aws-sdk: JSON for a text member is sent as text",
        ),
        pytest.param(
            "s3",
            "PutObject",
            AWS_SDK,
            {"Bucket": "b", "Key": "k", "Body": "text", "SsekmsKeyId": "id"},
            {"Bucket": "b", "Key": "k", "Body": b'"text"', "SSEKMSKeyId": "id"},
            id="aws-sdk: blobs are JSON text, members have the SDK's names",
        ),
        pytest.param(
            "dynamodb",
            "PutItem",
            OPTIMISED,
            {"TableName": "t", "Item": {"n": {"N": "1"}, "l": {"L": [{"S": "x"}]}, "b": {"BOOL": False}}},
            {"TableName": "t", "Item": {"n": {"N": "1"}, "l": {"L": [{"S": "x"}]}, "b": {"BOOL": False}}},
            id="recursive shapes",
        ),
        pytest.param(
            "sagemaker",
            "CreateModel",
            OPTIMISED,
            {"ModelName": "m", "VpcConfig": None},
            {"ModelName": "m"},
            id="null is as if absent",
        ),
    ],
)
def test_parameters_become_arguments(
    service: str, operation: str, dialect: Dialect, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert to_request(given, shape(service, operation, "input"), dialect) == expected


@pytest.mark.parametrize(
    ("service", "operation", "dialect", "given", "reason"),
    [
        pytest.param(
            "sagemaker",
            "CreateModel",
            OPTIMISED,
            {"ModelName": "m", "S3Operations": {}},
            'The field "S3Operations" is not supported by Step Functions',
            id="unknown member",
        ),
        pytest.param(
            "sagemaker",
            "CreateModel",
            OPTIMISED,
            {"ModelName": "m", "PrimaryContainer": {"Picture": "x"}},
            'The field "Picture" is not supported by Step Functions',
            id="unknown nested member",
        ),
        pytest.param(
            "stepfunctions",
            "StartExecution",
            AWS_SDK,
            {"stateMachineArn": "x"},
            'The field "stateMachineArn" is not supported by Step Functions',
            id="camel case",
        ),
        pytest.param(
            "glue",
            "StartJobRun",
            OPTIMISED,
            {},
            "The field 'JobName' is required but was missing",
            id="missing member",
        ),
        pytest.param(
            "glue",
            "StartJobRun",
            OPTIMISED,
            {"JobName": {}},
            "The value for the field 'JobName' must be a STRING",
            id="object for text",
        ),
        pytest.param(
            "glue",
            "StartJobRun",
            OPTIMISED,
            {"JobName": "j", "Timeout": "soon"},
            "The value for the field 'Timeout' must be an INTEGER",
            id="text for a number",
        ),
        pytest.param(
            "glue",
            "StartJobRun",
            OPTIMISED,
            {"JobName": "j", "Timeout": True},
            "The value for the field 'Timeout' must be an INTEGER",
            id="boolean for a number",
        ),
        pytest.param(
            "glue",
            "StartJobRun",
            OPTIMISED,
            {"JobName": "j", "Arguments": ["--a"]},
            "The value for the field 'Arguments' must be an object",
            id="array for a map",
        ),
        pytest.param(
            "glue", "StartJobRun", OPTIMISED, [1], "Parameters must be a JSON object", id="not an object"
        ),
    ],
)
def test_parameters_that_do_not_fit_are_named(
    service: str, operation: str, dialect: Dialect, given: Any, reason: str
) -> None:
    with pytest.raises(ParametersRejected) as caught:
        to_request(given, shape(service, operation, "input"), dialect)
    assert caught.value.reason == reason
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause.startswith("The Parameters '")
    assert caught.value.cause.endswith(f"could not be used to start the Task: [{reason}]")


MOMENT = datetime(2026, 8, 28, 20, 34, 59, 712000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("service", "operation", "dialect", "answer", "expected"),
    [
        pytest.param(
            "stepfunctions",
            "StartExecution",
            OPTIMISED,
            {"startDate": MOMENT, "executionArn": "a", "ResponseMetadata": {}},
            {"ExecutionArn": "a", "StartDate": 1787949299712},
            id="optimised: milliseconds, alphabetical, no botocore members",
        ),
        pytest.param(
            "stepfunctions",
            "StartExecution",
            OPTIMISED,
            {"startDate": MOMENT.timestamp()},
            {"StartDate": 1787949299712},
            id="seconds for a time",
        ),
        pytest.param(
            "stepfunctions",
            "StartExecution",
            AWS_SDK,
            {"startDate": MOMENT, "executionArn": "a"},
            {"ExecutionArn": "a", "StartDate": "2026-08-28T20:34:59.712Z"},
            id="aws-sdk: ISO instants",
        ),
        pytest.param(
            "s3",
            "GetObject",
            AWS_SDK,
            {
                "Body": io.BytesIO(b"text \xc3\xa4"),
                "ETag": '"e"',
                "LastModified": MOMENT.replace(microsecond=0),
                "Metadata": {"MyKey": "v"},
            },
            {
                "Body": "text ä",
                "ETag": '"e"',
                "LastModified": "2026-08-28T20:34:59Z",
                "Metadata": {"MyKey": "v"},
            },
            id="streams are read, map keys stay",
        ),
        pytest.param(
            "sqs",
            "SendMessage",
            OPTIMISED,
            {"MD5OfMessageBody": "m", "MessageId": "i"},
            {"MD5OfMessageBody": "m", "MessageId": "i"},
            id="optimised keeps acronyms",
        ),
        pytest.param(
            "kms",
            "Encrypt",
            AWS_SDK,
            {"CiphertextBlob": b"\xff\xfe"},
            {"CiphertextBlob": "//4="},
            id="bytes that are no text are base64",
        ),
    ],
)
def test_answers_become_json(
    service: str, operation: str, dialect: Dialect, answer: dict[str, Any], expected: dict[str, Any]
) -> None:
    converted = to_json(answer, shape(service, operation, "output"), dialect)
    assert list(converted.items()) == list(expected.items())
