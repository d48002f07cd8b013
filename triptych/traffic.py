"""Traffic for an endpoint: real rows at a steady rate, every answer judged, labels sent after it.

Answers are held against the batch predictions of the model packages: an answer that no package ever gave for that row
is wrong. Nothing is tried again, so that a request that gets no answer is counted as lost.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from triptych.core.names import last_part, split_uri

TOLERANCE = 1e-5
"""How far a score at the endpoint may be from the batch prediction: other row counts, other sums"""
_KEPT_LATENCIES = 100_000
_REPORT_SECONDS = 1.0
_MOST_WAITING = 100_000
"""labels that are kept while they cannot be sent"""


class NoRows(Exception):
    """There is nothing to send: no dataset or no batch input."""


@dataclass(frozen=True)
class Row:
    """One request: its CSV line, its label (1.0, 0.0, or None where unknown), and the scores that are right."""

    line: str
    label: float | None
    scores: tuple[float, ...]

    def is_right(self, score: float) -> bool:
        """Whether some model gives this score; without a known score every probability is right."""
        if not self.scores:
            return 0.0 <= score <= 1.0
        return any(abs(score - known) <= TOLERANCE for known in self.scores)


@dataclass
class Tally:
    """What became of the requests so far."""

    answered: int = 0
    refused: int = 0
    """the model answered with 4xx"""
    failed: int = 0
    """the model answered with 5xx, or not in time"""
    lost: int = 0
    """no answer at all, or one that did not come from a model"""
    wrong: int = 0
    """answered with a score that no model gives for the row"""
    variants: Counter[str] = field(default_factory=Counter)
    first_problem: str = ""
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.answered + self.refused + self.failed + self.lost

    def latency_ms(self, quantile: float) -> float:
        """A quantile of the answered requests' latencies; 0 before the first."""
        known = sorted(self.latencies_ms)
        return known[min(len(known) - 1, int(quantile * len(known)))] if known else 0.0

    def line(self) -> str:
        """One line for a person."""
        variants = ", ".join(f"{name} {count}" for name, count in sorted(self.variants.items()))
        return (
            f"{self.sent} sent, {self.answered} answered, {self.failed} failed by the model, {self.refused} refused, "
            f"{self.lost} lost, {self.wrong} wrong; p50 {self.latency_ms(0.5):.1f} ms, "
            f"p99 {self.latency_ms(0.99):.1f} ms; {variants or 'no variant yet'}"
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "refused": self.refused,
            "lost": self.lost,
            "wrong": self.wrong,
            "variants": dict(self.variants),
            "first_problem": self.first_problem,
            "latency_ms": {"p50": round(self.latency_ms(0.5), 3), "p99": round(self.latency_ms(0.99), 3)},
        }


@dataclass(frozen=True)
class Labels:
    """Where labels go after the answers: ground truth files, and the business metric."""

    ground_truth_uri: str
    namespace: str
    metric: str = "BrierScore"


class Traffic:
    """Sends rows to an endpoint, ``rate_per_second`` of them, until it is stopped.

    ``ask(line, inference_id)`` returns the score and the variant; it raises what boto3 raises.
    """

    def __init__(
        self,
        ask: Callable[[str, str], tuple[float, str]],
        rows: Sequence[Row],
        rate_per_second: float,
        *,
        threads: int = 16,
        labelled: Callable[[list[tuple[str, float, float]]], None] | None = None,
    ) -> None:
        if not rows:
            raise NoRows("there are no rows to send")
        self._ask = ask
        self._rows = rows
        self._rate = rate_per_second
        self._threads = [threading.Thread(target=self._work, name=f"traffic {n}") for n in range(threads)]
        self._labelled = labelled
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._next = 0
        self._started = 0.0
        self._tally = Tally()
        self._waiting: list[tuple[str, float, float]] = []
        self._teller = threading.Thread(target=self._tell, name="traffic labels")

    def start(self) -> None:
        self._started = time.monotonic()
        for thread in (*self._threads, self._teller):
            thread.start()

    def stop(self) -> Tally:
        """Let the requests under way end; returns the whole tally."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()
        if self._teller.ident:
            self._teller.join()
        return self._tally

    def tally(self) -> Tally:
        """A copy of the tally as it stands."""
        with self._lock:
            known = self._tally
            return replace(known, variants=Counter(known.variants), latencies_ms=list(known.latencies_ms))

    def _work(self) -> None:
        while True:
            with self._lock:
                number, self._next = self._next, self._next + 1
            if self._stopping.wait(max(0.0, self._started + number / self._rate - time.monotonic())):
                return
            self._send(self._rows[number % len(self._rows)])

    def _send(self, row: Row) -> None:
        identity = uuid4().hex
        sent = time.perf_counter()
        try:
            score, variant = self._ask(row.line, identity)
        except Exception as error:
            self._count_failure(error)
            return
        milliseconds = (time.perf_counter() - sent) * 1000
        right = row.is_right(score)
        with self._lock:
            tally = self._tally
            tally.answered += 1
            tally.variants[variant] += 1
            if len(tally.latencies_ms) < _KEPT_LATENCIES:
                tally.latencies_ms.append(milliseconds)
            if not right:
                tally.wrong += 1
                tally.first_problem = (
                    tally.first_problem
                    or f"score {score:.6f} from {variant}, but the packages' batch predictions say "
                    f"{', '.join(f'{known:.6f}' for known in row.scores)} for {row.line[:60]}…"
                )
            if row.label is not None and self._labelled is not None:
                self._waiting.append((identity, row.label, score))

    def _count_failure(self, error: Exception) -> None:
        response = getattr(error, "response", None) or {}
        code = response.get("Error", {}).get("Code")
        status = response.get("OriginalStatusCode") or 0
        with self._lock:
            tally = self._tally
            if code == "ModelError" and 400 <= status < 500:
                tally.refused += 1
            elif code == "ModelError":
                tally.failed += 1
            else:
                tally.lost += 1
            tally.first_problem = tally.first_problem or f"{type(error).__name__}: {error}"

    def _tell(self) -> None:
        while True:
            ended = self._stopping.wait(_REPORT_SECONDS)
            if ended:
                for thread in self._threads:
                    thread.join()
            with self._lock:
                waiting, self._waiting = self._waiting, []
            if waiting and self._labelled is not None:
                try:
                    self._labelled(waiting)
                except (
                    Exception
                ) as error:  # the endpoint may be away for a while: they are told with the next ones
                    with self._lock:
                        self._waiting = (waiting + self._waiting)[-_MOST_WAITING:]
                        self._tally.first_problem = (
                            self._tally.first_problem
                            or f"labels could not be sent: {type(error).__name__}: {error}"
                        )
            if ended:
                return


def asking(runtime: Any, endpoint: str) -> Callable[[str, str], tuple[float, str]]:
    """``ask`` over a boto3 sagemaker-runtime client; see ``runtime_config`` for what the client must not do."""

    def ask(line: str, inference_id: str) -> tuple[float, str]:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint,
            ContentType="text/csv",
            Accept="text/csv",
            InferenceId=inference_id,
            Body=line.encode(),
        )
        return float(answer["Body"].read()), answer["InvokedProductionVariant"]

    return ask


def runtime_config(threads: int) -> dict[str, Any]:
    """botocore's Config for traffic: one attempt, so that a lost request is seen, and a connection a thread."""
    return {"retries": {"total_max_attempts": 1}, "max_pool_connections": threads, "read_timeout": 70}


def telling(
    s3: Any, cloudwatch: Any, endpoint: str, labels: Labels
) -> Callable[[list[tuple[str, float, float]]], None]:
    """``labelled`` that writes ground truth as Model Monitor reads it, and the squared error as a metric."""
    bucket, prefix = split_uri(labels.ground_truth_uri)

    def tell(batch: list[tuple[str, float, float]]) -> None:
        moment = datetime.now(UTC)
        lines = "".join(
            json.dumps(
                {
                    "groundTruthData": {"data": f"{label:g}", "encoding": "CSV"},
                    "eventMetadata": {"eventId": identity},
                    "eventVersion": "0",
                }
            )
            + "\n"
            for identity, label, _ in batch
        )
        key = f"{prefix.rstrip('/')}/{moment:%Y/%m/%d/%H}/{moment:%M-%S}-{uuid4().hex[:8]}.jsonl"
        s3.put_object(Bucket=bucket, Key=key, Body=lines.encode(), ContentType="application/jsonlines")
        errors = [(score - label) ** 2 for _, label, score in batch]
        cloudwatch.put_metric_data(
            Namespace=labels.namespace,
            MetricData=[
                {
                    "MetricName": labels.metric,
                    "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
                    "Timestamp": moment,
                    "StorageResolution": 1,
                    "StatisticValues": {
                        "SampleCount": len(errors),
                        "Sum": sum(errors),
                        "Minimum": min(errors),
                        "Maximum": max(errors),
                    },
                }
            ],
        )

    return tell


def read_rows(
    client: Callable[[str], Any], bucket: str, use_case: str, package_group: str, count: int, *, labels: bool
) -> list[Row]:
    """The first ``count`` rows of the registered dataset's test split, with every package's score for them.

    Raises NoRows where no dataset is registered.
    """
    s3 = client("s3")
    try:
        latest = s3.get_object(Bucket=bucket, Key=f"datasets/{use_case}/latest.json")["Body"].read()
    except s3.exceptions.NoSuchKey:
        raise NoRows(
            f"no dataset of {use_case} is registered in {bucket}; run the pipeline first: triptych run {use_case}"
        ) from None
    dataset = json.loads(latest)
    lines = _lines(s3, dataset["batch_uri"], count)
    if not lines:
        raise NoRows(f"{dataset['batch_uri']} is empty")
    known = _known_scores(client("sagemaker"), s3, package_group, dataset["batch_uri"], len(lines))
    truth = _labels(s3, dataset["test_uri"], len(lines)) if labels else [None] * len(lines)
    return [
        Row(line, label, tuple(scores[index] for scores in known))
        for index, (line, label) in enumerate(zip(lines, truth, strict=True))
    ]


def _lines(s3: Any, uri: str, count: int) -> list[str]:
    """The first ``count`` lines of an object, without reading the rest."""
    bucket, key = split_uri(uri)
    found: list[str] = []
    for raw in s3.get_object(Bucket=bucket, Key=key)["Body"].iter_lines():
        if raw:
            found.append(raw.decode())
        if len(found) == count:
            break
    return found


def _known_scores(sagemaker: Any, s3: Any, group: str, batch_uri: str, count: int) -> list[list[float]]:
    """For each package of the group that predicted these very rows: its first ``count`` scores."""
    wanted = _content(s3, batch_uri)
    found: dict[tuple[float, ...], list[float]] = {}
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for summary in (entry for page in pages for entry in page["ModelPackageSummaryList"]):
        package = sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
        properties = package.get("CustomerMetadataProperties") or {}
        batch, transforms = properties.get("batch_uri"), properties.get("transform_uri")
        if not batch or not transforms or _content(s3, batch) != wanted:
            continue
        output = f"{transforms.rstrip('/')}/{last_part(batch)}.out"
        scores = [float(line.split(",")[0]) for line in _lines(s3, output, count)]
        if len(scores) == count:
            found.setdefault(tuple(scores), scores)
    return list(found.values())


def _content(s3: Any, uri: str) -> str | None:
    """An object's ETag: equal content has an equal one. None where the object is gone."""
    bucket, key = split_uri(uri)
    try:
        return str(s3.head_object(Bucket=bucket, Key=key)["ETag"])
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def _labels(s3: Any, test_uri: str, count: int) -> list[float | None]:
    """The test split's labels, in the order of the batch input: the first column of the split's files."""
    import pyarrow.parquet as parquet

    bucket, prefix = split_uri(test_uri)
    labels: list[float | None] = []
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for entry in (entry for page in pages for entry in page.get("Contents", [])):
        if last_part(entry["Key"]).startswith("part-") and len(labels) < count:
            content = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            table = parquet.ParquetFile(io.BytesIO(content))
            labels += table.read(columns=table.schema_arrow.names[:1]).column(0).to_pylist()
    return labels[:count]
