"""The HTTP face of multipart uploads."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element

from triptych.localcloud.s3.bodies import Body, receive
from triptych.localcloud.s3.checksums import ALGORITHMS, Digests, composite, full_object
from triptych.localcloud.s3.conditions import byte_range, check_write
from triptych.localcloud.s3.files import storage_errors
from triptych.localcloud.s3.http import Response, S3Request, xml_date
from triptych.localcloud.s3.names import check_key
from triptych.localcloud.s3.objects import (
    check_copy_source,
    checksum_elements,
    checksum_tag,
    parse_copy_source,
    request_attributes,
    stated_checksums,
)
from triptych.localcloud.s3.records import Part, Staged, Upload
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.s3.uploads import MOST_PARTS
from triptych.localcloud.s3.xml import document, leaf, node, parse, text_of
from triptych.localcloud.service import ServiceError

_COPY_BYTES = 1 << 20
_OWNER = node("Owner", leaf("ID", "triptych"), leaf("DisplayName", "triptych"))
_INITIATOR = node("Initiator", leaf("ID", "triptych"), leaf("DisplayName", "triptych"))


class MultipartOperations:
    """Each method answers one operation."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._uploads = store.uploads

    def create(self, request: S3Request) -> Response:
        check_key(request.key)
        algorithm = request.headers.get("x-amz-checksum-algorithm", "").lower()
        if algorithm and algorithm not in ALGORITHMS:
            raise ServiceError("InvalidRequest", "Checksum algorithm provided is unsupported.")
        default = "FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE" if algorithm else ""
        kind = request.headers.get("x-amz-checksum-type", default).upper()
        attributes = request_attributes(request.headers)
        upload = self._uploads.create(request.bucket, request.key, attributes, algorithm, kind)
        headers = {}
        if algorithm:
            headers = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": kind}
        body = document(
            "InitiateMultipartUploadResult",
            leaf("Bucket", request.bucket),
            leaf("Key", request.key),
            leaf("UploadId", upload.upload_id),
        )
        return Response(200, headers, body)

    def upload_part(self, request: S3Request) -> Response:
        upload, number = self._find(request), self._number(request)
        path = self._store.files.new_staging()
        with storage_errors(self._store.root):
            body = Body(request.environ, request.headers)
            asked = (
                {"x-amz-checksum-algorithm": upload.checksum_algorithm} if upload.checksum_algorithm else {}
            )
            received = receive(body, {**asked, **request.headers}, path)
            try:
                part = self._uploads.add_part(upload, number, received.staged, received.checksums)
            finally:
                path.unlink(missing_ok=True)
        headers = {f"x-amz-checksum-{name}": value for name, value in part.checksums.items()}
        encryption = {"x-amz-server-side-encryption": "AES256"}
        return Response(200, {"ETag": f'"{part.etag}"', **headers, **encryption})

    def upload_part_copy(self, request: S3Request) -> Response:
        upload, number = self._find(request), self._number(request)
        bucket, key, version_id = parse_copy_source(request.headers["x-amz-copy-source"])
        source, file = self._store.open(bucket, key, version_id)
        path = self._store.files.new_staging()
        with file, storage_errors(self._store.root):
            check_copy_source(source, request.headers)
            span = byte_range(request.headers.get("x-amz-copy-source-range"), source.size_bytes)
            offset, length = span or (0, source.size_bytes)
            try:
                staged, checksums = self._copy_span(file, offset, length, path, upload)
                part = self._uploads.add_part(upload, number, staged, checksums)
            finally:
                path.unlink(missing_ok=True)
        body = document(
            "CopyPartResult",
            leaf("LastModified", xml_date(part.last_modified)),
            leaf("ETag", f'"{part.etag}"'),
            *(leaf(checksum_tag(name), value) for name, value in part.checksums.items()),
        )
        return Response(200, {}, body)

    def _copy_span(
        self, file: BinaryIO, offset: int, length: int, path: Path, upload: Upload
    ) -> tuple[Staged, dict[str, str]]:
        digests = Digests(["md5", upload.checksum_algorithm], parallel=False)
        file.seek(offset)
        left = length
        with open(path, "wb") as target:
            while left and (data := file.read(min(_COPY_BYTES, left))):
                digests.update(data)
                target.write(data)
                left -= len(data)
        values = digests.finish()
        md5 = values.pop("md5").hex()
        checksums = {
            name: base64.b64encode(value).decode()
            for name, value in values.items()
            if name == upload.checksum_algorithm
        }
        return Staged(path, md5, length), checksums

    def complete(self, request: S3Request) -> Response:
        upload = self._find(request)
        body = Body(request.environ, request.headers).read_all()
        tree = parse(body, "CompleteMultipartUpload")
        wanted = []
        for element in tree.iterfind("Part"):
            number = text_of(element, "PartNumber")
            if not number.isdigit():
                raise ServiceError("MalformedXML", "A part has no PartNumber.")
            wanted.append((int(number), text_of(element, "ETag")))
        parts = self._uploads.choose(upload, wanted)
        _check_parts(parts, list(tree.iterfind("Part")))
        stated_size = request.headers.get("x-amz-mp-object-size")
        size = sum(part.size_bytes for part in parts)
        if stated_size is not None and stated_size != str(size):
            raise ServiceError(
                "InvalidRequest",
                f"The provided 'x-amz-mp-object-size' header value {stated_size} does not match what was "
                f"computed: {size}",
            )
        checksums, kind = _checksums(upload, parts, request.headers)
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
        staged = self._uploads.join(parts, f"{digest.hexdigest()}-{len(parts)}")
        attributes = replace(
            upload.attributes,
            checksums=checksums,
            checksum_type=kind,
            part_sizes=tuple(part.size_bytes for part in parts),
        )
        try:
            record = self._store.put_staged(
                upload.bucket,
                upload.key,
                staged,
                attributes,
                reason="CompleteMultipartUpload",
                condition=lambda current: check_write(current, request.headers),
                also=lambda change: self._uploads.forget(change, upload),
            )
        finally:
            staged.path.unlink(missing_ok=True)
        self._uploads.discard_files(upload)
        versioned = self._store.versioning(upload.bucket)
        headers = {"x-amz-version-id": record.version_id} if versioned else {}
        host = request.headers.get("host", "localhost")
        return Response(
            200,
            {**headers, "x-amz-server-side-encryption": "AES256"},
            document(
                "CompleteMultipartUploadResult",
                leaf("Location", f"http://{host}/{record.bucket}/{record.key}"),
                leaf("Bucket", record.bucket),
                leaf("Key", record.key),
                leaf("ETag", f'"{record.etag}"'),
                *checksum_elements(record),
            ),
        )

    def abort(self, request: S3Request) -> Response:
        self._uploads.abort(self._find(request))
        return Response(204)

    def list_parts(self, request: S3Request) -> Response:
        upload = self._find(request)
        limit = min(request.integer("max-parts", 1000), 1000)
        marker = request.integer("part-number-marker", 0)
        parts = [part for part in self._uploads.parts(upload) if part.number > marker]
        shown, truncated = parts[:limit], len(parts) > limit
        elements = [
            leaf("Bucket", upload.bucket),
            leaf("Key", upload.key),
            leaf("UploadId", upload.upload_id),
            _INITIATOR,
            _OWNER,
            leaf("StorageClass", upload.attributes.headers.get("x-amz-storage-class", "STANDARD")),
            leaf("PartNumberMarker", marker),
            leaf("NextPartNumberMarker", shown[-1].number if shown else 0),
            leaf("MaxParts", limit),
            leaf("IsTruncated", truncated),
        ]
        if upload.checksum_algorithm:
            elements.append(leaf("ChecksumAlgorithm", upload.checksum_algorithm.upper()))
            elements.append(leaf("ChecksumType", upload.checksum_type))
        elements += [
            node(
                "Part",
                leaf("PartNumber", part.number),
                leaf("LastModified", xml_date(part.last_modified)),
                leaf("ETag", f'"{part.etag}"'),
                leaf("Size", part.size_bytes),
                *(leaf(checksum_tag(name), value) for name, value in part.checksums.items()),
            )
            for part in shown
        ]
        return Response(200, {}, document("ListPartsResult", *elements))

    def list_uploads(self, request: S3Request) -> Response:
        self._store.bucket(request.bucket)
        prefix = request.query.get("prefix", "")
        limit = min(request.integer("max-uploads", 1000), 1000)
        marker = (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
        uploads = sorted(
            self._uploads.all(request.bucket, prefix), key=lambda item: (item.key, item.upload_id)
        )
        if marker[0]:
            behind = marker if marker[1] else (marker[0], "\U0010ffff")
            uploads = [item for item in uploads if (item.key, item.upload_id) > behind]
        shown, truncated = uploads[:limit], len(uploads) > limit
        elements = [
            leaf("Bucket", request.bucket),
            leaf("KeyMarker", marker[0]),
            leaf("UploadIdMarker", marker[1]),
            leaf("NextKeyMarker", shown[-1].key if truncated and shown else None),
            leaf("NextUploadIdMarker", shown[-1].upload_id if truncated and shown else None),
            leaf("Prefix", prefix),
            leaf("MaxUploads", limit),
            leaf("IsTruncated", truncated),
        ]
        elements += [
            node(
                "Upload",
                leaf("Key", item.key),
                leaf("UploadId", item.upload_id),
                _INITIATOR,
                _OWNER,
                leaf("StorageClass", item.attributes.headers.get("x-amz-storage-class", "STANDARD")),
                leaf("Initiated", xml_date(item.initiated)),
            )
            for item in shown
        ]
        return Response(200, {}, document("ListMultipartUploadsResult", *elements))

    def _find(self, request: S3Request) -> Upload:
        return self._uploads.find(request.bucket, request.key, request.query.get("uploadId", ""))

    @staticmethod
    def _number(request: S3Request) -> int:
        number = request.query.get("partNumber", "")
        if not number.isdigit() or not 1 <= int(number) <= MOST_PARTS:
            raise ServiceError(
                "InvalidArgument",
                "Part number must be an integer between 1 and 10000, inclusive",
                ArgumentName="partNumber",
                ArgumentValue=number,
            )
        return int(number)


def _check_parts(parts: Sequence[Part], elements: Sequence[Element]) -> None:
    for part, element in zip(parts, elements, strict=True):
        for name, value in part.checksums.items():
            stated = text_of(element, checksum_tag(name))
            if stated and stated != value:
                raise ServiceError(
                    "InvalidPart",
                    f"The {name.upper()} given for part {part.number} is not that of the uploaded part.",
                    PartNumber=str(part.number),
                )


def _checksums(
    upload: Upload, parts: Sequence[Part], headers: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """The whole object's checksums; raises BadDigest where the client expects another one."""
    name, kind = upload.checksum_algorithm, upload.checksum_type
    if not name:
        return {}, ""
    values = [part.checksums[name] for part in parts if name in part.checksums]
    if len(values) != len(parts):
        return {}, ""
    stated = stated_checksums(headers).get(name)
    if kind == "FULL_OBJECT":
        sizes = [part.size_bytes for part in parts]
        total = full_object(name, list(zip(values, sizes, strict=True))) or stated
    else:
        total = composite(name, values)
    if stated is not None and total is not None and stated not in (total, total.partition("-")[0]):
        raise ServiceError(
            "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum."
        )
    return ({name: total} if total is not None else {}), kind
