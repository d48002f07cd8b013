"""Traffic: every request is counted once, as what became of it; labels follow the answers."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from triptych.traffic import Labels, NoRows, Row, Traffic, telling

KNOWN = Row("1,2", 1.0, (0.25, 0.75))


def _model_error(status: int) -> ClientError:
    response: Any = {"Error": {"Code": "ModelError", "Message": "it failed"}, "OriginalStatusCode": status}
    return ClientError(response, "InvokeEndpoint")


def _service_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "InvokeEndpoint")


def _send(row: Row, answer: object, **options: Any) -> Any:
    def ask(line: str, inference_id: str) -> tuple[float, str]:
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, float)
        return answer, "AllTraffic"

    traffic = Traffic(ask, [row], 2000, threads=2, **options)
    traffic.start()
    while traffic.tally().sent < 20:
        time.sleep(0.001)
    return traffic.stop()


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (0.25, {"answered"}),
        (0.75000001, {"answered"}),
        (0.5, {"answered", "wrong"}),
        (float("nan"), {"answered", "wrong"}),
        (_model_error(500), {"failed"}),
        (_model_error(0), {"failed"}),
        (_model_error(400), {"refused"}),
        (_service_error("ServiceUnavailable"), {"lost"}),
        (_service_error("ValidationError"), {"lost"}),
        (EndpointConnectionError(endpoint_url="http://here"), {"lost"}),
        (ReadTimeoutError(endpoint_url="http://here"), {"lost"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_request_counts_as_what_became_of_it(answer: object, counted: set[str]) -> None:
    told = _send(KNOWN, answer).as_json()
    for name in ("answered", "failed", "refused", "lost", "wrong"):
        assert (told[name] == told["sent"]) == (name in counted), name
        assert (told[name] == 0) == (name not in counted), name
    assert bool(told["first_problem"]) == (counted != {"answered"})


@pytest.mark.parametrize(("score", "right"), [(0.0, True), (1.0, True), (1.01, False), (-0.1, False)])
def test_without_a_known_score_every_probability_is_right(score: float, right: bool) -> None:
    assert Row("1", None, ()).is_right(score) == right


def test_no_rows_is_told() -> None:
    with pytest.raises(NoRows):
        Traffic(lambda line, identity: (0.5, "v"), [], 10)


def test_labels_of_answered_requests_are_all_told_once() -> None:
    asked: list[str] = []
    told: list[tuple[str, float, float]] = []

    def ask(line: str, inference_id: str) -> tuple[float, str]:
        asked.append(inference_id)
        if len(asked) % 3 == 0:
            raise _model_error(500)
        return 0.25, "AllTraffic"

    traffic = Traffic(ask, [KNOWN, Row("3", None, (0.25,))], 2000, threads=1, labelled=told.extend)
    traffic.start()
    while traffic.tally().sent < 50:
        time.sleep(0.001)
    traffic.stop()
    answered = [identity for index, identity in enumerate(asked, 1) if index % 3]
    expected = [identity for identity in answered if asked.index(identity) % 2 == 0]
    assert [identity for identity, _, _ in told] == expected
    assert {(label, score) for _, label, score in told} == {(1.0, 0.25)}


def test_labels_that_could_not_be_sent_are_sent_later() -> None:
    told: list[tuple[str, float, float]] = []
    tries: list[int] = []

    def labelled(batch: list[tuple[str, float, float]]) -> None:
        tries.append(len(batch))
        if len(tries) == 1:
            raise EndpointConnectionError(endpoint_url="http://here")
        told.extend(batch)

    traffic = Traffic(lambda line, identity: (0.25, "v"), [KNOWN], 500, threads=1, labelled=labelled)
    traffic.start()
    while len(tries) < 1:
        time.sleep(0.001)
    tally = traffic.stop()
    assert len(told) == tally.answered > 0
    assert "labels could not be sent" in tally.first_problem


class _Keeps:
    """Stands for boto3's clients: keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def put_object(self, **given: Any) -> None:
        self.given.append(given)

    put_metric_data = put_object


def test_ground_truth_is_as_model_monitor_reads_it_and_the_error_is_a_metric() -> None:
    s3, cloudwatch = _Keeps(), _Keeps()
    tell = telling(s3, cloudwatch, "flights", Labels("s3://data/ground-truth/flights", "Triptych/flights"))
    tell([("a", 1.0, 0.75), ("b", 0.0, 0.5)])
    (stored,) = s3.given
    assert stored["Bucket"] == "data"
    assert stored["Key"].startswith("ground-truth/flights/20")
    lines = [json.loads(line) for line in stored["Body"].decode().splitlines()]
    assert [line["eventMetadata"]["eventId"] for line in lines] == ["a", "b"]
    assert [line["groundTruthData"] for line in lines] == [
        {"data": "1", "encoding": "CSV"},
        {"data": "0", "encoding": "CSV"},
    ]
    (metric,) = cloudwatch.given[0]["MetricData"]
    assert metric["StatisticValues"] == {
        "SampleCount": 2,
        "Sum": 0.0625 + 0.25,
        "Minimum": 0.0625,
        "Maximum": 0.25,
    }
