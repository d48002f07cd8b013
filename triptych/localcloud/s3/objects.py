"""The HTTP face of single objects: put, get, head, copy, delete, tags, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, unquote

from triptych.localcloud.s3.bodies import Body, receive
from triptych.localcloud.s3.checksums import ALGORITHMS
from triptych.localcloud.s3.conditions import (
    NotModified,
    byte_range,
    check_read,
    check_write,
    precondition_failed,
)
from triptych.localcloud.s3.files import md5_of, storage_errors
from triptych.localcloud.s3.http import FileSpan, Response, S3Request, http_date
from triptych.localcloud.s3.names import check_key
from triptych.localcloud.s3.records import DEFAULT_CONTENT_TYPE, Attributes, ObjectRecord, Staged
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.s3.xml import document, leaf, node, parse, tag_set, text_of
from triptych.localcloud.service import ServiceError

_KEPT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
)
_OVERRIDES = {
    f"response-{name}": name
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
}
_META = "x-amz-meta-"
_MOST_METADATA_BYTES = 2048
_MOST_TAGS = 10


def request_attributes(headers: Mapping[str, str]) -> Attributes:
    """What a PutObject, CopyObject or CreateMultipartUpload says about its object."""
    kept = {name: headers[name] for name in _KEPT_HEADERS if headers.get(name)}
    encodings = [item.strip() for item in kept.pop("content-encoding", "").split(",")]
    encoding = ",".join(item for item in encodings if item and item != "aws-chunked")
    if encoding:
        kept["content-encoding"] = encoding
    metadata = {name[len(_META) :]: value for name, value in headers.items() if name.startswith(_META)}
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MOST_METADATA_BYTES:
        raise ServiceError(
            "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"
        )
    return Attributes(
        content_type=headers.get("content-type") or DEFAULT_CONTENT_TYPE,
        metadata=metadata,
        headers=kept,
        tags=check_tags(parse_qsl(headers.get("x-amz-tagging", ""), keep_blank_values=True)),
    )


def check_tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Tags within S3's limits; raises InvalidTag, BadRequest."""
    tags = dict(pairs)
    if len(pairs) > _MOST_TAGS:
        raise ServiceError("BadRequest", "Object tags cannot be greater than 10")
    if len(tags) != len(pairs):
        raise ServiceError("InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in pairs:
        if not 0 < len(key) <= 128:
            raise ServiceError("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > 256:
            raise ServiceError("InvalidTag", "The TagValue you have provided is invalid", TagKey=key)
        if key.lower().startswith("aws:"):
            raise ServiceError("InvalidTag", "System tags cannot be added/updated by requester")
    return tags


def parse_copy_source(header: str) -> tuple[str, str, str | None]:
    """``x-amz-copy-source`` as bucket, key and version id; raises InvalidArgument."""
    path, _, query = header.partition("?versionId=")
    bucket, separator, key = unquote(path).removeprefix("/").partition("/")
    if not separator or not bucket or not key:
        raise ServiceError("InvalidArgument", "Copy Source must mention the source bucket and key")
    return bucket, key, unquote(query) or None


class ObjectOperations:
    """Each method answers one operation."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    # Writing

    def put(self, request: S3Request) -> Response:
        headers = request.headers
        check_key(request.key)
        self._store.bucket(request.bucket)
        if "content-length" not in headers and "transfer-encoding" not in headers:
            raise ServiceError("MissingContentLength", "You must provide the Content-Length header.", 411)
        attributes = request_attributes(headers)
        path = self._store.files.new_staging()
        with storage_errors(self._store.root):
            received = receive(Body(request.environ, headers), headers, path)
            try:
                record = self._store.put_staged(
                    request.bucket,
                    request.key,
                    received.staged,
                    replace(attributes, checksums=received.checksums, checksum_type="FULL_OBJECT"),
                    condition=lambda current: check_write(current, headers),
                )
            finally:
                path.unlink(missing_ok=True)
        answer = {"ETag": f'"{record.etag}"', **self._encryption(record), **_checksum_headers(record)}
        return Response(200, {**answer, **self._version_header(record)})

    def copy(self, request: S3Request) -> Response:
        headers = request.headers
        check_key(request.key)
        self._store.bucket(request.bucket)
        bucket, key, version_id = parse_copy_source(headers["x-amz-copy-source"])
        source, file = self._store.open(bucket, key, version_id)
        file.close()
        check_copy_source(source, headers)
        directive = headers.get("x-amz-metadata-directive", "COPY").upper()
        tagging = headers.get("x-amz-tagging-directive", "COPY").upper()
        if directive not in ("COPY", "REPLACE") or tagging not in ("COPY", "REPLACE"):
            raise ServiceError("InvalidArgument", "Unknown metadata directive.")
        same = (bucket, key) == (request.bucket, request.key) and version_id is None
        if same and directive == "COPY" and "x-amz-storage-class" not in headers:
            raise ServiceError(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without "
                "changing the object's metadata, storage class, website redirect location or encryption "
                "attributes.",
            )
        wanted = request_attributes(headers)
        attributes = wanted if directive == "REPLACE" else source.attributes
        whole = source.attributes.checksum_type != "COMPOSITE"
        attributes = replace(
            attributes,
            tags=wanted.tags if tagging == "REPLACE" else source.tags,
            checksums=source.attributes.checksums if whole else {},
            checksum_type="FULL_OBJECT",
            part_sizes=(),
        )
        with storage_errors(self._store.root):
            staged = self._link(source)
            try:
                record = self._store.put_staged(
                    request.bucket,
                    request.key,
                    staged,
                    attributes,
                    reason="CopyObject",
                    condition=lambda current: check_write(current, headers),
                )
            finally:
                staged.path.unlink(missing_ok=True)
        answer = {**self._version_header(record), **self._encryption(record)}
        if self._store.versioning(bucket):
            answer["x-amz-copy-source-version-id"] = source.version_id
        return Response(200, answer, document("CopyObjectResult", *copy_result(record)))

    def _link(self, source: ObjectRecord) -> Staged:
        """A second name in the staging area for a stored file: files of the store never change."""
        path = self._store.files.new_staging()
        with self._store.changes.lock:
            current = self._store.head(source.bucket, source.key, source.version_id)
            root = self._store.root
            self._store.files.link(str(current.path.relative_to(root)), str(path.relative_to(root)))
        etag = md5_of(path) if "-" in current.etag else current.etag
        return Staged(path, etag, current.size_bytes)

    def delete(self, request: S3Request) -> Response:
        self._store.bucket(request.bucket)
        if "if-match" in request.headers and request.version_id is None:
            check_write(self._store.head(request.bucket, request.key), request.headers)
        deletion = self._store.delete(request.bucket, request.key, request.version_id)
        headers = {}
        if deletion.version_id is not None:
            headers["x-amz-version-id"] = deletion.version_id
        if deletion.is_delete_marker:
            headers["x-amz-delete-marker"] = "true"
        return Response(204, headers)

    # Reading

    def get(self, request: S3Request) -> Response:
        record, file = self._store.open(request.bucket, request.key, request.version_id)
        try:
            response, span = self._describe(request, record)
        except BaseException:
            file.close()
            raise
        if span is None:
            file.close()
        else:
            response.body = FileSpan(file, *span)
        return response

    def head(self, request: S3Request) -> Response:
        record = self._store.head(request.bucket, request.key, request.version_id)
        return self._describe(request, record)[0]

    def _describe(self, request: S3Request, record: ObjectRecord) -> tuple[Response, tuple[int, int] | None]:
        """The answer to GET or HEAD, and the offset and length of the bytes to send, if any are."""
        headers = {
            "ETag": f'"{record.etag}"',
            "Last-Modified": http_date(record.last_modified),
            "Accept-Ranges": "bytes",
            **self._version_header(record),
        }
        try:
            check_read(record, request.headers)
        except NotModified:
            return Response(304, headers), None
        span = byte_range(request.headers.get("range"), record.size_bytes)
        if "partNumber" in request.query:
            span = self._part_span(request, record, headers)
        headers["Content-Type"] = record.content_type
        headers.update({_TITLES.get(name, name): value for name, value in record.attributes.headers.items()})
        headers.update({f"{_META}{name}": value for name, value in record.metadata.items()})
        headers.update(self._encryption(record))
        if record.tags:
            headers["x-amz-tagging-count"] = str(len(record.tags))
        if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED" and span is None:
            headers.update(_checksum_headers(record))
        for parameter, name in _OVERRIDES.items():
            if parameter in request.query:
                headers[_TITLES.get(name, name)] = request.query[parameter]
        offset, length = span or (0, record.size_bytes)
        headers["Content-Length"] = str(length)
        response = Response(200, headers)
        if span is not None:
            response.status = 206
            last = offset + length - 1
            headers["Content-Range"] = f"bytes {offset}-{last}/{record.size_bytes}"
        return response, (offset, length)

    def _part_span(
        self, request: S3Request, record: ObjectRecord, headers: dict[str, str]
    ) -> tuple[int, int] | None:
        number = request.integer("partNumber", 1, least=1, most=10_000)
        sizes = record.attributes.part_sizes
        if number > max(len(sizes), 1):
            raise ServiceError("InvalidPartNumber", "The requested partnumber is not satisfiable", 416)
        if not sizes:
            return (0, record.size_bytes) if record.size_bytes else None
        headers["x-amz-mp-parts-count"] = str(len(sizes))
        return sum(sizes[: number - 1]), sizes[number - 1]

    def attributes(self, request: S3Request) -> Response:
        record = self._store.head(request.bucket, request.key, request.version_id)
        wanted = {item.strip() for item in request.headers.get("x-amz-object-attributes", "").split(",")}
        parts = []
        if "ETag" in wanted:
            parts.append(leaf("ETag", record.etag))
        if "Checksum" in wanted and record.attributes.checksums:
            parts.append(node("Checksum", *checksum_elements(record)))
        sizes = record.attributes.part_sizes
        if "ObjectParts" in wanted and sizes:
            parts.append(node("ObjectParts", leaf("PartsCount", len(sizes))))
        if "StorageClass" in wanted:
            parts.append(leaf("StorageClass", storage_class(record)))
        if "ObjectSize" in wanted:
            parts.append(leaf("ObjectSize", record.size_bytes))
        headers = {"Last-Modified": http_date(record.last_modified), **self._version_header(record)}
        return Response(200, headers, document("GetObjectAttributesResponse", *parts))

    # Tags

    def get_tagging(self, request: S3Request) -> Response:
        record = self._store.head(request.bucket, request.key, request.version_id)
        body = document("Tagging", tag_set(record.tags.items()))
        return Response(200, self._version_header(record), body)

    def put_tagging(self, request: S3Request) -> Response:
        tree = parse(Body(request.environ, request.headers).read_all(), "Tagging")
        pairs = [(text_of(tag, "Key"), text_of(tag, "Value")) for tag in tree.iterfind("TagSet/Tag")]
        tags = check_tags(pairs)
        record = self._store.set_tags(request.bucket, request.key, tags, request.version_id)
        return Response(200, self._version_header(record))

    def delete_tagging(self, request: S3Request) -> Response:
        record = self._store.set_tags(request.bucket, request.key, {}, request.version_id)
        return Response(204, self._version_header(record))

    # Headers

    def _version_header(self, record: ObjectRecord) -> dict[str, str]:
        return {"x-amz-version-id": record.version_id} if self._store.bucket(record.bucket).versioning else {}

    @staticmethod
    def _encryption(record: ObjectRecord) -> dict[str, str]:
        # S3 encrypts everything since 2023 and says so; on the laptop the disk's own encryption does it.
        name = "x-amz-server-side-encryption"
        return {name: record.attributes.headers.get(name, "AES256")}


_TITLES = {name: "-".join(word.title() for word in name.split("-")) for name in _OVERRIDES.values()}


def storage_class(record: ObjectRecord) -> str:
    """The storage class a writer asked for; nothing on the laptop depends on it."""
    return record.attributes.headers.get("x-amz-storage-class", "STANDARD")


def check_copy_source(source: ObjectRecord, headers: Mapping[str, str]) -> None:
    """The ``x-amz-copy-source-if-*`` headers; raises PreconditionFailed."""
    try:
        check_read(source, headers, "x-amz-copy-source-if-")
    except NotModified as error:
        raise precondition_failed("x-amz-copy-source-If-None-Match") from error


def copy_result(record: ObjectRecord) -> list[str]:
    """The elements of CopyObjectResult and CopyPartResult."""
    modified = record.last_modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    etag = leaf("ETag", f'"{record.etag}"')
    return [leaf("LastModified", modified), etag, *checksum_elements(record)]


def checksum_elements(record: ObjectRecord) -> list[str]:
    """``<ChecksumCRC32>`` and its kin."""
    checksums = record.attributes.checksums
    elements = [leaf(checksum_tag(name), value) for name, value in checksums.items()]
    if checksums:
        elements.append(leaf("ChecksumType", record.attributes.checksum_type))
    return elements


def checksum_tag(algorithm: str) -> str:
    """``crc32`` as ``ChecksumCRC32``."""
    return f"Checksum{algorithm.upper()}"


def stated_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums a request's headers carry, by algorithm."""
    return {
        name: headers[f"x-amz-checksum-{name}"] for name in ALGORITHMS if f"x-amz-checksum-{name}" in headers
    }


def _checksum_headers(record: ObjectRecord) -> dict[str, str]:
    headers = {f"x-amz-checksum-{name}": value for name, value in record.attributes.checksums.items()}
    if headers:
        headers["x-amz-checksum-type"] = record.attributes.checksum_type
    return headers
