"""S3's XML: documents and errors out, small documents in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from triptych.localcloud.service import ServiceError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\r\x0e-\x1f]")


def leaf(name: str, value: object) -> str:
    """One element with text; nothing at all for None."""
    if value is None:
        return ""
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    text = _UNPRINTABLE.sub(lambda found: f"&#x{ord(found[0]):x};", escape(text, {'"': "&quot;"}))
    return f"<{name}>{text}</{name}>"


def node(name: str, *children: str) -> str:
    """One element around rendered children."""
    return f"<{name}>{''.join(children)}</{name}>"


def document(name: str, *children: str) -> bytes:
    """A whole answer in S3's namespace."""
    return f'{_DECLARATION}<{name} xmlns="{NAMESPACE}">{"".join(children)}</{name}>'.encode()


def error_document(error: ServiceError, resource: str, request_id: str) -> bytes:
    """AWS's error answer; the error's fields become elements."""
    fields = [leaf(name, value) for name, value in error.fields.items() if not name.startswith("x-amz-")]
    return (
        _DECLARATION
        + node(
            "Error",
            leaf("Code", error.code),
            leaf("Message", error.message),
            *fields,
            leaf("Resource", resource),
            leaf("RequestId", request_id),
        )
    ).encode()


def parse(body: bytes, root: str) -> ElementTree.Element:
    """A request document without its namespaces; raises MalformedXML."""
    malformed = ServiceError(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise malformed
    try:
        tree = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise malformed from error
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    if tree.tag != root:
        raise malformed
    return tree


def text_of(element: ElementTree.Element, name: str, default: str = "") -> str:
    """The text of a child."""
    return element.findtext(name) or default


def tag_set(pairs: Iterable[tuple[str, str]]) -> str:
    """``<TagSet>`` of keys and values."""
    return node("TagSet", *(node("Tag", leaf("Key", key), leaf("Value", value)) for key, value in pairs))
