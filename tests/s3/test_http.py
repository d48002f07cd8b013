"""S3 over HTTP with boto3: objects, conditions, ranges, listings, multipart, versions, errors."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.s3.conftest import Endpoint

PART = 5 << 20


def code_of(call: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(ClientError) as refused:
        call()
    error = refused.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def raw(endpoint: Endpoint, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_an_object_comes_back_with_all_that_was_said_of_it(endpoint: Endpoint, bucket: str) -> None:
    put = endpoint.client.put_object(
        Bucket=bucket,
        Key="a/b c+d/é.csv",
        Body=b"hello",
        ContentType="text/csv",
        CacheControl="no-cache",
        ContentEncoding="identity",
        Metadata={"owner": "me", "snake_case": "kept"},
        Tagging="team=ml&stage=dev",
    )
    got = endpoint.client.get_object(Bucket=bucket, Key="a/b c+d/é.csv")
    assert got["Body"].read() == b"hello"
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert (got["ContentType"], got["CacheControl"], got["ContentEncoding"], got["Metadata"]) == (
        "text/csv",
        "no-cache",
        "identity",
        {"owner": "me", "snake_case": "kept"},
    )
    assert got["TagCount"] == 2
    assert got["ChecksumCRC32"] == base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    head = endpoint.client.head_object(Bucket=bucket, Key="a/b c+d/é.csv")
    assert (head["ContentLength"], head["ETag"]) == (5, put["ETag"])
    assert abs(head["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert (endpoint.home.s3 / bucket / "a" / "b c+d" / "é.csv").read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-500", 206, b"56789"),
        ("bytes=-500", 206, b"0123456789"),
        ("bytes=3-1", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=10-", 416, b""),
        ("bytes=-0", 416, b""),
    ],
)
def test_ranges(endpoint: Endpoint, bucket: str, header: str, status: int, body: bytes) -> None:
    endpoint.client.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    if status == 416:
        got = code_of(lambda: endpoint.client.get_object(Bucket=bucket, Key="k", Range=header))
        assert got == ("InvalidRange", 416)
        return
    answer = endpoint.client.get_object(Bucket=bucket, Key="k", Range=header)
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (status, body)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"IfMatch": "{etag}"}, 200),
        ({"IfMatch": '"other"'}, 412),
        ({"IfNoneMatch": "{etag}"}, 304),
        ({"IfNoneMatch": '"other"'}, 200),
        ({"IfModifiedSince": timedelta(hours=-1)}, 200),
        ({"IfModifiedSince": timedelta(hours=1)}, 304),
        ({"IfUnmodifiedSince": timedelta(hours=-1)}, 412),
        ({"IfUnmodifiedSince": timedelta(hours=1)}, 200),
        ({"IfMatch": "{etag}", "IfUnmodifiedSince": timedelta(hours=-1)}, 200),
    ],
    ids=str,
)
def test_conditional_reads(endpoint: Endpoint, bucket: str, condition: dict[str, Any], expected: int) -> None:
    etag = endpoint.client.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    arguments = {
        name: datetime.now(UTC) + value if isinstance(value, timedelta) else value.format(etag=etag)
        for name, value in condition.items()
    }
    if expected == 200:
        assert endpoint.client.get_object(Bucket=bucket, Key="k", **arguments)["Body"].read() == b"x"
    else:
        assert code_of(lambda: endpoint.client.get_object(Bucket=bucket, Key="k", **arguments))[1] == expected


def test_conditional_writes(endpoint: Endpoint, bucket: str) -> None:
    def put(**condition: str) -> Any:
        return endpoint.client.put_object(Bucket=bucket, Key="k", Body=b"x", **condition)

    assert code_of(lambda: put(IfMatch='"any"')) == ("NoSuchKey", 404)
    etag = put(IfNoneMatch="*")["ETag"]
    assert code_of(lambda: put(IfNoneMatch="*")) == ("PreconditionFailed", 412)
    assert code_of(lambda: put(IfMatch='"other"')) == ("PreconditionFailed", 412)
    put(IfMatch=etag)


BAD_BODIES = {
    "content md5": ({"Content-MD5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
    "malformed md5": ({"Content-MD5": "nonsense"}, "InvalidDigest"),
    "crc32": ({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
    "sha256": ({"x-amz-checksum-sha256": base64.b64encode(b"0" * 32).decode()}, "BadDigest"),
    "payload hash": ({"x-amz-content-sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
}


@pytest.mark.parametrize(("headers", "expected"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_damaged_body_is_refused(
    endpoint: Endpoint, bucket: str, headers: dict[str, str], expected: str
) -> None:
    status, answer = raw(endpoint, "PUT", f"/{bucket}/k", b"body", **headers)
    assert (status, f"<Code>{expected}</Code>".encode() in answer) == (400, True)
    assert code_of(lambda: endpoint.client.get_object(Bucket=bucket, Key="k"))[0] == "NoSuchKey"
    assert list((endpoint.home.s3 / ".uploads").glob("put-*")) == []


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%x;chunk-signature=0\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + b"0\r\n" + trailer + b"\r\n"


def crc(data: bytes) -> bytes:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("body", "length", "expected"),
    [
        (
            chunked(b"hello ", b"world", trailer=b"x-amz-checksum-crc32:" + crc(b"hello world") + b"\r\n"),
            11,
            200,
        ),
        (chunked(b"hello world"), 11, 200),
        (chunked(b"hello world", trailer=b"x-amz-checksum-crc32:AAAAAA==\r\n"), 11, "BadDigest"),
        (chunked(b"hello world"), 12, "IncompleteBody"),
        (b"b\r\nhello", 11, "IncompleteBody"),
        (b"nonsense\r\nhello", 11, "IncompleteBody"),
    ],
    ids=["trailer", "no trailer", "wrong trailer", "short", "truncated", "malformed"],
)
def test_aws_chunked_bodies(
    endpoint: Endpoint, bucket: str, body: bytes, length: int, expected: int | str
) -> None:
    status, answer = raw(
        endpoint,
        "PUT",
        f"/{bucket}/k",
        body,
        Content_Encoding="aws-chunked,gzip",
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_decoded_content_length=str(length),
        x_amz_trailer="x-amz-checksum-crc32",
    )
    if expected == 200:
        assert status == 200
        assert endpoint.store.get_bytes(bucket, "k") == b"hello world"
        assert endpoint.store.head(bucket, "k").attributes.headers["content-encoding"] == "gzip"
    else:
        assert status == 400
        assert str(expected).encode() in answer
        assert endpoint.store.list(bucket) == []


def test_a_connection_that_breaks_off_stores_nothing(endpoint: Endpoint, bucket: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    connection.putrequest("PUT", f"/{bucket}/k")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"only this")
    assert connection.sock is not None
    connection.sock.shutdown(1)
    answer = connection.getresponse()
    assert (answer.status, b"IncompleteBody" in answer.read()) == (400, True)
    connection.close()
    assert endpoint.store.list(bucket) == []


def test_copy_directives(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    client.put_object(
        Bucket=bucket, Key="from", Body=b"x" * 100, ContentType="text/csv", Metadata={"a": "1"}, Tagging="t=1"
    )
    source = {"Bucket": bucket, "Key": "from"}
    client.copy_object(Bucket=bucket, Key="same", CopySource=source)
    client.copy_object(
        Bucket=bucket,
        Key="other é",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"b": "2"},
        ContentType="text/html",
        TaggingDirective="REPLACE",
        Tagging="u=2",
    )
    same, other = (client.get_object(Bucket=bucket, Key=key) for key in ("same", "other é"))
    assert (same["Body"].read(), same["ContentType"], same["Metadata"]) == (
        b"x" * 100,
        "text/csv",
        {"a": "1"},
    )
    assert (other["ContentType"], other["Metadata"]) == ("text/html", {"b": "2"})
    tags = client.get_object_tagging(Bucket=bucket, Key="other é")["TagSet"]
    assert tags == [{"Key": "u", "Value": "2"}]
    to_itself = {"Bucket": bucket, "Key": "from", "CopySource": source}
    assert code_of(lambda: client.copy_object(**to_itself))[0] == "InvalidRequest"
    client.copy_object(**to_itself, MetadataDirective="REPLACE", Metadata={"c": "3"})
    assert client.head_object(Bucket=bucket, Key="from")["Metadata"] == {"c": "3"}
    client.put_object(Bucket=bucket, Key="from", Body=b"changed")
    assert client.get_object(Bucket=bucket, Key="same")["Body"].read() == b"x" * 100
    refused = {**to_itself, "Key": "no", "CopySourceIfMatch": '"other"'}
    assert code_of(lambda: client.copy_object(**refused)) == ("PreconditionFailed", 412)
    missing = {"Bucket": bucket, "Key": "missing"}
    assert code_of(lambda: client.copy_object(Bucket=bucket, Key="no", CopySource=missing))[0] == "NoSuchKey"


def test_listing_pages(endpoint: Endpoint, bucket: str) -> None:
    keys = [f"p/{number:04d}" for number in range(25)] + ["q/a b&c", "q/é", "z"]
    for key in keys:
        endpoint.store.put_bytes(bucket, key, b"x")
    pages = endpoint.client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 7}
    )
    assert [item["Key"] for page in pages for item in page["Contents"]] == keys
    pages = endpoint.client.get_paginator("list_objects").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    found = [(page.get("CommonPrefixes"), page.get("Contents")) for page in pages]
    assert [prefixes[0]["Prefix"] for prefixes, _ in found if prefixes] == ["p/", "q/"]
    assert [contents[0]["Key"] for _, contents in found if contents] == ["z"]
    after = endpoint.client.list_objects_v2(Bucket=bucket, StartAfter="p/0023", Prefix="p/")
    assert [item["Key"] for item in after["Contents"]] == ["p/0024"]
    assert after["KeyCount"] == 1
    refused = code_of(lambda: endpoint.client.list_objects_v2(Bucket=bucket, ContinuationToken="?"))
    assert refused == ("InvalidArgument", 400)


def test_multipart_uploads(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    data = bytes(range(256)) * (12 << 12)  # 12 MiB
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    client.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config, ExtraArgs={"Metadata": {"m": "1"}})
    head = client.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    parts = [data[start : start + PART] for start in range(0, len(data), PART)]
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert head["ETag"] == f'"{digest}-3"'
    assert head["Metadata"] == {"m": "1"}
    crcs = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    assert head["ChecksumCRC32"] == crc(crcs).decode() + "-3"
    assert endpoint.store.get_bytes(bucket, "big") == data
    part = client.get_object(Bucket=bucket, Key="big", PartNumber=3)
    assert (part["Body"].read() == parts[2], part["PartsCount"]) == (True, 3)
    attributes = client.get_object_attributes(
        Bucket=bucket, Key="big", ObjectAttributes=["ETag", "ObjectSize", "ObjectParts", "Checksum"]
    )
    assert (attributes["ObjectSize"], attributes["ObjectParts"]["TotalPartsCount"]) == (len(data), 3)
    assert list((endpoint.home.s3 / ".uploads").iterdir()) == []


def test_a_full_object_crc_is_put_together_from_the_parts(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    data = b"0123456789abcdef" * (PART // 16) + b"tail of the object"
    named = {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**named, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    named["UploadId"] = upload["UploadId"]
    parts = []
    for number, body in enumerate((data[:PART], data[PART:]), 1):
        part = client.upload_part(**named, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
    done = client.complete_multipart_upload(
        **named, MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT"
    )
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (crc(data).decode(), "FULL_OBJECT")


def test_multipart_refusals_and_copies(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    client.put_object(Bucket=bucket, Key="source", Body=b"0123456789" * 1000)
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    first = client.upload_part(**named, PartNumber=1, Body=b"small")["ETag"]
    copied = client.upload_part_copy(
        **named,
        PartNumber=2,
        CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange="bytes=0-9",
    )["CopyPartResult"]["ETag"]

    def complete(*parts: tuple[int, str]) -> Any:
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return client.complete_multipart_upload(**named, MultipartUpload={"Parts": listed})

    assert code_of(lambda: complete((2, copied), (1, first)))[0] == "InvalidPartOrder"
    assert code_of(lambda: complete((1, copied)))[0] == "InvalidPart"
    assert code_of(lambda: complete((7, first)))[0] == "InvalidPart"
    assert code_of(lambda: complete((1, first), (2, copied)))[0] == "EntityTooSmall"
    assert [part["Size"] for part in client.list_parts(**named)["Parts"]] == [5, 10]
    assert [item["Key"] for item in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["k"]
    complete((2, copied))
    assert endpoint.store.get_bytes(bucket, "k") == b"0123456789"
    assert code_of(lambda: complete((2, copied))) == ("NoSuchUpload", 404)
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_versions(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first, second = (
        client.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"1", b"2")
    )
    marker = client.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    assert code_of(lambda: client.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)
    named = {"Bucket": bucket, "Key": "k"}
    marked = code_of(lambda: client.get_object(**named, VersionId=marker["VersionId"]))
    assert marked == ("MethodNotAllowed", 405)
    assert client.get_object(**named, VersionId=first)["Body"].read() == b"1"
    pages = client.get_paginator("list_object_versions").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 1}
    )
    found = [
        (item["VersionId"], item["IsLatest"])
        for page in pages
        for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    ]
    assert found == [(marker["VersionId"], True), (second, False), (first, False)]
    copy_source = {**named, "VersionId": first}
    client.copy_object(**named, CopySource=copy_source)
    assert client.get_object(**named)["Body"].read() == b"1"


def test_deleting_many(endpoint: Endpoint, bucket: str) -> None:
    for key in ("a", "b", "c"):
        endpoint.store.put_bytes(bucket, key, b"x")
    deleted = endpoint.client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "never was"}]}
    )["Deleted"]
    assert [item["Key"] for item in deleted] == ["a", "never was"]
    quiet = endpoint.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert [record.key for record in endpoint.store.list(bucket)] == ["c"]


def test_tags(endpoint: Endpoint, bucket: str) -> None:
    client, named = endpoint.client, {"Bucket": bucket, "Key": "k"}
    client.put_object(**named, Body=b"")
    client.put_object_tagging(**named, Tagging={"TagSet": [{"Key": "a", "Value": "1 & 2"}]})
    assert client.get_object_tagging(**named)["TagSet"] == [{"Key": "a", "Value": "1 & 2"}]
    many = {"TagSet": [{"Key": str(number), "Value": ""} for number in range(11)]}
    assert code_of(lambda: client.put_object_tagging(**named, Tagging=many))[0] == "BadRequest"
    client.delete_object_tagging(**named)
    assert client.get_object_tagging(**named)["TagSet"] == []


def test_presigned_urls(endpoint: Endpoint, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "a b"}
    put = endpoint.client.generate_presigned_url("put_object", named)
    with urllib.request.urlopen(urllib.request.Request(put, b"signed", method="PUT")) as answer:
        assert answer.status == 200
    get = endpoint.client.generate_presigned_url(
        "get_object", {**named, "ResponseContentType": "text/x", "ResponseContentDisposition": "attachment"}
    )
    with urllib.request.urlopen(get) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"signed", "text/x")
        assert answer.headers["Content-Disposition"] == "attachment"
    expired = endpoint.client.generate_presigned_url("get_object", named, ExpiresIn=-5)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(expired)
    assert refused.value.code == 403
    refused.value.close()


@pytest.mark.parametrize("host", ["{bucket}.s3.localhost:{port}", "{bucket}.localhost:{port}"])
def test_virtual_hosts(endpoint: Endpoint, bucket: str, host: str) -> None:
    named = host.format(bucket=bucket, port=endpoint.port)
    assert raw(endpoint, "PUT", "/x/y", b"hosted", Host=named)[0] == 200
    assert raw(endpoint, "GET", "/x/y", Host=named) == (200, b"hosted")
    assert endpoint.store.get_bytes(bucket, "x/y") == b"hosted"


@pytest.mark.parametrize("key", ["..", "a/../b", "//x", "/x", "x//y", "x/", "100%", "a?b#c", "%2e%2e/up"])
def test_keys_are_taken_as_they_come(endpoint: Endpoint, bucket: str, key: str) -> None:
    endpoint.client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert endpoint.client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [item["Key"] for item in endpoint.client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def test_buckets(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    client.create_bucket(Bucket=bucket)  # us-east-1 takes it twice
    elsewhere = {"Bucket": f"{bucket}-eu", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    client.create_bucket(**elsewhere)
    assert code_of(lambda: client.create_bucket(**elsewhere)) == ("BucketAlreadyOwnedByYou", 409)
    assert client.get_bucket_location(Bucket=bucket).get("LocationConstraint") is None
    assert client.get_bucket_location(Bucket=f"{bucket}-eu")["LocationConstraint"] == "eu-west-1"
    assert {bucket, f"{bucket}-eu"} <= {item["Name"] for item in client.list_buckets()["Buckets"]}
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    assert code_of(lambda: client.delete_bucket(Bucket=bucket)) == ("BucketNotEmpty", 409)
    client.delete_object(Bucket=bucket, Key="k")
    client.delete_bucket(Bucket=bucket)
    assert code_of(lambda: client.head_bucket(Bucket=bucket)) == ("404", 404)
    assert code_of(lambda: client.list_objects_v2(Bucket=bucket)) == ("NoSuchBucket", 404)
    assert code_of(lambda: client.put_object(Bucket=bucket, Key="k", Body=b"x")) == ("NoSuchBucket", 404)


@pytest.mark.parametrize("name", ["UPPER", "ab", "a..b", "192.168.0.1", "-a-b", "a" * 64, ".versions"])
def test_bucket_names_that_s3_refuses(endpoint: Endpoint, name: str) -> None:
    status, answer = raw(endpoint, "PUT", f"/{name}")
    assert (status, b"<Code>InvalidBucketName</Code>" in answer) == (400, True)


BAD_REQUESTS = {
    "malformed xml": ("POST", "?delete", b"<Delete>", 400, b"MalformedXML"),
    "entity expansion": ("POST", "?delete", b'<!DOCTYPE x [<!ENTITY a "b">]><Delete/>', 400, b"MalformedXML"),
    "wrong document": ("POST", "?delete", b"<Other/>", 400, b"MalformedXML"),
    "nothing to delete": ("POST", "?delete", b"<Delete></Delete>", 400, b"MalformedXML"),
    "max keys": ("GET", "?list-type=2&max-keys=many", b"", 400, b"InvalidArgument"),
    "negative max keys": ("GET", "?max-keys=-1", b"", 400, b"InvalidArgument"),
    "encoding": ("GET", "?encoding-type=rot13", b"", 400, b"InvalidArgument"),
    "not utf-8": ("GET", "/%ff%fe", b"", 400, b"InvalidURI"),
    "long key": ("PUT", "/" + "k" * 1025, b"x", 400, b"KeyTooLongError"),
    "part number": ("PUT", "/k?uploadId=u&partNumber=0", b"x", 404, b"NoSuchUpload"),
    "no such method": ("PATCH", "/k", b"", 405, b"MethodNotAllowed"),
}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys()
)
def test_bad_requests(
    endpoint: Endpoint, bucket: str, method: str, path: str, body: bytes, status: int, code: bytes
) -> None:
    answered, answer = raw(endpoint, method, f"/{bucket}{path}", body)
    assert answered == status
    assert b"<Code>" + code + b"</Code>" in answer


def test_a_full_disk_reaches_the_client(
    endpoint: Endpoint, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("triptych.localcloud.s3.changes.Change.place", full)
        refused = code_of(lambda: endpoint.client.put_object(Bucket=bucket, Key="k", Body=b"x"))
    assert refused == ("InsufficientStorage", 507)
    assert endpoint.store.list(bucket) == []


def test_events(endpoint: Endpoint, bucket: str) -> None:
    client = endpoint.client
    client.put_object(Bucket=bucket, Key="before", Body=b"")
    client.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    etag = client.put_object(Bucket=bucket, Key="raw/é.csv", Body=b"x")["ETag"].strip('"')
    endpoint.store.put_bytes(bucket, "adopted", b"y")
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "adopted"})
    client.delete_object(Bucket=bucket, Key="copy")
    client.delete_object(Bucket=bucket, Key="never was")
    mine = [event for event in endpoint.events if event.detail["bucket"]["name"] == bucket]
    assert [(event.detail_type, event.detail["reason"], event.detail["object"]["key"]) for event in mine] == [
        ("Object Created", "PutObject", "raw/é.csv"),
        ("Object Created", "PutObject", "adopted"),
        ("Object Created", "CopyObject", "copy"),
        ("Object Deleted", "DeleteObject", "copy"),
    ]
    created = mine[0]
    assert (created.source, created.resources) == ("aws.s3", (f"arn:aws:s3:::{bucket}",))
    assert (created.detail["object"]["size"], created.detail["object"]["etag"]) == (1, etag)
    assert mine[3].detail["deletion-type"] == "Permanently Deleted"
