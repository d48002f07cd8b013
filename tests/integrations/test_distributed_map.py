"""ItemReader and ResultWriter, over a real object store."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.bus import Bus
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.home import Home
from triptych.localcloud.integrations.registry import TaskRunners
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.stepfunctions.tasks import ChildExecution, ItemsRequest, ResultsRequest, TaskError

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:M:r"
MAP_RUN = "arn:aws:states:us-east-1:123456789012:mapRun:M/Map:4977ded7-b097-3bee-81e1-7863c5660f29"
WHO = {"region": "us-east-1", "account_id": "123456789012", "role_arn": "arn:aws:iam::123456789012:role/m"}


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    home = Home(tmp_path)
    home.create()
    cloud = Cloud(home, Settings(), Bus())
    cloud.store = ObjectStore(home, cloud.bus)
    cloud.store.create_bucket("data")
    return cloud


def read(cloud: Cloud, action: str, arguments: dict[str, Any], config: dict[str, Any]) -> list[Any]:
    request = ItemsRequest(
        execution_arn=EXECUTION,
        resource=f"arn:aws:states:::s3:{action}",
        arguments=arguments,
        reader_config=config,
        **WHO,
    )
    return list(TaskRunners(cloud).read_items(request))


FIRST_ROW = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}


@pytest.mark.parametrize(
    ("text", "config", "items"),
    [
        pytest.param(
            "a,b\n1,x\n2,y\n",
            FIRST_ROW,
            [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}],
            id="csv: header in row one",
        ),
        pytest.param("\ufeffa,b\n1,x\n", FIRST_ROW, [{"a": "1", "b": "x"}], id="csv: byte order mark"),
        pytest.param(
            'a,b\r\n"1,5","two\nlines"\r\n',
            FIRST_ROW,
            [{"a": "1,5", "b": "two\nlines"}],
            id="csv: quoted fields",
        ),
        pytest.param(
            "a,b\n1\n\n1,2,3\n",
            FIRST_ROW,
            [{"a": "1", "b": ""}, {"a": "1", "b": "2"}],
            id="csv: short rows are filled, long ones cut, empty ones skipped",
        ),
        pytest.param(
            "1;x\n2;y\n",
            {
                "InputType": "CSV",
                "CSVHeaderLocation": "GIVEN",
                "CSVHeaders": ["a", "b"],
                "CSVDelimiter": "SEMICOLON",
            },
            [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}],
            id="csv: given header and delimiter",
        ),
        pytest.param(
            "a\n1\n2\n3\n", FIRST_ROW | {"MaxItems": 2}, [{"a": "1"}, {"a": "2"}], id="csv: at most two"
        ),
        pytest.param("a,b\n", FIRST_ROW, [], id="csv: header only"),
        pytest.param('[1, {"a": null}]', {"InputType": "JSON"}, [1, {"a": None}], id="json: array"),
        pytest.param(
            '{"x": {"a/b": [[7, 8]]}}',
            {"InputType": "JSON", "ItemsPointer": "/x/a~1b/0"},
            [7, 8],
            id="json: pointer",
        ),
        pytest.param('{"a":1}\n\n[2]\n"ä"', {"InputType": "JSONL"}, [{"a": 1}, [2], "ä"], id="json lines"),
    ],
)
def test_an_object_is_read_as_items(
    cloud: Cloud, text: str, config: dict[str, Any], items: list[Any]
) -> None:
    cloud.store.put_bytes("data", "in/items", text.encode())
    assert read(cloud, "getObject", {"Bucket": "data", "Key": "in/items"}, config) == items


@pytest.mark.parametrize(
    ("content", "config", "cause"),
    [
        pytest.param(b"\xff\xfe\xff", {"InputType": "JSONL"}, "not UTF-8", id="not text"),
        pytest.param(b"{", {"InputType": "JSON"}, "not valid JSON", id="broken JSON"),
        pytest.param(b"{}", {"InputType": "JSON"}, "non-iterable", id="no array"),
        pytest.param(
            b"{}", {"InputType": "JSON", "ItemsPointer": "/a"}, "does not resolve", id="pointer to nothing"
        ),
        pytest.param(b"1\n{\n", {"InputType": "JSONL"}, "line 2", id="broken line"),
        pytest.param(b"", FIRST_ROW, "no CSV header", id="empty file"),
        pytest.param(b"a|b", FIRST_ROW | {"CSVDelimiter": "STAR"}, "COMMA, PIPE", id="unknown delimiter"),
        pytest.param(b"x", {"InputType": "XML"}, "use CSV, JSON, JSONL or MANIFEST", id="unknown type"),
        pytest.param(b"[]", {"InputType": "MANIFEST"}, "not an S3 Inventory manifest", id="no manifest"),
    ],
)
def test_an_object_that_cannot_be_read_says_why(
    cloud: Cloud, content: bytes, config: dict[str, Any], cause: str
) -> None:
    cloud.store.put_bytes("data", "in/items", content)
    with pytest.raises(TaskError, match=cause) as caught:
        read(cloud, "getObject", {"Bucket": "data", "Key": "in/items"}, config)
    assert caught.value.error == "States.ItemReaderFailed"


@pytest.mark.parametrize(
    ("action", "arguments", "cause"),
    [
        pytest.param(
            "getObject", {"Bucket": "data", "Key": "none"}, "Error Code: NoSuchKey", id="no such key"
        ),
        pytest.param(
            "getObject", {"Bucket": "nowhere", "Key": "k"}, "Error Code: NoSuchBucket", id="no such bucket"
        ),
        pytest.param("getObject", {"Bucket": "data"}, "'Key' of the ItemReader is required", id="no key"),
        pytest.param("listObjectsV2", {"Bucket": "nowhere"}, "Error Code: NoSuchBucket", id="list no bucket"),
        pytest.param("headObject", {"Bucket": "data", "Key": "k"}, "not supported", id="other action"),
    ],
)
def test_a_place_that_is_not_there_says_so(
    cloud: Cloud, action: str, arguments: dict[str, Any], cause: str
) -> None:
    with pytest.raises(TaskError, match=cause) as caught:
        read(cloud, action, arguments, {"InputType": "JSON"})
    assert caught.value.error == "States.ItemReaderFailed"


def test_a_listing_gives_s3s_entries(cloud: Cloud) -> None:
    for key in ("raw/a.csv", "raw/b.csv", "other"):
        cloud.store.put_bytes("data", key, b"abc")
    items = read(cloud, "listObjectsV2", {"Bucket": "data", "Prefix": "raw/"}, {})
    assert [item["Key"] for item in items] == ["raw/a.csv", "raw/b.csv"]
    record = cloud.store.head("data", "raw/a.csv")
    assert items[0] == {
        "Etag": '"900150983cd24fb0d6963f7d28e17f72"',
        "Key": "raw/a.csv",
        "LastModified": int(record.last_modified.timestamp()),
        "Size": 3,
        "StorageClass": "STANDARD",
    }


def test_a_listing_may_be_loaded_and_flattened(cloud: Cloud) -> None:
    cloud.store.put_bytes("data", "raw/a.jsonl", b"1\n2\n")
    cloud.store.put_bytes("data", "raw/b.jsonl", b"3\n")
    config = {"Transformation": "LOAD_AND_FLATTEN", "InputType": "JSONL"}
    assert read(cloud, "listObjectsV2", {"Bucket": "data", "Prefix": "raw/"}, config) == [1, 2, 3]


def test_an_inventory_manifest_gives_its_rows(cloud: Cloud) -> None:
    cloud.store.put_bytes("data", "inv/data.csv.gz", gzip.compress(b'"b","k1","5"\n"b","k2","6"\n'))
    manifest = {
        "sourceBucket": "b",
        "destinationBucket": "arn:aws:s3:::data",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "inv/data.csv.gz", "size": 1, "MD5checksum": "x"}],
    }
    cloud.store.put_bytes("data", "inv/manifest.json", json.dumps(manifest).encode())
    items = read(
        cloud, "getObject", {"Bucket": "data", "Key": "inv/manifest.json"}, {"InputType": "MANIFEST"}
    )
    assert items == [{"Bucket": "b", "Key": "k1", "Size": "5"}, {"Bucket": "b", "Key": "k2", "Size": "6"}]


def test_an_athena_manifest_gives_its_files_rows(cloud: Cloud) -> None:
    cloud.store.put_bytes("data", "unload/part-0", b'{"n":1}\n')
    cloud.store.put_bytes("data", "unload/part-1", b'{"n":2}\n')
    cloud.store.put_bytes(
        "data", "unload/manifest.csv", b"s3://data/unload/part-0\ns3://data/unload/part-1\n"
    )
    config = {"InputType": "JSONL", "ManifestType": "ATHENA_DATA"}
    items = read(cloud, "getObject", {"Bucket": "data", "Key": "unload/manifest.csv"}, config)
    assert items == [{"n": 1}, {"n": 2}]


def child(number: int, status: str, **more: Any) -> ChildExecution:
    return ChildExecution(
        execution_arn=f"arn:child:{number}",
        name=f"child-{number}",
        state_machine_arn="arn:machine",
        status=status,
        input=f'"in {number}"',
        output=more.pop("output", None),
        start_date="2026-01-02T03:04:05.678Z",
        stop_date="2026-01-02T03:04:06.000Z",
        **more,
    )


def write(cloud: Cloud, config: dict[str, Any], prefix: str = "out", bucket: str = "data") -> dict[str, Any]:
    request = ResultsRequest(
        execution_arn=EXECUTION,
        map_run_arn=MAP_RUN,
        bucket=bucket,
        prefix=prefix,
        writer_config=config,
        succeeded=(child(0, "SUCCEEDED", output="[1,2]"), child(1, "SUCCEEDED", output='{"a":"ä"}')),
        failed=(child(2, "FAILED", error="Oops", cause="why"),),
        **WHO,
    )
    return TaskRunners(cloud).write_results(request)


def written(cloud: Cloud, key: str) -> Any:
    return json.loads(cloud.store.get_bytes("data", key))


FOLDER = "out/4977ded7-b097-3bee-81e1-7863c5660f29"


def test_results_are_written_by_status(cloud: Cloud) -> None:
    details = write(cloud, {})
    assert details == {"Bucket": "data", "Key": f"{FOLDER}/manifest.json"}
    manifest = written(cloud, details["Key"])
    sizes = {
        status: cloud.store.head("data", f"{FOLDER}/{status}_0.json").size_bytes
        for status in ("FAILED", "SUCCEEDED")
    }
    assert manifest == {
        "DestinationBucket": "data",
        "MapRunArn": MAP_RUN,
        "ResultFiles": {
            "FAILED": [{"Key": f"{FOLDER}/FAILED_0.json", "Size": sizes["FAILED"]}],
            "PENDING": [],
            "SUCCEEDED": [{"Key": f"{FOLDER}/SUCCEEDED_0.json", "Size": sizes["SUCCEEDED"]}],
        },
    }
    assert written(cloud, f"{FOLDER}/SUCCEEDED_0.json")[0] == {
        "ExecutionArn": "arn:child:0",
        "Input": '"in 0"',
        "InputDetails": {"Included": True},
        "Name": "child-0",
        "Output": "[1,2]",
        "OutputDetails": {"Included": True},
        "RedriveCount": 0,
        "RedriveStatus": "NOT_REDRIVABLE",
        "StartDate": "2026-01-02T03:04:05.678Z",
        "StateMachineArn": "arn:machine",
        "Status": "SUCCEEDED",
        "StopDate": "2026-01-02T03:04:06.000Z",
    }
    failed = written(cloud, f"{FOLDER}/FAILED_0.json")[0]
    assert (failed["Error"], failed["Cause"], "Output" in failed) == ("Oops", "why", False)


@pytest.mark.parametrize(
    ("transformation", "expected"),
    [("COMPACT", [[1, 2], {"a": "ä"}]), ("FLATTEN", [1, 2, {"a": "ä"}])],
)
def test_outputs_alone_may_be_written(cloud: Cloud, transformation: str, expected: list[Any]) -> None:
    write(cloud, {"Transformation": transformation, "OutputType": "JSON"})
    assert written(cloud, f"{FOLDER}/SUCCEEDED_0.json") == expected
    assert written(cloud, f"{FOLDER}/FAILED_0.json")[0]["Status"] == "FAILED"


def test_results_may_be_json_lines(cloud: Cloud) -> None:
    details = write(cloud, {"Transformation": "COMPACT", "OutputType": "JSONL"}, prefix="")
    assert details["Key"] == "4977ded7-b097-3bee-81e1-7863c5660f29/manifest.json"
    text = cloud.store.get_bytes("data", "4977ded7-b097-3bee-81e1-7863c5660f29/SUCCEEDED_0.jsonl").decode()
    assert text == '[1,2]\n{"a":"ä"}\n'


def test_results_that_cannot_be_written_fail_the_state(cloud: Cloud) -> None:
    with pytest.raises(TaskError, match="Error Code: NoSuchBucket") as caught:
        write(cloud, {}, bucket="nowhere")
    assert caught.value.error == "States.ResultWriterFailed"
