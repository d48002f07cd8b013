"""S3, CloudWatch and Step Functions as the deployment's judging and reporting functions use them, in memory."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.response import StreamingBody

ENDPOINT = "triptych-flights"
BEGIN = datetime(2026, 11, 21, 9, 30, 0, tzinfo=UTC)


class Pages:
    """A paginator over pages made beforehand."""

    def __init__(self, pages: Any) -> None:
        self._pages = pages

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        return iter(self._pages(**asked))


class FakeS3:
    """Objects by bucket and key; ``read`` notes which were opened."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], tuple[bytes, datetime]] = {}
        self.read: list[str] = []

    def put_object(self, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        self.objects[Bucket, Key] = (Body, datetime.now(UTC))

    def put_lines(self, uri: str, lines: Sequence[Any], at: datetime) -> None:
        """JSON Lines; what is text already goes in as it is."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        self.objects[bucket, key] = (body.encode(), at)

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self.read.append(Key)
        body = self.objects[Bucket, Key][0]
        return {"Body": StreamingBody(io.BytesIO(body), len(body))}

    def get_paginator(self, operation: str) -> Pages:
        assert operation == "list_objects_v2"

        def pages(Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
            found = [
                {"Key": key, "Size": len(body), "LastModified": at.replace(microsecond=0)}
                for (bucket, key), (body, at) in sorted(self.objects.items())
                if bucket == Bucket and key.startswith(Prefix)
            ]
            for first in range(0, len(found), 2):  # small pages, so that there are several
                yield {"Contents": found[first : first + 2]}
            if not found:
                yield {}

        return Pages(pages)


@dataclass
class FakeCloudWatch:
    """Single values, and the statistics over them; ``resolution`` is how fine they are kept, in seconds."""

    resolution: int = 1
    values: dict[tuple[str, str], list[tuple[datetime, float]]] = field(default_factory=dict)
    alarm_history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def put(self, name: str, variant: str, at: datetime, value: float) -> None:
        """A value of a variant's metric; ``variant`` is "" for a metric of another kind."""
        seconds = int(at.timestamp()) // self.resolution * self.resolution
        kept = datetime.fromtimestamp(seconds, UTC)
        self.values.setdefault((name, variant), []).append((kept, value))

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        results = []
        for query in request["MetricDataQueries"]:
            if "MetricStat" not in query:
                results.append(self._divided(query, {item["Id"]: item for item in results}))
                continue
            stat = query["MetricStat"]
            dimensions = {item["Name"]: item["Value"] for item in stat["Metric"]["Dimensions"]}
            points = self._points(
                (stat["Metric"]["MetricName"], dimensions.get("VariantName", "")),
                stat["Period"],
                stat["Stat"],
                request["StartTime"],
                request["EndTime"],
            )
            results.append(
                {
                    "Id": query["Id"],
                    "Timestamps": [at for at, _ in points],
                    "Values": [value for _, value in points],
                    "StatusCode": "Complete",
                }
            )
        return {"MetricDataResults": results}

    @staticmethod
    def _divided(query: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """An expression ``a / b`` over queries before it."""
        one, two = (
            dict(zip(known[name]["Timestamps"], known[name]["Values"], strict=True))
            for name in query["Expression"].split(" / ")
        )
        shared = sorted(set(one) & set(two))
        return {
            "Id": query["Id"],
            "Timestamps": shared,
            "Values": [one[at] / two[at] for at in shared],
            "StatusCode": "Complete",
        }

    def _points(
        self, key: tuple[str, str], period: int, stat: str, start: datetime, end: datetime
    ) -> list[tuple[datetime, float]]:
        origin = math.floor(start.timestamp() / min(period, 60)) * min(period, 60)
        buckets: dict[int, list[float]] = {}
        for at, value in self.values.get(key, []):
            if origin <= at.timestamp() < end.timestamp():
                buckets.setdefault(int((at.timestamp() - origin) // period), []).append(value)
        return [
            (datetime.fromtimestamp(origin, UTC) + timedelta(seconds=index * period), statistic(stat, values))
            for index, values in sorted(buckets.items())
        ]

    def get_paginator(self, operation: str) -> Pages:
        assert operation == "describe_alarm_history"

        def pages(AlarmName: str, StartDate: datetime, EndDate: datetime, **_: Any) -> Iterator[Any]:
            items = [
                item
                for item in self.alarm_history.get(AlarmName, [])
                if StartDate <= item["Timestamp"] <= EndDate
            ]
            for item in reversed(items):  # newest first, a page each
                yield {"AlarmHistoryItems": [item]}

        return Pages(pages)

    def alarm_changed(self, name: str, at: datetime, old: str, new: str, reason: str) -> None:
        data = {
            "version": "1.0",
            "oldState": {"stateValue": old, "stateReason": "before"},
            "newState": {"stateValue": new, "stateReason": reason},
        }
        self.alarm_history.setdefault(name, []).append(
            {
                "AlarmName": name,
                "AlarmType": "MetricAlarm",
                "Timestamp": at,
                "HistoryItemType": "StateUpdate",
                "HistorySummary": f"Alarm updated from {old} to {new}",
                "HistoryData": json.dumps(data),
            }
        )


def statistic(stat: str, values: list[float]) -> float:
    if stat == "Sum":
        return sum(values)
    if stat == "SampleCount":
        return float(len(values))
    if stat == "Maximum":
        return max(values)
    if stat == "Average":
        return sum(values) / len(values)
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * float(stat.removeprefix("p")) / 100) - 1)]


class FakeStepFunctions:
    """One execution's history."""

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self.events = list(events)

    def get_paginator(self, operation: str) -> Pages:
        assert operation == "get_execution_history"

        def pages(executionArn: str, includeExecutionData: bool) -> Iterator[dict[str, Any]]:
            assert includeExecutionData
            for first in range(0, len(self.events), 100):
                yield {"events": self.events[first : first + 100]}

        return Pages(pages)


class Journal:
    """Writes an execution's history, event by event, as GetExecutionHistory gives it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def asked(self, at: datetime, resource: str, parameters: dict[str, Any]) -> None:
        self._add(
            at,
            "TaskScheduled",
            "taskScheduledEventDetails",
            {
                "resourceType": "aws-sdk:sagemaker",
                "resource": resource,
                "region": "us-east-1",
                "parameters": json.dumps(parameters),
            },
        )

    def answered(self, at: datetime, resource: str, output: Any, kind: str = "aws-sdk:sagemaker") -> None:
        self._add(
            at,
            "TaskSucceeded",
            "taskSucceededEventDetails",
            {
                "resourceType": kind,
                "resource": resource,
                "output": output if isinstance(output, str) else json.dumps(output),
                "outputDetails": {"truncated": False},
            },
        )

    def tested(self, at: datetime, stage: str, answer: dict[str, Any]) -> None:
        """An endpoint test: its function was asked, began, answered."""
        self.asked(at, "invoke", {"FunctionName": "test", "Payload": {"stage": stage, "test": {}}})
        self._add(
            at, "TaskStarted", "taskStartedEventDetails", {"resourceType": "lambda", "resource": "invoke"}
        )
        self.answered(at, "invoke", {"Payload": answer, "StatusCode": 200}, kind="lambda")

    def looked(self, at: datetime, answer: dict[str, Any]) -> None:
        """A poll: what DescribeEndpoint answered."""
        self.asked(at, "describeEndpoint", {"EndpointName": answer["EndpointName"]})
        self.answered(at, "describeEndpoint", answer)

    def _add(self, at: datetime, kind: str, member: str, details: dict[str, Any]) -> None:
        number = len(self.events) + 1
        self.events.append(
            {"timestamp": at, "type": kind, "id": number, "previousEventId": number - 1, member: details}
        )


def endpoint_answer(
    status: str,
    configuration: str,
    variants: dict[str, float],
    *,
    name: str = ENDPOINT,
    pending: tuple[str, dict[str, float], str] | None = None,
    reason: str | None = None,
    shadow: str | None = None,
) -> dict[str, Any]:
    """DescribeEndpoint's answer; ``pending`` is a configuration, its variants' weights and what they do."""
    answer: dict[str, Any] = {
        "EndpointName": name,
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}",
        "EndpointConfigName": configuration,
        "EndpointStatus": status,
        "ProductionVariants": [_variant(variant, weight) for variant, weight in variants.items()],
    }
    if reason:
        answer["FailureReason"] = reason
    if shadow:
        answer["ShadowProductionVariants"] = [_variant(shadow, 1.0)]
    if pending:
        new, weights, stage = pending
        answer["PendingDeploymentSummary"] = {
            "EndpointConfigName": new,
            "StartTime": "2026-11-21T09:30:20.000Z",
            "ProductionVariants": [
                _variant(variant, weight)
                | {"VariantStatus": [{"Status": stage.split()[0], "StatusMessage": stage}]}
                for variant, weight in weights.items()
            ],
        }
    return answer


def _variant(name: str, weight: float) -> dict[str, Any]:
    return {
        "VariantName": name,
        "CurrentWeight": weight,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": 2,
        "DesiredInstanceCount": 2,
    }


def capture_record(
    identity: str, at: datetime, score: str, *, inference_id: bool = True, encoding: str = "CSV"
) -> dict[str, Any]:
    """A line of SageMaker's data capture."""
    metadata = {"eventId": f"event-{identity}", "inferenceTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
    metadata |= {"inferenceId": identity} if inference_id else {"eventId": identity}
    return {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "1,2\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv" if encoding == "CSV" else "application/json",
                "mode": "OUTPUT",
                "data": score,
                "encoding": encoding,
            },
        },
        "eventMetadata": metadata,
        "eventVersion": "0",
    }


def label_record(identity: str, label: str) -> dict[str, Any]:
    """A line of Model Monitor's ground truth."""
    return {
        "groundTruthData": {"data": label, "encoding": "CSV"},
        "eventMetadata": {"eventId": identity},
        "eventVersion": "0",
    }
