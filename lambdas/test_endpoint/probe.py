"""What is expected of an endpoint's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


class NothingToCompare(Exception):
    """There is no batch input or no batch prediction to hold the endpoint against."""


@dataclass(frozen=True)
class Plan:
    """``rows`` of ``batch_uri`` are sent; answers may differ from its output by ``parity_tolerance``."""

    batch_uri: str
    transform_uri: str
    rows: int
    max_latency_ms: float
    parity_tolerance: float

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Plan:
        """Raises NothingToCompare where the model package did not say what to compare with."""
        for name in ("batch_uri", "transform_uri"):
            if not event.get(name):
                raise NothingToCompare(
                    f"no {name}: give it in the execution's input, or deploy a package that the model state "
                    "machine made, which carries it in its properties"
                )
        return Plan(
            batch_uri=event["batch_uri"],
            transform_uri=event["transform_uri"].rstrip("/"),
            rows=int(event["rows"]),
            max_latency_ms=float(event["max_latency_ms"]),
            parity_tolerance=float(event["parity_tolerance"]),
        )


@dataclass(frozen=True)
class Answer:
    """An endpoint's score for one row, and how long it took, network included."""

    score: float
    latency_ms: float


def first_lines(text: str, count: int) -> list[str]:
    """The first ``count`` lines that hold anything; raises NothingToCompare where there is none."""
    lines = [line for line in text.splitlines() if line.strip()][:count]
    if not lines:
        raise NothingToCompare("the batch input or its predictions are empty")
    return lines


def compare(
    plan: Plan, rows: Sequence[str], expected: Sequence[float], answers: Sequence[Answer]
) -> dict[str, Any]:
    """Verdict, reasons, latency and the largest difference; ``sample`` is the first row with its score."""
    if len(expected) < len(answers):
        raise NothingToCompare(f"{len(answers)} rows were sent, but the batch output has {len(expected)}")
    differences = [abs(answer.score - score) for answer, score in zip(answers, expected, strict=False)]
    worst = max(range(len(answers)), key=lambda index: differences[index])
    latencies = sorted(answer.latency_ms for answer in answers)
    reasons = []
    outside = [answer.score for answer in answers if not 0.0 <= answer.score <= 1.0]
    if outside:
        reasons.append(
            f"{len(outside)} of {len(answers)} scores are no probabilities, the first {outside[0]}"
        )
    # not <=, so that a NaN counts as a difference
    if not all(difference <= plan.parity_tolerance for difference in differences):
        reasons.append(
            f"row {worst + 1} scores {answers[worst].score:.6f} at the endpoint and {expected[worst]:.6f} "
            f"in the batch output, more than {plan.parity_tolerance:g} apart"
        )
    typical = median(latencies)
    if typical > plan.max_latency_ms:
        reasons.append(f"the median latency is {typical:.1f} ms, more than {plan.max_latency_ms:g} ms")
    return {
        "verdict": "stop" if reasons else "pass",
        "reasons": reasons,
        "rows": len(answers),
        "latency_ms": {"median": round(typical, 3), "max": round(latencies[-1], 3)},
        "parity_difference": differences[worst],
        "sample": {"features": rows[0], "score": answers[0].score},
    }
