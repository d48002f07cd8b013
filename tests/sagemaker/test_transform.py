"""Batch transform: real predictions over objects."""

from __future__ import annotations

import copy
import gzip
import io
import json
from typing import Any

import numpy as np
import pyarrow
import pytest
import xgboost
from pyarrow import parquet
from sagemaker_laptop import ROLE, XGBOOST, Laptop, booster_bytes, sample

RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1}


@pytest.fixture(scope="module")
def model(laptop: Laptop, model_uri: str) -> str:
    container = {"Image": XGBOOST, "ModelDataUrl": model_uri}
    laptop.call("CreateModel", ModelName="transformer", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return "transformer"


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.round(sample(20, seed=7)[0], 3)


@pytest.fixture(scope="module")
def expected(rows: np.ndarray) -> np.ndarray:
    booster = xgboost.Booster()
    booster.load_model(bytearray(booster_bytes(names=["a", "b", "c"])))
    return booster.inplace_predict(rows, validate_features=False)


def csv_text(rows: np.ndarray) -> str:
    return "".join(",".join(f"{cell:.3f}" for cell in row) + "\n" for row in rows)


def transform_params(name: str, model: str, uri: str, **changes: Any) -> dict[str, Any]:
    return {
        "TransformJobName": name,
        "ModelName": model,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        }
        | changes.pop("input", {}),
        "TransformOutput": {
            "S3OutputPath": f"s3://data/out/{name}",
            "AssembleWith": "Line",
            "Accept": "text/csv",
        }
        | changes.pop("output", {}),
        "TransformResources": RESOURCES,
    } | changes


def run(laptop: Laptop, params: dict[str, Any]) -> dict[str, Any]:
    laptop.call("CreateTransformJob", **params)
    return laptop.end_of(params["TransformJobName"])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="default"),
        pytest.param({"BatchStrategy": "SingleRecord"}, id="single-record"),
        pytest.param({"BatchStrategy": "MultiRecord", "MaxPayloadInMB": 0}, id="unlimited"),
        pytest.param({"input": {"SplitType": "None"}}, id="no-split"),
    ],
)
def test_predictions(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    model: str,
    rows: np.ndarray,
    expected: np.ndarray,
    changes: dict[str, Any],
) -> None:
    name = f"transform-{request.node.callspec.id}"
    laptop.put(f"{name}/part/a.csv", csv_text(rows[:12]))
    laptop.put(f"{name}/b.csv", csv_text(rows[12:]))
    job = run(laptop, transform_params(name, model, f"s3://data/{name}/", **changes))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    store = laptop.cloud.store
    assert [o.key for o in store.list("data", f"out/{name}/")] == [
        f"out/{name}/b.csv.out",
        f"out/{name}/part/a.csv.out",
    ]
    text = store.get_bytes("data", f"out/{name}/part/a.csv.out") + store.get_bytes(
        "data", f"out/{name}/b.csv.out"
    )
    assert np.array_equal(np.array(text.decode().split(), dtype=np.float32), expected)
    assert job["TransformStartTime"] <= job["TransformEndTime"]


def test_json_lines(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray) -> None:
    lines = "".join(json.dumps({"c": float(r[2]), "a": float(r[0]), "b": float(r[1])}) + "\n" for r in rows)
    uri = laptop.put("jsonl/rows.jsonl", lines)
    kind = "application/jsonlines"
    job = run(
        laptop,
        transform_params("transform-jsonl", model, uri, input={"ContentType": kind}, output={"Accept": kind}),
    )
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    body = laptop.cloud.store.get_bytes("data", "out/transform-jsonl/rows.jsonl.out").decode()
    assert [np.float32(json.loads(line)["score"]) for line in body.splitlines()] == list(expected)


def test_filters_and_join(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray) -> None:
    keyed = "".join(
        f"id-{number},{line}" for number, line in enumerate(csv_text(rows).splitlines(keepends=True))
    )
    uri = laptop.put("keyed/rows.csv", keyed)
    processing = {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    job = run(laptop, transform_params("transform-joined", model, uri, DataProcessing=processing))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    body = laptop.cloud.store.get_bytes("data", "out/transform-joined/rows.csv.out").decode()
    assert body.splitlines() == [f"id-{number},{score!s}" for number, score in enumerate(expected)]


def outputs(laptop: Laptop, name: str) -> dict[str, bytes]:
    """The job's output objects by their keys below the output path."""
    store, prefix = laptop.cloud.store, f"out/{name}/"
    return {o.key.removeprefix(prefix): store.get_bytes("data", o.key) for o in store.list("data", prefix)}


def own_model(laptop: Laptop, name: str, script: str) -> str:
    """A model whose inference.py is ``script``."""
    files = {"xgboost-model": booster_bytes(names=["a", "b", "c"]), "code/inference.py": script}
    container = {"Image": XGBOOST, "ModelDataUrl": laptop.archive(f"models/{name}.tar.gz", files)}
    laptop.call("CreateModel", ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


def scores(body: bytes) -> list[np.float32]:
    return [np.float32(line) for line in body.decode().split()]


@pytest.fixture(scope="module")
def many(rows: np.ndarray) -> str:
    """More lines than one payload holds, of 1 MB."""
    return csv_text(np.tile(rows, (3000, 1)))


BAD_ROWS = [
    pytest.param("1,2,3\n1,2\n", 2, "row 2 has 2 columns, but the model was trained on 3: a, b, c", id="columns"),
    pytest.param("1,x,3\n", 1, "row 1, column 2 (b): 'x' is not a number", id="not-a-number"),
    pytest.param("1,2,3\n\n\n1,2,y\n", 4, "column 3 (c): 'y' is not a number", id="after-empty-lines"),
    pytest.param("a,b,c\n1,2,3\n", 1, "send the rows without a header line", id="header"),
    pytest.param("1,2,3\n" * 900_000 + "1,2,z\n", 900_001, "'z' is not a number", id="far-below"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "line", "wanted"), BAD_ROWS)
def test_a_bad_object_fails_the_job_and_leaves_the_others(
    laptop: Laptop, request: pytest.FixtureRequest, model: str, content: str, line: int, wanted: str
) -> None:
    name = f"transform-bad-{request.node.callspec.id}"
    laptop.put(f"{name}/a.csv", "1,2,3\n")
    laptop.put(f"{name}/b.csv", content)
    laptop.put(f"{name}/c.csv", "4,5,6\n")
    job = run(laptop, transform_params(name, model, f"s3://data/{name}/"))
    assert job["TransformJobStatus"] == "Failed"
    reason = job["FailureReason"]
    assert reason.startswith("ClientError: 1 of 3 objects failed. ")
    assert f"s3://data/{name}/b.csv, line {line}: Bad HTTP status received from algorithm: 400." in reason
    assert wanted in reason
    assert sorted(outputs(laptop, name)) == ["a.csv.out", "c.csv.out"]
    log = laptop.log("/aws/sagemaker/TransformJobs", f"{name}/")
    assert "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD" in log
    assert f"data/{name}/b.csv: ClientError: 400" in log
    assert "Traceback" not in log


def test_every_bad_object_is_named(laptop: Laptop, model: str) -> None:
    for number in range(40):
        laptop.put(f"all-bad/part-{number:02}.csv", "1,2\n" if number % 2 else "1,2,3\n")
    job = run(laptop, transform_params("transform-all-bad", model, "s3://data/all-bad/"))
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        "ClientError: 20 of 40 objects failed. s3://data/all-bad/part-01.csv, line 1"
    )
    for number in range(1, 40, 2):
        assert f"s3://data/all-bad/part-{number:02}.csv" in job["FailureReason"]
    assert len(outputs(laptop, "transform-all-bad")) == 20


def test_many_payloads_come_in_order(
    laptop: Laptop, model: str, many: str, rows: np.ndarray, expected: np.ndarray
) -> None:
    """The cut into payloads does not show, nor does it fall into a line."""
    laptop.put("many/a.csv", many)
    laptop.put("many/b.csv", many.rstrip("\n"))
    changes = [{}, {"MaxPayloadInMB": 1}, {"BatchStrategy": "SingleRecord", "MaxPayloadInMB": 2}]
    for number, change in enumerate(changes):
        name = f"transform-many-{number}"
        job = run(laptop, transform_params(name, model, "s3://data/many/", **change))
        assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
        for body in outputs(laptop, name).values():
            assert np.array_equal(np.array(body.split(), dtype=np.float32), np.tile(expected, 3000))
    assert "s3://data/many/a.csv: 60000 records" in laptop.log(
        "/aws/sagemaker/TransformJobs", "transform-many-0/"
    )


ANSWERING = """
import json, os, time
def input_fn(body, content_type):
    return body
def predict_fn(body, booster):
    lines = body.splitlines()
    return {"lines": len(lines), "bytes": len(body.encode()), "first": lines[0]}
def output_fn(found, accept):
    return json.dumps(found)
"""


@pytest.mark.parametrize(
    ("changes", "payloads"),
    [
        pytest.param({}, [1], id="all-in-one"),
        pytest.param({"MaxPayloadInMB": 1}, [2, 3], id="as-many-as-fit"),
        pytest.param({"MaxPayloadInMB": 0}, [1], id="unlimited"),
        pytest.param({"input": {"SplitType": "None"}}, [1], id="no-split"),
    ],
)
def test_an_own_script_gets_the_payloads_of_a_container(
    laptop: Laptop, request: pytest.FixtureRequest, many: str, changes: dict[str, Any], payloads: list[int]
) -> None:
    name = f"own-{request.node.callspec.id}"
    uri = laptop.put(f"{name}/rows.csv", many)
    job = run(laptop, transform_params(name, own_model(laptop, name, ANSWERING), uri, **changes))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    answers = [json.loads(line) for line in outputs(laptop, name)["rows.csv.out"].splitlines()]
    assert len(answers) in payloads
    assert sum(answer["lines"] for answer in answers) == 60_000
    assert sum(answer["bytes"] for answer in answers) == len(many)
    lines, place = many.splitlines(), 0
    for answer in answers:
        assert answer["first"] == lines[place]
        assert answer["bytes"] <= (changes.get("MaxPayloadInMB") or 100) * 2**20 + 1
        place += answer["lines"]


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [
        ("text/csv", "str"),
        ("application/jsonlines", "str"),
        ("application/x-parquet", "bytes"),
        ("image/png", "bytes"),
    ],
)
def test_an_own_script_gets_text_or_bytes(laptop: Laptop, content_type: str, wanted: str) -> None:
    name = f"own-{content_type.replace('/', '-')}"
    script = (
        "def transform_fn(model, body, kind, accept): return f'{type(body).__name__} {kind} {accept}', accept"
    )
    params = transform_params(
        name,
        own_model(laptop, name, script),
        laptop.put(f"{name}/rows", b"\x01\x02"),
        input={"ContentType": content_type, "SplitType": "None"},
        output={"Accept": "text/plain", "AssembleWith": "None"},
    )
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    assert outputs(laptop, name) == {"rows.out": f"{wanted} {content_type} text/plain".encode()}


def test_a_single_record_is_one_request(laptop: Laptop) -> None:
    uri = laptop.put("own-single/rows.csv", "1,2,3\r\n\n4,5,6\n")
    model = own_model(laptop, "own-single", ANSWERING)
    params = transform_params("own-single", model, uri, BatchStrategy="SingleRecord")
    assert run(laptop, params)["TransformJobStatus"] == "Completed"
    answers = [json.loads(line) for line in outputs(laptop, "own-single")["rows.csv.out"].splitlines()]
    assert [(answer["lines"], answer["first"]) for answer in answers] == [(1, "1,2,3"), (1, "4,5,6")]


def test_what_is_assembled_without_lines_is_put_together_as_it_is(laptop: Laptop) -> None:
    uri = laptop.put("own-bare/rows.csv", "1,2,3\n4,5,6\n")
    model = own_model(laptop, "own-bare", ANSWERING.replace("json.dumps(found)", "found['first'][:1]"))
    params = transform_params(
        "own-bare", model, uri, BatchStrategy="SingleRecord", output={"AssembleWith": "None"}
    )
    assert run(laptop, params)["TransformJobStatus"] == "Completed"
    assert outputs(laptop, "own-bare") == {"rows.csv.out": b"14"}


def test_an_own_script_may_start_processes(laptop: Laptop) -> None:
    script = """
import multiprocessing
def transform_fn(model, body, content_type, accept):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return "".join(f"{length}\\n" for length in pool.map(len, body.split())), accept
"""
    uri = laptop.put("own-processes/rows.csv", "1\n22\n333\n")
    job = run(laptop, transform_params("own-processes", own_model(laptop, "own-processes", script), uri))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    assert outputs(laptop, "own-processes") == {"rows.csv.out": b"1\n2\n3\n"}


# Answers only once as many requests are under way as the test expects.
MEETING = """
import json, os, pathlib, time
PLACE = pathlib.Path(os.environ["MEETING_PLACE"])
def transform_fn(model, body, content_type, accept):
    mine = PLACE / str(os.getpid())
    mine.touch()
    deadline = time.monotonic() + 20
    while len(list(PLACE.iterdir())) < int(os.environ["MEETING_SIZE"]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(list(PLACE.iterdir()))} came")
        time.sleep(0.01)
    return body.split(",")[0], accept
"""


def test_requests_are_under_way_at_once(laptop: Laptop, tmp_path: Any) -> None:
    uri = laptop.put("meeting/rows.csv", "".join(f"{number},0,0\n" for number in range(30)))
    settings = {"MEETING_PLACE": str(tmp_path), "MEETING_SIZE": "3", "SAGEMAKER_MODEL_SERVER_WORKERS": "8"}
    params = transform_params(
        "meeting",
        own_model(laptop, "meeting", MEETING),
        uri,
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=3,
        Environment=settings,
    )
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    assert len(list(tmp_path.iterdir())) == 3
    assert outputs(laptop, "meeting")["rows.csv.out"].decode().split() == [str(n) for n in range(30)]


def counted(body: str) -> str:
    """A script that notes each attempt at the record ``bad`` in a file, and then does ``body``."""
    return f"""
import os, pathlib, time
def transform_fn(model, content, content_type, accept):
    if content.strip() != "bad":
        return content, accept
    count = pathlib.Path(os.environ["COUNT"])
    attempts = len(count.read_text()) + 1 if count.exists() else 1
    count.write_text("x" * attempts)
    {body}
"""


REFUSAL = """class Refused(Exception):
        status_code = 422
    raise Refused("never")"""


@pytest.mark.parametrize(
    ("body", "retries", "attempts", "wanted"),
    [
        pytest.param("raise RuntimeError('no ' + 'way')", 2, 3,
                     "AlgorithmError: 1 of 2 objects failed. s3://data/{name}/b.txt, line 2: Bad HTTP status received "
                     "from algorithm: 500. RuntimeError: no way", id="error"),
        pytest.param("raise RuntimeError('once')", 0, 1, "500. RuntimeError: once", id="error-no-retry"),
        pytest.param("if attempts < 3: raise RuntimeError('not yet')\n    return 'good', accept", None, 3, None,
                     id="passes-later"),
        pytest.param(REFUSAL, None, 1, "ClientError: 1 of 2 objects failed. s3://data/{name}/b.txt, line 2: Bad HTTP "
                     "status received from algorithm: 422. never", id="refusal-is-not-repeated"),
        pytest.param("os._exit(9)", 1, 2,
                     "Unable to get response from algorithm: the model's process ended with exit code 9", id="exit"),
        pytest.param("os.kill(os.getpid(), 11)", 1, 2, "the model's process was killed by SIGSEGV", id="crash"),
        pytest.param("time.sleep(60)", 1, 2, "no answer within InvocationsTimeoutInSeconds (1 s)", id="hangs"),
    ],
)  # fmt: skip
def test_a_request_that_fails(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    tmp_path: Any,
    body: str,
    retries: int | None,
    attempts: int,
    wanted: str | None,
) -> None:
    name = f"fails-{request.node.callspec.id}"
    laptop.put(f"{name}/a.txt", "one\ntwo\n")
    laptop.put(f"{name}/b.txt", "three\nbad\nfour\n")
    client = {"InvocationsTimeoutInSeconds": 1} | (
        {} if retries is None else {"InvocationsMaxRetries": retries}
    )
    params = transform_params(
        name,
        own_model(laptop, name, counted(body)),
        f"s3://data/{name}/",
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=2,
        ModelClientConfig=client,
        Environment={"COUNT": str(tmp_path / "count")},
    )
    job = run(laptop, params)
    assert len((tmp_path / "count").read_text()) == attempts
    made = outputs(laptop, name)
    assert made["a.txt.out"] == b"one\ntwo\n"
    if wanted is None:
        assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
        assert made["b.txt.out"] == b"three\ngood\nfour\n"
    else:
        assert job["TransformJobStatus"] == "Failed"
        assert wanted.format(name=name) in job["FailureReason"]
        assert list(made) == ["a.txt.out"]


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        pytest.param("def model_fn(folder): raise ValueError('no weights')", "ValueError: no weights", id="model-fn"),
        pytest.param("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'", id="import"),
        pytest.param("import os\nos._exit(3)", "its process ended with exit code 3 while the model was loaded",
                     id="exit"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_load(
    laptop: Laptop, request: pytest.FixtureRequest, script: str, wanted: str
) -> None:
    name = f"unloadable-{request.node.callspec.id}"
    uri = laptop.put(f"{name}/rows.csv", "1,2,3\n")
    job = run(laptop, transform_params(name, own_model(laptop, name, script), uri))
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: the model cannot be loaded: ")
    assert wanted in job["FailureReason"]


def test_stopping_leaves_nothing(laptop: Laptop, tmp_path: Any) -> None:
    laptop.put("stopped/a.csv", "1,2,3\n")
    laptop.put("stopped/b.csv", "bad\n")
    script = counted("time.sleep(120)")
    params = transform_params(
        "stopped",
        own_model(laptop, "stopped", script),
        "s3://data/stopped/",
        Environment={"COUNT": str(tmp_path / "count")},
    )
    laptop.call("CreateTransformJob", **params)
    laptop.await_log("/aws/sagemaker/TransformJobs", "s3://data/stopped/a.csv: 1 records", "stopped/")
    laptop.call("StopTransformJob", TransformJobName="stopped")
    assert laptop.end_of("stopped")["TransformJobStatus"] == "Stopped"
    assert outputs(laptop, "stopped") == {}


def test_gzip(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray) -> None:
    laptop.put("packed/good.csv.gz", gzip.compress(csv_text(rows).encode()))
    laptop.put(
        "packed/two.csv.gz",
        gzip.compress(csv_text(rows[:5]).encode()) + gzip.compress(csv_text(rows[5:]).encode()),
    )
    laptop.put("packed/cut.csv.gz", gzip.compress(csv_text(rows).encode())[:-9])
    laptop.put("packed/plain.csv.gz", csv_text(rows))
    params = transform_params("transform-gzip", model, "s3://data/packed/", input={"CompressionType": "Gzip"})
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Failed"
    for name in ("cut", "plain"):
        assert (
            f"s3://data/packed/{name}.csv.gz: the object is not gzip that can be unpacked"
            in job["FailureReason"]
        )
    made = outputs(laptop, "transform-gzip")
    assert sorted(made) == ["good.csv.gz.out", "two.csv.gz.out"]
    assert all(scores(body) == list(expected) for body in made.values())


@pytest.mark.parametrize("accept", ["text/csv", "application/jsonlines", "application/x-parquet"])
def test_parquet(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray, accept: str) -> None:
    name = f"parquet-{accept.rsplit('-', 1)[-1].rsplit('/', 1)[-1]}"
    table = pyarrow.table({column: rows[:, "abc".index(column)] for column in "cba"})
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    laptop.put(f"{name}/rows.parquet", sink.getvalue())
    params = transform_params(
        name,
        model,
        f"s3://data/{name}/",
        input={"ContentType": "application/x-parquet", "SplitType": "None"},
        output={"Accept": accept, "AssembleWith": "None"},
    )
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    body = outputs(laptop, name)["rows.parquet.out"]
    if accept == "application/x-parquet":
        found = parquet.read_table(io.BytesIO(body))["score"].to_numpy()
    elif accept == "application/jsonlines":
        found = np.array([json.loads(line)["score"] for line in body.splitlines()], dtype=np.float32)
    else:
        found = np.array(body.split(), dtype=np.float32)
    assert np.array_equal(found, expected)


def test_a_parquet_object_is_one_payload(laptop: Laptop, model: str) -> None:
    """Too large a one fails by itself; its rows cannot be split."""
    generator = np.random.default_rng(3)
    for name, count in (("small", 1000), ("large", 100_000)):
        sink = io.BytesIO()
        columns = {column: generator.random(count).astype(np.float32) for column in "abc"}
        parquet.write_table(pyarrow.table(columns), sink, compression="none")
        laptop.put(f"tables/{name}.parquet", sink.getvalue())
    params = transform_params(
        "transform-tables",
        model,
        "s3://data/tables/",
        MaxPayloadInMB=1,
        input={"ContentType": "application/x-parquet", "SplitType": "None"},
    )
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Failed"
    assert "s3://data/tables/large.parquet: the object has" in job["FailureReason"]
    assert "more than the 1048576 that MaxPayloadInMB allows" in job["FailureReason"]
    assert len(outputs(laptop, "transform-tables")["small.parquet.out"].split()) == 1000


@pytest.mark.parametrize("accept", ["text/csv", "application/json"], ids=["streamed", "whole"])
def test_bad_parquet_objects(laptop: Laptop, model: str, accept: str) -> None:
    name = f"bad-tables-{accept.rsplit('/', 1)[-1]}"
    good = {column: [1.0, 2.0] for column in "abc"}
    tables = {"good": good, "unknown": good | {"late": [0, 1]}, "text": good | {"b": ["x", "y"]}}
    for key, columns in tables.items():
        sink = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), sink)
        laptop.put(f"{name}/{key}.parquet", sink.getvalue())
    laptop.put(f"{name}/csv.parquet", "1,2,3\n")
    kinds = {
        "input": {"ContentType": "application/x-parquet", "SplitType": "None"},
        "output": {"Accept": accept},
    }
    reason = run(laptop, transform_params(name, model, f"s3://data/{name}/", **kinds))["FailureReason"]
    assert reason.startswith("ClientError: 3 of 4 objects failed. ")
    for key, wanted in (
        ("csv", "the body is not Parquet that can be read"),
        ("text", "column 2 (b) of the Parquet file holds string, not numbers"),
        ("unknown", "the Parquet file has unknown late"),
    ):
        told = f"s3://data/{name}/{key}.parquet: Bad HTTP status received from algorithm: 400. {wanted}"
        assert told in reason
    assert list(outputs(laptop, name)) == ["good.parquet.out"]


def test_a_line_over_the_limit(laptop: Laptop, model: str) -> None:
    laptop.put("long/a.csv", "1,2,3\n" + "1,2," + "0" * (2**20 - 3) + "\n")
    laptop.put("long/b.csv", "1,2,3\n" + "1,2," + "0" * (2**20 - 4) + "\n1,2,3\n")
    job = run(laptop, transform_params("transform-long", model, "s3://data/long/", MaxPayloadInMB=1))
    assert job["TransformJobStatus"] == "Failed"
    assert "s3://data/long/a.csv, line 2: the line has 1048578 bytes" in job["FailureReason"]
    made = scores(outputs(laptop, "transform-long")["b.csv.out"])
    assert made[0] == made[2] != made[1]


def test_empty_objects(laptop: Laptop, model: str) -> None:
    for name, content in (("empty", ""), ("blank", "\n\n"), ("rows", "1,2,3\n")):
        laptop.put(f"nothing/{name}.csv", content)
    job = run(laptop, transform_params("transform-nothing", model, "s3://data/nothing/"))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    assert {name: len(body.split()) for name, body in outputs(laptop, "transform-nothing").items()} == {
        "blank.csv.out": 0,
        "empty.csv.out": 0,
        "rows.csv.out": 1,
    }


def test_manifest(laptop: Laptop, model: str, rows: np.ndarray, expected: np.ndarray) -> None:
    laptop.put("parts/a.csv", csv_text(rows[:8]))
    laptop.put("parts/deep/b.csv", csv_text(rows[8:]))
    laptop.put("parts/left-out.csv", "no rows\n")
    entries = [{"prefix": "s3://data/parts/"}, "deep/b.csv", "a.csv"]
    uri = laptop.put("manifests/rows.manifest", json.dumps(entries))
    source = {"DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": uri}}}
    job = run(laptop, transform_params("transform-manifest", model, uri, input=source))
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    made = outputs(laptop, "transform-manifest")
    assert scores(made["a.csv.out"]) + scores(made["deep/b.csv.out"]) == list(expected)


@pytest.mark.parametrize(
    ("key", "entries", "wanted"),
    [
        pytest.param("wrong/none.manifest", [{"prefix": "s3://data/parts/"}], "names no objects", id="empty"),
        pytest.param("wrong/text.manifest", "rows", "is not a manifest", id="not-a-manifest"),
        pytest.param("wrong/gone.manifest", [{"prefix": "s3://data/parts/"}, "gone.csv"],
                     "names s3://data/parts/gone.csv, which cannot be read", id="object-missing"),
        pytest.param("wrong/up.manifest", [{"prefix": "s3://data/parts/"}, "../wrong/up.manifest"],
                     "cannot be", id="leaves-its-folder"),
    ],
)  # fmt: skip
def test_wrong_manifests(laptop: Laptop, model: str, key: str, entries: Any, wanted: str) -> None:
    uri = laptop.put(key, json.dumps(entries))
    source = {"DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": uri}}}
    name = f"transform-{key.split('/')[1].split('.')[0]}"
    job = run(laptop, transform_params(name, model, uri, input=source))
    assert job["TransformJobStatus"] == "Failed"
    assert wanted in job["FailureReason"]


def test_a_name_that_is_no_path_is_refused(laptop: Laptop, model: str) -> None:
    laptop.put("odd/../../up.csv", "1,2,3\n")
    job = run(laptop, transform_params("transform-odd", model, "s3://data/odd/"))
    assert job["TransformJobStatus"] == "Failed"
    assert "s3://data/odd/../../up.csv cannot be transformed locally" in job["FailureReason"]


def test_an_output_bucket_that_is_not_there(laptop: Laptop, model: str) -> None:
    uri = laptop.put("fine/rows.csv", "1,2,3\n")
    params = transform_params("transform-nowhere", model, uri, output={"S3OutputPath": "s3://nowhere/out"})
    assert "the bucket of S3OutputPath, nowhere, does not exist" in run(laptop, params)["FailureReason"]


JSON_ROWS = '{"id": "x", "row": {"a": 1, "b": 2, "c": 3}}\n{"id": "y", "row": {"a": 4, "b": 5, "c": 6}}\n'
LISTS = "[1, 2, 3]\n[4, 5, 6]\n"


@pytest.mark.parametrize(
    ("content", "kind", "processing", "wanted"),
    [
        pytest.param("1,2,3\n4,5,6\n", "text/csv", {"JoinSource": "Input"}, "1,2,3,<0>\n4,5,6,<1>\n", id="csv-join"),
        pytest.param("x,1,2,3\ny,4,5,6\n", "text/csv",
                     {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,4:]"}, "x,<0>\ny,<1>\n",
                     id="csv-index-and-slice"),
        pytest.param('"x, y",1,2,3\n"z",4,5,6\n', "text/csv",
                     {"InputFilter": "$[-3:]", "JoinSource": "Input", "OutputFilter": "$[-1,0]"},
                     '<0>,"x, y"\n<1>,z\n', id="csv-quoted-and-from-the-end"),
        pytest.param("3,2,1,x\n\n6,5,4,y\n", "text/csv", {"InputFilter": "$[2,1,0]"}, "<0>\n<1>\n",
                     id="csv-input-only"),
        pytest.param(JSON_ROWS, "application/jsonlines",
                     {"InputFilter": "$.row", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"},
                     '{"id": "x", "SageMakerOutput": {"score": <0>}}\n{"id": "y", "SageMakerOutput": {"score": <1>}}\n',
                     id="json-names"),
        pytest.param(JSON_ROWS, "application/jsonlines",
                     {"InputFilter": "$.row.*", "JoinSource": "Input", "OutputFilter": "$.SageMakerOutput.score"},
                     "<0>\n<1>\n", id="json-wildcard"),
        pytest.param(LISTS, "application/jsonlines", {"JoinSource": "Input"},
                     '{"SageMakerInput": [1, 2, 3], "SageMakerOutput": {"score": <0>}}\n'
                     '{"SageMakerInput": [4, 5, 6], "SageMakerOutput": {"score": <1>}}\n', id="json-lists"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("strategy", ["MultiRecord", "SingleRecord"])
def test_data_processing(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    model: str,
    content: str,
    kind: str,
    processing: dict[str, str],
    wanted: str,
    strategy: str,
) -> None:
    name = f"processing-{request.node.callspec.id}"
    uri = laptop.put(f"{name}/rows", content)
    params = transform_params(
        name,
        model,
        uri,
        input={"ContentType": kind},
        output={"Accept": kind},
        DataProcessing=processing,
        BatchStrategy=strategy,
    )
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    booster = xgboost.Booster()
    booster.load_model(bytearray(booster_bytes(names=["a", "b", "c"])))
    found = booster.inplace_predict(
        np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32), validate_features=False
    )
    for number, score in enumerate(found):
        text = str(score) if kind == "text/csv" else json.dumps(json.loads(str(score)))
        wanted = wanted.replace(f"<{number}>", text)
    assert outputs(laptop, name)["rows.out"].decode() == wanted


def test_data_processing_of_one_json_value(laptop: Laptop, model: str) -> None:
    uri = laptop.put("value/row.json", json.dumps({"id": 7, "instances": [[1, 2, 3], [4, 5, 6]]}, indent=1))
    kind = "application/json"
    params = transform_params(
        "transform-value",
        model,
        uri,
        input={"ContentType": kind, "SplitType": "None"},
        output={"Accept": kind, "AssembleWith": "None"},
        DataProcessing={
            "InputFilter": "$['instances']",
            "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        },
    )
    job = run(laptop, params)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    found = json.loads(outputs(laptop, "transform-value")["row.json.out"])
    assert found["id"] == 7
    assert len(found["SageMakerOutput"]["predictions"]) == 2


@pytest.mark.parametrize(
    ("content", "kind", "processing", "wanted"),
    [
        pytest.param("1,2,3\n4,5\n", "text/csv", {"InputFilter": "$[0,1,2]"},
                     "line 2: the filter $[0,1,2] finds nothing in ['4', '5']", id="index-outside"),
        pytest.param("1,2,3\n\n4,x,5\n", "text/csv", {"JoinSource": "Input"}, "line 3: Bad HTTP status", id="bad-cell"),
        pytest.param(JSON_ROWS + "{\n", "application/jsonlines", {"InputFilter": "$.row"},
                     "line 3: the record is not JSON", id="not-json"),
        pytest.param(JSON_ROWS, "application/jsonlines", {"InputFilter": "$.rows"},
                     "line 1: the filter $.rows finds nothing", id="no-such-member"),
        pytest.param('1,2,3\n1,"2\n",3\n1,2,3\n', "text/csv", {"JoinSource": "Input"},
                     "line 2: a quote is not closed on its line", id="end-of-line-in-quotes"),
        pytest.param('1,2,3\n1,2,"3\n', "text/csv", {"JoinSource": "Input"},
                     "line 2: the record is not CSV: unexpected end of data", id="open-quote-at-the-end"),
    ],
)  # fmt: skip
def test_records_that_cannot_be_processed(
    laptop: Laptop,
    request: pytest.FixtureRequest,
    model: str,
    content: str,
    kind: str,
    processing: dict[str, str],
    wanted: str,
) -> None:
    name = f"unprocessed-{request.node.callspec.id}"
    uri = laptop.put(f"{name}/rows", content)
    kinds: dict[str, Any] = {"input": {"ContentType": kind}, "output": {"Accept": kind}}
    job = run(laptop, transform_params(name, model, uri, DataProcessing=processing, **kinds))
    assert job["TransformJobStatus"] == "Failed"
    assert wanted in job["FailureReason"]


def test_answers_that_do_not_match_the_records(laptop: Laptop) -> None:
    uri = laptop.put("unequal/rows.csv", "1,2,3\n4,5,6\n")
    params = transform_params(
        "unequal",
        own_model(laptop, "unequal", "def transform_fn(model, body, kind, accept): return '0.5\\n', accept"),
        uri,
        DataProcessing={"JoinSource": "Input"},
    )
    assert (
        "2 records got 1 answers; DataProcessing needs one line each" in run(laptop, params)["FailureReason"]
    )


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        pytest.param({"ModelName": "nobody"}, "Could not find model", id="no-model"),
        pytest.param({"DataProcessing": {"InputFilter": "$..x"}}, "InputFilter", id="bad-filter"),
        pytest.param({"DataProcessing": {"InputFilter": "$[?(@ > 1)]"}}, "InputFilter", id="script-filter"),
        pytest.param({"DataProcessing": {"OutputFilter": "$.id"}}, "a CSV record has only indexes", id="csv-name"),
        pytest.param({"DataProcessing": {"JoinSource": "Output"}}, "enum value set: [Input, None]", id="join"),
        pytest.param({"BatchStrategy": "AllAtOnce"}, "enum value set", id="strategy"),
        pytest.param({"input": {"SplitType": "RecordIO"}}, "SplitType 'RecordIO' is not served", id="recordio"),
        pytest.param({"input": {"SplitType": "TFRecord"}}, "SplitType 'TFRecord' is not served", id="tfrecord"),
        pytest.param({"input": {"SplitType": "Word"}}, "enum value set", id="split"),
        pytest.param({"input": {"CompressionType": "Zip"}}, "enum value set: [None, Gzip]", id="compression"),
        pytest.param({"output": {"AssembleWith": "Comma"}}, "enum value set: [None, Line]", id="assembly"),
        pytest.param({"MaxPayloadInMB": 101}, "more than 100", id="payload"),
        pytest.param({"MaxPayloadInMB": -1}, "greater than or equal to 0", id="negative"),
        pytest.param({"MaxPayloadInMB": 20, "MaxConcurrentTransforms": 6}, "is more than 100 MB", id="together"),
        pytest.param({"input": {"ContentType": "application/x-parquet"}}, "Parquet, which has no lines",
                     id="lines-of-parquet"),
        pytest.param({"input": {"ContentType": "image/png"}, "DataProcessing": {"JoinSource": "Input"}},
                     "ContentType is 'image/png'", id="join-images"),
        pytest.param({"output": {"Accept": "application/json"}, "DataProcessing": {"JoinSource": "Input"}},
                     "JoinSource Input needs one format for both", id="join-formats"),
        pytest.param({"output": {"AssembleWith": "None"}, "DataProcessing": {"JoinSource": "Input"}},
                     "needs AssembleWith as SplitType", id="join-assembly"),
        pytest.param({"output": {"S3OutputPath": "out/"}}, "S3OutputPath 'out/' is not an S3 URI", id="output-path"),
        pytest.param({"input": {"DataSource": {"S3DataSource": {"S3DataType": "AugmentedManifestFile",
                                                                "S3Uri": "s3://data/x"}}}}, "enum value set",
                     id="augmented-manifest"),
    ],
)  # fmt: skip
def test_create_refuses(laptop: Laptop, model: str, changes: dict[str, Any], wanted: str) -> None:
    params = transform_params("refused-transform", model, "s3://data/keyed/", **copy.deepcopy(changes))
    assert wanted in laptop.refused("CreateTransformJob", **params).message
