"""Whole deployments as the services would have recorded them: traffic, polls, alarms, captures, labels.

``python tests/lambdas/deployment_scenarios.py FOLDER`` writes the pages of all of them, to look at.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from deployment_fakes import (
    BEGIN,
    ENDPOINT,
    FakeCloudWatch,
    FakeS3,
    FakeStepFunctions,
    Journal,
    capture_record,
    endpoint_answer,
    label_record,
)
from function_modules import load_function

# read when a function's module is imported, as on AWS
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Triptych")
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "tests")
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:triptych-flights-local-deployment:run-7"
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/triptych-flights-local/7"
REPORT = "s3://data/deployments/run-7"
CAPTURE, TRUTH = "s3://data/capture", f"s3://data/ground-truth/{ENDPOINT}"
OLD, NEW, TRIAL = "flights-run-6-0-0", "flights-run-7-0-0", "flights-run-7-trial-0-0"
CONTEXT = SimpleNamespace(
    function_name="function",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:function",
    aws_request_id="1",
)


@dataclass
class Scenario:
    """The services after a deployment, the time then, and what the state machine would send to the report."""

    s3: FakeS3 = field(default_factory=FakeS3)
    cloudwatch: FakeCloudWatch = field(default_factory=FakeCloudWatch)
    journal: Journal = field(default_factory=Journal)
    now: datetime = BEGIN
    request: dict[str, Any] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)

    def run(self, function: SimpleNamespace, event: dict[str, Any]) -> Any:
        """Invoke a function's handler on these services, at this time."""
        clients = {
            "s3": self.s3,
            "cloudwatch": self.cloudwatch,
            "stepfunctions": FakeStepFunctions(self.journal.events),
        }
        clock = {"_sleep": self._sleep} if hasattr(function.handler, "_sleep") else {}
        with _replaced(function.handler, _client=clients.__getitem__, _now=lambda: self.now, **clock):
            return function.handler.handler(event, CONTEXT)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)

    def traffic(self, variant: str, at: datetime, status: int, latency_ms: float) -> None:
        """One request in CloudWatch's metrics."""
        put = self.cloudwatch.put
        put("Invocations", variant, at, 1.0)
        put("Invocation4XXErrors", variant, at, float(400 <= status < 500))
        put("Invocation5XXErrors", variant, at, float(status >= 500))
        put("ModelLatency", variant, at, latency_ms * 1000)

    def report(self) -> tuple[str, dict[str, Any]]:
        """The page and the answer of ``report_deployment``."""
        answer = self.run(load_function("report_deployment"), self.request)
        return self.s3.objects["data", "deployments/run-7/deployment.html"][0].decode(), answer


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def request(outcome: str, strategy: str, variants: list[str], **more: Any) -> dict[str, Any]:
    """The payload of ``report_deployment``."""
    return {
        "execution_id": EXECUTION,
        "execution_name": "run-7",
        "endpoint_name": ENDPOINT,
        "variant_names": variants,
        "outcome": outcome,
        "strategy": strategy,
        "model_package_arn": PACKAGE,
        "started_at": f"{BEGIN:%Y-%m-%dT%H:%M:%S}.000Z",
        "failure": None,
        "alarms": [],
        "decision": None,
        "test": TEST,
        "report_prefix_uri": REPORT,
        **more,
    }


TEST = {
    "verdict": "pass",
    "reasons": [],
    "rows": 20,
    "requests": 124,
    "latency_ms": {"p50": 0.412, "p99": 0.988, "max": 1.32},
    "parity_difference": 3.1e-8,
    "refused": [
        {"case": "an unknown content type", "status": 415},
        {"case": "text instead of a number", "status": 400},
    ],
    "sample": {"features": "1,2", "score": 0.31},
}
ERROR_ALARM = {
    "AlarmName": f"{ENDPOINT}-errors",
    "AlarmDescription": "Share of requests answered with 5xx",
    "StateValue": "ALARM",
    "StateReason": "Threshold Crossed: 1 datapoint [0.0 (21/11/26 09:31:20)] was not greater than 0.01.",
    "Threshold": 0.01,
    "Metrics": [
        *(
            {
                "Id": name,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SageMaker",
                        "MetricName": metric,
                        "Dimensions": [
                            {"Name": "EndpointName", "Value": ENDPOINT},
                            {"Name": "VariantName", "Value": "AllTraffic"},
                        ],
                    },
                    "Period": 5,
                    "Stat": "Sum",
                },
                "ReturnData": False,
            }
            for name, metric in (("errors", "Invocation5XXErrors"), ("requests", "Invocations"))
        ),
        {"Id": "share", "Expression": "errors / requests", "ReturnData": True},
    ],
}
LATENCY_ALARM = {
    "AlarmName": f"{ENDPOINT}-latency",
    "AlarmDescription": "99th percentile of the model's latency, in microseconds",
    "StateValue": "OK",
    "StateReason": "Threshold Crossed: 1 datapoint [2100.0 (21/11/26 09:31:20)] was not greater than the threshold.",
    "Namespace": "AWS/SageMaker",
    "MetricName": "ModelLatency",
    "Dimensions": [
        {"Name": "EndpointName", "Value": ENDPOINT},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ],
    "ExtendedStatistic": "p99",
    "Period": 5,
    "Threshold": 500_000.0,
}


def canary_rolled_back(rate: int = 60) -> Scenario:
    """Half of the requests go to a model that fails 30 % of them; an alarm takes it out after nine seconds."""
    chance = random.Random(3)
    scenario = Scenario(now=after(64))
    journal = scenario.journal
    staging = f"{ENDPOINT}-staging"
    journal.asked(after(2), "createEndpoint", {"EndpointName": staging, "EndpointConfigName": NEW})
    journal.looked(after(3), endpoint_answer("Creating", NEW, {"AllTraffic": 1.0}, name=staging))
    journal.looked(after(7), endpoint_answer("InService", NEW, {"AllTraffic": 1.0}, name=staging))
    journal.tested(after(8), "staging", TEST)
    journal.asked(after(9), "deleteEndpoint", {"EndpointName": staging})
    journal.looked(after(10), endpoint_answer("InService", OLD, {"AllTraffic": 1.0}))
    journal.asked(after(20), "updateEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": NEW})
    why = f"Alarm {ENDPOINT}-errors went to ALARM during the deployment; rolled back to configuration {OLD}."
    for second in range(21, 62, 2):
        if second < 27:
            stage, share = "Creating 2 instances of the new model", 0.0
        elif second < 29:
            stage, share = "ActivatingTraffic on 50% capacity of 2 instance(s).", 0.5
        else:
            stage, share = "Baking for 20 seconds with traffic enabled on 50% capacity of 2 instance(s).", 0.5
        pending = (NEW, {"AllTraffic": share}, stage)
        if second < 39:
            answer = endpoint_answer("Updating", OLD, {"AllTraffic": 1 - share}, pending=pending)
        elif second < 43:
            answer = endpoint_answer(
                "RollingBack", OLD, {"AllTraffic": 1.0 if second > 39 else 0.5}, pending=pending, reason=why
            )
            if second > 39:
                answer["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentWeight"] = 0.0
        else:
            answer = endpoint_answer("InService", OLD, {"AllTraffic": 1.0}, reason=why)
        journal.looked(after(second), answer)
    scenario.cloudwatch.alarm_changed(
        f"{ENDPOINT}-errors", after(12), "INSUFFICIENT_DATA", "OK", "The share is at most 0.01."
    )
    scenario.cloudwatch.alarm_changed(
        f"{ENDPOINT}-errors",
        after(37.4),
        "OK",
        "ALARM",
        "Threshold Crossed: 1 datapoint [0.15209876543 (21/11/26 09:30:30)] was greater than the threshold (0.01).",
    )
    scenario.cloudwatch.alarm_changed(f"{ENDPOINT}-errors", after(51), "ALARM", "OK", "The share is 0.0.")
    for tick in range(64 * rate):
        at = after(tick / rate)
        moved = 28 <= tick / rate < 40.5 and chance.random() < 0.5
        fails = moved and chance.random() < 0.3
        latency = chance.lognormvariate(math.log(0.5 if not moved else 1.1), 0.35)
        scenario.traffic("AllTraffic", at, 503 if fails else 200, latency)
    scenario.request = request(
        "rolled_back",
        "canary",
        ["AllTraffic"],
        failure={"Error": "UpdateRolledBack", "Cause": why},
        alarms=[ERROR_ALARM, LATENCY_ALARM],
    )
    return scenario


EXPERIMENT = {"metric": "brier", "alpha": 0.05, "looks": 4, "min_labelled": 200, "min_effect": 0.0}


def experiment_request(look: int, tested: list[dict[str, Any]]) -> dict[str, Any]:
    """The payload of ``judge_experiment``."""
    return {
        "execution_id": EXECUTION,
        "endpoint_name": ENDPOINT,
        "started_at": f"{BEGIN + timedelta(seconds=20):%Y-%m-%dT%H:%M:%S}.250Z",
        "look": look,
        "experiment": EXPERIMENT,
        "champion_variant": "AllTraffic",
        "challenger_variant": "Challenger",
        "capture_uri": CAPTURE,
        "ground_truth_uri": TRUTH,
        "tested": tested,
    }


def ab_promoted(noise: float = 0.85, rate: int = 30) -> Scenario:
    """A challenger that is better calibrated; labels come ten seconds after the answers. The judge is the real one."""
    chance = random.Random(11)
    scenario = Scenario()
    journal = scenario.journal
    judge = load_function("judge_experiment")
    both = {"AllTraffic": 0.5, "Challenger": 0.5}
    journal.looked(after(4), endpoint_answer("InService", OLD, {"AllTraffic": 1.0}))
    journal.asked(after(10), "updateEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": TRIAL})
    for second in range(11, 20, 2):
        pending = (TRIAL, {"AllTraffic": 0.0, "Challenger": 0.0}, "Creating 1 instance(s).")
        journal.looked(after(second), endpoint_answer("Updating", OLD, {"AllTraffic": 1.0}, pending=pending))
    journal.looked(after(20), endpoint_answer("InService", TRIAL, both))
    captured: dict[str, list[Any]] = {"AllTraffic": [], "Challenger": []}
    waiting: list[tuple[datetime, dict[str, Any]]] = []
    answer: dict[str, Any] = {"tested": []}
    looks = 0
    decided: float | None = None
    for tick in range(200 * rate):
        second = tick / rate
        at = after(second)
        if decided is not None and second > decided + 25:
            break
        if second < 20:
            variant = "AllTraffic"
        elif decided is None or second < decided + 8:
            variant = chance.choice(["AllTraffic", "Challenger"])
        else:
            variant = "AllTraffic"
        scenario.traffic(variant, at, 200, chance.lognormvariate(math.log(0.55), 0.3))
        log_odds = chance.gauss(-1.0, 1.0)
        label = chance.random() < 1 / (1 + math.exp(-log_odds))
        moved = log_odds + (chance.gauss(0.0, noise) if variant == "AllTraffic" else 0.0)
        captured[variant].append(capture_record(f"id-{tick}", at, f"{1 / (1 + math.exp(-moved)):.6f}\n"))
        waiting.append((at + timedelta(seconds=10), label_record(f"id-{tick}", str(int(label)))))
        if second >= 20 and second % 20 == 0 and second > 20 and decided is None:
            looks += 1
            for name, records in captured.items():
                key = f"{CAPTURE}/{ENDPOINT}/{name}/2026/11/21/09/{at:%M-%S}-000-x.jsonl"
                scenario.s3.put_lines(key, records, at)
                records.clear()
            ready = [record for due, record in waiting if due <= at]
            waiting = [(due, record) for due, record in waiting if due > at]
            scenario.s3.put_lines(f"{TRUTH}/2026/11/21/09/{at:%M-%S}.jsonl", ready, at)
            scenario.now = at
            answer = scenario.run(judge, experiment_request(looks, answer["tested"]))
            journal.answered(at, "invoke", {"Payload": answer}, kind="lambda")
            journal.looked(at, endpoint_answer("InService", TRIAL, both))
            if answer["final"]:
                decided = second
                journal.asked(
                    after(second + 1),
                    "updateEndpoint",
                    {"EndpointName": ENDPOINT, "EndpointConfigName": NEW},
                )
    assert decided is not None
    for second in (2, 4, 6):
        journal.looked(
            after(decided + second),
            endpoint_answer(
                "Updating", TRIAL, both, pending=(NEW, {"AllTraffic": 0.0}, "Creating 2 instances.")
            ),
        )
    promoted = answer["verdict"] == "promote"
    for second in (8, 10):
        journal.looked(
            after(decided + second),
            endpoint_answer("InService", NEW if promoted else OLD, {"AllTraffic": 1.0}),
        )
    scenario.now = after(decided + 25)
    scenario.request = request(
        "promoted" if promoted else "kept", "ab", ["AllTraffic", "Challenger"], decision=answer
    )
    return scenario


SHADOW = {
    "sampling_percent": 100,
    "looks": 2,
    "min_requests": 200,
    "max_mean_difference": 0.05,
    "max_error_rate": 0.0,
}


def shadow_request(look: int) -> dict[str, Any]:
    """The payload of ``compare_shadow``."""
    return {
        "execution_id": EXECUTION,
        "endpoint_name": ENDPOINT,
        "started_at": f"{after(20):%Y-%m-%dT%H:%M:%S}Z",
        "shadow": SHADOW,
        "production_variant": "AllTraffic",
        "shadow_variant": "Shadow",
        "capture_uri": CAPTURE,
        "look": look,
        "looks": 2,
    }


def shadow_tested(away: float = 0.012, failing: float = 0.0) -> Scenario:
    """The new model answers copies of the requests, ``away`` from the old one, and fails the share ``failing``."""
    chance = random.Random(5)
    scenario = Scenario()
    journal = scenario.journal
    compare = load_function("compare_shadow")
    journal.looked(after(4), endpoint_answer("InService", OLD, {"AllTraffic": 1.0}))
    journal.asked(after(10), "updateEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": TRIAL})
    journal.looked(
        after(12),
        endpoint_answer(
            "Updating", OLD, {"AllTraffic": 1.0}, pending=(TRIAL, {"AllTraffic": 0.0}, "Creating")
        ),
    )
    journal.looked(after(20), endpoint_answer("InService", TRIAL, {"AllTraffic": 1.0}, shadow="Shadow"))
    old, new = [], []
    answer: dict[str, Any] = {}
    for tick in range(64 * 20):
        at = after(tick / 20)
        score = chance.random()
        scenario.traffic("AllTraffic", at, 200, 0.5)
        old.append(capture_record(f"id-{tick}", at, f"{score:.6f}\n"))
        if 20 <= tick / 20 < 62:
            fails = chance.random() < failing
            scenario.traffic("Shadow", at, 500 if fails else 200, 0.7)
            if not fails:
                other = min(max(score + chance.gauss(0.0, away), 0.0), 1.0)
                new.append(capture_record(f"id-{tick}", at, f"{other:.6f}\n"))
        if tick / 20 in (40, 60) and not answer.get("final"):
            for name, records in (("AllTraffic", old), ("Shadow", new)):
                key = f"{CAPTURE}/{ENDPOINT}/{name}/2026/11/21/09/{at:%M-%S}-000-x.jsonl"
                scenario.s3.put_lines(key, records, at)
                records.clear()
            scenario.now = at
            answer = scenario.run(compare, shadow_request(1 if tick / 20 == 40 else 2))
            journal.answered(at, "invoke", {"Payload": answer}, kind="lambda")
    promoted = answer["verdict"] == "promote"
    target = NEW if promoted else OLD
    journal.asked(after(61), "updateEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": target})
    journal.looked(after(63), endpoint_answer("InService", target, {"AllTraffic": 1.0}))
    scenario.now = after(64)
    scenario.request = request(
        "promoted" if promoted else "kept",
        "shadow",
        ["AllTraffic", "Shadow"],
        decision=answer,
        failure=None if promoted else {"Error": "ChampionKept", "Cause": "The shadow test did not show it."},
    )
    return scenario


def staging_failed() -> Scenario:
    """The container never starts on the staging endpoint: production is not touched."""
    scenario = Scenario(now=after(30))
    staging = f"{ENDPOINT}-staging"
    why = "The primary container for production variant AllTraffic did not pass the ping health check."
    scenario.journal.asked(after(2), "createEndpoint", {"EndpointName": staging, "EndpointConfigName": NEW})
    scenario.journal.looked(after(3), endpoint_answer("Creating", NEW, {}, name=staging))
    scenario.journal.looked(after(20), endpoint_answer("Failed", NEW, {}, name=staging, reason=why))
    scenario.journal.asked(after(21), "deleteEndpoint", {"EndpointName": staging})
    for tick in range(300):
        scenario.traffic("AllTraffic", after(tick / 10), 200, 0.5)
    scenario.request = request(
        "rolled_back",
        "blue_green",
        ["AllTraffic"],
        failure={"Error": "StagingFailed", "Cause": f"Endpoint {staging} is Failed: {why}"},
        test=None,
    )
    return scenario


def created() -> Scenario:
    """There was no endpoint; CloudWatch has values by the minute, as on AWS."""
    scenario = Scenario(cloudwatch=FakeCloudWatch(resolution=60), now=after(600))
    journal = scenario.journal
    journal.asked(after(30), "createEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": NEW})
    for second in range(31, 240, 30):
        journal.looked(after(second), endpoint_answer("Creating", NEW, {}))
    journal.looked(after(241), endpoint_answer("InService", NEW, {"AllTraffic": 1.0}))
    for tick in range(300 * 4):
        scenario.traffic("AllTraffic", after(250 + tick / 4), 200, 4.0)
    scenario.request = request("created", "all_at_once", ["AllTraffic"])
    return scenario


@contextmanager
def _replaced(module: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


SCENARIOS = {
    "canary_rolled_back": canary_rolled_back,
    "ab_promoted": ab_promoted,
    "shadow_tested": shadow_tested,
    "staging_failed": staging_failed,
    "created": created,
}

if __name__ == "__main__":
    for name, make in SCENARIOS.items():
        Path(sys.argv[1], f"{name}.html").write_text(make().report()[0])
