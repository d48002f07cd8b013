"""An S3 request read from WSGI's environ, and the response on its way back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote_to_bytes

from triptych.localcloud.service import ServiceError
from triptych.localcloud.wsgi import FileWrapper

_VIRTUAL_HOST = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.-]*?)\.(?:s3[.-][a-z0-9.-]+|s3|localhost)(?::\d+)?", re.ASCII
)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class S3Request:
    """``bucket`` and ``key`` decoded; the last of repeated names in ``query``; lower-case ``headers``."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    environ: dict[str, Any]

    @classmethod
    def parse(cls, environ: dict[str, Any]) -> S3Request:
        """Raises InvalidURI for a path that is not UTF-8."""
        spelled = environ.get("moto.preserved_header_names", {})  # metadata names with underscores
        headers = {
            spelled.get(name, name[5:].replace("_", "-")).lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if environ.get(name):
                headers[name.replace("_", "-").lower()] = environ[name]
        query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="strict"))
        # A presigned URL may carry in its query what else comes in headers.
        for name, value in query.items():
            if name.lower().startswith("x-amz-"):
                headers.setdefault(name.lower(), value)
        path = _path(environ)
        host = _VIRTUAL_HOST.fullmatch(headers.get("host", ""))
        if host is not None and host["bucket"] not in ("s3", "www"):
            bucket, key = host["bucket"], path[1:]
        else:
            bucket, _, key = path[1:].partition("/")
        return cls(environ["REQUEST_METHOD"].upper(), bucket, key, query, headers, environ)

    @property
    def version_id(self) -> str | None:
        return self.query.get("versionId")

    def integer(self, name: str, default: int, least: int = 0, most: int = 2**31 - 1) -> int:
        """A number from the query; raises InvalidArgument."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        if not re.fullmatch(r"-?\d{1,12}", text) or not least <= int(text) <= most:
            raise ServiceError(
                "InvalidArgument",
                f"Argument {name} must be an integer between {least} and {most}",
                400,
                ArgumentName=name,
                ArgumentValue=text,
            )
        return int(text)

    def check_expiry(self, now: datetime) -> None:
        """Raises AccessDenied when a presigned URL's time is over."""
        if "X-Amz-Expires" in self.query and "X-Amz-Date" in self.query:
            try:
                signed = datetime.strptime(self.query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                expires = signed + timedelta(seconds=int(self.query["X-Amz-Expires"]))
            except ValueError as error:
                raise ServiceError(
                    "AuthorizationQueryParametersError", "X-Amz-Date or X-Amz-Expires is malformed", 400
                ) from error
        elif "Signature" in self.query and self.query.get("Expires", "").isdigit():
            expires = datetime.fromtimestamp(int(self.query["Expires"]), UTC)
        else:
            return
        if now > expires:
            raise ServiceError(
                "AccessDenied",
                "Request has expired",
                403,
                Expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                ServerTime=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            )


def _path(environ: Mapping[str, Any]) -> str:
    # The raw target where the server keeps it: PATH_INFO may have lost doubled slashes.
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if raw.startswith(("http://", "https://")):
        raw = "/" + raw.split("/", 3)[3] if raw.count("/") > 2 else "/"
    if raw.startswith("/"):
        data = unquote_to_bytes(raw.partition("?")[0])
    else:
        data = str(environ.get("PATH_INFO", "")).encode("latin-1")
    try:
        return data.decode() or "/"
    except UnicodeDecodeError as error:
        raise ServiceError("InvalidURI", "Couldn't parse the specified URI: it is not UTF-8.", 400) from error


class FileSpan(FileWrapper):
    """``length`` bytes of an open file from ``offset``: sent by the kernel where the server can do that."""

    def __init__(self, file: BinaryIO, offset: int, length: int) -> None:
        super().__init__(file)
        file.seek(offset)
        self._length = length

    def __iter__(self) -> Iterator[bytes]:
        left = self._length
        while left > 0 and (data := self.file.read(min(_CHUNK_BYTES, left))):
            left -= len(data)
            yield data


@dataclass
class Response:
    """Status, headers and a body of bytes or of a file."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileSpan = b""


def http_date(value: datetime) -> str:
    """RFC 7231's form, in whole seconds."""
    return format_datetime(value.astimezone(UTC).replace(microsecond=0), usegmt=True)


def xml_date(value: datetime) -> str:
    """The form of S3's XML, in whole seconds as S3 gives it."""
    return value.astimezone(UTC).isoformat(timespec="seconds")[:19] + ".000Z"
