"""A second of an endpoint variant's requests as the data points that SageMaker puts into CloudWatch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from triptych.localcloud.cloudwatch.store import Datum
from triptych.localcloud.sagemaker.router.messages import Message

NAMESPACE = "AWS/SageMaker"
_ERRORS = {
    "Invocation4XXErrors": "errors_4xx",
    "Invocation5XXErrors": "errors_5xx",
    "InvocationModelErrors": "model_errors",
}
_LATENCIES = {"ModelLatency": "model_latency", "OverheadLatency": "overhead_latency"}


def data_of(part: Message) -> Iterator[Datum]:
    """The data points of one variant in one second, as the router counted them.

    As on AWS each request counts 1 towards Invocations, 0 or 1 towards the errors, and its share of one instance
    towards InvocationsPerInstance; latencies are in microseconds, of answered requests.
    """
    dimensions = (("EndpointName", part["endpoint"]), ("VariantName", part["variant"]))
    moment = datetime.fromtimestamp(part["second"], UTC)
    requests = part["invocations"]

    def datum(name: str, values: list[float], counts: list[float], unit: str = "None") -> Datum:
        return Datum(NAMESPACE, name, dimensions, moment, values=values, counts=counts, unit=unit)

    yield datum("Invocations", [1.0], [requests])
    shares = part["per_instances"]
    # A request that found no instance counts as if there were one.
    yield datum(
        "InvocationsPerInstance", [1 / max(1, count) for count, _ in shares], [many for _, many in shares]
    )
    for name, key in _ERRORS.items():
        wrong = part[key]
        pairs = [(value, count) for value, count in ((0.0, requests - wrong), (1.0, wrong)) if count]
        yield datum(name, [value for value, _ in pairs], [count for _, count in pairs])
    for name, key in _LATENCIES.items():
        if part[key]:
            values, counts = zip(*part[key], strict=True)
            yield datum(name, list(values), list(counts), "Microseconds")
