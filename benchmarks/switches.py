"""Endpoint updates under load: not one request lost, not one answered by a model that should not answer it.

A load of real requests runs against one endpoint of a local cloud while its model is switched back and forth by every
strategy (all at once, canary, linear, rolling), and while deployments are rolled back: by an alarm, by an artefact that
cannot be loaded, and by a model that fails in production. Each answer is held against the scores of both models for its
row: during a change either may answer, after it only the one that serves.

    python benchmarks/switches.py [--switches 100] [--rollbacks 20] [--rate 150]
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import XGBOOST_IMAGE, finish, say_machine

from triptych.traffic import Row, Tally, Traffic, asking, runtime_config

ENDPOINT, BUCKET, ALARM = "switches", "switches-benchmark", "switches-errors"
ROLE = "arn:aws:iam::123456789012:role/switches"
COLUMNS, ROWS, THREADS = 12, 500, 16
TOLERANCE = 1e-5
_SERVED_SECONDS = 0.3
"""for how long a switch is left alone: what serves must be seen to serve alone"""
_RAISES = """import numpy as np
import xgboost as xgb


def model_fn(model_dir):
    return None


def input_fn(body, content_type):
    return body


def predict_fn(rows, model):
    raise RuntimeError("this model fails")
"""
STRATEGIES: dict[str, dict[str, Any]] = {
    "all at once": {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE"}}},
    "canary": {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            }
        }
    },
    "linear": {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "LINEAR",
                "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            }
        }
    },
    "rolling": {"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50}}},
}


@dataclass(frozen=True)
class Answer:
    """One answered request: when it was sent and answered (monotonic seconds), its row, its score."""

    sent: float
    done: float
    row: int
    score: float


@dataclass
class Timeline:
    """Which models may answer, from when on."""

    changes: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def allow(self, *models: str) -> None:
        self.changes.append((time.monotonic(), frozenset(models)))

    def allowed(self, sent: float, done: float) -> set[str]:
        """All models that could rightly answer a request sent and answered then."""
        found: set[str] = set()
        for (start, models), following in zip(self.changes, [*self.changes[1:], None], strict=True):
            end = following[0] if following else float("inf")
            if start <= done and end >= sent:
                found |= models
        return found


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=100)
    parser.add_argument("--rollbacks", type=int, default=20)
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    options = parser.parse_args()
    say_machine()
    folder = Path(tempfile.mkdtemp(prefix="triptych-switches-"))
    from triptych.localcloud import daemon
    from triptych.localcloud.cloud import Settings

    running = daemon.start(folder / "home", Settings(port=0))
    try:
        return _compare(options, running.endpoint_url, folder)
    finally:
        daemon.stop(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)


def _compare(options: argparse.Namespace, endpoint_url: str, folder: Path) -> int:
    clients = _Clients(endpoint_url)
    lines, scores = _prepare(clients)
    timeline = Timeline()
    timeline.allow("first")
    answers: list[Answer] = []
    rows = [
        Row(line, None, tuple(known[index] for known in scores.values())) for index, line in enumerate(lines)
    ]
    traffic = Traffic(_recording(clients, lines, answers), rows, options.rate, threads=THREADS)
    traffic.start()
    counted: Counter[str] = Counter()
    started = time.monotonic()
    try:
        for number in range(options.switches):
            name = list(STRATEGIES)[number % len(STRATEGIES)]
            _switch(clients, timeline, number, STRATEGIES[name])
            counted[name] += 1
            _progress("switch", number + 1, options.switches, name, traffic)
        for number in range(options.rollbacks):
            how = ("alarm", "broken artefact", "alarm", "fails in production")[number % 4]
            _roll_back(clients, timeline, how)
            counted[f"rolled back: {how}"] += 1
            _progress("rollback", number + 1, options.rollbacks, how, traffic)
        time.sleep(1.0)
    finally:
        tally = traffic.stop()
    seconds = time.monotonic() - started
    wrong = list(_wrong(answers, timeline, scores))
    for told in wrong[:5]:
        print(f"wrong: {told}")
    if tally.first_problem:
        print(f"the first problem: {tally.first_problem}")
    figures = {
        "seconds": round(seconds, 1),
        "requests": tally.sent,
        "changes": dict(counted),
        **tally.as_json(),
        "checked": len(answers),
    }
    print(tally.line())
    goals = {
        "requests lost": (float(tally.lost + tally.refused), 0.0),
        "answers wrong": (float(len(wrong)), 0.0),
        "switches and rollbacks left undone": (
            float(options.switches + options.rollbacks - sum(counted.values())),
            0.0,
        ),
    }
    return finish("switches", figures, goals)


class _Clients:
    def __init__(self, endpoint_url: str) -> None:
        import boto3
        from botocore.config import Config

        session = boto3.Session("switches", "switches", region_name="us-east-1")
        self.s3 = session.client("s3", endpoint_url=endpoint_url)
        self.sagemaker = session.client("sagemaker", endpoint_url=endpoint_url)
        self.cloudwatch = session.client("cloudwatch", endpoint_url=endpoint_url)
        self.runtime = session.client(
            "sagemaker-runtime", endpoint_url=endpoint_url, config=Config(**runtime_config(THREADS))
        )

    def wait(self) -> dict[str, Any]:
        """The endpoint, once it is at rest."""
        while True:
            described: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
            if described["EndpointStatus"] not in ("Creating", "Updating", "RollingBack", "SystemUpdating"):
                return described
            time.sleep(0.02)


def _prepare(clients: _Clients) -> tuple[list[str], dict[str, list[float]]]:
    """Two good models with other scores, two bad ones, an alarm, and the endpoint; the rows with their scores."""
    import numpy as np
    import xgboost as xgb

    random = np.random.default_rng(7)
    features = random.normal(size=(4000, COLUMNS)).astype(np.float32)
    clients.s3.create_bucket(Bucket=BUCKET)
    scores = {}
    lines = [",".join(map(repr, map(float, row))) for row in features[:ROWS]]
    for name, column in (("first", 0), ("second", 1)):
        label = (features[:, column] + random.normal(size=4000) > 0).astype(int)
        parameters = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1}
        booster = xgb.train(parameters, xgb.DMatrix(features, label), 50)
        scores[name] = [float(score) for score in booster.inplace_predict(features[:ROWS])]
        _model(clients, name, {"xgboost-model": bytes(booster.save_raw("ubj"))})
    _model(clients, "broken", {"xgboost-model": b"no model at all"})
    environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
    _model(clients, "fails", {"code/inference.py": _RAISES.encode()}, environment)
    clients.cloudwatch.put_metric_alarm(
        AlarmName=ALARM,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[
            {"Name": "EndpointName", "Value": ENDPOINT},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ],
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    clients.sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="first")
    described = clients.wait()
    if described["EndpointStatus"] != "InService":
        raise SystemExit(f"the endpoint did not come up: {described.get('FailureReason')}")
    return lines, scores


def _model(
    clients: _Clients, name: str, files: dict[str, bytes], environment: dict[str, str] | None = None
) -> None:
    """A model of that name with an endpoint configuration of the same name."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    clients.s3.put_object(Bucket=BUCKET, Key=f"{name}/model.tar.gz", Body=held.getvalue())
    clients.sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": XGBOOST_IMAGE,
            "ModelDataUrl": f"s3://{BUCKET}/{name}/model.tar.gz",
            "Environment": environment or {},
        },
    )
    clients.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": name,
                "InitialInstanceCount": 2,
                "InstanceType": "ml.m5.large",
                "InitialVariantWeight": 1,
            }
        ],
    )


def _recording(clients: _Clients, lines: list[str], answers: list[Answer]) -> Any:
    ask = asking(clients.runtime, ENDPOINT)
    numbers = {line: number for number, line in enumerate(lines)}
    lock = threading.Lock()

    def asked(line: str, inference_id: str) -> tuple[float, str]:
        sent = time.monotonic()
        score, variant = ask(line, inference_id)
        with lock:
            answers.append(Answer(sent, time.monotonic(), numbers[line], score))
        return score, variant

    return asked


def _switch(clients: _Clients, timeline: Timeline, number: int, strategy: dict[str, Any]) -> None:
    """From one good model to the other."""
    new = ("second", "first")[number % 2]
    timeline.allow("first", "second")
    clients.sagemaker.update_endpoint(
        EndpointName=ENDPOINT, EndpointConfigName=new, DeploymentConfig=_with_waits(strategy, 0)
    )
    described = clients.wait()
    timeline.allow(new)
    time.sleep(_SERVED_SECONDS)
    if described["EndpointStatus"] != "InService" or described["EndpointConfigName"] != new:
        raise SystemExit(f"switch {number + 1} did not come about: {json.dumps(described, default=str)}")


def _roll_back(clients: _Clients, timeline: Timeline, how: str) -> None:
    """A deployment that must end where it began."""
    served = clients.wait()["EndpointConfigName"]
    other = {"first": "second", "second": "first"}[served]
    new = {"broken artefact": "broken", "fails in production": "fails"}.get(how, other)
    clients.cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue="OK", StateReason="before the next one")
    timeline.allow(served, new)
    clients.sagemaker.update_endpoint(
        EndpointName=ENDPOINT,
        EndpointConfigName=new,
        DeploymentConfig=_with_waits(STRATEGIES["canary"], 60)
        | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ALARM}]}},
    )
    if how == "alarm":
        while not _baking(clients):
            time.sleep(0.02)
        time.sleep(0.3)
        clients.cloudwatch.set_alarm_state(
            AlarmName=ALARM, StateValue="ALARM", StateReason="rolled back on purpose"
        )
    described = clients.wait()
    timeline.allow(served)
    if described["EndpointStatus"] != "InService" or described["EndpointConfigName"] != served:
        raise SystemExit(f"the rollback ({how}) did not come about: {json.dumps(described, default=str)}")
    if how == "fails in production":
        time.sleep(11)  # its errors leave the alarm's window before the next deployment


def _baking(clients: _Clients) -> bool:
    """Whether the new fleet has its share of the traffic already."""
    pending = clients.sagemaker.describe_endpoint(EndpointName=ENDPOINT).get("PendingDeploymentSummary") or {}
    return any(
        status["Status"] == "Baking"
        for variant in pending.get("ProductionVariants", [])
        for status in variant.get("VariantStatus", [])
    )


def _with_waits(strategy: dict[str, Any], seconds: int) -> dict[str, Any]:
    chosen: dict[str, Any] = json.loads(json.dumps(strategy))
    rolling = chosen.get("RollingUpdatePolicy")
    if rolling is not None:
        rolling["WaitIntervalInSeconds"] = seconds
    else:
        routing = chosen["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
        routing["WaitIntervalInSeconds"] = seconds
    return chosen


def _wrong(answers: list[Answer], timeline: Timeline, scores: dict[str, list[float]]) -> Iterator[str]:
    for answer in answers:
        allowed = timeline.allowed(answer.sent, answer.done) & scores.keys()
        if not any(abs(answer.score - scores[model][answer.row]) <= TOLERANCE for model in allowed):
            known = {model: known[answer.row] for model, known in scores.items()}
            yield f"row {answer.row} got {answer.score}, {sorted(allowed)} may answer, they say {known}"


def _progress(what: str, number: int, of: int, how: str, traffic: Traffic) -> None:
    if number % 10 == 0 or number == of or what == "rollback":
        told: Tally = traffic.tally()
        print(f"{what} {number} of {of} ({how}): {told.line()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
