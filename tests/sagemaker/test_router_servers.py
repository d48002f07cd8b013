"""Real model servers behind the router that crash, hang, leak, come and go; and what CloudWatch and S3 see of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from endpoint_blocks import constant, create_config, create_endpoint, create_model, invoke, load, variant
from sagemaker_laptop import Laptop

from triptych.localcloud.service import ServiceError

SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """One whose models have four seconds for each request."""
    laptop = Laptop(tmp_path_factory.mktemp("h"), capture_flush_seconds=0.05, invoke_seconds=4.0)
    yield laptop
    laptop.close()


def scripted(laptop: Laptop, name: str, *lines: str, **changes: Any) -> None:
    """An endpoint whose predict_fn is these lines."""
    model = create_model(laptop, name, constant(name, predict="\n    ".join(lines)))
    described = create_endpoint(laptop, name, variant(model, **changes))
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")


def statistic(laptop: Laptop, name: str, endpoint: str, of_variant: str, kind: str) -> float:
    """Over the last hour."""
    dimensions = (("EndpointName", endpoint), ("VariantName", of_variant))
    end = datetime.now(UTC) + timedelta(minutes=1)
    points = laptop.cloud.metrics.statistics(
        "AWS/SageMaker", name, dimensions, end - timedelta(hours=1), end, 3600, kind
    )
    return sum(value for _, value in points)


def await_invocations(laptop: Laptop, endpoint: str, of_variant: str, count: int) -> None:
    deadline = time.monotonic() + 20
    while statistic(laptop, "Invocations", endpoint, of_variant, "Sum") < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_crashes_after_some_requests(laptop: Laptop) -> None:
    scripted(
        laptop,
        "crashing",
        "global count",
        "count = globals().get('count', 0) + 1",
        "if count > 40: os._exit(3)",
        "return body",
    )

    def ask(number: int) -> str:
        try:
            return invoke(laptop, "crashing", str(number).encode())["Body"].decode()
        except ServiceError as error:
            return f"{error.code} {error.fields.get('OriginalStatusCode')}"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(100)))
    lost = "ModelError 500"
    assert all(answer in (lost, str(number)) for number, answer in enumerate(answers))
    # Whoever is alone with a server that dies is answered with an error; those beside one are asked again.
    assert answers.count(lost) <= 4
    laptop.await_log("/aws/sagemaker/Endpoints/crashing", "the model server ended (exit code 3)")


def test_a_server_that_hangs_is_replaced(laptop: Laptop) -> None:
    scripted(laptop, "hung", "if body.startswith('hang'): time.sleep(60)", "return str(os.getpid())", "pass")
    first = int(invoke(laptop, "hung")["Body"])
    error = laptop.refused("InvokeEndpoint", EndpointName="hung", Body=b"hang", ContentType="text/csv")
    assert (error.code, error.fields["OriginalStatusCode"]) == ("ModelError", 0)
    assert "timed out" in error.message
    assert int(invoke(laptop, "hung")["Body"]) != first
    laptop.await_log("/aws/sagemaker/Endpoints/hung", "does not answer; it is killed")


def test_a_server_that_leaks_is_replaced(laptop: Laptop) -> None:
    model = create_model(
        laptop,
        "leaking",
        constant(
            "leaking",
            load="global kept; kept = []",
            predict="\n    ".join(
                [
                    "if body.startswith('leak'): kept.append(b'x' * (1100 << 20)); time.sleep(30)",
                    "return str(os.getpid())",
                ]
            ),
        ),
    )
    plan = {"VariantName": "AllTraffic", "ModelName": model, "ServerlessConfig": SERVERLESS}
    described = create_endpoint(laptop, "leaking", plan)
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")
    first = int(invoke(laptop, "leaking")["Body"])
    error = laptop.refused("InvokeEndpoint", EndpointName="leaking", Body=b"leak", ContentType="text/csv")
    assert error.code == "ModelError"
    assert int(invoke(laptop, "leaking")["Body"]) != first
    laptop.await_log("/aws/sagemaker/Endpoints/leaking", "out of memory")
    laptop.call("DeleteEndpoint", EndpointName="leaking")


def test_a_serverless_variant_throttles(laptop: Laptop) -> None:
    model = create_model(laptop, "narrow", constant("narrow", predict="time.sleep(0.5); return 'slow'"))
    plan = {"VariantName": "AllTraffic", "ModelName": model, "ServerlessConfig": SERVERLESS}
    create_endpoint(laptop, "narrow", plan)

    def ask(number: int) -> str:
        try:
            return invoke(laptop, "narrow")["Body"].decode()
        except ServiceError as error:
            return error.code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert set(answers) == {"slow", "ThrottlingException"}
    assert invoke(laptop, "narrow")["Body"] == b"slow"


def test_a_killed_router_leaves_the_servers_alone(laptop: Laptop) -> None:
    scripted(laptop, "outliving", "return str(os.getpid())")
    server = invoke(laptop, "outliving")["Body"]
    before = laptop.sagemaker.traffic.router_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert {invoke(laptop, "outliving")["Body"] for _ in range(20)} == {server}
    assert laptop.sagemaker.traffic.router_pid != before


def test_instances_come_and_go_and_no_request_notices(laptop: Laptop) -> None:
    name = "elastic"
    model = create_model(laptop, name, constant(name, predict="return 'elastic:' + body"))
    create_endpoint(laptop, name, variant(model))
    with load(laptop, name) as asked:
        for instances in (3, 1, 2, 1):
            wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": instances}]
            laptop.call(
                "UpdateEndpointWeightsAndCapacities", EndpointName=name, DesiredWeightsAndCapacities=wanted
            )
            described = laptop.await_endpoint(name)
            assert described["ProductionVariants"][0]["CurrentInstanceCount"] == instances
            asked.more(20)
    asked.check()


def test_metrics_of_a_variant(laptop: Laptop) -> None:
    lines = [
        "error = ValueError('no')",
        "if body == 'mine': raise error",
        "error.status_code = 422",
        "if body == 'yours': raise error",
        "return body",
    ]
    body = "\n    ".join(lines)
    model = create_model(laptop, "counted", constant("counted", predict=body))
    create_endpoint(laptop, "counted", variant(model, InitialInstanceCount=2))
    for number in range(8):
        invoke(laptop, "counted", str(number).encode())
    for wrong, status in ((b"mine", 500), (b"yours", 422)):
        error = laptop.refused("InvokeEndpoint", EndpointName="counted", Body=wrong, ContentType="text/csv")
        assert error.fields["OriginalStatusCode"] == status
    await_invocations(laptop, "counted", "AllTraffic", 10)

    def of(name: str, kind: str) -> float:
        return statistic(laptop, name, "counted", "AllTraffic", kind)

    assert of("Invocations", "Sum") == 10
    assert of("InvocationsPerInstance", "Sum") == 5
    assert of("Invocation5XXErrors", "Sum") == 1
    assert of("Invocation4XXErrors", "Sum") == 1
    assert of("Invocation4XXErrors", "SampleCount") == 10
    assert of("Invocation5XXErrors", "Average") == pytest.approx(0.1)  # the share, as alarms ask for it
    assert of("ModelLatency", "SampleCount") == 10
    assert 10 < of("ModelLatency", "p50") <= of("ModelLatency", "p99") < 1e6
    assert of("OverheadLatency", "Average") > 0


def test_a_shadow_is_captured_beside_what_served(laptop: Laptop) -> None:
    real = create_model(laptop, "real", constant("real"))
    copy = create_model(laptop, "copy", constant("copy"))
    shadows = [variant(copy, "Shadow")]
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://data/shadowed",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    }
    config = create_config(
        laptop,
        "shadowed",
        variant(real, "Production"),
        ShadowProductionVariants=shadows,
        DataCaptureConfig=capture,
    )
    laptop.call("CreateEndpoint", EndpointName="shadowed", EndpointConfigName=config)
    laptop.await_endpoint("shadowed")
    for number in range(10):
        assert invoke(laptop, "shadowed", b"%d" % number, InferenceId=f"id-{number}")["Body"] == b"real"
    await_invocations(laptop, "shadowed", "Shadow", 10)

    def records(name: str) -> dict[str, dict[str, Any]]:
        keys = [record.key for record in laptop.cloud.store.list("data", f"shadowed/shadowed/{name}/")]
        lines = [line for key in keys for line in laptop.cloud.store.get_bytes("data", key).splitlines()]
        found = [json.loads(line) for line in lines]
        return {record["eventMetadata"]["inferenceId"]: record for record in found}

    deadline = time.monotonic() + 20
    while len(records("Production")) < 10 or len(records("Shadow")) < 10:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for inference_id, copied in records("Shadow").items():
        original = records("Production")[inference_id]
        assert copied["eventMetadata"]["eventId"] == original["eventMetadata"]["eventId"]
        assert copied["captureData"]["endpointOutput"]["data"] == "copy"
        assert original["captureData"]["endpointOutput"]["data"] == "real"
        assert copied["captureData"]["endpointInput"] == original["captureData"]["endpointInput"]
