"""SageMaker Runtime's own endpoint in a whole local cloud: boto3 and the AWS CLI, and a gateway that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from endpoint_blocks import echo, variant
from sagemaker_laptop import ROLE, XGBOOST, tar_of

from triptych.localcloud import daemon
from triptych.localcloud.cloud import Settings
from triptych.place import Place, find_project

pytestmark = pytest.mark.cloud
NAME = "answering"
BODY = "\n    ".join(["if body == 'bad': raise RuntimeError('bad day')", "return 'word:' + body"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A local cloud in a process of its own, with one endpoint."""
    place = Place(find_project(), tmp_path_factory.mktemp("c") / "home")
    place.use(daemon.start(place.home, Settings(port=0)))
    s3, sagemaker = place.client("s3"), place.client("sagemaker")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="m.tar.gz", Body=tar_of(echo("word", predict=BODY)))
    container = {"Image": XGBOOST, "ModelDataUrl": "s3://models/m.tar.gz"}
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName="m", ProductionVariants=[variant("m")])
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="m")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig={"Delay": 1})
    yield place
    daemon.stop(place.home)


def runtime(endpoint_url: str | None) -> Any:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="triptych",
        aws_secret_access_key="triptych",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.mark.parametrize("way", ["router", "gateway"])
def test_boto3_sees_the_same_on_both_ways(place: Place, way: str) -> None:
    client = runtime(place.runtime_endpoint_url if way == "router" else place.endpoint_url)
    answer = client.invoke_endpoint(
        EndpointName=NAME, Body=b"1,2", ContentType="text/csv", InferenceId="a", CustomAttributes="x=1"
    )
    assert answer["Body"].read() == b"word:1,2"
    assert (answer["InvokedProductionVariant"], answer["ContentType"]) == ("AllTraffic", "text/csv")
    assert answer["ResponseMetadata"]["RequestId"]
    with pytest.raises(client.exceptions.ModelError) as model:
        client.invoke_endpoint(EndpointName=NAME, Body=b"bad", ContentType="text/csv")
    assert model.value.response["OriginalStatusCode"] == 500
    assert "bad day" in model.value.response["OriginalMessage"]
    assert "/aws/sagemaker/Endpoints/answering" in model.value.response["LogStreamArn"]
    assert model.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    with pytest.raises(client.exceptions.ValidationError, match="Endpoint nobody of account"):
        client.invoke_endpoint(EndpointName="nobody", Body=b"1")
    with pytest.raises(client.exceptions.ValidationError, match="Variant Green not found"):
        client.invoke_endpoint(EndpointName=NAME, Body=b"1", TargetVariant="Green")
    with pytest.raises(ClientError) as large:
        client.invoke_endpoint(EndpointName=NAME, Body=b"1" * (50 * 2**20))
    assert large.value.response["Error"]["Code"] == "413"
    assert large.value.response["Error"]["Message"] == "HTTP content length exceeded 26214400 bytes."


def test_other_operations_of_the_service_reach_the_gateway(place: Place) -> None:
    client = runtime(place.runtime_endpoint_url)
    with pytest.raises(client.exceptions.ValidationError):
        client.invoke_endpoint_async(EndpointName=NAME, InputLocation="s3://models/m.tar.gz")


def test_the_aws_cli_finds_the_router(place: Place, tmp_path: Path) -> None:
    exports = place.exports()
    assert exports["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] == place.runtime_endpoint_url
    assert exports["AWS_ENDPOINT_URL"] == place.endpoint_url
    aws = str(Path(sys.executable).parent / "aws")
    command = [
        aws,
        "sagemaker-runtime",
        "invoke-endpoint",
        "--endpoint-name",
        NAME,
        "--content-type",
        "text/csv",
    ]
    command += ["--body", "7", str(tmp_path / "answer")]
    done = subprocess.run(
        command,
        env={**exports, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer").read_text() == "word:7"


def test_a_killed_gateway_comes_back_at_the_same_addresses(place: Place) -> None:
    before = daemon.status(place.home)
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    os.waitpid(before.pid, 0)
    after = daemon.start(place.home, Settings(port=before.port))
    assert (after.port, after.runtime_port) == (before.port, before.runtime_port)
    client = runtime(after.runtime_endpoint_url)
    started = time.monotonic()
    answer = client.invoke_endpoint(EndpointName=NAME, Body=b"back", ContentType="text/csv")
    assert answer["Body"].read() == b"word:back"  # it waited until the servers were there again
    assert time.monotonic() - started < 60
