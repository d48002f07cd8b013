"""What the router tells of its requests: metrics once a second, captured requests in batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from triptych.localcloud.sagemaker.router.invocation import Invocation
from triptych.localcloud.sagemaker.router.messages import Message

Send = Callable[[Message, Sequence[bytes]], None]

_BATCH_RECORDS = 2000
_BATCH_BYTES = 8 * 2**20


class Tally:
    """A variant's requests of one second. Latencies in microseconds."""

    __slots__ = ("failures", "model", "name", "overhead", "per_instances", "statuses_4xx", "statuses_5xx")

    def __init__(self, name: str) -> None:
        self.name = name
        self._reset()

    def _reset(self) -> None:
        self.model: list[int] = []
        self.overhead: list[int] = []
        self.statuses_4xx = self.statuses_5xx = self.failures = 0
        self.per_instances: Counter[int] = Counter()

    def answered(self, status: int, model_seconds: float, overhead_seconds: float, instances: int) -> None:
        """A model's answer."""
        self.model.append(int(model_seconds * 1e6))
        self.overhead.append(int(overhead_seconds * 1e6))
        self.per_instances[instances] += 1
        if not 200 <= status < 300:
            self.failed(status)

    def unanswered(self, instances: int) -> None:
        """No server gave an answer: died over it, hung, or none was running."""
        self.per_instances[instances] += 1
        self.failed(500)

    def failed(self, status: int) -> None:
        self.failures += 1
        if 400 <= status < 500:
            self.statuses_4xx += 1
        else:
            self.statuses_5xx += 1

    def take(self, second: int) -> Message | None:
        """What came together, as a message's part, and begin anew; None where nothing did."""
        if not self.per_instances:
            return None
        taken: Message = {
            "variant": self.name,
            "second": second,
            "invocations": sum(self.per_instances.values()),
            "per_instances": sorted(self.per_instances.items()),
            "errors_4xx": self.statuses_4xx,
            "errors_5xx": self.statuses_5xx,
            "model_errors": self.failures,
            "model_latency": sorted(Counter(self.model).items()),
            "overhead_latency": sorted(Counter(self.overhead).items()),
        }
        self._reset()
        return taken


@dataclass(frozen=True)
class CapturePlan:
    """An endpoint's data capture, as the router needs it; the gateway knows the rest under ``identity``."""

    identity: int
    share: float
    inputs: bool
    outputs: bool


class Observer:
    """Tallies by endpoint and variant, and captured requests, until they are sent."""

    def __init__(self, send: Send, congested: Callable[[], bool]) -> None:
        self._send = send
        self._congested = congested
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._records: list[Message] = []
        self._blobs: list[bytes] = []
        self._bytes = 0
        self._dropped = 0

    def tally(self, endpoint: str, variant: str) -> Tally:
        """The tally of a variant, whichever fleet it runs in."""
        key = (endpoint, variant)
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(variant)
        return found

    def capture(
        self,
        plan: CapturePlan,
        invocation: Invocation,
        variant: str,
        status: int,
        response_type: str,
        response: bytes,
        model_seconds: float,
        overhead_seconds: float,
    ) -> None:
        """Keep a request and its answer for the gateway; dropped while that one cannot keep up."""
        if self._congested():
            self._dropped += 1
            return
        self._records.append(
            {
                "capture": plan.identity,
                "event_id": invocation.event_id,
                "variant": variant,
                "status": status,
                "at": time.time(),
                "content_type": invocation.content_type or "text/csv",
                "response_type": response_type,
                "inference_id": invocation.inference_id,
                "custom_attributes": invocation.attributes,
                "model_seconds": model_seconds,
                "overhead_seconds": overhead_seconds,
            }
        )
        request = invocation.body if plan.inputs else b""
        response = response if plan.outputs else b""
        self._blobs += [request, response]
        self._bytes += len(request) + len(response)
        if len(self._records) >= _BATCH_RECORDS or self._bytes >= _BATCH_BYTES:
            self.flush_captures()

    def flush_captures(self) -> None:
        """Send what was captured."""
        if self._records or self._dropped:
            message = {"kind": "captures", "records": self._records, "dropped": self._dropped}
            self._send(message, self._blobs)
            self._records, self._blobs, self._bytes, self._dropped = [], [], 0, 0

    def flush_metrics(self, second: int) -> None:
        """Send what each variant's requests of the ``second`` (since the epoch) came to."""
        parts = []
        for (endpoint, _), tally in self._tallies.items():
            part = tally.take(second)
            if part is not None:
                parts.append(part | {"endpoint": endpoint})
        if parts:
            self._send({"kind": "metrics", "parts": parts}, ())


def new_event_id() -> str:
    """The id of a captured request."""
    return str(uuid4())
