"""What is expected of an endpoint's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

_SHOWN = 200


class NothingToCompare(Exception):
    """There is no batch input or no batch prediction to hold the endpoint against."""


@dataclass(frozen=True)
class Plan:
    """``rows`` of ``batch_uri`` are sent one by one; answers may differ from its output by ``parity_tolerance``.

    On the staging endpoint (``thorough``) the rows are also sent in one request, ``requests`` times with
    ``concurrency`` at a time, and, with ``malformed``, requests that must be refused.
    """

    batch_uri: str
    transform_uri: str
    rows: int
    requests: int
    concurrency: int
    max_p50_ms: float
    max_p99_ms: float
    parity_tolerance: float
    malformed: bool
    thorough: bool

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> Plan:
        """``{stage, test}``; raises NothingToCompare where the model package did not say what to compare with."""
        test, thorough = event["test"], event["stage"] == "staging"
        for name in ("batch_uri", "transform_uri"):
            if not test.get(name):
                raise NothingToCompare(
                    f"no {name}: give it in the execution's input, or deploy a package that the model state "
                    "machine made, which carries it in its properties"
                )
        return Plan(
            batch_uri=test["batch_uri"],
            transform_uri=test["transform_uri"].rstrip("/"),
            rows=int(test["rows"]),
            requests=int(test["requests"]) if thorough else 0,
            concurrency=int(test["concurrency"]),
            max_p50_ms=float(test["max_p50_ms"]),
            max_p99_ms=float(test["max_p99_ms"]),
            parity_tolerance=float(test["parity_tolerance"]),
            malformed=bool(test["malformed"]) and thorough,
            thorough=thorough,
        )


@dataclass(frozen=True)
class Answer:
    """An endpoint's answer to a request, and how long it took, network included; ``status`` is the container's."""

    status: int
    body: str
    latency_ms: float

    @property
    def scores(self) -> tuple[float, ...] | None:
        """The scores, one a line, or None where the body is something else."""
        if self.status != 200:
            return None
        try:
            return tuple(float(line) for line in self.body.split())
        except ValueError:
            return None


@dataclass(frozen=True)
class Asked:
    """The rows that a request held (indexes into the expected scores), and what came back."""

    rows: tuple[int, ...]
    answer: Answer


@dataclass(frozen=True)
class BadRequest:
    """A request that must be refused with 4xx."""

    case: str
    content_type: str
    body: str


def bad_requests(row: str) -> tuple[BadRequest, ...]:
    """What no model server may answer, made from a good CSV row."""
    cells = row.split(",")
    return (
        BadRequest("an unknown content type", "application/x-unknown", row),
        BadRequest("text instead of a number", "text/csv", ",".join(["monday", *cells[1:]])),
        BadRequest("a column too many", "text/csv", ",".join([*cells, "1"])),
        BadRequest("a column too few", "text/csv", ",".join(cells[:-1])),
    )


def first_lines(text: str, count: int) -> list[str]:
    """The first ``count`` lines that hold anything; raises NothingToCompare where there is none."""
    lines = [line for line in text.splitlines() if line.strip()][:count]
    if not lines:
        raise NothingToCompare("the batch input or its predictions are empty")
    return lines


def compare(
    plan: Plan,
    rows: Sequence[str],
    expected: Sequence[float],
    asked: Sequence[Asked],
    refused: Sequence[tuple[BadRequest, Answer]] = (),
) -> dict[str, Any]:
    """Verdict, reasons, latency and the largest difference; ``sample`` is the first row with its score.

    Only requests of one row count for the latency.
    """
    if len(expected) < len(rows):
        raise NothingToCompare(f"{len(rows)} rows were sent, but the batch output has {len(expected)}")
    latencies = sorted(each.answer.latency_ms for each in asked if len(each.rows) == 1)
    latency = {"p50": _percentile(latencies, 50), "p99": _percentile(latencies, 99), "max": latencies[-1]}
    reasons, difference = _answer_reasons(plan, expected, asked)
    for name, limit in (("p50", plan.max_p50_ms), ("p99", plan.max_p99_ms)):
        if latency[name] > limit:
            reasons.append(f"{name} of the latency is {latency[name]:.1f} ms, more than {limit:g} ms")
    for request, answer in refused:
        if not 400 <= answer.status < 500:
            reasons.append(f"{request.case} is answered with {answer.status}, and must be refused with 4xx")
    first = asked[0].answer.scores
    return {
        "verdict": "stop" if reasons else "pass",
        "reasons": reasons,
        "rows": len(rows),
        "requests": len(asked) + len(refused),
        "latency_ms": {name: round(value, 3) for name, value in latency.items()},
        "parity_difference": difference,
        "refused": [{"case": request.case, "status": answer.status} for request, answer in refused],
        "sample": {"features": rows[0], "score": first[0] if first else None},
    }


def _answer_reasons(
    plan: Plan, expected: Sequence[float], asked: Sequence[Asked]
) -> tuple[list[str], float | None]:
    """One sentence a kind of mistake, with the first of its kind; the largest difference between good answers."""
    failed: list[str] = []
    outside: list[float] = []
    differing: list[str] = []
    largest: float | None = None
    for each in asked:
        scores = each.answer.scores
        if scores is None or len(scores) != len(each.rows):
            said = each.answer.body.strip()[:_SHOWN]
            failed.append(
                f"status {each.answer.status}, {said!r}" if said else f"status {each.answer.status}"
            )
            continue
        for row, score in zip(each.rows, scores, strict=True):
            difference = abs(score - expected[row])
            if not 0.0 <= score <= 1.0:
                outside.append(score)
            # not <=, so that a NaN counts as a difference
            if not difference <= plan.parity_tolerance:
                differing.append(
                    f"row {row + 1} scores {score:.6f} at the endpoint and {expected[row]:.6f} in the batch output"
                )
            largest = difference if largest is None else max(largest, difference)
    reasons = []
    if failed:
        reasons.append(
            f"{len(failed)} of {len(asked)} requests have no score for each row, the first: {failed[0]}"
        )
    if outside:
        reasons.append(f"{len(outside)} scores are no probabilities, the first {outside[0]}")
    if differing:
        reasons.append(
            f"{len(differing)} scores are more than {plan.parity_tolerance:g} apart, the first: {differing[0]}"
        )
    return reasons, largest


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """By nearest rank."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
