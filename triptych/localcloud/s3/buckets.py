"""The HTTP face of buckets: create, delete, list, versioning, location, and their listings."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from urllib.parse import quote

from triptych.localcloud.s3.bodies import Body
from triptych.localcloud.s3.http import Response, S3Request, xml_date
from triptych.localcloud.s3.objects import storage_class
from triptych.localcloud.s3.records import ObjectRecord, Versioning
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.s3.xml import document, leaf, node, parse, text_of
from triptych.localcloud.service import ServiceError

_OWNER = node("Owner", leaf("ID", "triptych"), leaf("DisplayName", "triptych"))
_MOST_KEYS = 1000
_DEFAULT_REGION = "us-east-1"


class BucketOperations:
    """Each method answers one operation; what moto must know of too is the service's business."""

    def __init__(self, store: ObjectStore, region: str) -> None:
        self._store = store
        self._region = region

    def wanted_region(self, body: bytes) -> str:
        """CreateBucket's region; raises MalformedXML, InvalidLocationConstraint."""
        if not body.strip():
            return _DEFAULT_REGION
        tree = parse(body, "CreateBucketConfiguration")
        region = text_of(tree, "LocationConstraint", _DEFAULT_REGION)
        region = "eu-west-1" if region == "EU" else region
        if region == _DEFAULT_REGION and tree.find("LocationConstraint") is not None:
            raise ServiceError(
                "InvalidLocationConstraint",
                "The specified location-constraint is not valid",
                LocationConstraint=region,
            )
        return region

    def check_new(self, bucket: str, region: str) -> bool:
        """Whether the bucket must be made; raises BucketAlreadyOwnedByYou, but in us-east-1, as S3 does."""
        if not self._store.has_bucket(bucket):
            return True
        if region != _DEFAULT_REGION or self._store.bucket(bucket).region != _DEFAULT_REGION:
            raise ServiceError(
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
                409,
                BucketName=bucket,
            )
        return False

    def head(self, request: S3Request) -> Response:
        bucket = self._store.bucket(request.bucket)
        return Response(200, {"x-amz-bucket-region": bucket.region, "x-amz-access-point-alias": "false"})

    def list_buckets(self, request: S3Request) -> Response:
        prefix = request.query.get("prefix", "")
        after = _decode_token(request.query.get("continuation-token"))
        limit = request.integer("max-buckets", 10_000, least=1, most=10_000)
        found = [item for item in self._store.buckets() if item.name.startswith(prefix) and item.name > after]
        shown = found[:limit]
        elements = [
            node(
                "Bucket",
                leaf("Name", item.name),
                leaf("CreationDate", xml_date(item.created)),
                leaf("BucketRegion", item.region),
            )
            for item in shown
        ]
        token = leaf("ContinuationToken", _encode_token(shown[-1].name)) if len(found) > limit else ""
        body = document("ListAllMyBucketsResult", _OWNER, node("Buckets", *elements), token)
        return Response(200, {}, body)

    def location(self, request: S3Request) -> Response:
        region = self._store.bucket(request.bucket).region
        return Response(200, {}, document("LocationConstraint", "" if region == _DEFAULT_REGION else region))

    def get_versioning(self, request: S3Request) -> Response:
        status = self._store.versioning(request.bucket)
        return Response(200, {}, document("VersioningConfiguration", leaf("Status", status or None)))

    def wanted_versioning(self, body: bytes) -> Versioning:
        """PutBucketVersioning's status; raises MalformedXML, IllegalVersioningConfigurationException."""
        status = text_of(parse(body, "VersioningConfiguration"), "Status")
        if status == "Enabled":
            return "Enabled"
        if status == "Suspended":
            return "Suspended"
        raise ServiceError(
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified with a Status of Enabled or Suspended",
        )

    def delete_objects(self, request: S3Request) -> Response:
        tree = parse(Body(request.environ, request.headers).read_all(), "Delete")
        quiet = text_of(tree, "Quiet").lower() == "true"
        items = [
            (text_of(item, "Key"), text_of(item, "VersionId") or None) for item in tree.iterfind("Object")
        ]
        if not items or len(items) > _MOST_KEYS or any(not key for key, _ in items):
            raise ServiceError(
                "MalformedXML", "Delete takes between 1 and 1000 objects, each of them with a Key."
            )
        deletions = self._store.delete_many(request.bucket, items)
        elements = []
        for (key, version_id), deletion in zip(items, deletions, strict=True):
            if quiet:
                continue
            marker = deletion.is_delete_marker
            elements.append(
                node(
                    "Deleted",
                    leaf("Key", key),
                    leaf("VersionId", version_id),
                    leaf("DeleteMarker", True if marker else None),
                    leaf("DeleteMarkerVersionId", deletion.version_id if marker else None),
                )
            )
        return Response(200, {}, document("DeleteResult", *elements))

    # Listings

    def list_objects(self, request: S3Request) -> Response:
        query = request.query
        name, encoding = _encoder(request)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = min(request.integer("max-keys", _MOST_KEYS), _MOST_KEYS)
        marker = query.get("marker", "")
        page = self._store.list_page(
            request.bucket, prefix=prefix, delimiter=delimiter, after=marker, limit=limit
        )
        # S3 tells the next marker only where a delimiter may hide the last key; elsewhere it is that key.
        next_marker = name(page.last) if page.truncated and delimiter and page.last else None
        elements = [
            leaf("Name", request.bucket),
            leaf("Prefix", name(prefix)),
            leaf("Marker", name(marker)),
            leaf("NextMarker", next_marker),
            leaf("MaxKeys", limit),
            leaf("Delimiter", name(delimiter) if delimiter else None),
            leaf("EncodingType", encoding),
            leaf("IsTruncated", page.truncated),
            *(_contents(record, name, owner=True) for record in page.objects),
            *(node("CommonPrefixes", leaf("Prefix", name(item))) for item in page.prefixes),
        ]
        return Response(200, self._region_header(request), document("ListBucketResult", *elements))

    def list_objects_v2(self, request: S3Request) -> Response:
        query = request.query
        name, encoding = _encoder(request)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = min(request.integer("max-keys", _MOST_KEYS), _MOST_KEYS)
        token = query.get("continuation-token")
        start_after = query.get("start-after", "")
        after = _decode_token(token) or start_after
        page = self._store.list_page(
            request.bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit
        )
        owner = query.get("fetch-owner", "").lower() == "true"
        next_token = _encode_token(page.last) if page.truncated and page.last else None
        elements = [
            leaf("Name", request.bucket),
            leaf("Prefix", name(prefix)),
            leaf("StartAfter", name(start_after) if start_after else None),
            leaf("ContinuationToken", token),
            leaf("NextContinuationToken", next_token),
            leaf("KeyCount", len(page.objects) + len(page.prefixes)),
            leaf("MaxKeys", limit),
            leaf("Delimiter", name(delimiter) if delimiter else None),
            leaf("EncodingType", encoding),
            leaf("IsTruncated", page.truncated),
            *(_contents(record, name, owner=owner) for record in page.objects),
            *(node("CommonPrefixes", leaf("Prefix", name(item))) for item in page.prefixes),
        ]
        return Response(200, self._region_header(request), document("ListBucketResult", *elements))

    def list_versions(self, request: S3Request) -> Response:
        query = request.query
        name, encoding = _encoder(request)
        limit = min(request.integer("max-keys", _MOST_KEYS), _MOST_KEYS)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        key_marker, version_marker = query.get("key-marker", ""), query.get("version-id-marker", "")
        if version_marker and not key_marker:
            raise ServiceError(
                "InvalidArgument", "A version-id marker cannot be specified without a key marker."
            )
        page = self._store.list_versions_page(
            request.bucket,
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            version_marker=version_marker,
            limit=limit,
        )
        elements = [
            leaf("Name", request.bucket),
            leaf("Prefix", name(prefix)),
            leaf("KeyMarker", name(key_marker)),
            leaf("VersionIdMarker", version_marker),
            leaf("NextKeyMarker", name(page.last) if page.truncated and page.last else None),
            leaf("NextVersionIdMarker", page.last_version if page.truncated else None),
            leaf("MaxKeys", limit),
            leaf("Delimiter", name(delimiter) if delimiter else None),
            leaf("EncodingType", encoding),
            leaf("IsTruncated", page.truncated),
            *(_version(record, name) for record in page.objects),
            *(node("CommonPrefixes", leaf("Prefix", name(item))) for item in page.prefixes),
        ]
        return Response(200, {}, document("ListVersionsResult", *elements))

    def _region_header(self, request: S3Request) -> dict[str, str]:
        return {"x-amz-bucket-region": self._store.bucket(request.bucket).region}


def _contents(record: ObjectRecord, name: Callable[[str], str], *, owner: bool) -> str:
    return node(
        "Contents",
        leaf("Key", name(record.key)),
        leaf("LastModified", xml_date(record.last_modified)),
        leaf("ETag", f'"{record.etag}"'),
        *(leaf("ChecksumAlgorithm", item.upper()) for item in record.attributes.checksums),
        leaf("Size", record.size_bytes),
        leaf("StorageClass", storage_class(record)),
        _OWNER if owner else "",
    )


def _version(record: ObjectRecord, name: Callable[[str], str]) -> str:
    shared = [
        leaf("Key", name(record.key)),
        leaf("VersionId", record.version_id),
        leaf("IsLatest", record.is_latest),
        leaf("LastModified", xml_date(record.last_modified)),
    ]
    if record.is_delete_marker:
        return node("DeleteMarker", *shared, _OWNER)
    more = [
        leaf("ETag", f'"{record.etag}"'),
        leaf("Size", record.size_bytes),
        leaf("StorageClass", storage_class(record)),
    ]
    return node("Version", *shared, *more, _OWNER)


def _encoder(request: S3Request) -> tuple[Callable[[str], str], str | None]:
    encoding = request.query.get("encoding-type")
    if encoding is None:
        return str, None
    if encoding != "url":
        raise ServiceError(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=encoding,
        )
    return (lambda text: quote(text, safe="/-_.~*")), "url"


def _encode_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode_token(token: str | None) -> str:
    if token is None:
        return ""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ServiceError("InvalidArgument", "The continuation token provided is incorrect") from error
