"""CloudWatch's metrics of asynchronous endpoints (AWS/SageMaker).

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.cloudwatch.store import Datum
from triptych.localcloud.sagemaker.async_queue import AsyncQueue, AsyncRequest
from triptych.localcloud.sagemaker.async_results import Result

_NAMESPACE = "AWS/SageMaker"


class AsyncMetrics:
    """The backlog, measured now and then, and each request's end."""

    def __init__(self, cloud: Cloud, queue: AsyncQueue) -> None:
        self._cloud = cloud
        self._queue = queue

    def measure(self, endpoints: Iterable[tuple[str, int]], now: float) -> None:
        """The backlogs of endpoints, each with its number of instances: zeros too, they scale in by them."""
        data: list[Datum] = []
        for name, instances in endpoints:
            many, oldest = self._queue.backlog(name)
            values = {
                "ApproximateBacklogSize": (many, "Count"),
                "HasBacklogWithoutCapacity": (int(many > 0 and not instances), "Count"),
                "ApproximateAgeOfOldestRequest": (now - oldest if oldest is not None else 0.0, "Seconds"),
            }
            if instances:
                values["ApproximateBacklogSizePerInstance"] = (many / instances, "Count")
            data += [_datum(metric, name, None, now, value, unit) for metric, (value, unit) in values.items()]
        if data:
            self._cloud.metrics.put(data)

    def ended(
        self, request: AsyncRequest, result: Result, variant: str | None, started: float, now: float
    ) -> None:
        """One request came, was asked of a server at ``started``, and has its result ``now``."""
        name = request.endpoint
        data = []
        if variant is None:
            data.append(_datum("ExpiredRequests", name, None, now, 1, "Count"))
        else:
            in_backlog, total = started - request.received, now - request.received
            data += [
                _datum("InvocationsProcessed", name, None, now, 1, "Count"),
                _datum("TimeInBacklog", name, None, now, in_backlog * 1000, "Milliseconds"),
                _datum("TotalProcessingTime", name, None, now, total * 1000, "Milliseconds"),
            ]
        data.append(_datum("InvocationFailures", name, None, now, int(not result.completed), "Count"))
        if variant is not None and result.response is not None:
            status = result.response.status
            data += [
                _datum("ModelLatency", name, variant, now, (now - started) * 1e6, "Microseconds"),
                _datum("Invocation4XXErrors", name, variant, now, int(400 <= status < 500), "Count"),
                _datum("Invocation5XXErrors", name, variant, now, int(status >= 500), "Count"),
            ]
        self._cloud.metrics.put(data)


def _datum(name: str, endpoint: str, variant: str | None, now: float, value: float, unit: str) -> Datum:
    dimensions = (("EndpointName", endpoint), *([("VariantName", variant)] if variant else []))
    return Datum(_NAMESPACE, name, dimensions, datetime.fromtimestamp(now, UTC), float(value), unit=unit)
