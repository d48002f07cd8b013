"""The rules of resolve_deployment and test_endpoint, and how a rollback is explained, by tables."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from function_modules import load_function
from model_registry import Registry, packaged

from triptych.core.contract import load_contract
from triptych.core.deployment import STRATEGIES, Deployment

CONTRACT = load_contract(Path(__file__).parents[2] / "usecases" / "flights" / "contract.yaml")
SHIPPED = CONTRACT.deployment
resolving = load_function("resolve_deployment")
testing = load_function("test_endpoint")
explanation = load_function("explain_failure").explanation

ENVIRONMENT = {
    "DATA_BUCKET": "data",
    "CONTRACT_URI": "s3://code/contract.yaml",
    "MODEL_PACKAGE_GROUP": "g",
    "ENDPOINT_NAME": "triptych-flights",
    "POLL_SECONDS": "7",
    "SHIFT_WAIT_SECONDS": "300",
    "BAKE_SECONDS": "600",
    "LOOK_SECONDS": "3600",
    "ALARM_NAMES": "errors,latency",
    "TRIAL_ALARM_NAMES": "challenger-errors",
}
SETTINGS = resolving.request.Settings.from_environment(ENVIRONMENT)
EVENT = {
    "execution_id": "arn:execution:me",
    "execution_name": "run-1",
    "state_machine_id": "arn:stateMachine:deployment",
}


# Which package


@pytest.mark.parametrize(
    ("packages", "asked", "expected"),
    [
        pytest.param([packaged(2, "Rejected"), packaged(1)], None, "g/1", id="latest approved"),
        pytest.param(
            [packaged(2), packaged(1)], packaged(1)["ModelPackageArn"], "g/1", id="the one asked for"
        ),
    ],
)
def test_package_to_deploy(packages: list[dict[str, Any]], asked: str | None, expected: str) -> None:
    found = resolving.package.find_package(Registry(*packages), "g", asked)
    assert found["ModelPackageArn"].endswith(expected)


@pytest.mark.parametrize(
    ("packages", "asked", "message"),
    [
        pytest.param([], None, "has no approved package", id="none"),
        pytest.param(
            [packaged(1, "PendingManualApproval")],
            packaged(1)["ModelPackageArn"],
            "is PendingManualApproval, not Approved",
            id="not approved",
        ),
    ],
)
def test_what_is_not_approved_is_not_deployed(
    packages: list[dict[str, Any]], asked: str | None, message: str
) -> None:
    with pytest.raises(resolving.package.NoApprovedPackage, match=message):
        resolving.package.find_package(Registry(*packages), "g", asked)


# One at a time

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def running(name: str, minute: int, redriven_at: int | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "executionArn": f"arn:execution:{name}",
        "startDate": NOON + timedelta(minutes=minute),
    }
    if redriven_at is not None:
        entry["redriveDate"] = NOON + timedelta(minutes=redriven_at)
    return entry


@pytest.mark.parametrize(
    ("others", "refused"),
    [
        pytest.param([running("me", 5)], None, id="alone"),
        pytest.param([running("me", 5), running("older", 1)], "older", id="an older one goes on"),
        pytest.param([running("me", 5), running("younger", 6)], None, id="a younger one gives way"),
        pytest.param([running("me", 5), running("a", 5)], "a", id="at once: one of the two"),
        pytest.param([running("me", 5), running("z", 5)], None, id="at once: the other"),
        pytest.param([running("me", 5), running("redriven", 1, 6)], None, id="redriven later"),
        pytest.param([running("me", 1, 7), running("other", 5)], "other", id="redriven itself"),
        pytest.param([running("other", 5)], "other", id="not listed yet"),
    ],
)
def test_the_deployment_that_began_first_goes_on(others: list[dict[str, Any]], refused: str | None) -> None:
    if refused is None:
        resolving.underway.refuse_a_second(others, EVENT["execution_id"])
        return
    with pytest.raises(resolving.underway.DeploymentUnderWay, match=f"execution {refused} has been"):
        resolving.underway.refuse_a_second(others, EVENT["execution_id"])


# What is asked for


def test_a_missing_variable_is_named() -> None:
    for name in resolving.request.Settings.__dataclass_fields__:
        some = {key: value for key, value in ENVIRONMENT.items() if key != name.upper()}
        with pytest.raises(resolving.request.SettingMissing, match=f"{name.upper()} is not set"):
            resolving.request.Settings.from_environment(some)


def asked(**overrides: Any) -> Any:
    return resolving.request.Request.from_event({**EVENT, "deployment": overrides})


@pytest.mark.parametrize(
    ("overrides", "strategy", "count"),
    [
        ({}, "all_at_once", 2),
        ({"strategy": "canary"}, "canary", 2),
        ({"strategy": None, "instance_count": 3}, "all_at_once", 3),
    ],
    ids=["nothing", "strategy", "instances"],
)
def test_the_executions_input_overrides_the_contract(
    overrides: dict[str, Any], strategy: str, count: int
) -> None:
    found = asked(**overrides).apply_to(SHIPPED)
    assert (found.strategy, found.instance_count) == (strategy, count)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"strategy": "yolo"}, "'yolo' is none of all_at_once, blue_green"),
        ({"instance_count": 0}, "0 is no whole number above 0"),
        ({"instance_count": "2"}, "'2' is no whole number"),
        ({"instance_count": 9}, "9 is not between autoscaling's 2 and 4"),
        ({"weight": 1}, "cannot override deployment.weight; it can override strategy and instance_count"),
    ],
    ids=["strategy", "none", "text", "too many", "unknown"],
)
def test_impossible_overrides_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(resolving.request.DeploymentNotPossible, match=message):
        asked(**overrides).apply_to(SHIPPED)


def test_overrides_that_are_no_object_are_refused() -> None:
    with pytest.raises(resolving.request.DeploymentNotPossible, match="is 'canary', but must be an object"):
        resolving.request.Request.from_event({**EVENT, "deployment": "canary"})


def test_a_step_by_step_strategy_on_one_instance_is_refused() -> None:
    one = replace(SHIPPED, instance_count=1, autoscaling=None)
    with pytest.raises(resolving.request.DeploymentNotPossible, match="canary needs two instances"):
        asked(strategy="canary").apply_to(one)


# How the traffic goes over


def shift(strategy: str, wait: int = 300, bake: int = 600, **changed: Any) -> Any:
    deployment = replace(SHIPPED, strategy=strategy, **changed)
    return resolving.rollout.traffic_shift(deployment, wait, bake, ("errors", "latency"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_traffic_shift_is_one_that_sagemaker_takes(strategy: str) -> None:
    found = shift(strategy)
    if strategy in ("all_at_once", "ab"):
        assert found is None
        return
    model = botocore.session.get_session().get_service_model("sagemaker")
    request = {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": found}
    report = ParamValidator().validate(request, model.operation_model("UpdateEndpoint").input_shape)
    assert not report.has_errors(), report.generate_report()
    assert found["AutoRollbackConfiguration"] == {
        "Alarms": [{"AlarmName": "errors"}, {"AlarmName": "latency"}]
    }


@pytest.mark.parametrize(
    ("strategy", "routing", "limit"),
    [
        ("blue_green", {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}, 4200),
        ("shadow", {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}, 4200),
        (
            "canary",
            {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                "WaitIntervalInSeconds": 300,
            },
            4500,
        ),
        (
            "linear",
            {
                "Type": "LINEAR",
                "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 25},
                "WaitIntervalInSeconds": 300,
            },
            5400,
        ),
    ],
)
def test_waits_come_from_the_settings(strategy: str, routing: dict[str, Any], limit: int) -> None:
    policy = shift(strategy)["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == routing
    assert policy["TerminationWaitInSeconds"] == 600
    assert policy["MaximumExecutionTimeoutInSeconds"] == limit


def test_waits_that_sagemaker_would_cut_off_are_refused() -> None:
    with pytest.raises(resolving.rollout.WaitsTooLong, match="wait 36600 s in all"):
        shift("linear", wait=3600, linear=replace(SHIPPED.linear, step_percent=10))


# What serves, and the answer


class Endpoints:
    """An endpoint as DescribeEndpoint, DescribeEndpointConfig and ListTags tell of it."""

    class exceptions:
        ClientError = ClientError

    def __init__(self, status: str | None, variants: dict[str, dict[str, Any]], package: str | None) -> None:
        self.status, self.variants, self.package = status, variants, package

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:
        if self.status is None:
            error = {"Code": "ValidationException", "Message": f'Could not find endpoint "{EndpointName}".'}
            raise ClientError({"Error": error}, "DescribeEndpoint")
        return {
            "EndpointArn": "arn",
            "EndpointStatus": self.status,
            "EndpointConfigName": "old",
            "ProductionVariants": [
                {"VariantName": name, "DesiredInstanceCount": variant.get("now")}
                for name, variant in self.variants.items()
            ],
        }

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:
        variants = [
            {"VariantName": name, "ModelName": f"model-{name}", "InstanceType": variant.get("type")}
            for name, variant in self.variants.items()
        ]
        return {"ProductionVariants": variants}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_tags"
        return self

    def paginate(self, ResourceArn: str) -> list[dict[str, Any]]:
        tags = [{"Key": "triptych:model-package", "Value": self.package}] if self.package else []
        return [{"Tags": tags}]


ONE = {"AllTraffic": {"type": "ml.m5.large", "now": 3}}


def serving(variants: dict[str, dict[str, Any]] = ONE, package: str | None = None) -> Any:
    return resolving.served.what_serves(Endpoints("InService", variants, package), "triptych-flights")


@pytest.mark.parametrize("status", [None, "Failed", "Creating", "Deleting"])
def test_an_endpoint_that_does_not_serve_counts_as_none(status: str | None) -> None:
    assert resolving.served.what_serves(Endpoints(status, ONE, None), "e") is None


def resolved(
    strategy: str = "all_at_once",
    served: Any = None,
    overrides: dict[str, Any] | None = None,
    deployment: Deployment = SHIPPED,
    **given: Any,
) -> dict[str, Any]:
    request = resolving.request.Request.from_event(
        {**EVENT, "deployment": {"strategy": strategy, **(overrides or {})}, **given}
    )
    found: dict[str, Any] = resolving.answer.resolve(
        request,
        SETTINGS,
        request.apply_to(deployment),
        "flights",
        packaged(2, batch_uri="s3://from/package", transform_uri="s3://out"),
        served,
        None,
    )
    return found


@pytest.mark.parametrize(
    ("given", "batch"),
    [(None, "s3://from/package"), ("s3://from/request", "s3://from/request")],
    ids=["of the package", "of the request"],
)
def test_what_is_tested_with(given: str | None, batch: str) -> None:
    found = resolved(batch_uri=given)
    assert (found["test"]["batch_uri"], found["test"]["transform_uri"]) == (batch, "s3://out")
    assert found["test"]["rows"] == SHIPPED.test.rows
    assert (found["poll_seconds"], found["staging_endpoint_name"]) == (7, "triptych-flights-staging")


@pytest.mark.parametrize(
    ("strategy", "variant", "alarms"),
    [
        ("canary", None, ["errors", "latency"]),
        ("ab", "Challenger", ["errors", "latency", "challenger-errors"]),
        ("shadow", "Shadow", ["errors", "latency"]),
    ],
)
def test_a_trial_has_a_champion_a_variant_of_its_own_and_alarms(
    strategy: str, variant: str | None, alarms: list[str]
) -> None:
    found = resolved(strategy, serving())
    assert (found["trial"]["variant_name"], found["alarms"]) == (variant, alarms)
    champion = {
        "variant_name": "AllTraffic",
        "model_name": "model-AllTraffic",
        "instance_type": "ml.m5.large",
        "instance_count": 3,
    }
    assert found["champion"] == (champion if variant else None)
    assert found["report"]["variant_names"] == ["AllTraffic", *([variant] if variant else [])]


def test_without_an_endpoint_there_is_no_trial() -> None:
    found = resolved("ab", None)
    assert (found["champion"], found["trial"]["variant_name"]) == (None, None)


@pytest.mark.parametrize(
    ("strategy", "variants", "message"),
    [
        ("ab", {**ONE, "Challenger": {"type": "ml.m5.large", "now": 1}}, "replaces a single one"),
        ("canary", {"Other": {"type": "ml.m5.large", "now": 1}}, "only between variants of one name"),
        ("shadow", {"AllTraffic": {"now": None}}, "serverless"),
    ],
    ids=["two variants", "another name", "serverless"],
)
def test_a_strategy_that_does_not_fit_what_serves_is_refused(
    strategy: str, variants: dict[str, Any], message: str
) -> None:
    with pytest.raises(resolving.answer.CannotTakeOver, match=message):
        resolved(strategy, serving(variants))
    assert resolved("all_at_once", serving(variants))["strategy"] == "all_at_once"


@pytest.mark.parametrize(
    ("now", "overrides", "autoscaled", "count"),
    [
        pytest.param(3, {}, True, 3, id="as many as there are"),
        pytest.param(9, {}, True, 4, id="at most what is allowed"),
        pytest.param(1, {}, True, 2, id="at least the contract's"),
        pytest.param(3, {"instance_count": 2}, True, 2, id="the input's"),
        pytest.param(3, {}, False, 2, id="not scaled"),
    ],
)
def test_the_new_model_begins_with_as_many_instances_as_the_old_has(
    now: int, overrides: dict[str, Any], autoscaled: bool, count: int
) -> None:
    deployment = SHIPPED if autoscaled else replace(SHIPPED, autoscaling=None)
    served = serving({"AllTraffic": {"type": "ml.m5.large", "now": now}})
    assert resolved("all_at_once", served, overrides, deployment)["instance_count"] == count


def test_tags_tell_what_to_go_back_to() -> None:
    arn, before = packaged(2)["ModelPackageArn"], packaged(1)["ModelPackageArn"]
    first = [{"Key": "triptych:model-package", "Value": arn}]
    assert resolved()["tags"] == first
    tags = {tag["Key"]: tag["Value"] for tag in resolved("canary", serving(ONE, before))["tags"]}
    assert tags["triptych:previous-configuration"] == "old"
    assert tags["triptych:previous-model-package"] == before
    assert {tag["Key"]: tag["Value"] for tag in resolved("canary", serving())["tags"]}[
        "triptych:previous-model-package"
    ] == ""


@pytest.mark.parametrize(("package", "already"), [(2, True), (1, False)], ids=["the same", "another"])
def test_whether_the_package_serves_already(package: int, already: bool) -> None:
    served = serving(ONE, packaged(package)["ModelPackageArn"])
    assert resolved("canary", served)["serves_already"] is already


def test_another_instance_type_lifts_autoscaling() -> None:
    served = serving({"AllTraffic": {"type": "ml.c5.large", "now": 2}})
    assert resolved("canary", served)["scaling"]["lift"] is True
    unscaled = replace(SHIPPED, autoscaling=None)
    assert resolved("canary", served, deployment=unscaled)["scaling"]["lift"] is False
    assert resolved("canary", serving())["scaling"]["lift"] is False


# The endpoint test

PLAN = {
    "stage": "staging",
    "test": {
        "batch_uri": "s3://b/test.csv",
        "transform_uri": "s3://t/",
        "rows": 2,
        "requests": 10,
        "concurrency": 2,
        "max_p50_ms": 50,
        "max_p99_ms": 100,
        "parity_tolerance": 1e-5,
        "malformed": True,
    },
}
probe = testing.probe
ROWS, EXPECTED = ["1,2", "3,4"], [0.25, 0.5]


def answered(*answers: Any) -> list[Any]:
    """One request a row: ``(body, milliseconds)``, or a status."""
    made = []
    for index, answer in enumerate(answers):
        status, (body, latency) = (answer, ("no", 1)) if isinstance(answer, int) else (200, answer)
        made.append(probe.Asked((index % 2,), probe.Answer(status, body, latency)))
    return made


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param(answered(("0.25\n", 1), ("0.5\n", 2)), None, id="equal"),
        pytest.param(answered(("0.25", 1), ("0.500009", 2)), None, id="within tolerance"),
        pytest.param(
            answered(("0.25", 1), ("0.51", 2)),
            "1 scores are more than 1e-05 apart, the first: row 2 scores 0.510000 at the endpoint and 0.500000",
            id="different",
        ),
        pytest.param(answered(("nan", 1), ("0.5", 2)), "no probabilities, the first nan", id="not a number"),
        pytest.param(
            answered(("1.5", 1), ("0.5", 2)),
            "1 scores are no probabilities, the first 1.5",
            id="out of range",
        ),
        pytest.param(
            answered(("0.25", 80), ("0.5", 90)),
            "p50 of the latency is 80.0 ms, more than 50 ms",
            id="slow",
        ),
        pytest.param(
            answered(*[("0.25", 1), ("0.5", 1)] * 40, ("0.25", 200)),
            "p99 of the latency is 200.0 ms, more than 100 ms",
            id="a slow tail",
        ),
        pytest.param(
            answered(("0.25", 1), 500),
            "1 of 2 requests have no score for each row, the first: status 500, 'no'",
            id="an error",
        ),
        pytest.param(answered(("late", 1), ("0.5", 1)), "the first: status 200, 'late'", id="another format"),
        pytest.param(
            [*answered(("0.25", 1)), probe.Asked((0, 1), probe.Answer(200, "0.25", 1))],
            "1 of 2 requests have no score for each row",
            id="a row without an answer",
        ),
    ],
)
def test_endpoint_answers(asked: list[Any], reason: str | None) -> None:
    found = probe.compare(probe.Plan.from_event(PLAN), ROWS, EXPECTED, asked)
    assert found["verdict"] == ("stop" if reason else "pass"), found
    assert (reason or "") in " ".join(found["reasons"])
    assert found["sample"]["features"] == "1,2"
    json.dumps(found)


@pytest.mark.parametrize(
    ("status", "verdict"), [(400, "pass"), (415, "pass"), (200, "stop"), (500, "stop"), (503, "stop")]
)
def test_malformed_requests_must_be_refused(status: int, verdict: str) -> None:
    (first, *_) = probe.bad_requests("1,2")
    refused = [(first, probe.Answer(status, "", 1.0))]
    found = probe.compare(
        probe.Plan.from_event(PLAN), ROWS, EXPECTED, answered(("0.25", 1), ("0.5", 1)), refused
    )
    assert found["verdict"] == verdict
    assert found["refused"] == [{"case": "an unknown content type", "status": status}]


def test_malformed_requests_are_malformed() -> None:
    bodies = {request.case: request.body for request in probe.bad_requests("1,2,3")}
    assert bodies["text instead of a number"] == "monday,2,3"
    assert bodies["a column too many"] == "1,2,3,1"
    assert bodies["a column too few"] == "1,2"


@pytest.mark.parametrize(
    ("stage", "malformed", "requests"), [("staging", True, 10), ("production", False, 0)]
)
def test_only_staging_gets_load_and_malformed_requests(stage: str, malformed: bool, requests: int) -> None:
    plan = probe.Plan.from_event({**PLAN, "stage": stage})
    assert (plan.malformed, plan.thorough, plan.requests) == (malformed, malformed, requests)


def test_nothing_to_compare_with_is_an_error() -> None:
    with pytest.raises(probe.NothingToCompare, match="no transform_uri"):
        probe.Plan.from_event({**PLAN, "test": {**PLAN["test"], "transform_uri": None}})
    with pytest.raises(probe.NothingToCompare, match="the batch output has 1"):
        probe.compare(probe.Plan.from_event(PLAN), ROWS, [0.1], answered(("0.1", 1), ("0.1", 1)))
    with pytest.raises(probe.NothingToCompare, match="empty"):
        probe.first_lines(" \n", 2)


# How a rollback is told


def rollback(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = explanation.explain(
        {
            "machine": "Deployment",
            "execution_id": "arn:execution",
            "execution_name": "run-1",
            "rollback": {
                "failure": {"Error": "UpdateRolledBack", "Cause": "SageMaker put old back"},
                "endpoint_name": "triptych-flights",
                "model_package_arn": "arn:package",
                "alarms": [{"AlarmName": "latency", "StateValue": "OK", "StateReason": "fine"}],
                "alarm_history": [],
                "undo_failure": None,
                **more,
            },
        }
    )
    return found


def went(name: str, state: str, reason: str) -> dict[str, Any]:
    data = {"newState": {"stateValue": state, "stateReason": reason}}
    return {"AlarmHistoryItems": [{"AlarmName": name, "HistoryData": json.dumps(data)}]}


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        pytest.param({}, "SageMaker put old back", id="no alarm"),
        pytest.param(
            {"alarms": [{"AlarmName": "latency", "StateValue": "ALARM", "StateReason": "p99 is 900"}]},
            "SageMaker put old back; alarm latency: p99 is 900",
            id="an alarm that stands",
        ),
        pytest.param(
            {"alarm_history": [went("errors", "ALARM", "3 %"), went("latency", "OK", "fine")]},
            "SageMaker put old back; alarm errors: 3 %",
            id="an alarm that is quiet again",
        ),
        pytest.param(
            {
                "failure": {"Cause": "SageMaker put old back: alarm errors: 3 %"},
                "alarm_history": [went("errors", "ALARM", "3 %")],
            },
            "SageMaker put old back: alarm errors: 3 %",
            id="an alarm that SageMaker told already",
        ),
        pytest.param(
            {"alarm_history": [{"AlarmHistoryItems": [{"AlarmName": "x", "HistoryData": "{not json"}]}]},
            "SageMaker put old back",
            id="a broken history",
        ),
        pytest.param(
            {"undo_failure": {"Error": "E", "Cause": "limits"}},
            "SageMaker put old back; what served before could not be put back: limits",
            id="the way back failed",
        ),
    ],
)
def test_a_rollback_is_told_with_its_alarms(more: dict[str, Any], cause: str) -> None:
    found = rollback(**more)
    assert (found["error"], found["cause"], found["description"]) == ("DeploymentRolledBack", cause, cause)
    assert "rolled back" in found["subject"]
    assert "arn:package" in found["message"]


def test_a_rejections_description_fits_the_registry() -> None:
    found = rollback(failure={"Cause": "line\n" * 1000})
    assert len(found["description"]) <= 1024
    assert "\n" not in found["description"]
