"""Endpoints: real model servers, updated and restarted without losing what they serve."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from endpoint_blocks import (
    ROW,
    await_deleted,
    constant,
    create_config,
    create_endpoint,
    create_model,
    invoke,
    variant,
)
from sagemaker_laptop import XGBOOST, Laptop, booster_bytes


@pytest.fixture(scope="module")
def scorer(laptop: Laptop) -> str:
    """An endpoint with the default XGBoost handlers."""
    model = create_model(laptop, "scorer", {"xgboost-model": booster_bytes(names=["a", "b", "c"])})
    described = create_endpoint(laptop, "scorer", variant(model))
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")
    return "scorer"


def test_description(laptop: Laptop, scorer: str) -> None:
    described = laptop.call("DescribeEndpoint", EndpointName=scorer)
    assert described["EndpointConfigName"] == "scorer-config"
    (served,) = described["ProductionVariants"]
    assert (served["VariantName"], served["CurrentWeight"], served["CurrentInstanceCount"]) == (
        "AllTraffic",
        1,
        1,
    )
    assert not [key for key in described if key.startswith("_")]
    listed = laptop.call("ListEndpoints", NameContains="scorer", StatusEquals="InService")["Endpoints"]
    assert [item["EndpointName"] for item in listed] == ["scorer"]


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "answer_type"),
    [
        pytest.param(ROW, "text/csv", None, "text/csv; charset=utf-8", id="csv"),
        pytest.param(
            b"[[0.5, -0.25, 1.0]]", "application/json", "application/json", "application/json", id="json"
        ),
        pytest.param(
            b'{"instances": [{"features": [0.5, -0.25, 1.0]}]}',
            "application/json",
            "application/json",
            "application/json",
            id="instances",
        ),
        pytest.param(
            b'{"b": -0.25, "a": 0.5, "c": 1.0}\n',
            "application/jsonlines",
            "application/jsonlines",
            "application/jsonlines",
            id="json-lines-by-name",
        ),
    ],
)
def test_invoke(
    laptop: Laptop, scorer: str, body: bytes, content_type: str, accept: str | None, answer_type: str
) -> None:
    expected = float(invoke(laptop, scorer)["Body"])
    answer = invoke(laptop, scorer, body, ContentType=content_type, **({"Accept": accept} if accept else {}))
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ContentType"] == answer_type
    if accept is None:
        assert float(answer["Body"]) == expected
    else:
        parsed = json.loads(answer["Body"])
        (score,) = [parsed] if "score" in parsed else parsed["predictions"]
        assert score["score"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "params", "status", "wanted"),
    [
        pytest.param(
            b"1,2", {}, 400, "row 1 has 2 columns, but the model was trained on 3: a, b, c", id="columns"
        ),
        pytest.param(b"1,abc,3", {}, 400, "row 1, column 2 (b): 'abc' is not a number", id="text"),
        pytest.param(b"", {}, 400, "empty", id="empty"),
        pytest.param(b"\xff\xfe1,2,3", {}, 400, "not UTF-8", id="encoding"),
        pytest.param(b"{oops", {"ContentType": "application/json"}, 400, "not JSON", id="bad-json"),
        pytest.param(
            b'{"a": 1, "b": 2, "d": 3}',
            {"ContentType": "application/json"},
            400,
            "row 1 lacks c and has unknown d",
            id="unknown-feature",
        ),
        pytest.param(ROW, {"ContentType": "image/png"}, 415, "cannot read 'image/png'", id="content-type"),
        pytest.param(ROW, {"Accept": "image/png"}, 406, "cannot answer as 'image/png'", id="accept"),
    ],
)
def test_what_the_model_refuses_is_a_model_error(
    laptop: Laptop, scorer: str, body: bytes, params: dict[str, Any], status: int, wanted: str
) -> None:
    error = laptop.refused(
        "InvokeEndpoint", EndpointName=scorer, Body=body, **({"ContentType": "text/csv"} | params)
    )
    assert (error.code, error.status, error.fields["OriginalStatusCode"]) == ("ModelError", 424, status)
    assert wanted in error.fields["OriginalMessage"]
    assert "/aws/sagemaker/Endpoints/scorer" in error.fields["LogStreamArn"]


def test_refused_before_the_model_is_asked(laptop: Laptop, scorer: str) -> None:
    missing = laptop.refused("InvokeEndpoint", EndpointName="nobody", Body=ROW)
    assert (missing.code, missing.message) == (
        "ValidationError",
        "Endpoint nobody of account 123456789012 not found.",
    )
    target = laptop.refused("InvokeEndpoint", EndpointName=scorer, Body=ROW, TargetVariant="Blue")
    assert "Variant Blue not found" in target.message
    large = laptop.refused("InvokeEndpoint", EndpointName=scorer, Body=b"1" * (26 * 2**20))
    assert (large.code, large.message) == ("413", "HTTP content length exceeded 26214400 bytes.")


def test_missing_values_are_missing(laptop: Laptop, scorer: str) -> None:
    empty = float(invoke(laptop, scorer, b",-0.25,NA")["Body"])
    named = json.loads(
        invoke(
            laptop,
            scorer,
            b"[[null, -0.25, null]]",
            ContentType="application/json",
            Accept="application/json",
        )["Body"]
    )
    assert named["predictions"][0]["score"] == pytest.approx(empty, abs=1e-6)


def test_variants_share_the_traffic_by_weight(laptop: Laptop) -> None:
    blue = create_model(laptop, "blue", constant("blue"))
    green = create_model(laptop, "green", constant("green"))
    variants = (
        variant(blue, "Blue", InitialVariantWeight=9.0),
        variant(green, "Green", InitialVariantWeight=1.0),
    )
    create_endpoint(laptop, "mixed", *variants)
    answers = [invoke(laptop, "mixed") for _ in range(200)]
    assert all(answer["Body"].decode() == answer["InvokedProductionVariant"].lower() for answer in answers)
    assert 1 <= sum(answer["Body"] == b"green" for answer in answers) <= 60
    assert invoke(laptop, "mixed", TargetVariant="Green")["Body"] == b"green"
    wanted = [
        {"VariantName": "Blue", "DesiredWeight": 0.0},
        {"VariantName": "Green", "DesiredWeight": 1.0, "DesiredInstanceCount": 2},
    ]
    laptop.call(
        "UpdateEndpointWeightsAndCapacities", EndpointName="mixed", DesiredWeightsAndCapacities=wanted
    )
    described = laptop.await_endpoint("mixed")
    assert [v["CurrentWeight"] for v in described["ProductionVariants"]] == [0.0, 1.0]
    assert [v["CurrentInstanceCount"] for v in described["ProductionVariants"]] == [1, 2]
    assert {invoke(laptop, "mixed")["Body"] for _ in range(20)} == {b"green"}
    laptop.call("DeleteEndpoint", EndpointName="mixed")


SLOW_WORD = "time.sleep(0.01); return"


def test_update_loses_no_request(laptop: Laptop) -> None:
    old = create_model(laptop, "old", constant("old", predict=f"{SLOW_WORD} 'old'"))
    new = create_model(laptop, "new", constant("new", predict=f"{SLOW_WORD} 'new'"))
    create_endpoint(laptop, "rolling", variant(old))
    config = create_config(laptop, "rolling-next", variant(new))
    answers: list[bytes] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(invoke(laptop, "rolling")["Body"])
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        laptop.call("UpdateEndpoint", EndpointName="rolling", EndpointConfigName=config)
        busy = laptop.refused("UpdateEndpoint", EndpointName="rolling", EndpointConfigName=config)
        assert "Cannot update in-progress endpoint" in busy.message
        described = laptop.await_endpoint("rolling")
        seen = len(answers)
        while len(answers) < seen + 20:
            time.sleep(0.005)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert described["EndpointConfigName"] == "rolling-next"
    assert answers[0] == b"old"
    assert answers[-1] == b"new"
    laptop.call("DeleteEndpoint", EndpointName="rolling")


def test_a_failed_update_leaves_the_old_serving(laptop: Laptop) -> None:
    good = create_model(laptop, "good", constant("good"))
    bad = create_model(laptop, "bad", {"code/inference.py": "raise RuntimeError('no licence')"})
    create_endpoint(laptop, "guarded", variant(good))
    config = create_config(laptop, "guarded-bad", variant(bad))
    laptop.call("UpdateEndpoint", EndpointName="guarded", EndpointConfigName=config)
    described = laptop.await_endpoint("guarded")
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "guarded-config"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "no licence" in described["FailureReason"]
    assert invoke(laptop, "guarded")["Body"] == b"good"
    laptop.call("DeleteEndpoint", EndpointName="guarded")


@pytest.mark.parametrize(
    ("files", "environment", "wanted"),
    [
        pytest.param({"readme.txt": "nothing"}, {}, "no model in", id="no-model-file"),
        pytest.param({"xgboost-model": b"\x80\x04pickle"}, {}, "Pickled models are refused", id="pickle"),
        pytest.param({"xgboost-model": b"{broken"}, {}, "cannot be read as an XGBoost model", id="corrupt"),
        pytest.param(
            {"xgboost-model": b"{}"},
            {"SAGEMAKER_PROGRAM": "mine.py"},
            "'mine.py' (SAGEMAKER_PROGRAM)",
            id="no-program",
        ),
        pytest.param(
            {"code/inference.py": "def model_fn(d):\n    1/0"}, {}, "ZeroDivisionError", id="model-fn-raises"
        ),
        pytest.param({"code/inference.py": "import os\nos._exit(9)"}, {}, "ping health check", id="dies"),
    ],
)
def test_an_endpoint_that_cannot_start_fails(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    files: dict[str, Any],
    environment: dict[str, str],
    wanted: str,
) -> None:
    name = f"failed-{request.node.callspec.id}"
    model = create_model(laptop, name, files, Environment=environment)
    described = create_endpoint(laptop, name, variant(model))
    assert described["EndpointStatus"] == "Failed"
    assert wanted in described["FailureReason"]
    error = laptop.refused("InvokeEndpoint", EndpointName=name, Body=ROW)
    assert "Failed" in error.message


def test_code_of_the_model_may_come_apart_from_it(laptop: Laptop) -> None:
    source = laptop.archive("code/serving.tar.gz", {"mine.py": constant("apart")["code/inference.py"]})
    environment = {"SAGEMAKER_PROGRAM": "mine.py", "SAGEMAKER_SUBMIT_DIRECTORY": source}
    model = create_model(laptop, "apart", {"xgboost-model": booster_bytes()}, Environment=environment)
    create_endpoint(laptop, "apart", variant(model))
    assert invoke(laptop, "apart")["Body"] == b"apart"
    laptop.call("DeleteEndpoint", EndpointName="apart")


def test_a_raising_script_is_a_server_error_and_the_next_request_is_answered(laptop: Laptop) -> None:
    body = "\n    ".join(["if body.startswith('bad'): raise RuntimeError('bad day')", "return 'fine'"])
    model = create_model(laptop, "moody", constant("moody", predict=body))
    create_endpoint(laptop, "moody", variant(model))
    error = laptop.refused("InvokeEndpoint", EndpointName="moody", Body=b"bad", ContentType="text/csv")
    assert error.fields["OriginalStatusCode"] == 500
    assert "RuntimeError: bad day" in error.message
    assert invoke(laptop, "moody")["Body"] == b"fine"
    laptop.await_log("/aws/sagemaker/Endpoints/moody", "bad day")
    laptop.call("DeleteEndpoint", EndpointName="moody")


def test_a_server_that_dies_is_replaced(laptop: Laptop) -> None:
    model = create_model(laptop, "mortal", constant("mortal", predict="return str(os.getpid())"))
    create_endpoint(laptop, "mortal", variant(model))
    first = int(invoke(laptop, "mortal")["Body"])
    os.kill(first, signal.SIGKILL)
    while Path(f"/proc/{first}").exists():
        time.sleep(0.005)
    second = int(invoke(laptop, "mortal")["Body"])
    assert second != first
    laptop.call("DeleteEndpoint", EndpointName="mortal")


def test_a_server_that_dies_over_a_request_is_a_model_error(laptop: Laptop) -> None:
    body = "\n    ".join(["if body.startswith('die'): os._exit(7)", "return 'alive'"])
    model = create_model(laptop, "fragile", constant("fragile", predict=body))
    create_endpoint(laptop, "fragile", variant(model))
    error = laptop.refused("InvokeEndpoint", EndpointName="fragile", Body=b"die", ContentType="text/csv")
    assert (error.code, error.fields["OriginalStatusCode"]) == ("ModelError", 500)
    assert "went away" in error.message
    assert invoke(laptop, "fragile")["Body"] == b"alive"
    laptop.call("DeleteEndpoint", EndpointName="fragile")


def test_captured_data(laptop: Laptop, model_uri: str) -> None:
    laptop.call(
        "CreateModel", ModelName="captured", PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": model_uri}
    )
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://data/capture",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    }
    described = create_endpoint(laptop, "captured", variant("captured"), DataCaptureConfig=capture)
    assert described["DataCaptureConfig"]["CaptureStatus"] == "Started"
    answers = [invoke(laptop, "captured", InferenceId=f"id-{n}")["Body"].decode() for n in range(5)]
    laptop.call("DeleteEndpoint", EndpointName="captured")
    await_deleted(laptop, "captured")
    found = laptop.cloud.store.list("data", "capture/captured/AllTraffic/")
    records = [json.loads(line) for item in found for line in item.path.read_text().splitlines()]
    assert {record["eventMetadata"]["inferenceId"] for record in records} == {f"id-{n}" for n in range(5)}
    part = records[0]["captureData"]
    assert part["endpointInput"] == {
        "observedContentType": "text/csv",
        "mode": "INPUT",
        "data": ROW.decode(),
        "encoding": "CSV",
    }
    assert part["endpointOutput"]["data"] == answers[0]
    assert records[0]["eventVersion"] == "0"
    year = found[0].key.split("/")[3]
    assert year.isdigit()
    assert len(found[0].key.split("/")) == 8


def test_endpoints_come_back_after_a_restart(laptop: Laptop, scorer: str) -> None:
    before = invoke(laptop, scorer)["Body"]
    laptop.sagemaker.stop()
    laptop.restart(stop_grace_seconds=1.0, capture_flush_seconds=0.05)
    assert invoke(laptop, scorer)["Body"] == before
    assert laptop.call("DescribeEndpoint", EndpointName=scorer)["EndpointStatus"] == "InService"


def test_an_update_under_way_goes_on_after_a_restart(laptop: Laptop) -> None:
    old, new = (
        create_model(laptop, "before", constant("before")),
        create_model(laptop, "after", constant("after", load="time.sleep(0.3)")),
    )
    create_endpoint(laptop, "interrupted", variant(old))
    create_config(laptop, "interrupted-next", variant(new))
    laptop.call("UpdateEndpoint", EndpointName="interrupted", EndpointConfigName="interrupted-next")
    laptop.sagemaker.stop()
    laptop.events.clear()
    laptop.restart(stop_grace_seconds=1.0, capture_flush_seconds=0.05)
    assert invoke(laptop, "interrupted")["Body"] in (b"before", b"after")
    described = laptop.await_endpoint("interrupted")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "interrupted-next")
    assert invoke(laptop, "interrupted")["Body"] == b"after"
    laptop.call("DeleteEndpoint", EndpointName="interrupted")


def test_a_server_that_hangs_at_its_start_fails_the_endpoint(laptop: Laptop) -> None:
    code = "import time\ndef model_fn(model_dir): time.sleep(600)"
    model = create_model(laptop, "hanging", {"code/inference.py": code})
    described = create_endpoint(
        laptop, "hanging", variant(model, ContainerStartupHealthCheckTimeoutInSeconds=1)
    )
    assert described["EndpointStatus"] == "Failed"
    assert "no answer within 1 seconds" in described["FailureReason"]


def test_delete(laptop: Laptop) -> None:
    model = create_model(laptop, "brief", constant("brief"))
    create_endpoint(laptop, "brief", variant(model))
    laptop.call("DeleteEndpoint", EndpointName="brief")
    await_deleted(laptop, "brief")
    error = laptop.refused("DescribeEndpoint", EndpointName="brief")
    assert error.message.startswith(
        'Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/brief"'
    )


SLOW = {"load": "time.sleep(0.8)"}


def test_an_endpoint_made_anew_while_its_namesake_still_starts(laptop: Laptop) -> None:
    slow = create_config(
        laptop, "twice-slow", variant(create_model(laptop, "twice-1", constant("slow", **SLOW)))
    )
    quick = create_config(laptop, "twice-quick", variant(create_model(laptop, "twice-2", constant("quick"))))
    laptop.call("CreateEndpoint", EndpointName="twice", EndpointConfigName=slow)
    laptop.call("DeleteEndpoint", EndpointName="twice")
    await_deleted(laptop, "twice")
    laptop.call("CreateEndpoint", EndpointName="twice", EndpointConfigName=quick)
    laptop.await_endpoint("twice")
    time.sleep(1.5)  # the first one's server comes up now
    assert laptop.call("DescribeEndpoint", EndpointName="twice")["EndpointConfigName"] == quick
    assert invoke(laptop, "twice")["Body"] == b"quick"


def test_a_look_at_a_changing_endpoint_waits_a_little_for_the_end(laptop: Laptop) -> None:
    config = create_config(laptop, "held", variant(create_model(laptop, "held", constant("held", **SLOW))))
    laptop.call("CreateEndpoint", EndpointName="held", EndpointConfigName=config)
    statuses = []
    while not statuses or statuses[-1] == "Creating":
        statuses.append(laptop.call("DescribeEndpoint", EndpointName="held")["EndpointStatus"])
        assert len(statuses) < 100  # an answer at once would be asked for thousands of times
    assert statuses[0] == "Creating"  # a slow change is not waited out
    assert statuses[-1] == "InService"


@pytest.mark.parametrize(
    ("operation", "params", "wanted"),
    [
        (
            "CreateEndpoint",
            {"EndpointName": "x", "EndpointConfigName": "no"},
            "Could not find endpoint configuration",
        ),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "x", "ProductionVariants": [variant("no")]},
            "Could not find model",
        ),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "x", "ProductionVariants": []},
            "at least one variant",
        ),
        ("DeleteEndpoint", {"EndpointName": "nobody"}, "Could not find endpoint"),
        ("DeleteModel", {"ModelName": "nobody"}, "Could not find model"),
        (
            "CreateModel",
            {"ModelName": "x", "PrimaryContainer": {"Image": XGBOOST, "ModelDataUrl": "s3://data/no.tar.gz"}},
            "Could not find model data at s3://data/no.tar.gz",
        ),
        ("CreateModel", {"ModelName": "x", "PrimaryContainer": {"Image": "acme/x"}}, "no runner"),
        ("CreateModel", {"ModelName": "x"}, "PrimaryContainer or Containers"),
    ],
)
def test_refused(laptop: Laptop, operation: str, params: dict[str, Any], wanted: str) -> None:
    error = laptop.refused(operation, **params)
    assert error.code == "ValidationException"
    assert wanted in error.message
