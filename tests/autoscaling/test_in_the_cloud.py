"""The whole local cloud: real model servers start and stop with the load, and answer asynchronous requests."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.localcloud_fixture import RunningCloud, forget_moto, http_client, start_cloud
from triptych.localcloud.assembly import service_factories
from triptych.localcloud.autoscaling.service import AutoScalingService
from triptych.localcloud.autoscaling.timing import Timing
from triptych.localcloud.sagemaker.asynchronous import AsyncInferenceService

pytestmark = pytest.mark.cloud

ACCOUNT = "555512340007"
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker"
VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/flights/variant/champion",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
CODE = """
import os
def model_fn(model_dir): return None
def input_fn(body, content_type): return body.decode() if isinstance(body, bytes) else body
def predict_fn(body, model): return f"{body} from {os.getpid()}"
def output_fn(prediction, accept): return prediction
"""
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    """A cloud whose alarms of target tracking look at one period of ten seconds."""
    factories = dict(service_factories())
    timing = Timing(period_seconds=10, high_periods=1, low_periods=1, look_seconds=0.2)
    factories["application-autoscaling"] = lambda cloud: AutoScalingService(cloud, timing=timing)
    factories["sagemaker-async"] = lambda cloud: AsyncInferenceService(cloud, measure_seconds=0.5)
    root = Path(tempfile.mkdtemp(prefix="triptych-scaling-"))
    forget_moto()
    running = start_cloud(root, factories, ACCOUNT)
    try:
        running.client("s3").create_bucket(Bucket="scaling")
        running.client("s3").put_object(Bucket="scaling", Key="model.tar.gz", Body=archive())
        running.client("sagemaker").create_model(
            ModelName="pid",
            PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": "s3://scaling/model.tar.gz"},
            ExecutionRoleArn=ROLE,
        )
        yield running
    finally:
        running.local.stop()
        shutil.rmtree(root, ignore_errors=True)


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("code/inference.py")
        info.size = len(CODE)
        tar.addfile(info, io.BytesIO(CODE.encode()))
    return buffer.getvalue()


def eventually(look: Callable[[], Found | None], seconds: float = 90) -> Found:
    """What ``look`` finds at last."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return found


def make_endpoint(cloud: RunningCloud, name: str, variant: str, **config: Any) -> None:
    sagemaker = cloud.client("sagemaker")
    plan = {
        "VariantName": variant,
        "ModelName": "pid",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[plan], **config)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    eventually(lambda: status(cloud, name) == "InService" or None)


def status(cloud: RunningCloud, name: str) -> str:
    described = cloud.client("sagemaker").describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] != "Failed", described["FailureReason"]
    return str(described["EndpointStatus"])


def instances(cloud: RunningCloud, name: str) -> int:
    [variant] = cloud.client("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    return int(variant["CurrentInstanceCount"])


@contextmanager
def load(cloud: RunningCloud, name: str, pause_seconds: float) -> Iterator[set[str]]:
    """Requests meanwhile, none of which may fail; the processes that have answered."""
    processes: set[str] = set()
    failures: list[Exception] = []
    over = threading.Event()
    runtime = cloud.client("sagemaker-runtime")

    def send() -> None:
        while not over.wait(pause_seconds):
            try:
                answer = runtime.invoke_endpoint(EndpointName=name, Body=b"row", ContentType="text/csv")
                processes.add(answer["Body"].read().decode())
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield processes
    finally:
        over.set()
        thread.join(10)
    assert failures == []


def test_servers_start_with_the_load_and_stop_with_it(cloud: RunningCloud) -> None:
    scaling = cloud.client("application-autoscaling")
    make_endpoint(cloud, "flights", "champion")
    scaling.register_scalable_target(**VARIANT, MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(
        **VARIANT,
        PolicyName="load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 300.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
            "ScaleOutCooldown": 0,
            "ScaleInCooldown": 0,
        },
    )
    with load(cloud, "flights", pause_seconds=0.02) as processes:
        eventually(lambda: instances(cloud, "flights") == 2 or None)
        eventually(lambda: len(processes) == 2 or None)
    with load(cloud, "flights", pause_seconds=0.3):
        eventually(lambda: instances(cloud, "flights") == 1 or None)

    def ended() -> list[dict[str, Any]] | None:
        found = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
        return found if all(item["StatusCode"] == "Successful" for item in found) else None

    inwards, outwards = eventually(ended)
    assert outwards["Description"] == "Setting desired instance count to 2."
    assert inwards["Description"] == "Setting desired instance count to 1."
    assert "-AlarmHigh-" in outwards["Cause"]
    assert "-AlarmLow-" in inwards["Cause"]
    scaling.put_scheduled_action(
        **VARIANT,
        ScheduledActionName="night",
        Schedule="cron(0 22 * * ? *)",
        ScalableTargetAction={"MinCapacity": 1, "MaxCapacity": 1},
    )
    [action] = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert action["ScalableTargetAction"] == {"MinCapacity": 1, "MaxCapacity": 1}
    with pytest.raises(scaling.exceptions.ObjectNotFoundException, match="No scaling policy found"):
        scaling.delete_scaling_policy(**VARIANT, PolicyName="other")
    check_updates_of_scaled_variants(cloud)
    cloud.client("sagemaker").delete_endpoint(EndpointName="flights")
    eventually(
        lambda: not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] or None
    )
    left = cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix="TargetTracking-")["MetricAlarms"]
    assert left == []


def check_updates_of_scaled_variants(cloud: RunningCloud) -> None:
    """A scaled variant may get another model; it may not go, nor change its instance type."""
    sagemaker = cloud.client("sagemaker")
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "renamed": ({"VariantName": "challenger"}, "would remove variant champion"),
        "retyped": ({"InstanceType": "ml.c5.large"}, "would change the instance type of variant champion"),
        "same": ({"InitialVariantWeight": 2.0}, ""),
    }
    for name, (change, refusal) in changes.items():
        plan = {
            "VariantName": "champion",
            "ModelName": "pid",
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[plan | change])
        if refusal:
            with pytest.raises(sagemaker.exceptions.ClientError, match=refusal):
                sagemaker.update_endpoint(EndpointName="flights", EndpointConfigName=name)
        else:
            sagemaker.update_endpoint(EndpointName="flights", EndpointConfigName=name)
    eventually(lambda: status(cloud, "flights") == "InService" or None)


def test_an_alarm_of_the_users_own_steps(cloud: RunningCloud) -> None:
    scaling, cloudwatch = cloud.client("application-autoscaling"), cloud.client("cloudwatch")
    make_endpoint(cloud, "stepped", "champion")
    variant = VARIANT | {"ResourceId": "endpoint/stepped/variant/champion"}
    scaling.register_scalable_target(**variant, MinCapacity=1, MaxCapacity=3)
    policy = scaling.put_scaling_policy(
        **variant,
        PolicyName="steps",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ExactCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2}],
        },
    )
    cloudwatch.put_metric_data(Namespace="Load", MetricData=[{"MetricName": "Queue", "Value": 12.0}])
    cloudwatch.put_metric_alarm(
        AlarmName="queue-is-long",
        Namespace="Load",
        MetricName="Queue",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=10.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[policy["PolicyARN"]],
    )
    eventually(lambda: instances(cloud, "stepped") == 2 or None)
    scaling.register_scalable_target(**variant, MinCapacity=3, MaxCapacity=3)
    eventually(lambda: instances(cloud, "stepped") == 3 or None)
    cloud.client("sagemaker").delete_endpoint(EndpointName="stepped")


def test_asynchronous_requests_are_answered_in_s3_and_told(cloud: RunningCloud) -> None:
    s3, sqs, sns = cloud.client("s3"), cloud.client("sqs"), cloud.client("sns")
    queue = sqs.create_queue(QueueName="ends")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="ends")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    make_endpoint(
        cloud,
        "offline",
        "all",
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": "s3://scaling/answers",
                "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic},
            }
        },
    )
    s3.put_object(Bucket="scaling", Key="in/row", Body=b"row")
    runtime = cloud.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint_async(
        EndpointName="offline", InputLocation="s3://scaling/in/row", ContentType="text/csv", InferenceId="one"
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "one"

    def told() -> dict[str, Any] | None:
        messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=0).get("Messages")
        return json.loads(messages[0]["Body"]) if messages else None

    message = eventually(told)
    assert (message["invocationStatus"], message["inferenceId"]) == ("Completed", "one")
    key = answer["OutputLocation"].removeprefix("s3://scaling/")
    assert s3.get_object(Bucket="scaling", Key=key)["Body"].read().startswith(b"row from ")
    routed = http_client(cloud.cloud.settings.runtime_endpoint_url or "", "sagemaker-runtime")
    routed.invoke_endpoint_async(EndpointName="offline", Body=b"inline", InferenceId="two")
    message = eventually(told)
    assert (message["invocationStatus"], message["inferenceId"]) == ("Completed", "two")
    for client in (runtime, routed):
        with pytest.raises(client.exceptions.ClientError, match="between 60 and 21600"):
            client.invoke_endpoint_async(EndpointName="offline", Body=b"x", RequestTTLSeconds=30_000)


def test_an_asynchronous_endpoint_scales_in_to_none_and_out_again(cloud: RunningCloud) -> None:
    sagemaker, s3 = cloud.client("sagemaker"), cloud.client("s3")
    scaling, cloudwatch = cloud.client("application-autoscaling"), cloud.client("cloudwatch")
    output = {"OutputConfig": {"S3OutputPath": "s3://scaling/woken"}}
    make_endpoint(cloud, "sleepy", "all", AsyncInferenceConfig=output)
    nothing = [{"VariantName": "all", "DesiredInstanceCount": 0}]
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="sleepy", DesiredWeightsAndCapacities=nothing
    )
    eventually(lambda: (status(cloud, "sleepy") == "InService" and instances(cloud, "sleepy") == 0) or None)
    answer = cloud.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="sleepy", Body=b"wake")
    variant = VARIANT | {"ResourceId": "endpoint/sleepy/variant/all"}
    scaling.register_scalable_target(**variant, MinCapacity=0, MaxCapacity=1)
    policy = scaling.put_scaling_policy(
        **variant,
        PolicyName="wake",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    cloudwatch.put_metric_alarm(
        AlarmName="somebody-waits",
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=[{"Name": "EndpointName", "Value": "sleepy"}],
        Statistic="Maximum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[policy["PolicyARN"]],
    )
    key = answer["OutputLocation"].removeprefix("s3://scaling/")
    eventually(lambda: s3.list_objects_v2(Bucket="scaling", Prefix=key).get("Contents"))
    assert s3.get_object(Bucket="scaling", Key=key)["Body"].read().startswith(b"wake from ")
    eventually(lambda: instances(cloud, "sleepy") == 1 or None)


def test_a_stack_brings_an_endpoints_scaling_and_takes_it_away(cloud: RunningCloud) -> None:
    make_endpoint(cloud, "stacked", "all")
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    template = {
        "Resources": {
            "Target": {
                "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
                "Properties": VARIANT
                | {"ResourceId": "endpoint/stacked/variant/all", "MinCapacity": 2, "MaxCapacity": 3},
            },
            "Policy": {
                "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
                "Properties": {
                    "ScalingTargetId": {"Ref": "Target"},
                    "PolicyName": "load",
                    "PolicyType": "TargetTrackingScaling",
                    "TargetTrackingScalingPolicyConfiguration": {
                        "PredefinedMetricSpecification": metric,
                        "TargetValue": 100,
                    },
                },
            },
        }
    }
    stacks = cloud.client("cloudformation")
    stacks.create_stack(StackName="scaling", TemplateBody=json.dumps(template))
    stacks.get_waiter("stack_create_complete").wait(StackName="scaling", WaiterConfig={"Delay": 1})
    eventually(lambda: instances(cloud, "stacked") == 2 or None)
    shown = subprocess.run(
        [
            *(Path(sys.executable).with_name("aws"), "application-autoscaling", "describe-scaling-policies"),
            *(
                "--service-namespace",
                "sagemaker",
                "--query",
                "ScalingPolicies[].PolicyName",
                "--output",
                "text",
            ),
        ],
        env={**os.environ, **cloud.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "load" in shown.stdout.split()
    stacks.delete_stack(StackName="scaling")
    stacks.get_waiter("stack_delete_complete").wait(StackName="scaling", WaiterConfig={"Delay": 1})
    found = cloud.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=["endpoint/stacked/variant/all"]
    )
    assert found["ScalableTargets"] == []
    cloud.client("sagemaker").delete_endpoint(EndpointName="stacked")
