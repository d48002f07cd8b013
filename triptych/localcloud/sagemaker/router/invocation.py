"""One InvokeEndpoint on its way: who asked, what the model server is sent, and what is told of its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from triptych.localcloud.sagemaker.router.links import Link
    from triptych.localcloud.sagemaker.router.observing import CapturePlan
    from triptych.localcloud.sagemaker.router.variants import Variant


class Client(Protocol):
    """Where an answer goes; it may be gone by then."""

    def respond(self, response: bytes, *, keep_alive: bool = True) -> None: ...


class Invocation:
    """A request for an endpoint, or the copy of one for a shadow variant (``client`` is None)."""

    __slots__ = (
        "abandoned",
        "arrived",
        "attributes",
        "body",
        "capture",
        "client",
        "content_type",
        "deadline",
        "event_id",
        "inference_id",
        "link",
        "payload",
        "request_id",
        "sent",
        "suspect",
        "target",
        "variant",
    )

    def __init__(
        self, client: Client | None, headers: Mapping[str, str], body: bytes, arrived: float, request_id: str
    ) -> None:
        self.client = client
        self.body = body
        self.arrived = arrived
        self.request_id = request_id
        self.content_type = headers.get("content-type", "")
        self.attributes = headers.get("x-amzn-sagemaker-custom-attributes", "")
        self.inference_id = headers.get("x-amzn-sagemaker-inference-id", "")
        self.target = headers.get("x-amzn-sagemaker-target-variant", "")
        self.payload = _payload(self.content_type, headers.get("accept", ""), self.attributes, body)
        self.variant: Variant | None = None
        self.link: Link | None = None
        self.sent = 0.0
        self.deadline = 0.0
        self.capture: CapturePlan | None = None
        self.event_id = ""
        """of the captured request"""
        self.abandoned = False
        """the client has been told that its time is over; the answer is still to come"""
        self.suspect = False
        """a server died while it had this request among others: it is asked again once, alone"""

    def copy(self) -> Invocation:
        """The same request for a shadow variant."""
        copied: Invocation = Invocation.__new__(Invocation)
        for name in self.__slots__:
            setattr(copied, name, getattr(self, name))
        copied.client = None
        return copied


def _payload(content_type: str, accept: str, attributes: str, body: bytes) -> bytes:
    """The request as a model server gets it."""
    head = f"POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Length: {len(body)}\r\n"
    if content_type:
        head += f"Content-Type: {content_type}\r\n"
    if accept:
        head += f"Accept: {accept}\r\n"
    if attributes:
        head += f"X-Amzn-SageMaker-Custom-Attributes: {attributes}\r\n"
    return (head + "\r\n").encode("latin-1") + body
