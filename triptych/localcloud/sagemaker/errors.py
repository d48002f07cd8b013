"""The errors SageMaker's API answers with, in AWS's words."""

from __future__ import annotations

import re
from typing import Any

from triptych.localcloud.service import Params, ServiceError

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_NAME_PATTERN = "^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


class JobRefused(Exception):
    """A job cannot go on; the text becomes its FailureReason (``AlgorithmError: …``, ``ClientError: …``)."""


def invalid(message: str) -> ServiceError:
    """A ValidationException, SageMaker's answer to nearly everything that is wrong with a request."""
    return ServiceError("ValidationException", message)


def could_not_find(what: str, arn: str) -> ServiceError:
    """A model, endpoint or endpoint configuration that is not there."""
    return invalid(f'Could not find {what} "{arn}".')


def already_exists(what: str, arn: str) -> ServiceError:
    return invalid(f'Cannot create already existing {what} "{arn}".')


def name_taken(what: str, arn: str) -> ServiceError:
    """A job's name that was used before: names are never free again, as on AWS."""
    return ServiceError(
        "ResourceInUse",
        f"{what} names must be unique within an AWS account and region, and a {what.lower()} with this name "
        f"already exists ({arn})",
    )


def require(params: Params, *paths: str) -> None:
    """Raise ValidationException naming the first of the dotted ``paths`` that ``params`` lacks."""
    for path in paths:
        value: Any = params
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            member = path[0].lower() + path[1:]
            raise invalid(
                f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: "
                "Member must not be null"
            )


def check_name(params: Params, member: str) -> str:
    """The name under ``member``; raises ValidationException where it is missing or malformed."""
    require(params, member)
    name = str(params[member])
    if not _NAME.fullmatch(name):
        raise invalid(
            f"1 validation error detected: Value '{name}' at '{member[0].lower() + member[1:]}' failed to "
            f"satisfy constraint: Member must satisfy regular expression pattern: {_NAME_PATTERN}"
        )
    return name


def check_one_of(value: str | None, member: str, allowed: tuple[str, ...]) -> None:
    """Raise ValidationException unless ``value`` is None or one of ``allowed``."""
    if value is not None and value not in allowed:
        raise invalid(
            f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy "
            "constraint: Member "
            f"must satisfy enum value set: [{', '.join(allowed)}]"
        )
