"""Request bodies: streamed to a file with every digest checked on the way; never wholly in memory."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from triptych.localcloud.s3.checksums import ALGORITHMS, Digests
from triptych.localcloud.s3.records import Staged
from triptych.localcloud.service import ServiceError

_CHUNK_BYTES = 1 << 20
_PARALLEL_BYTES = 4 << 20
_LARGEST_OBJECT_BYTES = 5 << 40
_LONGEST_LINE_BYTES = 16 << 10
_CHECKSUM = "x-amz-checksum-"


class Input(Protocol):
    """WSGI's input stream."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Received:
    """A body in the staging area, and the checksums (base64) that came with it."""

    staged: Staged
    checksums: Mapping[str, str]


class Body:
    """The bytes of one request, without ``aws-chunked`` framing; ``trailers`` are there once all is read."""

    def __init__(self, environ: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        self._input: Input = environ["wsgi.input"]
        self.trailers: dict[str, str] = {}
        self._buffer = b""
        length = headers.get("content-length", "")
        self._left: int | None = int(length) if length.isdigit() else None
        self.is_chunked = headers.get("x-amz-content-sha256", "").startswith("STREAMING-") or (
            "aws-chunked" in headers.get("content-encoding", "")
        )
        decoded = headers.get("x-amz-decoded-content-length", "")
        self.size_bytes: int | None
        if self.is_chunked:
            self.size_bytes = int(decoded) if decoded.isdigit() else None
        else:
            self.size_bytes = self._left
        if self._left is None and "chunked" not in headers.get("transfer-encoding", "").lower():
            self._left = 0

    def chunks(self) -> Iterator[bytes]:
        """The content; raises IncompleteBody when the connection ended before it did."""
        return self._framed() if self.is_chunked else self._plain()

    def read_all(self, limit: int = 4 << 20) -> bytes:
        """A small document; raises MaxMessageLengthExceeded beyond ``limit`` bytes."""
        parts: list[bytes] = []
        total = 0
        for chunk in self.chunks():
            total += len(chunk)
            if total > limit:
                raise ServiceError("MaxMessageLengthExceeded", "Your request was too big.")
            parts.append(chunk)
        return b"".join(parts)

    def drain(self, limit: int = 64 << 20) -> None:
        """Read what a refused request still sends, so that the connection can be used again."""
        while limit > 0 and (data := self._raw(_CHUNK_BYTES)):
            limit -= len(data)

    def _raw(self, size: int) -> bytes:
        if self._buffer:
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            return data
        if self._left is not None:
            size = min(size, self._left)
        if size <= 0:
            return b""
        data = self._input.read(size)
        if self._left is not None:
            self._left -= len(data)
        return data

    def _plain(self) -> Iterator[bytes]:
        while data := self._raw(_CHUNK_BYTES):
            yield data
        if self._left:
            raise _incomplete()

    def _framed(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError as error:
                raise _incomplete() from error
            if size == 0:
                break
            while size:
                data = self._raw(min(size, _CHUNK_BYTES))
                if not data:
                    raise _incomplete()
                size -= len(data)
                yield data
            if self._line():
                raise _incomplete()
        while line := self._line(required=False):
            name, _, value = line.decode("latin-1").partition(":")
            self.trailers[name.strip().lower()] = value.strip()

    def _line(self, *, required: bool = True) -> bytes:
        line = b""
        while (end := line.find(b"\r\n")) < 0:
            data = self._raw(_LONGEST_LINE_BYTES)
            if not data or len(line) > _LONGEST_LINE_BYTES:
                if required or len(line) > _LONGEST_LINE_BYTES:
                    raise _incomplete()
                return line.strip()
            line += data
        self._buffer = line[end + 2 :] + self._buffer
        return line[:end]


def receive(body: Body, headers: Mapping[str, str], path: Path) -> Received:
    """Write the body to ``path`` and check it against what the request says of it.

    Raises BadDigest, InvalidDigest, IncompleteBody, XAmzContentSHA256Mismatch, EntityTooLarge; then ``path``
    is gone.
    """
    if body.size_bytes is None and body.is_chunked:
        raise ServiceError(
            "MissingContentLength", "You must provide the X-Amz-Decoded-Content-Length header.", 411
        )
    if (body.size_bytes or 0) > _LARGEST_OBJECT_BYTES:
        raise ServiceError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    stated = {name: headers[_CHECKSUM + name] for name in ALGORITHMS if _CHECKSUM + name in headers}
    trailing = headers.get("x-amz-trailer", "").lower().removeprefix(_CHECKSUM)
    payload_sha256 = headers.get("x-amz-content-sha256", "")
    signs_payload = len(payload_sha256) == 64
    asked = headers.get("x-amz-sdk-checksum-algorithm", headers.get("x-amz-checksum-algorithm", "")).lower()
    names = ["md5", *stated, trailing, asked, *(["sha256"] if signs_payload else [])]
    content_md5 = _content_md5(headers)
    digests = Digests(names, parallel=(body.size_bytes or 0) > _PARALLEL_BYTES)
    size = 0
    finished: dict[str, bytes] | None = None
    try:
        with open(path, "wb", buffering=0) as file:
            for chunk in body.chunks():
                digests.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
                size += len(chunk)
        finished = digests.finish()
        if body.size_bytes is not None and size != body.size_bytes:
            raise _incomplete()
        if trailing and _CHECKSUM + trailing in body.trailers:
            stated[trailing] = body.trailers[_CHECKSUM + trailing]
        _verify(stated, finished)
        if content_md5 is not None and finished["md5"] != content_md5:
            raise ServiceError("BadDigest", "The Content-MD5 you specified did not match what we received.")
        if signs_payload and finished["sha256"].hex() != payload_sha256:
            raise ServiceError(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                ClientComputedContentSHA256=payload_sha256,
                S3ComputedContentSHA256=finished["sha256"].hex(),
            )
    except BaseException:
        if finished is None:
            digests.finish()
        path.unlink(missing_ok=True)
        raise
    if asked in finished and asked not in stated:
        stated[asked] = base64.b64encode(finished[asked]).decode()
    return Received(Staged(path, finished["md5"].hex(), size), stated)


def _content_md5(headers: Mapping[str, str]) -> bytes | None:
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != 16:
        raise ServiceError("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return value


def _verify(stated: Mapping[str, str], computed: Mapping[str, bytes]) -> None:
    for name, text in stated.items():
        try:
            value = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ServiceError("InvalidRequest", f"Value for {_CHECKSUM}{name} header is invalid.") from error
        if name in computed and computed[name] != value:
            raise ServiceError(
                "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum."
            )


def _incomplete() -> ServiceError:
    return ServiceError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
