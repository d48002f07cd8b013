"""A deployment of a bad model in a whole local cloud: its own errors ring a CloudWatch alarm, which rolls it back."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from deployment_blocks import HALF, blue_green
from endpoint_blocks import echo, variant
from sagemaker_laptop import ROLE, XGBOOST, tar_of

pytestmark = pytest.mark.cloud
NAME = "guarded-for-real"


class Client(threading.Thread):
    """Somebody who asks the endpoint all the time."""

    def __init__(self, local_cloud: Any) -> None:
        super().__init__(daemon=True)
        self._runtime = local_cloud.client("sagemaker-runtime")
        self._over = threading.Event()
        self.answers: list[str] = []
        """words, and ``error`` for a model's 500"""

    def run(self) -> None:
        while not self._over.wait(0.005):
            try:
                answer = self._runtime.invoke_endpoint(EndpointName=NAME, Body=b"x", ContentType="text/csv")
                self.answers.append(answer["Body"].read().decode().partition(":")[0])
            except self._runtime.exceptions.ModelError:
                self.answers.append("error")

    def close(self) -> None:
        self._over.set()
        self.join(30)


@pytest.fixture
def client(local_cloud: Any) -> Any:
    s3, sagemaker = local_cloud.client("s3"), local_cloud.client("sagemaker")
    s3.create_bucket(Bucket="guarded")
    for word, files in [("good", echo("good")), ("bad", echo("bad", predict="raise RuntimeError('bad')"))]:
        s3.put_object(Bucket="guarded", Key=f"{word}.tar.gz", Body=tar_of(files))
        sagemaker.create_model(
            ModelName=word,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": f"s3://guarded/{word}.tar.gz"},
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=word, ProductionVariants=[variant(word, InitialInstanceCount=2)]
        )
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="good")
    assert settled(sagemaker)["EndpointStatus"] == "InService"
    client = Client(local_cloud)
    client.start()
    yield client
    client.close()
    sagemaker.delete_endpoint(EndpointName=NAME)


def settled(sagemaker: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while True:
        described: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=NAME)
        if described["EndpointStatus"] not in ("Creating", "Updating", "RollingBack"):
            return described
        assert time.monotonic() < deadline, described


def test_the_errors_of_a_bad_model_roll_it_back(local_cloud: Any, client: Client) -> None:
    sagemaker, cloudwatch = local_cloud.client("sagemaker"), local_cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="server-errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    sagemaker.update_endpoint(
        EndpointName=NAME,
        EndpointConfigName="bad",
        DeploymentConfig=blue_green("CANARY", 600, CanarySize=HALF)
        | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "server-errors"}]}},
    )
    described = settled(sagemaker)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "good")
    assert "Alarm(s) [server-errors] went into the state ALARM" in described["FailureReason"]
    assert "error" in client.answers
    assert "bad" not in client.answers
    seen = len(client.answers)
    while len(client.answers) < seen + 50:
        time.sleep(0.01)
    assert set(client.answers[seen + 1 :]) == {"good"}
    assert client.is_alive(), "nothing but answers and the model's own errors"
    history = cloudwatch.describe_alarm_history(AlarmName="server-errors", HistoryItemType="StateUpdate")
    assert any("to ALARM" in item["HistorySummary"] for item in history["AlarmHistoryItems"])
