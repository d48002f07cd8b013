"""S3's HTTP face: which operation a request is, who answers it, and errors as S3's XML.

Object operations, listings, versioning and the buckets themselves are ours; every other subresource of a
bucket (policy, encryption, lifecycle …) is moto's, where buckets of the same names are kept.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.s3.bodies import Body
from triptych.localcloud.s3.buckets import BucketOperations
from triptych.localcloud.s3.delivery import NotificationDelivery
from triptych.localcloud.s3.http import FileSpan, Response, S3Request
from triptych.localcloud.s3.multipart import MultipartOperations
from triptych.localcloud.s3.notifications import notifications_document, notifications_of
from triptych.localcloud.s3.objects import ObjectOperations
from triptych.localcloud.s3.xml import error_document
from triptych.localcloud.service import Operation, ServiceError
from triptych.localcloud.wsgi import MOTO_APP, Environ, StartResponse
from triptych.localcloud.wsgi import call as call_app

Handler = Callable[[S3Request], Response]

_MOTO_SUBRESOURCES = (
    "accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "legal-hold",
    "lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy",
    "policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore", "retention", "select",
    "torrent", "website",
)  # fmt: skip
"""Query names that make a request moto's, on a bucket or an object."""


class S3Service:
    """Raw WSGI: bodies are streamed, in and out."""

    service_id = "s3"
    operations: Mapping[str, Operation] = {}

    def __init__(self, cloud: Cloud) -> None:
        self._store = cloud.store
        self._delivery = NotificationDelivery(cloud)
        self._buckets = BucketOperations(cloud.store, cloud.settings.region)
        self._objects = ObjectOperations(cloud.store)
        self._multipart = MultipartOperations(cloud.store)
        self._on_bucket: dict[tuple[str, str], Handler] = {
            ("GET", "location"): self._buckets.location,
            ("GET", "versioning"): self._buckets.get_versioning,
            ("PUT", "versioning"): self._put_versioning,
            ("GET", "notification"): self._get_notification,
            ("PUT", "notification"): self._put_notification,
            ("GET", "versions"): self._buckets.list_versions,
            ("GET", "uploads"): self._multipart.list_uploads,
            ("POST", "delete"): self._buckets.delete_objects,
            ("PUT", ""): self._create_bucket,
            ("DELETE", ""): self._delete_bucket,
            ("HEAD", ""): self._buckets.head,
            ("GET", "list-type"): self._buckets.list_objects_v2,
            ("GET", ""): self._buckets.list_objects,
        }
        self._on_object: dict[tuple[str, str], Handler] = {
            ("POST", "uploads"): self._multipart.create,
            ("PUT", "uploadId"): self._put_part,
            ("POST", "uploadId"): self._multipart.complete,
            ("DELETE", "uploadId"): self._multipart.abort,
            ("GET", "uploadId"): self._multipart.list_parts,
            ("GET", "tagging"): self._objects.get_tagging,
            ("PUT", "tagging"): self._objects.put_tagging,
            ("DELETE", "tagging"): self._objects.delete_tagging,
            ("GET", "attributes"): self._objects.attributes,
            ("PUT", ""): self._put_object,
            ("GET", ""): self._objects.get,
            ("HEAD", ""): self._objects.head,
            ("DELETE", ""): self._objects.delete,
        }

    def start(self) -> None:
        """Begin to tell buckets' targets of changes; the store recovered when it was opened."""
        self._delivery.start()

    def stop(self) -> None:
        """Tell what is still to be told."""
        self._delivery.stop()

    def wsgi(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        request_id = uuid4().hex[:16].upper()
        request: S3Request | None = None
        try:
            request = S3Request.parse(environ)
            request.check_expiry(datetime.now(UTC))
            handler = self._handler(request)
            if handler is None:
                self._store.bucket(request.bucket)
                return _moto(environ)(environ, start_response)
            response = handler(request)
        except ServiceError as error:
            if request is not None:
                Body(environ, request.headers).drain()
            response = _error_response(error, request, request_id)
        return _send(response, environ, start_response, request_id)

    def _handler(self, request: S3Request) -> Handler | None:
        """None for what is moto's; raises MethodNotAllowed."""
        if not request.bucket:
            if request.method == "GET":
                return self._buckets.list_buckets
            raise _not_allowed(request)
        table = self._on_object if request.key else self._on_bucket
        for (method, name), handler in table.items():
            if method == request.method and name and name in request.query:
                return handler
        if any(name in request.query for name in _MOTO_SUBRESOURCES):
            return None
        if not request.key and "tagging" in request.query:
            return None
        found = table.get((request.method, ""))
        if found is None:
            raise _not_allowed(request)
        return found

    # Objects: one method and query, two operations

    def _put_object(self, request: S3Request) -> Response:
        if "x-amz-copy-source" in request.headers:
            return self._objects.copy(request)
        return self._objects.put(request)

    def _put_part(self, request: S3Request) -> Response:
        if "x-amz-copy-source" in request.headers:
            return self._multipart.upload_part_copy(request)
        return self._multipart.upload_part(request)

    # Buckets: in the store, and in moto under the same name

    def _create_bucket(self, request: S3Request) -> Response:
        body = Body(request.environ, request.headers).read_all()
        region = self._buckets.wanted_region(body)
        is_new = self._buckets.check_new(request.bucket, region)
        self._store.create_bucket(request.bucket, region)
        # Asked again for a bucket that is there: a crash may have come before moto knew of it.
        answer = _ask_moto(request, body)
        if is_new and answer.status >= 300 and answer.status != 409:
            self._store.delete_bucket(request.bucket)
            return answer
        return Response(200, {"Location": f"/{request.bucket}"})

    def _delete_bucket(self, request: S3Request) -> Response:
        self._store.delete_bucket(request.bucket)
        _ask_moto(request, b"")
        return Response(204)

    def _put_versioning(self, request: S3Request) -> Response:
        self._store.bucket(request.bucket)
        body = Body(request.environ, request.headers).read_all()
        status = self._buckets.wanted_versioning(body)
        answer = _ask_moto(request, body)
        if answer.status < 300:
            self._store.set_versioning(request.bucket, status)
        return answer

    def _get_notification(self, request: S3Request) -> Response:
        # moto's answer leaves EventBridge out
        return Response(200, {}, notifications_document(self._store.bucket(request.bucket).notifications))

    def _put_notification(self, request: S3Request) -> Response:
        self._store.bucket(request.bucket)
        body = Body(request.environ, request.headers).read_all()
        notifications = notifications_of(body)
        answer = _ask_moto(request, body)
        if answer.status < 300:
            self._store.set_notifications(request.bucket, notifications)
        return answer


def _moto(environ: Environ) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    app: Callable[[Environ, StartResponse], Iterable[bytes]] = environ[MOTO_APP]
    return app


def _ask_moto(request: S3Request, body: bytes) -> Response:
    """moto's answer to the same request, whose body was read already."""
    environ = {**request.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    answer = call_app(_moto(environ), environ)
    headers = {name: value for name, value in answer.headers if name.lower() != "content-length"}
    return Response(answer.status, headers, answer.body)


def _not_allowed(request: S3Request) -> ServiceError:
    return ServiceError(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        405,
        Method=request.method,
        ResourceType="OBJECT" if request.key else "BUCKET" if request.bucket else "SERVICE",
    )


def _error_response(error: ServiceError, request: S3Request | None, request_id: str) -> Response:
    headers = {name: str(value) for name, value in error.fields.items() if name.startswith("x-amz-")}
    if request is not None and request.method == "HEAD":
        return Response(error.status, headers)
    resource = f"/{request.bucket}/{request.key}".rstrip("/") if request is not None else "/"
    headers["Content-Type"] = "application/xml"
    return Response(error.status, headers, error_document(error, resource or "/", request_id))


def _send(
    response: Response, environ: Environ, start_response: StartResponse, request_id: str
) -> Iterable[bytes]:
    headers = {
        "x-amz-request-id": request_id,
        "x-amz-id-2": request_id,
        "Server": "AmazonS3",
        **response.headers,
    }
    names = {name.lower() for name in headers}
    body = response.body
    head = environ["REQUEST_METHOD"] == "HEAD"
    if isinstance(body, bytes):
        if "content-length" not in names and response.status not in (204, 304):
            headers["Content-Length"] = str(len(body))
        if body and "content-type" not in names:
            headers["Content-Type"] = "application/xml"
    start_response(f"{response.status} {_REASONS.get(response.status, 'Status')}", list(headers.items()))
    if head or response.status in (204, 304):
        if isinstance(body, FileSpan):
            body.close()
        return []
    return [body] if isinstance(body, bytes) else body


_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 304: "Not Modified", 404: "Not Found"}
