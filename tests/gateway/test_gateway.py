"""What the gateway does with requests: ours, moto's, errors, in-process calls, refusals."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.gateway import harness
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

ACCOUNT_ID = "310987654321"


class OwnService:
    """A service whose operations show what they got."""

    def __init__(self, service_id: str, **operations: Operation) -> None:
        self.service_id = service_id
        self.operations: Mapping[str, Operation] = operations

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


def start_execution(context: RequestContext, params: Params) -> Params:
    if "missing" in params["stateMachineArn"]:
        raise ServiceError("StateMachineDoesNotExist", "no such machine")
    return {
        "executionArn": json.dumps([params, context.region, context.account_id]),
        "startDate": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }


def broken(context: RequestContext, params: Params) -> Params:
    raise ZeroDivisionError("a bug")


def invoke(context: RequestContext, params: Params) -> Params:
    if params["FunctionName"] == "missing":
        raise ServiceError("ResourceNotFoundException", "no such function", status=404, Type="User")
    return {
        "StatusCode": 200,
        "ExecutedVersion": params.get("Qualifier", "$LATEST"),
        "FunctionError": params.get("InvocationType"),
        "Payload": b"<" + params.get("Payload", b"") + b">",
    }


def create_schedule(context: RequestContext, params: Params) -> Params:
    assert params["StartDate"] == datetime(2026, 1, 1, tzinfo=UTC)
    return {"ScheduleArn": json.dumps(params, default=str)}


def create_group(context: RequestContext, params: Params) -> Params:
    assert context.forward is not None
    answer = context.forward({**params, "ModelPackageGroupDescription": "added on the way"})
    return {"ModelPackageGroupArn": answer["ModelPackageGroupArn"]}


def endpoint(context: RequestContext, params: Params) -> Params:
    return {
        "Body": params["Body"] * 2,
        "ContentType": params.get("ContentType"),
        "InvokedProductionVariant": "a",
    }


def subscribe(context: RequestContext, params: Params) -> Params:
    return {"SubscriptionArn": json.dumps(params)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Harness]:
    services: list[harness.ServiceMaker] = [
        lambda cloud, objects, service=service: service  # type: ignore[misc]
        for service in (
            OwnService("stepfunctions", StartExecution=start_execution, CreateActivity=broken),
            OwnService("lambda", Invoke=invoke),
            OwnService("scheduler", CreateSchedule=create_schedule),
            OwnService("sagemaker", CreateModelPackageGroup=create_group),
            OwnService("sagemaker-runtime", InvokeEndpoint=endpoint),
            OwnService("sns", Subscribe=subscribe),
        )
    ]
    started = harness.start(tmp_path_factory.mktemp("home"), *services, account_id=ACCOUNT_ID)
    yield started
    started.stop()


def http_and_in_process(running: harness.Harness, service: str) -> list[Any]:
    return [running.client(service), running.cloud.clients.get(service)]


@pytest.mark.parametrize("way", [0, 1], ids=["http", "in process"])
def test_each_protocol_reaches_our_operations(running: harness.Harness, way: int) -> None:
    states, functions, scheduler, runtime, sns = (
        http_and_in_process(running, name)[way]
        for name in ("stepfunctions", "lambda", "scheduler", "sagemaker-runtime", "sns")
    )
    started = states.start_execution(stateMachineArn="arn:x", input='{"ü": 1}')
    params, region, account = json.loads(started["executionArn"])
    assert params == {"stateMachineArn": "arn:x", "input": '{"ü": 1}'}
    assert (region, account) == ("us-east-1", ACCOUNT_ID)
    assert started["startDate"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    answer = functions.invoke(FunctionName="f", Qualifier="live", Payload=b"\x00\xff", InvocationType="Event")
    assert answer["Payload"].read() == b"<\x00\xff>"
    assert (answer["ExecutedVersion"], answer["FunctionError"]) == ("live", "Event")
    made = scheduler.create_schedule(
        Name="daily",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:t", "RoleArn": "arn:r"},
        StartDate=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert json.loads(made["ScheduleArn"])["Name"] == "daily"
    predicted = runtime.invoke_endpoint(EndpointName="e", Body=b"1,2\n", ContentType="text/csv")
    assert (predicted["Body"].read(), predicted["ContentType"]) == (b"1,2\n1,2\n", "text/csv")
    subscribed = sns.subscribe(TopicArn="arn:t", Protocol="sqs", Endpoint="e", Attributes={"A": "1"})
    assert json.loads(subscribed["SubscriptionArn"])["Attributes"] == {"A": "1"}


@pytest.mark.parametrize("way", [0, 1], ids=["http", "in process"])
def test_errors_are_what_aws_clients_expect(running: harness.Harness, way: int) -> None:
    states, functions, iam, apps = (
        http_and_in_process(running, name)[way] for name in ("stepfunctions", "lambda", "iam", "appconfig")
    )
    with pytest.raises(states.exceptions.StateMachineDoesNotExist, match="no such machine"):
        states.start_execution(stateMachineArn="missing")
    with pytest.raises(functions.exceptions.ResourceNotFoundException) as refused:
        functions.invoke(FunctionName="missing")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert refused.value.response["Type"] == "User"
    with pytest.raises(ClientError, match="ZeroDivisionError: a bug") as failed:
        states.create_activity(name="a")
    assert failed.value.response["Error"]["Code"] == "InternalFailure"
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName="nobody")
    with pytest.raises(ClientError, match="no such operation"):
        apps.list_environments(ApplicationId="a")


def test_forward_hands_on_to_moto(running: harness.Harness) -> None:
    sagemaker = running.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="forwarded")
    found = sagemaker.describe_model_package_group(ModelPackageGroupName="forwarded")
    assert found["ModelPackageGroupDescription"] == "added on the way"
    with pytest.raises(ClientError) as refused:
        running.cloud.clients.get("sagemaker").describe_model_package_group(ModelPackageGroupName="none")
    assert "does not exist" in str(refused.value)


def test_many_threads_at_once(running: harness.Harness) -> None:
    ssm = running.cloud.clients.get("ssm")

    def put_and_get(number: int) -> str:
        ssm.put_parameter(Name=f"/thread/{number}", Type="String", Value=str(number))
        return str(ssm.get_parameter(Name=f"/thread/{number}")["Parameter"]["Value"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(put_and_get, range(40))) == [str(number) for number in range(40)]


def test_a_long_poll_holds_up_nobody_and_ends_with_the_message(running: harness.Harness) -> None:
    sqs = running.client("sqs")
    url = sqs.create_queue(QueueName="polled", Attributes={"ReceiveMessageWaitTimeSeconds": "20"})["QueueUrl"]
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(sqs.receive_message, QueueUrl=url)
        running.cloud.clients.get("sqs").send_message(QueueUrl=url, MessageBody="hello")
        assert [message["Body"] for message in polled.result(15)["Messages"]] == ["hello"]


def ask(running: harness.Harness, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", running.server.port, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, json.loads(body)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "127.0.0.1:4599"}, 200),
        ({"Host": "[::1]:4599"}, 200),
        ({"Host": "bucket.localhost:4599"}, 200),
        ({"Host": "evil.example:4599"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.evil.example"}, 403),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost:8000"}, 200),
    ],
    ids=lambda value: str(value),
)
def test_only_this_machine_is_answered(
    running: harness.Harness, headers: dict[str, str], status: int
) -> None:
    assert ask(running, "/_triptych/health", **headers)[0] == status


def test_health_tells_who_serves(running: harness.Harness) -> None:
    status, health = ask(running, "/_triptych/health")
    assert status == 200
    assert health["ready"] is True
    assert health["home"] == str(running.cloud.home.root)
    assert health["services"]["lambda"] == "ready"
    assert health["moto"]["replay_failures"] == []
    assert ask(running, "/_triptych/nothing")[0] == 404
    assert ask(running, "/moto-api/reset", "POST")[0] == 404
    assert ask(running, "/_triptych/stop")[0] == 405


def test_settings_and_cloud_are_consistent(running: harness.Harness) -> None:
    cloud: Cloud = running.cloud
    assert cloud.settings.endpoint_url == f"http://127.0.0.1:{running.server.port}"
    assert running.client("sts").get_caller_identity()["Account"] == ACCOUNT_ID
