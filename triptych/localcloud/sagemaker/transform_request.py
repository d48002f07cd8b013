"""What CreateTransformJob asks for: checked as SageMaker does, and read into one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from triptych.localcloud.sagemaker.containers.record_filters import BadFilter, Kind, selector
from triptych.localcloud.sagemaker.errors import check_one_of, invalid, require
from triptych.localcloud.service import Params

_DEFAULT_PAYLOAD_MB = 6
_MOST_PAYLOAD_MB = 100
_DEFAULT_TIMEOUT_SECONDS, _DEFAULT_RETRIES = 600, 3
_RECORD_KINDS: dict[str, Kind] = {
    "text/csv": "csv",
    "application/json": "json",
    "application/jsonlines": "json",
}
_PARQUET = ("application/x-parquet", "application/vnd.apache.parquet")


@dataclass(frozen=True)
class TransformRequest:
    """A transform job's way of working. ``payload_mb`` 0 is unlimited."""

    split: Literal["None", "Line"]
    strategy: Literal["MultiRecord", "SingleRecord"]
    compressed: bool
    assemble_lines: bool
    payload_mb: int
    concurrent: int
    timeout_seconds: int
    retries: int
    content_type: str | None
    accept: str | None
    input_filter: str | None
    output_filter: str | None
    join_source: bool


def read_request(params: Params) -> TransformRequest:
    """Raises ValidationException for what SageMaker refuses, and for what is not served here, by name."""
    require(
        params,
        "ModelName",
        "TransformInput.DataSource.S3DataSource.S3Uri",
        "TransformOutput.S3OutputPath",
        "TransformResources",
    )
    source, output = params["TransformInput"], params["TransformOutput"]
    processing = params.get("DataProcessing") or {}
    client = params.get("ModelClientConfig") or {}
    check_one_of(params.get("BatchStrategy"), "batchStrategy", ("MultiRecord", "SingleRecord"))
    check_one_of(source.get("CompressionType"), "transformInput.compressionType", ("None", "Gzip"))
    check_one_of(output.get("AssembleWith"), "transformOutput.assembleWith", ("None", "Line"))
    check_one_of(processing.get("JoinSource"), "dataProcessing.joinSource", ("Input", "None"))
    request = TransformRequest(
        split=_split(source),
        strategy=params.get("BatchStrategy") or "MultiRecord",
        compressed=source.get("CompressionType") == "Gzip",
        assemble_lines=output.get("AssembleWith") == "Line",
        payload_mb=_or(params.get("MaxPayloadInMB"), _DEFAULT_PAYLOAD_MB),
        concurrent=params.get("MaxConcurrentTransforms") or 1,
        timeout_seconds=_or(client.get("InvocationsTimeoutInSeconds"), _DEFAULT_TIMEOUT_SECONDS),
        retries=_or(client.get("InvocationsMaxRetries"), _DEFAULT_RETRIES),
        content_type=source.get("ContentType"),
        accept=output.get("Accept"),
        input_filter=processing.get("InputFilter"),
        output_filter=processing.get("OutputFilter"),
        join_source=processing.get("JoinSource") == "Input",
    )
    _check_places(source["DataSource"]["S3DataSource"], output["S3OutputPath"])
    _check_sizes(request, params)
    _check_processing(request)
    return request


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _split(source: dict[str, Any]) -> Literal["None", "Line"]:
    split = source.get("SplitType") or "None"
    check_one_of(split, "transformInput.splitType", ("None", "Line", "RecordIO", "TFRecord"))
    if split not in ("None", "Line"):
        raise invalid(f"SplitType '{split}' is not served by the local cloud; use Line or None.")
    if split == "Line" and _main_type(source.get("ContentType")) in _PARQUET:
        raise invalid(
            "SplitType Line cannot be used with Parquet, which has no lines; use None: each object is one payload."
        )
    return "Line" if split == "Line" else "None"


def _check_places(source: dict[str, Any], output_path: str) -> None:
    kind = source.get("S3DataType")
    check_one_of(kind, "transformInput.dataSource.s3DataSource.s3DataType", ("ManifestFile", "S3Prefix"))
    for member, uri in (("S3Uri", source["S3Uri"]), ("S3OutputPath", output_path)):
        if not uri.startswith("s3://") or not uri.removeprefix("s3://").strip("/"):
            raise invalid(f"{member} '{uri}' is not an S3 URI; it must look like s3://bucket/prefix.")


def _check_sizes(request: TransformRequest, params: Params) -> None:
    for member, value in (
        ("maxPayloadInMB", request.payload_mb),
        ("maxConcurrentTransforms", params.get("MaxConcurrentTransforms") or 0),
    ):
        if value < 0:
            raise invalid(
                f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member "
                "must have value greater than or equal to 0"
            )
    if request.payload_mb > _MOST_PAYLOAD_MB:
        raise invalid(
            f"MaxPayloadInMB {request.payload_mb} is more than {_MOST_PAYLOAD_MB}, the highest there is."
        )
    if params.get("MaxPayloadInMB") and request.concurrent * request.payload_mb > _MOST_PAYLOAD_MB:
        raise invalid(
            f"MaxConcurrentTransforms {request.concurrent} times MaxPayloadInMB {request.payload_mb} is more than "
            f"{_MOST_PAYLOAD_MB} MB, the most that may be under way at once."
        )


def _check_processing(request: TransformRequest) -> None:
    filters = {"InputFilter": request.input_filter, "OutputFilter": request.output_filter}
    if not request.join_source and all(path in (None, "$") for path in filters.values()):
        return
    kinds: dict[str, Kind] = {}
    for member, value in (
        ("ContentType", request.content_type),
        ("Accept", request.accept or request.content_type),
    ):
        kind = _RECORD_KINDS.get(_main_type(value))
        if kind is None:
            raise invalid(
                f"DataProcessing looks into records, which it can in {', '.join(_RECORD_KINDS)} only; {member} is "
                f"'{value}'."
            )
        kinds[member] = kind
    if request.join_source:
        if request.accept and _main_type(request.accept) != _main_type(request.content_type):
            raise invalid(
                f"JoinSource Input needs one format for both: ContentType is '{request.content_type}', Accept is "
                f"'{request.accept}'."
            )
        if request.assemble_lines != (request.split == "Line"):
            raise invalid(
                f"JoinSource Input needs AssembleWith as SplitType, which is {request.split}: the records of the "
                "output are those of the input."
            )
    output_kind = kinds["ContentType"] if request.join_source else kinds["Accept"]
    for member, kind in (("InputFilter", kinds["ContentType"]), ("OutputFilter", output_kind)):
        try:
            selector(filters[member], kind)
        except BadFilter as error:
            raise invalid(f"DataProcessing.{member}: {error}") from error


def _main_type(value: str | None) -> str:
    return (value or "text/csv").split(";", 1)[0].strip().lower()
