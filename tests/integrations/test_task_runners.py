"""What a Task state's resource does: the call, the output, the error, the wait for a job."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from integration_fakes import EXECUTION, FakeClients, FakeSink, Operation, client_error, raising, task

from triptych.localcloud.bus import ExecutionEnded, JobEnded
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.integrations.registry import TaskRunners
from triptych.localcloud.integrations.shapes import ParametersRejected
from triptych.localcloud.stepfunctions.tasks import UnknownResource

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
MILLISECONDS = 1767323045678
CHILD = "arn:aws:states:us-east-1:123456789012:stateMachine:Child"
CHILD_RUN = "arn:aws:states:us-east-1:123456789012:execution:Child:c1"
METADATA = {
    "SdkHttpMetadata": {
        "AllHttpHeaders": {"Date": ["today"]},
        "HttpHeaders": {"Date": "today"},
        "HttpStatusCode": 200,
    },
    "SdkResponseMetadata": {"RequestId": "req-1"},
}


class Bench:
    """Task runners over fake services."""

    def __init__(self, folder: Path, operations: dict[str, Operation]) -> None:
        self.cloud = Cloud(Home(folder), Settings())
        self.clients = FakeClients(operations)
        self.cloud.clients = self.clients  # type: ignore[assignment]
        self.runners = TaskRunners(self.cloud)
        self.sink = FakeSink()

    def run(self, resource: str, parameters: Any, **more: Any) -> tuple[Any, ...]:
        self.runners.start(task(resource, parameters, **more), self.sink)
        return self.sink.next()


MakeBench = Callable[[dict[str, Operation]], Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made: list[Bench] = []

    def make(operations: dict[str, Operation]) -> Bench:
        made.append(Bench(tmp_path, operations))
        return made[-1]

    yield make
    for each in made:
        each.runners.stop()


def answering(answer: dict[str, Any]) -> Operation:
    return lambda params: answer


def lambda_answer(payload: str, **more: Any) -> Operation:
    return lambda params: {"StatusCode": 200, "Payload": io.BytesIO(payload.encode()), **more}


# --- request/response ---


def test_lambda_invoke_gives_the_payload_as_json(bench: MakeBench) -> None:
    b = bench({"lambda.Invoke": lambda_answer('{"n":1}', ExecutedVersion="$LATEST")})
    kind, output = b.run("lambda:invoke", {"FunctionName": "f", "Payload": {"a": "ä"}})
    assert (kind, output) == (
        "succeeded",
        {"ExecutedVersion": "$LATEST", "Payload": {"n": 1}, **METADATA, "StatusCode": 200},
    )
    assert b.clients.named("lambda.Invoke") == [{"FunctionName": "f", "Payload": '{"a":"ä"}'.encode()}]


def test_a_functions_own_arn_is_called_with_the_whole_payload(bench: MakeBench) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    b = bench({"lambda.Invoke": lambda_answer("[1,2]")})
    assert b.run(arn, {"x": 1}) == ("succeeded", [1, 2])
    assert b.clients.named("lambda.Invoke") == [{"FunctionName": arn, "Payload": b'{"x":1}'}]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param({}, "{}", id="absent"),
        pytest.param({"Payload": None}, "{}", id="null"),
        pytest.param({"Payload": '{"a": 1}'}, '{"a": 1}', id="JSON text as it stands"),
        pytest.param({"Payload": "plain"}, '"plain"', id="other text as a JSON string"),
        pytest.param({"Payload": [1, None]}, "[1,null]", id="array"),
    ],
)
def test_lambda_payloads_are_sent_as_json(bench: MakeBench, given: dict[str, Any], sent: str) -> None:
    b = bench({"lambda.Invoke": lambda_answer("null")})
    b.run("lambda:invoke", {"FunctionName": "f", **given})
    assert b.clients.named("lambda.Invoke")[0]["Payload"] == sent.encode()


@pytest.mark.parametrize("resource", ["lambda:invoke", "arn:aws:lambda:us-east-1:123456789012:function:f"])
@pytest.mark.parametrize(
    ("payload", "error", "cause"),
    [
        pytest.param(
            '{"errorMessage": "bad rows", "errorType": "DataRejected", "stackTrace": []}',
            "DataRejected",
            '{"errorMessage":"bad rows","errorType":"DataRejected","stackTrace":[]}',
            id="raised",
        ),
        pytest.param(
            '{"errorMessage": "Task timed out after 3.00 seconds"}',
            "Lambda.Unknown",
            "The cause could not be determined because Lambda did not return an error type. "
            'Returned payload: {"errorMessage": "Task timed out after 3.00 seconds"}',
            id="without a type",
        ),
    ],
)
def test_a_functions_error_is_the_states_error(
    bench: MakeBench, resource: str, payload: str, error: str, cause: str
) -> None:
    b = bench({"lambda.Invoke": lambda_answer(payload, FunctionError="Unhandled")})
    assert b.run(resource, {"FunctionName": "f"}) == ("failed", error, cause)


@pytest.mark.parametrize(
    ("resource", "parameters", "operation", "code", "error", "cause"),
    [
        pytest.param(
            "lambda:invoke",
            {"FunctionName": "f"},
            "lambda.Invoke",
            "TooManyRequestsException",
            "Lambda.TooManyRequestsException",
            "no (Service: AWSLambda; Status Code: 400; Error Code: TooManyRequestsException; "
            "Request ID: req-9; Proxy: null)",
            id="lambda throttled",
        ),
        pytest.param(
            "sagemaker:createModel",
            {"ModelName": "m"},
            "sagemaker.CreateModel",
            "ValidationException",
            "SageMaker.AmazonSageMakerException",
            "no (Service: AmazonSageMaker; Status Code: 400; Error Code: ValidationException; "
            "Request ID: req-9; Proxy: null)",
            id="an error that the model does not list is the service's base error",
        ),
        pytest.param(
            "sagemaker:createModel",
            {"ModelName": "m"},
            "sagemaker.CreateModel",
            "ResourceLimitExceeded",
            "SageMaker.ResourceLimitExceededException",
            None,
            id="sagemaker limit",
        ),
        pytest.param(
            "glue:startJobRun",
            {"JobName": "j"},
            "glue.StartJobRun",
            "ConcurrentRunsExceededException",
            "Glue.ConcurrentRunsExceededException",
            None,
            id="glue concurrency",
        ),
        pytest.param(
            "sns:publish",
            {"TopicArn": "t", "Message": "m"},
            "sns.Publish",
            "NotFound",
            "SNS.NotFoundException",
            None,
            id="sns error code without the suffix",
        ),
        pytest.param(
            "states:startExecution",
            {"StateMachineArn": CHILD},
            "stepfunctions.StartExecution",
            "StateMachineDoesNotExist",
            "StepFunctions.StateMachineDoesNotExistException",
            None,
            id="nested machine missing",
        ),
        pytest.param(
            "aws-sdk:s3:getObject",
            {"Bucket": "b", "Key": "k"},
            "s3.GetObject",
            "NoSuchKey",
            "S3.NoSuchKeyException",
            "no (Service: S3, Status Code: 400, Request ID: req-9)",
            id="aws-sdk s3",
        ),
        pytest.param(
            "aws-sdk:sfn:describeExecution",
            {"ExecutionArn": CHILD_RUN},
            "stepfunctions.DescribeExecution",
            "ExecutionDoesNotExist",
            "Sfn.ExecutionDoesNotExistException",
            None,
            id="aws-sdk sfn",
        ),
        pytest.param(
            "aws-sdk:sagemaker:describeEndpoint",
            {"EndpointName": "e"},
            "sagemaker.DescribeEndpoint",
            "ValidationException",
            "SageMaker.SageMakerException",
            None,
            id="aws-sdk base error",
        ),
        pytest.param(
            "dynamodb:putItem",
            {"TableName": "t", "Item": {}},
            "dynamodb.PutItem",
            "ConditionalCheckFailedException",
            "DynamoDB.ConditionalCheckFailedException",
            None,
            id="dynamodb condition",
        ),
    ],
)
def test_services_errors_have_the_names_that_aws_documents(
    bench: MakeBench,
    resource: str,
    parameters: dict[str, Any],
    operation: str,
    code: str,
    error: str,
    cause: str | None,
) -> None:
    b = bench({operation: raising(client_error(code, "no"))})
    kind, got_error, got_cause = b.run(resource, parameters)
    assert (kind, got_error) == ("failed", error)
    if cause:
        assert got_cause == cause


def test_a_value_that_breaks_a_constraint_is_the_services_error(bench: MakeBench) -> None:
    b = bench({"glue.StartJobRun": answering({})})
    kind, error, cause = b.run("glue:startJobRun", {"JobName": ""})
    assert (kind, error) == ("failed", "Glue.AWSGlueException")
    assert "JobName" in cause


def test_a_connection_that_breaks_is_the_sdks_error(bench: MakeBench) -> None:
    b = bench({"glue.StartJobRun": raising(ConnectionResetError("gone"))})
    assert b.run("glue:startJobRun", {"JobName": "j"}) == ("failed", "Glue.SdkClientException", "gone")


@pytest.mark.parametrize(
    ("resource", "parameters", "operation", "answer", "sent", "output"),
    [
        pytest.param(
            "sns:publish",
            {"TopicArn": "t", "Message": {"a": 1}},
            "sns.Publish",
            {"MessageId": "m"},
            {"TopicArn": "t", "Message": '{"a":1}'},
            {"MessageId": "m", **METADATA},
            id="sns: a message of JSON",
        ),
        pytest.param(
            "sqs:sendMessage",
            {"QueueUrl": "q", "MessageBody": {"a": 1}},
            "sqs.SendMessage",
            {"MessageId": "m", "MD5OfMessageBody": "5"},
            {"QueueUrl": "q", "MessageBody": '{"a":1}'},
            {"MD5OfMessageBody": "5", "MessageId": "m", **METADATA},
            id="sqs: a body of JSON",
        ),
        pytest.param(
            "events:putEvents",
            {"Entries": [{"Source": "s", "DetailType": "d", "Detail": {"a": 1}, "Resources": ["r"]}]},
            "events.PutEvents",
            {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]},
            {
                "Entries": [
                    {
                        "Source": "s",
                        "DetailType": "d",
                        "Detail": '{"a":1}',
                        "Resources": [
                            "r",
                            "arn:aws:states:us-east-1:123456789012:stateMachine:Machine",
                            EXECUTION,
                        ],
                    }
                ]
            },
            {"Entries": [{"EventId": "e"}], "FailedEntryCount": 0, **METADATA},
            id="events: detail of JSON, the execution among the resources",
        ),
        pytest.param(
            "states:startExecution",
            {"StateMachineArn": CHILD, "Name": "c1"},
            "stepfunctions.StartExecution",
            {"executionArn": CHILD_RUN, "startDate": MOMENT},
            {"stateMachineArn": CHILD, "name": "c1", "input": "{}"},
            {"ExecutionArn": CHILD_RUN, "StartDate": MILLISECONDS, **METADATA},
            id="states: no input is an empty object",
        ),
        pytest.param(
            "aws-sdk:sagemaker:describeEndpoint",
            {"EndpointName": "e"},
            "sagemaker.DescribeEndpoint",
            {"EndpointName": "e", "EndpointStatus": "InService", "CreationTime": MOMENT},
            {"EndpointName": "e"},
            {"CreationTime": "2026-01-02T03:04:05.678Z", "EndpointName": "e", "EndpointStatus": "InService"},
            id="aws-sdk: no metadata, ISO times",
        ),
        pytest.param(
            "aws-sdk:cloudwatchlogs:createLogGroup",
            {"LogGroupName": "g"},
            "logs.CreateLogGroup",
            {},
            {"logGroupName": "g"},
            {},
            id="aws-sdk: an operation without an answer",
        ),
        pytest.param(
            "glue:startJobRun",
            {"JobName": "j"},
            "glue.StartJobRun",
            {"JobRunId": "jr_1"},
            {"JobName": "j"},
            {"JobName": "j", "JobRunId": "jr_1", **METADATA},
            id="glue: the job's name is added",
        ),
    ],
)
def test_request_response(
    bench: MakeBench,
    resource: str,
    parameters: dict[str, Any],
    operation: str,
    answer: dict[str, Any],
    sent: dict[str, Any],
    output: dict[str, Any],
) -> None:
    b = bench({operation: answering(answer)})
    assert b.run(resource, parameters) == ("succeeded", output)
    assert b.clients.named(operation) == [sent]


def test_a_failed_event_entry_fails_the_task(bench: MakeBench) -> None:
    answer = {
        "FailedEntryCount": 1,
        "Entries": [{"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is bad"}],
    }
    b = bench({"events.PutEvents": answering(answer)})
    kind, error, cause = b.run("events:putEvents", {"Entries": [{"Source": "s", "Detail": "x"}]})
    assert (kind, error, json.loads(cause)) == ("failed", "EventBridge.FailedEntry", answer)


def test_parameters_that_do_not_fit_are_refused_before_any_call(bench: MakeBench) -> None:
    b = bench({"glue.StartJobRun": answering({"JobRunId": "x"})})
    with pytest.raises(ParametersRejected, match=r'The field "Name" is not supported by Step Functions'):
        b.runners.start(task("glue:startJobRun", {"JobName": "j", "Name": "n"}), b.sink)
    assert b.clients.calls == []


def test_a_task_token_task_reports_its_request_and_waits(bench: MakeBench) -> None:
    b = bench({"sqs.SendMessage": answering({"MessageId": "m"})})
    kind, output = b.run(
        "sqs:sendMessage.waitForTaskToken", {"QueueUrl": "q", "MessageBody": "b"}, task_token="t"
    )
    assert (kind, output["MessageId"]) == ("submitted", "m")
    assert b.sink.silent


# --- resources at creation ---


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:states:::lambda:invoke",
        "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "arn:aws:lambda:us-east-1:123456789012:function:f",
        "arn:aws:states:::glue:startJobRun.sync",
        "arn:aws:states:::sagemaker:createHyperParameterTuningJob.sync",
        "arn:aws:states:::sagemaker:createProcessingJob",
        "arn:aws:states:::sagemaker:updateEndpoint",
        "arn:aws:states:::states:startExecution.sync:2",
        "arn:aws:states:::aws-sdk:sagemakerruntime:invokeEndpoint",
        "arn:aws:states:::aws-sdk:eventbridge:putEvents.waitForTaskToken",
        "arn:aws:states:::athena:getQueryResults",
        "arn:aws:states:us-east-1:123456789012:activity:approve",
    ],
)
def test_known_resources_pass(bench: MakeBench, resource: str) -> None:
    bench({}).runners.check(resource)


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:states:::sagemaker:createEndpoint.sync",
        "arn:aws:states:::glue:startJobRun.sync:2",
        "arn:aws:states:::glue:startJobRun.waitForTaskToken",
        "arn:aws:states:::events:putEvents.sync",
        "arn:aws:states:::athena:startQueryExecution.sync",
        "arn:aws:states:::batch:submitJob",
        "arn:aws:states:::aws-sdk:s3:eatObject",
        "arn:aws:states:::aws-sdk:nothing:list",
        "arn:aws:states:::aws-sdk:glue:startJobRun.sync",
        "nonsense",
    ],
)
def test_unknown_resources_are_refused_with_the_known_ones(bench: MakeBench, resource: str) -> None:
    with pytest.raises(UnknownResource, match=r"not recognized.*glue:startJobRun\[.sync\]") as caught:
        bench({}).runners.check(resource)
    assert resource in str(caught.value)


# --- jobs ---

RUN = {"Id": "jr_1", "JobName": "j", "JobRunState": "RUNNING", "StartedOn": MOMENT}
TRAINING = {"TrainingJobName": "t", "TrainingJobArn": "arn:t", "TrainingJobStatus": "InProgress"}
EXECUTION_DESCRIPTION = {
    "executionArn": CHILD_RUN,
    "stateMachineArn": CHILD,
    "name": "c1",
    "status": "RUNNING",
    "startDate": MOMENT,
    "input": '{"k":1}',
    "inputDetails": {"included": True},
}


def glue_bench(bench: MakeBench, **run: Any) -> Bench:
    return bench(
        {
            "glue.StartJobRun": answering({"JobRunId": "jr_1"}),
            "glue.GetJobRun": answering({"JobRun": RUN | run}),
            "glue.BatchStopJobRun": answering({}),
        }
    )


def test_a_glue_run_that_ends_wakes_its_task(bench: MakeBench) -> None:
    b = glue_bench(bench)
    kind, submitted = b.run("glue:startJobRun.sync", {"JobName": "j"})
    assert (kind, submitted) == ("submitted", {"JobName": "j", "JobRunId": "jr_1", **METADATA})
    wait_until(lambda: b.clients.named("glue.GetJobRun"))
    b.cloud.bus.publish(JobEnded("glue", "job_run", "jr_other", RUN | {"JobRunState": "SUCCEEDED"}))
    b.cloud.bus.publish(
        JobEnded("glue", "job_run", "jr_1", RUN | {"JobRunState": "SUCCEEDED", "ExecutionTime": 3})
    )
    assert b.sink.next() == (
        "succeeded",
        {
            "ExecutionTime": 3,
            "Id": "jr_1",
            "JobName": "j",
            "JobRunState": "SUCCEEDED",
            "StartedOn": MILLISECONDS,
        },
    )
    b.cloud.bus.publish(JobEnded("glue", "job_run", "jr_1", RUN | {"JobRunState": "SUCCEEDED"}))
    assert b.sink.silent


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "STOPPED", "ERROR"])
def test_a_glue_run_that_does_not_succeed_fails_its_task_with_the_run_as_cause(
    bench: MakeBench, state: str
) -> None:
    b = glue_bench(bench, JobRunState=state, ErrorMessage="no rows")
    assert b.run("glue:startJobRun.sync", {"JobName": "j"})[0] == "submitted"
    kind, error, cause = b.sink.next()
    assert (kind, error) == ("failed", "States.TaskFailed")
    assert json.loads(cause) == {
        "ErrorMessage": "no rows",
        "Id": "jr_1",
        "JobName": "j",
        "JobRunState": state,
        "StartedOn": MILLISECONDS,
    }


def test_a_job_that_ended_before_anyone_waited_is_seen(bench: MakeBench) -> None:
    b = glue_bench(bench, JobRunState="SUCCEEDED")
    b.run("glue:startJobRun.sync", {"JobName": "j"})
    assert b.sink.next()[0] == "succeeded"


def test_a_job_whose_end_is_published_during_the_look_is_reported_once(bench: MakeBench) -> None:
    b = glue_bench(bench)
    ended = RUN | {"JobRunState": "SUCCEEDED"}

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        b.cloud.bus.publish(JobEnded("glue", "job_run", "jr_1", ended))
        return {"JobRun": ended}

    b.clients.operations["glue.GetJobRun"] = describe
    b.run("glue:startJobRun.sync", {"JobName": "j"})
    assert b.sink.next()[0] == "succeeded"
    assert b.sink.silent


@pytest.mark.parametrize(
    ("resource", "kind", "bus_kind"),
    [
        ("createTrainingJob", "TrainingJob", "training_job"),
        ("createProcessingJob", "ProcessingJob", "processing_job"),
        ("createTransformJob", "TransformJob", "transform_job"),
        ("createHyperParameterTuningJob", "HyperParameterTuningJob", "tuning_job"),
    ],
)
@pytest.mark.parametrize(
    ("status", "outcome"), [("Completed", "succeeded"), ("Failed", "failed"), ("Stopped", "failed")]
)
def test_sagemaker_jobs(
    bench: MakeBench, resource: str, kind: str, bus_kind: str, status: str, outcome: str
) -> None:
    name, arn, status_member = f"{kind}Name", f"{kind}Arn", f"{kind}Status"
    description = {name: "t", arn: "arn:t", status_member: "InProgress", "CreationTime": MOMENT}
    b = bench(
        {
            f"sagemaker.Create{kind}": answering({arn: "arn:t"}),
            f"sagemaker.Describe{kind}": answering(description),
        }
    )
    assert b.run(f"sagemaker:{resource}.sync", SAGEMAKER_PARAMETERS[kind])[0] == "submitted"
    wait_until(lambda: b.clients.named(f"sagemaker.Describe{kind}"))
    b.cloud.bus.publish(JobEnded("sagemaker", bus_kind, "t", description | {status_member: status}))
    report = b.sink.next()
    assert report[0] == outcome
    shown = report[1] if outcome == "succeeded" else json.loads(report[2])
    assert shown == {"CreationTime": MILLISECONDS, arn: "arn:t", name: "t", status_member: status}
    if outcome == "failed":
        assert report[1] == "States.TaskFailed"


S3_OUTPUT = {"S3OutputPath": "s3://b/o"}
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
SAGEMAKER_PARAMETERS: dict[str, dict[str, Any]] = {
    "TrainingJob": {
        "TrainingJobName": "t",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/r",
        "OutputDataConfig": S3_OUTPUT,
        "ResourceConfig": RESOURCES,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    },
    "ProcessingJob": {
        "ProcessingJobName": "t",
        "ProcessingResources": {"ClusterConfig": RESOURCES},
        "AppSpecification": {"ImageUri": "i"},
        "RoleArn": "arn:aws:iam::123456789012:role/r",
    },
    "TransformJob": {
        "TransformJobName": "t",
        "ModelName": "m",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/i"}}},
        "TransformOutput": S3_OUTPUT,
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
    "HyperParameterTuningJob": {
        "HyperParameterTuningJobName": "t",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        },
    },
}


@pytest.mark.parametrize(
    ("pattern", "given", "result"),
    [("sync", '{"k":1}', '{"ok":[1]}'), ("sync:2", {"k": 1}, {"ok": [1]})],
)
def test_a_nested_execution_gives_its_description(
    bench: MakeBench, pattern: str, given: Any, result: Any
) -> None:
    b = bench(
        {
            "stepfunctions.StartExecution": answering({"executionArn": CHILD_RUN, "startDate": MOMENT}),
            "stepfunctions.DescribeExecution": answering(EXECUTION_DESCRIPTION),
        }
    )
    parameters = {"StateMachineArn": CHILD, "Input": {"k": 1}}
    assert b.run(f"states:startExecution.{pattern}", parameters)[0] == "submitted"
    wait_until(lambda: b.clients.named("stepfunctions.DescribeExecution"))
    ended = {"status": "SUCCEEDED", "stopDate": MOMENT, "output": '{"ok":[1]}', "redriveCount": 0}
    b.cloud.bus.publish(ExecutionEnded(CHILD_RUN, EXECUTION_DESCRIPTION | ended))
    assert b.sink.next() == (
        "succeeded",
        {
            "ExecutionArn": CHILD_RUN,
            "Input": given,
            "InputDetails": {"Included": True},
            "Name": "c1",
            "Output": result,
            "RedriveCount": 0,
            "StartDate": MILLISECONDS,
            "StateMachineArn": CHILD,
            "Status": "SUCCEEDED",
            "StopDate": MILLISECONDS,
        },
    )


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_a_nested_execution_that_does_not_succeed_fails_its_parent(bench: MakeBench, status: str) -> None:
    ended = {"status": status, "error": "Oops", "cause": "why"}
    b = bench(
        {
            "stepfunctions.StartExecution": answering({"executionArn": CHILD_RUN, "startDate": MOMENT}),
            "stepfunctions.DescribeExecution": answering(EXECUTION_DESCRIPTION | ended),
        }
    )
    b.run("states:startExecution.sync:2", {"StateMachineArn": CHILD})
    kind, error, cause = b.sink.next()
    assert (kind, error) == ("failed", "States.TaskFailed")
    shown = json.loads(cause)
    assert (shown["Status"], shown["Error"], shown["Cause"], shown["Input"]) == (
        status,
        "Oops",
        "why",
        {"k": 1},
    )


def test_a_job_that_is_refused_fails_the_submission(bench: MakeBench) -> None:
    b = bench({"glue.StartJobRun": raising(client_error("EntityNotFoundException", "no job j"))})
    kind, error, _ = b.run("glue:startJobRun.sync", {"JobName": "j"})
    assert (kind, error) == ("submit_failed", "Glue.EntityNotFoundException")


def test_many_tasks_may_wait_for_one_execution(bench: MakeBench) -> None:
    b = bench(
        {
            "stepfunctions.StartExecution": answering({"executionArn": CHILD_RUN, "startDate": MOMENT}),
            "stepfunctions.DescribeExecution": answering(EXECUTION_DESCRIPTION),
        }
    )
    for number in range(3):
        b.run("states:startExecution.sync", {"StateMachineArn": CHILD}, task_id=f"task-{number}")
    wait_until(lambda: len(b.clients.named("stepfunctions.DescribeExecution")) == 3)
    b.cloud.bus.publish(ExecutionEnded(CHILD_RUN, EXECUTION_DESCRIPTION | {"status": "SUCCEEDED"}))
    assert [b.sink.next()[0] for _ in range(3)] == ["succeeded"] * 3


def test_a_description_that_cannot_be_shown_fails_the_task(bench: MakeBench) -> None:
    b = glue_bench(bench)
    b.run("glue:startJobRun.sync", {"JobName": "j"})
    wait_until(lambda: b.clients.named("glue.GetJobRun"))
    b.cloud.bus.publish(JobEnded("glue", "job_run", "jr_1", ["no", "description"]))  # type: ignore[arg-type]
    kind, error, _ = b.sink.next()
    assert (kind, error) == ("failed", "States.Runtime")


# --- stopping ---


def test_cancel_stops_the_job(bench: MakeBench) -> None:
    b = glue_bench(bench)
    b.run("glue:startJobRun.sync", {"JobName": "j"})
    wait_until(lambda: b.clients.named("glue.GetJobRun"))
    b.runners.cancel(task("glue:startJobRun.sync", {"JobName": "j"}))
    wait_until(lambda: b.clients.named("glue.BatchStopJobRun"))
    assert b.clients.named("glue.BatchStopJobRun") == [{"JobName": "j", "JobRunIds": ["jr_1"]}]
    b.cloud.bus.publish(JobEnded("glue", "job_run", "jr_1", RUN | {"JobRunState": "STOPPED"}))
    assert b.sink.silent


def test_cancel_during_the_start_call_stops_the_job_as_soon_as_it_is_known(bench: MakeBench) -> None:
    b = glue_bench(bench)
    entered, released = threading.Event(), threading.Event()

    def start(params: dict[str, Any]) -> dict[str, Any]:
        entered.set()
        assert released.wait(10)
        return {"JobRunId": "jr_1"}

    b.clients.operations["glue.StartJobRun"] = start
    request = task("glue:startJobRun.sync", {"JobName": "j"})
    b.runners.start(request, b.sink)
    assert entered.wait(10)
    b.runners.cancel(request)
    released.set()
    wait_until(lambda: b.clients.named("glue.BatchStopJobRun"))


def test_cancel_of_a_request_response_task_calls_nothing(bench: MakeBench) -> None:
    b = glue_bench(bench)
    b.run("glue:startJobRun", {"JobName": "j"})
    b.runners.cancel(task("glue:startJobRun", {"JobName": "j"}))
    assert b.clients.named("glue.BatchStopJobRun") == []


# --- after a restart ---


def test_recover_finds_a_submitted_job_and_waits_on(bench: MakeBench) -> None:
    b = glue_bench(bench)
    submitted = {"JobName": "j", "JobRunId": "jr_1"}
    b.runners.recover(task("glue:startJobRun.sync", {"JobName": "j"}), submitted, b.sink)
    wait_until(lambda: b.clients.named("glue.GetJobRun"))
    b.cloud.bus.publish(JobEnded("glue", "job_run", "jr_1", RUN | {"JobRunState": "SUCCEEDED"}))
    assert b.sink.next()[0] == "succeeded"
    assert b.clients.named("glue.StartJobRun") == []


def test_recover_reports_a_job_that_died_with_the_process(bench: MakeBench) -> None:
    b = glue_bench(bench, JobRunState="FAILED", ErrorMessage="the local cloud stopped")
    b.runners.recover(task("glue:startJobRun.sync", {"JobName": "j"}), {"JobRunId": "jr_1"}, b.sink)
    kind, error, cause = b.sink.next()
    assert (kind, error) == ("failed", "States.TaskFailed")
    assert json.loads(cause)["ErrorMessage"] == "the local cloud stopped"


def test_recover_of_a_job_that_nobody_knows_fails_the_task(bench: MakeBench) -> None:
    b = glue_bench(bench)
    b.clients.operations["glue.GetJobRun"] = raising(client_error("EntityNotFoundException", "no run"))
    b.runners.recover(task("glue:startJobRun.sync", {"JobName": "j"}), {"JobRunId": "jr_1"}, b.sink)
    assert b.sink.next()[:2] == ("failed", "Glue.EntityNotFoundException")


def test_recover_does_not_start_a_named_job_twice(bench: MakeBench) -> None:
    b = bench({"sagemaker.DescribeTrainingJob": answering(TRAINING | {"TrainingJobStatus": "Completed"})})
    request = task("sagemaker:createTrainingJob.sync", SAGEMAKER_PARAMETERS["TrainingJob"])
    b.runners.recover(request, None, b.sink)
    assert b.sink.next() == ("submitted", {"TrainingJobArn": "arn:t"})
    assert b.sink.next()[0] == "succeeded"


def test_recover_starts_a_named_job_that_was_never_started(bench: MakeBench) -> None:
    answers = iter([client_error("ValidationException", "Requested resource not found.")])

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        if error := next(answers, None):
            raise error
        return TRAINING | {"TrainingJobStatus": "Completed"}

    b = bench(
        {
            "sagemaker.DescribeTrainingJob": describe,
            "sagemaker.CreateTrainingJob": answering({"TrainingJobArn": "arn:t"}),
        }
    )
    request = task("sagemaker:createTrainingJob.sync", SAGEMAKER_PARAMETERS["TrainingJob"])
    b.runners.recover(request, None, b.sink)
    assert b.sink.next()[0] == "submitted"
    assert b.sink.next()[0] == "succeeded"
    assert len(b.clients.named("sagemaker.CreateTrainingJob")) == 1


@pytest.mark.parametrize(
    ("resource", "parameters", "error"),
    [
        pytest.param("lambda:invoke", {"FunctionName": "f"}, "Lambda.Unknown", id="lambda"),
        pytest.param("sns:publish", {"TopicArn": "t", "Message": "m"}, "States.TaskFailed", id="sns"),
        pytest.param(
            "glue:startJobRun.sync", {"JobName": "j"}, "States.TaskFailed", id="a run without a name"
        ),
        pytest.param(
            "sqs:sendMessage.waitForTaskToken",
            {"QueueUrl": "q", "MessageBody": "b"},
            "States.TaskFailed",
            id="token",
        ),
    ],
)
def test_recover_fails_a_call_that_was_cut_off_and_makes_it_not_again(
    bench: MakeBench, resource: str, parameters: dict[str, Any], error: str
) -> None:
    b = bench({})
    b.runners.recover(task(resource, parameters), None, b.sink)
    kind, got, cause = b.sink.next()
    assert (kind, got) == ("failed", error)
    assert "stopped while the call" in cause
    assert b.clients.calls == []


def test_recover_asks_again_what_only_reads(bench: MakeBench) -> None:
    b = bench({"sagemaker.DescribeEndpoint": answering({"EndpointStatus": "InService"})})
    b.runners.recover(task("aws-sdk:sagemaker:describeEndpoint", {"EndpointName": "e"}), None, b.sink)
    assert b.sink.next() == ("succeeded", {"EndpointStatus": "InService"})


def test_recover_leaves_a_task_that_waits_for_its_token(bench: MakeBench) -> None:
    b = bench({})
    b.runners.recover(
        task("lambda:invoke.waitForTaskToken", {"FunctionName": "f"}, task_token="t"),
        {"StatusCode": 200},
        b.sink,
    )
    assert b.sink.silent


def wait_until(condition: Callable[[], Any]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("the condition did not come true within ten seconds")
