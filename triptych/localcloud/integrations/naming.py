"""The names that the AWS SDK for Java gives to services, members and exceptions.

Step Functions calls services through that SDK, so its names show in tasks' outputs and errors. The word
rules are those of its code generator: ``CodegenNamingUtils.splitOnWordBoundaries`` for services and
exceptions, ``Utils.unCapitalize`` for members (aws-sdk-java-v2).
"""

from __future__ import annotations

import re
from functools import lru_cache

_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]+")
_LOWER_VERSION = re.compile(r"([^a-z]{2,})v([0-9]+)")
_UPPER_VERSION = re.compile(r"([^A-Z]{2,})V([0-9]+)")
_CAMEL_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z][a-zA-Z0-9])")
_AFTER_ACRONYM = re.compile(r"([A-Z]+)([A-Z][a-z])")
_AFTER_NUMBER = re.compile(r"([0-9])([a-zA-Z])")


@lru_cache(maxsize=4096)
def pascal_case(name: str) -> str:
    """A service's or an exception's name: ``DynamoDB`` -> ``DynamoDb``."""
    text = _NOT_ALPHANUMERIC.sub(" ", name)
    text = _LOWER_VERSION.sub(r"\1 v\2 ", text)
    text = _UPPER_VERSION.sub(r"\1 V\2 ", text)
    text = " ".join(_CAMEL_BOUNDARY.split(text))
    text = _AFTER_ACRONYM.sub(r"\1 \2", text)
    text = _AFTER_NUMBER.sub(r"\1 \2", text)
    return "".join(word[:1].upper() + word[1:].lower() for word in text.split())


@lru_cache(maxsize=4096)
def member_name(name: str) -> str:
    """``SSEKMSKeyId`` -> ``SsekmsKeyId``, ``ResponseMIMETypes`` stays: only leading capitals are lowered."""
    end = 1
    while end < len(name) and name[end].isupper() and not name[end + 1 : end + 2].islower():
        end += 1
    return name[:1].upper() + name[1:end].lower() + name[end:]


def capitalised(name: str) -> str:
    """``executionArn`` -> ``ExecutionArn``; all else stays, as in the optimised integrations' outputs."""
    return name[:1].upper() + name[1:]


def exception_name(shape_name: str) -> str:
    """``NoSuchKey`` -> ``NoSuchKeyException``, ``ClusterNotFoundFault`` -> ``ClusterNotFoundException``."""
    if shape_name.endswith("Exception"):
        return shape_name
    return shape_name.removesuffix("Fault") + "Exception"
