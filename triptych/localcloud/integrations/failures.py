"""What a failed call is to a state: an error name and a cause, as the SDK behind Step Functions has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triptych.localcloud.integrations.naming import exception_name, pascal_case


class TaskFailure(Exception):
    """A task's failure as the state sees it."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass(frozen=True)
class ErrorNames:
    """How an optimised integration names errors: ``Glue.EntityNotFoundException``, else its base."""

    prefix: str
    base: str
    """the exception of errors that the service model does not list"""
    service: str
    """how the cause calls the service"""


def optimised_failure(error: Exception, client: Any, names: ErrorNames) -> TaskFailure:
    """The failure of an optimised integration's call."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return TaskFailure(f"{names.prefix}.{_local_exception(error, names.base)}", str(error))
    code, message, status, request_id = _parts(error)
    shape = _modelled(error, client)
    name = exception_name(shape) if shape else names.base
    cause = (
        f"{message} (Service: {names.service}; Status Code: {status}; Error Code: {code}; "
        f"Request ID: {request_id}; Proxy: null)"
    )
    return TaskFailure(f"{names.prefix}.{name}", cause)


def sdk_failure(error: Exception, client: Any) -> TaskFailure:
    """The failure of an ``aws-sdk:`` call: ``S3.NoSuchKeyException``, ``SageMaker.SageMakerException``."""
    from botocore.exceptions import ClientError

    service = pascal_case(client.meta.service_model.service_id)
    if not isinstance(error, ClientError):
        return TaskFailure(f"{service}.{_local_exception(error, f'{service}Exception')}", str(error))
    _, message, status, request_id = _parts(error)
    shape = _modelled(error, client)
    name = pascal_case(exception_name(shape)) if shape else f"{service}Exception"
    return TaskFailure(
        f"{service}.{name}",
        f"{message} (Service: {service}, Status Code: {status}, Request ID: {request_id})",
    )


def _local_exception(error: Exception, base: str) -> str:
    """Parameters that break the service's constraints are its own error on AWS; all else is the SDK's."""
    from botocore.exceptions import ParamValidationError

    return base if isinstance(error, ParamValidationError) else "SdkClientException"


def _parts(error: Any) -> tuple[str, str, int, str]:
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    return (
        str(details.get("Code", "Unknown")),
        str(details.get("Message") or details.get("message") or ""),
        int(metadata.get("HTTPStatusCode", 400)),
        str(metadata.get("RequestId", "")),
    )


def _modelled(error: Any, client: Any) -> str | None:
    """The name of the error's exception shape, None when the model has none.

    Where a service once spoke the query protocol (SQS), botocore has its old code as ``Code`` and the shape's
    name as ``QueryErrorCode``.
    """
    details = error.response.get("Error", {})
    codes = {details.get("Code"), details.get("QueryErrorCode")} - {None}
    for shape in client.meta.service_model.error_shapes:
        if codes & {(shape.metadata.get("error") or {}).get("code"), shape.name}:
            return str(shape.name)
    return None
