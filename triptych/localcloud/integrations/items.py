"""ItemReader: the items of a Distributed Map, streamed from the object store's files."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from triptych.localcloud.service import ServiceError
from triptych.localcloud.stepfunctions.tasks import ItemsRequest, TaskError

if TYPE_CHECKING:
    from triptych.localcloud.s3.store import ObjectStore

_DELIMITERS = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}
_CSV_FIELD_LIMIT = 8 * 1024 * 1024


class ItemReader:
    """Reads ``s3:listObjectsV2`` and ``s3:getObject`` (CSV, JSON, JSONL, MANIFEST)."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, request: ItemsRequest) -> Iterator[Any]:
        """The items in order; raises TaskError ``States.ItemReaderFailed``."""
        action = request.resource.rsplit(":", 1)[-1]
        config = request.reader_config
        try:
            yield from _limited(self._items(action, request.arguments, config), config)
        except ServiceError as error:
            raise _failed(
                f"{error.message} (Service: Amazon S3; Status Code: {error.status}; Error Code: {error.code})"
            ) from error

    def _items(self, action: str, arguments: dict[str, Any], config: dict[str, Any]) -> Iterable[Any]:
        if action == "listObjectsV2":
            listing = self._listing(arguments)
            if config.get("Transformation") != "LOAD_AND_FLATTEN":
                return listing
            bucket = _required(arguments, "Bucket")
            return itertools.chain.from_iterable(
                self._object(bucket, item["Key"], None, config) for item in listing if item["Size"]
            )
        if action == "getObject":
            return self._object(
                _required(arguments, "Bucket"),
                _required(arguments, "Key"),
                arguments.get("VersionId"),
                config,
            )
        raise _failed(
            f"ItemReader resource s3:{action} is not supported; use s3:getObject or s3:listObjectsV2."
        )

    def _listing(self, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        bucket = _required(arguments, "Bucket")
        start_after = arguments.get("StartAfter") or ""
        for record in self._store.list(bucket, arguments.get("Prefix") or ""):
            if record.key > start_after:
                yield {
                    "Etag": '"' + record.etag.strip('"') + '"',
                    "Key": record.key,
                    "LastModified": int(record.last_modified.timestamp()),
                    "Size": record.size_bytes,
                    "StorageClass": "STANDARD",
                }

    def _object(self, bucket: str, key: str, version_id: str | None, config: dict[str, Any]) -> Iterable[Any]:
        input_type = config.get("InputType")
        if config.get("ManifestType") == "ATHENA_DATA":
            return self._athena_files(bucket, key, version_id, config)
        match input_type:
            case "CSV":
                return self._csv(bucket, key, version_id, config)
            case "JSON":
                return self._json(bucket, key, version_id, config)
            case "JSONL":
                return self._json_lines(bucket, key, version_id)
            case "MANIFEST":
                return self._inventory(bucket, key, version_id)
        raise _failed(
            f"ReaderConfig.InputType {input_type!r} is not supported for s3:getObject; "
            "use CSV, JSON, JSONL or MANIFEST."
        )

    @contextmanager
    def _text(self, bucket: str, key: str, version_id: str | None) -> Iterator[io.TextIOWrapper]:
        """The object's text; a byte order mark at its start is dropped."""
        _, file = self._store.open(bucket, key, version_id)
        try:
            with io.TextIOWrapper(io.BufferedReader(file), encoding="utf-8-sig", newline="") as text:  # type: ignore[type-var]
                yield text
        except UnicodeDecodeError as error:
            raise _failed(
                f"s3://{bucket}/{key} is not UTF-8 text: {error.reason} at byte {error.start}."
            ) from error

    def _csv(
        self, bucket: str, key: str, version_id: str | None, config: dict[str, Any]
    ) -> Iterator[dict[str, str]]:
        with self._text(bucket, key, version_id) as text:
            yield from _rows(text, config, f"s3://{bucket}/{key}")

    def _json(self, bucket: str, key: str, version_id: str | None, config: dict[str, Any]) -> Iterable[Any]:
        with self._text(bucket, key, version_id) as text:
            try:
                document = json.load(text)
            except (ValueError, RecursionError) as error:
                raise _failed(f"s3://{bucket}/{key} is not valid JSON: {error}.") from error
        pointer = config.get("ItemsPointer") or ""
        items = _pointed(document, pointer)
        if not isinstance(items, list):
            place = f" at {pointer}" if pointer else ""
            raise _failed(
                f"Attempting to map over non-iterable node: s3://{bucket}/{key} holds no array{place}."
            )
        return items

    def _json_lines(self, bucket: str, key: str, version_id: str | None) -> Iterator[Any]:
        with self._text(bucket, key, version_id) as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise _failed(
                            f"s3://{bucket}/{key}, line {number}, is not valid JSON: {error}."
                        ) from error

    def _inventory(self, bucket: str, key: str, version_id: str | None) -> Iterator[dict[str, str]]:
        """An S3 Inventory: the manifest names gzipped CSV files in the destination bucket."""
        with self._text(bucket, key, version_id) as text:
            try:
                manifest = json.load(text)
                columns = [name.strip() for name in manifest["fileSchema"].split(",")]
                files = [entry["key"] for entry in manifest["files"]]
                data_bucket = manifest["destinationBucket"].rsplit(":", 1)[-1]
                file_format = manifest["fileFormat"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise _failed(f"s3://{bucket}/{key} is not an S3 Inventory manifest: {error!r}.") from error
        if file_format != "CSV":
            raise _failed(
                f"s3://{bucket}/{key}: inventory files of format {file_format} are not supported; use CSV."
            )
        for name in files:
            _, file = self._store.open(data_bucket, name)
            with file, gzip.open(file, "rt", encoding="utf-8", newline="") as rows:
                for row in csv.reader(rows):
                    yield dict(zip(columns, row, strict=False))

    def _athena_files(
        self, bucket: str, key: str, version_id: str | None, config: dict[str, Any]
    ) -> Iterator[Any]:
        """An Athena UNLOAD manifest: one URI of a data file a line."""
        inner = {name: value for name, value in config.items() if name != "ManifestType"}
        with self._text(bucket, key, version_id) as text:
            uris = [line.strip() for line in text if line.strip()]
        for uri in uris:
            data_bucket, _, data_key = uri.removeprefix("s3://").partition("/")
            yield from self._object(data_bucket, data_key, None, inner)


def _rows(text: Iterable[str], config: dict[str, Any], place: str) -> Iterator[dict[str, str]]:
    """Each row as an object: missing fields are empty, fields beyond the header and empty lines left out."""
    delimiter = config.get("CSVDelimiter") or "COMMA"
    if delimiter not in _DELIMITERS:
        raise _failed(f"ReaderConfig.CSVDelimiter {delimiter!r} is none of {', '.join(_DELIMITERS)}.")
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    rows = (row for row in csv.reader(text, delimiter=_DELIMITERS[delimiter]) if row)
    try:
        header = config.get("CSVHeaders") if config.get("CSVHeaderLocation") == "GIVEN" else next(rows, None)
        if not header:
            raise _failed(f"{place} has no CSV header.")
        for row in rows:
            missing = len(header) - len(row)
            yield dict(zip(header, row + [""] * missing, strict=False))
    except csv.Error as error:
        raise _failed(f"{place} is not valid CSV: {error}.") from error


def _pointed(document: Any, pointer: str) -> Any:
    """The value at a JSON Pointer (RFC 6901)."""
    value = document
    for raw in pointer.split("/")[1:]:
        token = raw.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(token)] if isinstance(value, list) else value[token]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _failed(f"ReaderConfig.ItemsPointer {pointer!r} does not resolve: no {token!r}.") from None
    return value


def _limited(items: Iterable[Any], config: dict[str, Any]) -> Iterable[Any]:
    limit = config.get("MaxItems")
    return itertools.islice(items, int(limit)) if limit else items


def _required(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise _failed(f"The field '{name}' of the ItemReader is required but was missing.")
    return value


def _failed(cause: str) -> TaskError:
    return TaskError("States.ItemReaderFailed", cause)
