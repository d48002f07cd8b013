"""CloudWatch behind the gateway: every protocol, the AWS CLI, deliveries, stacks, and a killed process."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloudwatch.alarm_world import until
from tests.localcloud_fixture import RunningCloud, client_environment, forget_moto, start_cloud
from triptych.localcloud.assembly import service_factories

pytestmark = pytest.mark.cloud

_SERVICES = ("s3", "logs", "cloudwatch", "lambda", "events", "cloudformation")
ALARM = {
    "MetricName": "m",
    "Statistic": "Sum",
    "Period": 10,
    "EvaluationPeriods": 1,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningCloud]:
    """The services that alarms have to do with."""
    root = Path(tempfile.mkdtemp(prefix="triptych-cloudwatch-"))
    forget_moto()
    factories = {name: make for name, make in service_factories().items() if name in _SERVICES}
    started = start_cloud(root, factories, account_id="123456789047")
    try:
        yield started
    finally:
        started.local.stop()
        shutil.rmtree(root, ignore_errors=True)


def speaking(endpoint: str, protocol: str) -> Any:
    """A client that speaks one of the service's protocols, as SDKs in other languages do."""
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    session.set_credentials("triptych", "triptych")
    model = session.get_component("data_loader").load_service_model("cloudwatch", "service-2")
    model["metadata"]["protocols"] = [protocol]
    client = session.create_client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=endpoint,
        config=Config(retries={"total_max_attempts": 1}),
    )
    assert client.meta.service_model.resolved_protocol == protocol
    return client


@pytest.mark.parametrize("protocol", ["json", "query", "smithy-rpc-v2-cbor"])
def test_every_protocol_is_spoken(running: RunningCloud, protocol: str) -> None:
    client = speaking(running.endpoint, protocol)
    namespace, name = f"Spoken/{protocol}", f"spoken-{protocol}"
    now = datetime.now(UTC).replace(microsecond=0)
    client.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": "m",
                "Value": 1,
                "Timestamp": now,
                "Dimensions": [{"Name": "v", "Value": "ü & <x>"}],
            },
            {"MetricName": "m", "Values": [1.5, 2.5], "Counts": [1, 3], "Timestamp": now, "Unit": "Seconds"},
        ],
    )
    window = {"StartTime": now - timedelta(minutes=1), "EndTime": now + timedelta(minutes=1)}
    [point] = client.get_metric_statistics(
        Namespace=namespace,
        MetricName="m",
        Period=60,
        Statistics=["Sum"],
        ExtendedStatistics=["p50"],
        **window,
    )["Datapoints"]
    assert (point["Sum"], point["ExtendedStatistics"], point["Unit"]) == (9.0, {"p50": 2.5}, "Seconds")
    assert point["Timestamp"] == now.replace(second=0)
    metric = {"Namespace": namespace, "MetricName": "m"}
    [result] = client.get_metric_data(
        MetricDataQueries=[
            {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 10, "Stat": "Sum"}, "ReturnData": False},
            {"Id": "e", "Expression": "m1 * 2"},
        ],
        **window,
    )["MetricDataResults"]
    assert result["Values"] == [18.0]
    listed = [metric["Dimensions"] for metric in client.list_metrics(Namespace=namespace)["Metrics"]]
    assert listed == [[{"Name": "v", "Value": "ü & <x>"}], []]
    client.put_metric_alarm(AlarmName=name, Namespace=namespace, **ALARM)
    client.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="said so")
    [alarm] = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert (alarm["StateValue"], alarm["StateReason"], alarm["Threshold"]) == ("ALARM", "said so", 5.0)
    assert alarm["ActionsEnabled"] is True
    assert abs((alarm["StateUpdatedTimestamp"] - now).total_seconds()) < 60
    assert client.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.put_metric_alarm(AlarmName=name, Namespace=namespace, **{**ALARM, "Period": 7})
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert "it is 7" in caught.value.response["Error"]["Message"]
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="two weeks"):
        client.put_metric_data(
            Namespace=namespace,
            MetricData=[{"MetricName": "m", "Value": 1.0, "Timestamp": now - timedelta(days=20)}],
        )
    with pytest.raises(client.exceptions.ClientError, match="no such operation"):
        client.list_alarm_mute_rules()
    client.put_dashboard(DashboardName=f"d-{protocol}", DashboardBody='{"widgets": []}')
    assert client.get_dashboard(DashboardName=f"d-{protocol}")["DashboardBody"] == '{"widgets": []}'
    client.delete_alarms(AlarmNames=[name])


def test_large_requests_come_compressed(running: RunningCloud) -> None:
    client = running.client("cloudwatch")
    compressed: list[str] = []
    client.meta.events.register(
        "before-send.cloudwatch.PutMetricData",
        lambda request, **_: compressed.append(request.headers.get("Content-Encoding", "")),
    )
    data = [{"MetricName": "m", "Values": [float(n) for n in range(150)]} for _ in range(20)]
    client.put_metric_data(Namespace="Large", MetricData=data)
    assert compressed in ([b"gzip"], ["gzip"])
    now = datetime.now(UTC)
    [point] = client.get_metric_statistics(
        Namespace="Large", MetricName="m", StartTime=now - timedelta(hours=1), EndTime=now + timedelta(minutes=1),
        Period=86_400, Statistics=["SampleCount"],
    )["Datapoints"]  # fmt: skip
    assert point["SampleCount"] == 3000


JSON = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData",
}
CBOR = {"Smithy-Protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GARBAGE = {
    "no gzip": (JSON | {"Content-Encoding": "gzip"}, b"no gzip", b"no gzip"),
    "cut off": (CBOR, b"\xbf\x61", b"SerializationException"),
    "no map": (CBOR, b"\x01", b"must be a CBOR map"),
    "nothing": (CBOR, b"", b"Namespace"),
    "a form without data": (FORM, b"Action=PutMetricData&Namespace=N", b"MissingParameter"),
}


@pytest.mark.parametrize(("headers", "body", "what"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_answered_with_an_error(
    running: RunningCloud, headers: dict[str, str], body: bytes, what: bytes
) -> None:
    import urllib.error
    import urllib.request

    path = (
        "/service/GraniteServiceVersion20100801/operation/PutMetricData"
        if "Smithy-Protocol" in headers
        else "/"
    )
    scope = "Credential=x/20260101/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=0"
    signed = {**headers, "Authorization": f"AWS4-HMAC-SHA256 {scope}"}
    request = urllib.request.Request(running.endpoint + path, body, signed, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    assert caught.value.code == 400
    assert what in caught.value.read()


def cli(running: RunningCloud, home: Path, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "awscli", "cloudwatch", *words, "--output", "json"],
        env={**os.environ, **running.environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_aws_cli(running: RunningCloud, tmp_path: Path) -> None:
    metric = ("--namespace", "Cli", "--metric-name", "m")
    cli(
        running,
        tmp_path,
        "put-metric-data",
        *metric,
        "--value",
        "9",
        "--dimensions",
        "v=x",
        "--unit",
        "Count",
    )
    cli(
        running, tmp_path, "put-metric-alarm", "--alarm-name", "cli", *metric, "--dimensions", "Name=v,Value=x",
        "--statistic", "Maximum", "--period", "60", "--evaluation-periods", "1", "--threshold", "5",
        "--comparison-operator", "GreaterThanThreshold",
    )  # fmt: skip
    until(lambda: running.cloud.services["cloudwatch"].alarm_states(["cli"])["cli"] == "ALARM")
    [alarm] = cli(running, tmp_path, "describe-alarms", "--alarm-names", "cli")["MetricAlarms"]
    assert (alarm["StateValue"], alarm["Dimensions"]) == ("ALARM", [{"Name": "v", "Value": "x"}])


def queue_of(running: RunningCloud, name: str) -> tuple[str, str]:
    """URL and ARN of a new queue."""
    sqs = running.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def received(running: RunningCloud, url: str) -> dict[str, Any]:
    """The next message's body."""
    sqs = running.client("sqs")
    messages: list[dict[str, Any]] = []

    def got() -> bool:
        messages.extend(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []))
        return bool(messages)

    until(got)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])
    return dict(json.loads(messages[0]["Body"]))


def test_a_change_reaches_topics_and_rules(running: RunningCloud) -> None:
    cloudwatch, sns, events = (running.client(name) for name in ("cloudwatch", "sns", "events"))
    news_url, news_arn = queue_of(running, "news")
    rule_url, rule_arn = queue_of(running, "rule")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=news_arn)
    pattern = {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "detail": {"alarmName": ["told"], "state": {"value": ["ALARM"]}},
    }
    events.put_rule(Name="alarms", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="alarms", Targets=[{"Id": "queue", "Arn": rule_arn}])
    cloudwatch.put_metric_alarm(AlarmName="told", Namespace="Told", AlarmActions=[topic], **ALARM)
    cloudwatch.put_metric_data(Namespace="Told", MetricData=[{"MetricName": "m", "Value": 9.0}])
    notification = received(running, news_url)
    assert notification["Subject"] == 'ALARM: "told" in US East (N. Virginia)'
    message = json.loads(notification["Message"])
    assert (message["AlarmName"], message["NewStateValue"]) == ("told", "ALARM")
    event = received(running, rule_url)
    assert event["resources"] == ["arn:aws:cloudwatch:us-east-1:123456789047:alarm:told"]
    assert event["detail"]["state"]["value"] == "ALARM"
    assert event["detail"]["configuration"]["metrics"][0]["metricStat"]["period"] == 10


def test_a_change_calls_a_function_whose_metrics_raise_an_alarm(running: RunningCloud) -> None:
    """An alarm invokes a function; what the function prints in the embedded format raises the next alarm."""
    code = io.BytesIO()
    source = """
import json, time
def handler(event, context):
    directive = {"Namespace": "Called", "Dimensions": [[]], "Metrics": [{"Name": "m"}]}
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": header, "m": 9, "alarm": event["alarmData"]["alarmName"]}))
"""
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", source)
    role = running.client("iam").create_role(RoleName="called", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    function = running.client("lambda").create_function(
        FunctionName="called", Runtime="python3.11", Role=role, Handler="app.handler",
        Code={"ZipFile": code.getvalue()}, Timeout=30,
    )["FunctionArn"]  # fmt: skip
    cloudwatch = running.client("cloudwatch")
    cloudwatch.put_metric_alarm(AlarmName="second", Namespace="Called", **ALARM)
    cloudwatch.put_metric_alarm(AlarmName="first", Namespace="Nothing", AlarmActions=[function], **ALARM)
    cloudwatch.set_alarm_state(AlarmName="first", StateValue="ALARM", StateReason="go")
    until(lambda: running.cloud.services["cloudwatch"].alarm_states(["second"])["second"] == "ALARM", 40)
    printed = running.cloud.logs.tail("/aws/lambda/called")
    assert any('"alarm": "first"' in line for line in printed)
    names = {metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="AWS/Lambda")["Metrics"]}
    assert names == {"Invocations", "Errors", "Duration"}


STACK = """
Resources:
  Topic: {Type: AWS::SNS::Topic}
  Share:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: stack-share
      ComparisonOperator: GreaterThanThreshold
      EvaluationPeriods: "1"
      Threshold: "0.1"
      TreatMissingData: notBreaching
      AlarmActions: [!Ref Topic]
      Tags: [{Key: team, Value: ml}]
      Metrics:
        - {Id: share, Expression: "IF(requests > 0, FILL(errors, 0) / requests, 0)", Label: share}
        - Id: errors
          ReturnData: "false"
          MetricStat:
            Metric: {Namespace: Stack, MetricName: errors, Dimensions: [{Name: v, Value: x}]}
            Period: "10"
            Stat: Sum
        - Id: requests
          ReturnData: false
          MetricStat:
            Metric: {Namespace: Stack, MetricName: requests, Dimensions: [{Name: v, Value: x}]}
            Period: 10
            Stat: Sum
  Slow:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: Stack
      MetricName: latency
      ExtendedStatistic: p99
      Period: 10
      EvaluationPeriods: 3
      DatapointsToAlarm: 2
      Threshold: 500
      ComparisonOperator: GreaterThanOrEqualToThreshold
  Any:
    Type: AWS::CloudWatch::CompositeAlarm
    Properties:
      AlarmName: stack-any
      AlarmRule: !Sub 'ALARM("${Share}") OR ALARM("${Slow.Arn}")'
Outputs:
  Any: {Value: !GetAtt Any.Arn}
"""


def test_a_stack_of_alarms_works(running: RunningCloud) -> None:
    cloudformation, cloudwatch = running.client("cloudformation"), running.client("cloudwatch")
    cloudformation.create_stack(StackName="alarms", TemplateBody=STACK)
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="alarms", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    [stack] = cloudformation.describe_stacks(StackName="alarms")["Stacks"]
    assert stack["Outputs"][0]["OutputValue"].endswith(":alarm:stack-any")
    dimensions = [{"Name": "v", "Value": "x"}]
    cloudwatch.put_metric_data(
        Namespace="Stack",
        MetricData=[
            {"MetricName": "requests", "Value": 10.0, "Dimensions": dimensions},
            {"MetricName": "errors", "Value": 2.0, "Dimensions": dimensions},
        ],
    )
    states = running.cloud.services["cloudwatch"].alarm_states
    until(lambda: states(["stack-any"])["stack-any"] == "ALARM")
    [share] = cloudwatch.describe_alarms(AlarmNames=["stack-share"])["MetricAlarms"]
    assert cloudwatch.list_tags_for_resource(ResourceARN=share["AlarmArn"])["Tags"] == [
        {"Key": "team", "Value": "ml"}
    ]
    cloudformation.delete_stack(StackName="alarms")
    until(lambda: states(["stack-share", "stack-any"]) == {})


_PROCESS = """
import sys, time
from pathlib import Path
from tests.localcloud_fixture import start_cloud
from triptych.localcloud.assembly import service_factories

factories = {name: make for name, make in service_factories().items() if name in ("cloudwatch", "events")}
running = start_cloud(Path(sys.argv[1]), factories)
print(running.endpoint, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    from tests.localcloud_fixture import http_client

    def start() -> tuple[subprocess.Popen[str], Any]:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(tmp_path / "home")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **client_environment("")},
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        return process, http_client(process.stdout.readline().strip(), "cloudwatch")

    process, client = start()
    try:
        client.put_metric_alarm(AlarmName="a", Namespace="N", **{**ALARM, "Period": 300})
        client.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a)")
        client.put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 9.0}])
        process.send_signal(signal.SIGKILL)  # before the alarm has been looked at, perhaps
        process.wait()
        process, client = start()
        deadline = time.monotonic() + 30
        while True:
            answer = client.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
            states = [one["StateValue"] for one in (*answer["MetricAlarms"], *answer["CompositeAlarms"])]
            if states == ["ALARM", "ALARM"]:
                break
            assert time.monotonic() < deadline, states
            time.sleep(0.1)
        items = client.describe_alarm_history(AlarmName="a", HistoryItemType="StateUpdate")[
            "AlarmHistoryItems"
        ]
        assert items[0]["HistorySummary"].endswith("to ALARM")
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
