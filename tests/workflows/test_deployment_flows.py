"""The deployment machine in the real engine; the services are played."""

from __future__ import annotations

import json
from typing import Any

import played_answers as played
import pytest
from played_answers import NEW, NOT_FOUND, OLD, PACKAGE, SHADOW_TRIAL, TRIAL, endpoint
from rendered_machines import Failure, Runner

UPDATE = "aws-sdk:sagemaker:updateEndpoint"
CREATE = "aws-sdk:sagemaker:createEndpoint"
DELETE = "aws-sdk:sagemaker:deleteEndpoint"
CONFIGURE = "aws-sdk:sagemaker:createEndpointConfig"
REJECT = "aws-sdk:sagemaker:updateModelPackage"
ALARMS = "aws-sdk:cloudwatch:describeAlarms"
SCALING = "aws-sdk:applicationautoscaling"
RAISED = {"MetricAlarms": [played.alarm("latency", "ALARM")]}
QUIET = {"MetricAlarms": [played.alarm("latency", "OK")]}
NEW_AGAIN = "flights-run-1-1-0"
"""the configuration that a redrive makes"""


@pytest.fixture
def deployment(runner: Runner) -> Runner:
    """A runner whose services all say yes; an endpoint with the configuration OLD serves."""
    played.play_deployment(runner)
    return runner


def plays(runner: Runner, strategy: str, *looks: Any, **changed: Any) -> None:
    runner.services.answer("ResolveDeployment", played.resolved_deployment(strategy, **changed))
    played.play_looks(runner, [endpoint("InService", OLD), *looks])


def configurations(runner: Runner) -> list[str]:
    """What production was updated to, in order."""
    return [asked["EndpointConfigName"] for asked in runner.services.calls[UPDATE]]


def rejected(runner: Runner) -> list[str]:
    """The reasons of the rejections."""
    for asked in runner.services.calls[REJECT]:
        assert (asked["ModelPackageArn"], asked["ModelApprovalStatus"]) == (PACKAGE, "Rejected")
    return [asked["ApprovalDescription"] for asked in runner.services.calls[REJECT]]


def reported(runner: Runner) -> dict[str, Any]:
    (asked,) = runner.services.calls["ReportDeployment"]
    return dict(asked)


# The new model goes into production


def test_a_new_endpoint_is_staged_created_and_polled(deployment: Runner) -> None:
    looks = [NOT_FOUND, endpoint("Creating", NEW), endpoint("InService", NEW)]
    played.play_looks(deployment, looks)
    ended = deployment.run("deployment")
    assert ended["status"] == "SUCCEEDED", ended
    assert (ended["output"]["outcome"], ended["output"]["endpoint_configuration"]) == ("created", NEW)
    assert ended["output"]["test"]["verdict"] == "pass"
    assert ended["output"]["report_uri"].endswith("/deployment.html")
    assert ended["visited"].count("Wait for the endpoint") == 1
    assert [asked["EndpointName"] for asked in deployment.services.calls[CREATE]] == [
        played.STAGING,
        played.PRODUCTION,
    ]
    assert configurations(deployment) == []
    assert reported(deployment)["outcome"] == "created"


@pytest.mark.parametrize("strategy", ["blue_green", "canary", "linear", "rolling", "all_at_once"])
def test_an_endpoint_that_serves_is_updated(deployment: Runner, strategy: str) -> None:
    plays(deployment, strategy, endpoint("InService", NEW))
    ended = deployment.run("deployment", deployment={"strategy": strategy})
    assert (ended["status"], ended["output"]["outcome"]) == ("SUCCEEDED", "promoted")
    asked = {"EndpointName": "triptych-flights", "EndpointConfigName": NEW}
    guarded = {} if strategy == "all_at_once" else {"DeploymentConfig": played.TRAFFIC}
    assert deployment.services.calls[UPDATE] == [{**asked, **guarded}]
    assert deployment.services.calls["ResolveDeployment"][0]["deployment"] == {"strategy": strategy}
    assert [asked["stage"] for asked in deployment.services.calls["TestEndpoint"]] == [
        "staging",
        "production",
    ]


def test_what_serves_is_scaled_and_noted_on_its_tags(deployment: Runner) -> None:
    assert deployment.run("deployment")["status"] == "SUCCEEDED"
    (target,) = deployment.services.calls[f"{SCALING}:registerScalableTarget"]
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == (
        played.RESOURCE_ID,
        2,
        4,
    )
    (policy,) = deployment.services.calls[f"{SCALING}:putScalingPolicy"]
    assert policy["TargetTrackingScalingPolicyConfiguration"] == {"TargetValue": 100.0}
    (tags,) = deployment.services.calls["aws-sdk:sagemaker:addTags"]
    assert tags["Tags"] == [{"Key": "triptych:model-package", "Value": PACKAGE}]


def test_without_a_word_in_the_contract_autoscaling_is_left_alone(deployment: Runner) -> None:
    plays(deployment, "all_at_once", endpoint("InService", NEW), autoscaling=None)
    assert deployment.run("deployment")["status"] == "SUCCEEDED"
    assert deployment.services.calls[f"{SCALING}:registerScalableTarget"] == []


def test_another_instance_type_lifts_autoscaling_first(deployment: Runner) -> None:
    scaling = {"resource_id": played.RESOURCE_ID, "lift": True}
    plays(deployment, "canary", endpoint("InService", NEW), scaling=scaling)
    ended = deployment.run("deployment")
    assert ended["status"] == "SUCCEEDED"
    assert ended["visited"].index("Lift autoscaling") < ended["visited"].index("Shift traffic")
    (lifted,) = deployment.services.calls[f"{SCALING}:deregisterScalableTarget"]
    assert lifted["ResourceId"] == played.RESOURCE_ID
    assert len(deployment.services.calls[f"{SCALING}:registerScalableTarget"]) == 1


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"])
def test_a_changing_endpoint_is_waited_for(deployment: Runner, status: str) -> None:
    looks = [endpoint(status, OLD), endpoint("InService", OLD), endpoint("InService", NEW)]
    played.play_looks(deployment, looks)
    ended = deployment.run("deployment")
    assert ended["status"] == "SUCCEEDED"
    assert "Wait for the endpoint to settle" in ended["visited"]


def test_a_failed_endpoint_is_deleted_first(deployment: Runner) -> None:
    looks = [endpoint("Failed", OLD), NOT_FOUND, endpoint("InService", NEW)]
    played.play_looks(deployment, looks)
    ended = deployment.run("deployment")
    assert ended["output"]["outcome"] == "created"
    deleted = [asked["EndpointName"] for asked in deployment.services.calls[DELETE]]
    assert deleted == [played.STAGING, played.PRODUCTION]


@pytest.mark.parametrize("broken", ["sns:publish", "ReportDeployment", ALARMS])
def test_what_only_tells_of_a_deployment_does_not_fail_it(deployment: Runner, broken: str) -> None:
    deployment.services.answer(broken, Failure("Broken"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["output"]["outcome"]) == ("SUCCEEDED", "promoted")


# Staging


@pytest.mark.parametrize(
    "left_over",
    [
        pytest.param([endpoint("InService", "x")], id="in service"),
        pytest.param([endpoint("Creating", "x"), endpoint("Failed", "x")], id="still being created"),
        pytest.param([endpoint("Deleting", "x")], id="being deleted"),
    ],
)
def test_a_staging_endpoint_that_was_left_over_is_removed(deployment: Runner, left_over: list[Any]) -> None:
    played.play_looks(
        deployment,
        [endpoint("InService", OLD), endpoint("InService", NEW)],
        staging=[*left_over, NOT_FOUND, endpoint("InService", "s")],
    )
    ended = deployment.run("deployment")
    assert ended["status"] == "SUCCEEDED"
    removed = [asked["EndpointName"] for asked in deployment.services.calls[DELETE]]
    assert removed == [played.STAGING] * (1 if left_over[-1]["EndpointStatus"] == "Deleting" else 2)


STAGING_FAULTS = {
    "does not start": (
        [endpoint("Failed", "s", FailureReason="The container ended with code 1")],
        played.tested("pass", []),
        "failed: The container ended with code 1",
    ),
    "answers wrongly": (
        [endpoint("InService", "s")],
        played.tested("stop", ["2 of 20 requests have no score"]),
        "2 of 20 requests have no score",
    ),
}


@pytest.mark.parametrize(("looks", "test", "why"), STAGING_FAULTS.values(), ids=STAGING_FAULTS)
def test_a_bad_model_never_leaves_staging(
    deployment: Runner, looks: list[Any], test: dict[str, Any], why: str
) -> None:
    played.play_looks(deployment, [endpoint("InService", OLD)], staging=[NOT_FOUND, *looks])
    deployment.services.answer("TestEndpoint", test)
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert why in ended["cause"]
    assert ended["visited"][-1] == "Rolled back"
    assert configurations(deployment) == []
    assert [asked["EndpointName"] for asked in deployment.services.calls[DELETE]] == [played.STAGING]
    assert why in rejected(deployment)[0]
    assert reported(deployment)["outcome"] == "rolled_back"
    assert why in deployment.services.calls["sns:publish"][0]["Message"]


def test_staging_without_capacity_is_no_fault_of_the_models(deployment: Runner) -> None:
    reason = "Unable to provision: InsufficientInstanceCapacity"
    failed = endpoint("Failed", "s", FailureReason=reason)
    played.play_looks(deployment, [endpoint("InService", OLD)], staging=[NOT_FOUND, failed])
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "NoCapacity")
    assert reason in ended["cause"]
    assert rejected(deployment) == []
    assert len(deployment.services.calls[DELETE]) == 1


def test_a_staging_test_that_breaks_can_be_gone_on_from_the_start(deployment: Runner) -> None:
    staging = [NOT_FOUND, endpoint("InService", "s")] * 2
    played.play_looks(deployment, [endpoint("InService", OLD), endpoint("InService", NEW_AGAIN)], staging)
    deployment.services.answer("TestEndpoint", Failure("NothingToCompare"), played.tested("pass", []))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "NothingToCompare")
    assert rejected(deployment) == []
    ended = deployment.redrive("deployment")
    assert ended["status"] == "SUCCEEDED", ended
    assert len(deployment.services.calls["ResolveDeployment"]) == 2


# The new model is taken back


def test_a_failed_test_in_production_puts_everything_back(deployment: Runner) -> None:
    looks = [endpoint("InService", OLD), endpoint("InService", NEW), endpoint("InService", NEW)]
    looks += [endpoint("Updating", NEW), endpoint("InService", OLD)]
    played.play_looks(deployment, looks)
    deployment.services.answer("TestEndpoint", played.tested("pass", []), played.tested("stop", ["slow"]))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert "slow" in ended["cause"]
    assert configurations(deployment) == [NEW, OLD]
    (weights,) = deployment.services.calls["aws-sdk:sagemaker:updateEndpointWeightsAndCapacities"]
    assert weights["DesiredWeightsAndCapacities"] == [
        {"VariantName": "AllTraffic", "DesiredWeight": 1.0, "DesiredInstanceCount": 5}
    ]
    (target,) = deployment.services.calls[f"{SCALING}:registerScalableTarget"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 7)
    (policy,) = deployment.services.calls[f"{SCALING}:putScalingPolicy"]
    assert policy["PolicyName"] == "former"
    assert "slow" in rejected(deployment)[0]
    assert reported(deployment)["failure"]["Error"] == "DeploymentRolledBack"


def test_sagemakers_own_rollback_is_told_with_the_alarm_even_if_it_is_quiet_again(deployment: Runner) -> None:
    plays(deployment, "canary", endpoint("Updating", OLD), endpoint("InService", OLD))
    state = {"newState": {"stateValue": "ALARM", "stateReason": "3.8 % of the requests failed"}}
    history = [{"AlarmName": "errors", "HistoryData": json.dumps(state)}]
    deployment.services.answer(
        "aws-sdk:cloudwatch:describeAlarmHistory",
        lambda asked: {"AlarmHistoryItems": history if asked["AlarmName"] == "errors" else []},
    )
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert "alarm errors: 3.8 % of the requests failed" in ended["cause"]
    assert configurations(deployment) == [NEW]
    assert "3.8 %" in rejected(deployment)[0]
    assert len(deployment.services.calls[f"{SCALING}:registerScalableTarget"]) == 1


@pytest.mark.parametrize(
    "look",
    [
        endpoint("InService", OLD, FailureReason="the new instances ran out of memory"),
        endpoint("Failed", NEW, FailureReason="the new instances ran out of memory"),
    ],
    ids=["rolled back", "failed"],
)
def test_sagemakers_own_reason_is_told(deployment: Runner, look: dict[str, Any]) -> None:
    plays(deployment, "canary", look, endpoint("InService", OLD))
    ended = deployment.run("deployment")
    assert ended["error"] == "DeploymentRolledBack"
    assert "the new instances ran out of memory" in ended["cause"]


def test_the_package_that_serves_is_not_rejected_when_its_new_deployment_fails(deployment: Runner) -> None:
    plays(deployment, "canary", endpoint("InService", OLD), serves_already=True)
    ended = deployment.run("deployment")
    assert ended["error"] == "DeploymentRolledBack"
    assert rejected(deployment) == []
    assert reported(deployment)["outcome"] == "rolled_back"


def test_a_new_endpoint_that_fails_its_test_is_removed(deployment: Runner) -> None:
    played.play_looks(deployment, [NOT_FOUND, endpoint("InService", NEW)])
    deployment.services.answer("TestEndpoint", played.tested("pass", []), played.tested("stop", ["late"]))
    ended = deployment.run("deployment")
    assert ended["error"] == "DeploymentRolledBack"
    deleted = [asked["EndpointName"] for asked in deployment.services.calls[DELETE]]
    assert deleted == [played.STAGING, played.PRODUCTION]


@pytest.mark.parametrize("status", ["Failed", "OutOfService", "UpdateRollbackFailed", "Deleting"])
def test_an_endpoint_that_does_not_come_up_is_taken_back(deployment: Runner, status: str) -> None:
    played.play_looks(deployment, [NOT_FOUND, endpoint(status, NEW)])
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert f"is {status}" in ended["cause"]


def test_a_way_back_that_fails_is_told(deployment: Runner) -> None:
    looks = [endpoint("InService", OLD), endpoint("InService", NEW), endpoint("InService", NEW)]
    played.play_looks(deployment, [*looks, endpoint("UpdateRollbackFailed", NEW)])
    deployment.services.answer("TestEndpoint", played.tested("pass", []), played.tested("stop", ["slow"]))
    ended = deployment.run("deployment")
    assert ended["error"] == "DeploymentRolledBack"
    assert "could not be put back: endpoint triptych-flights is UpdateRollbackFailed" in ended["cause"]


@pytest.mark.parametrize(
    "broken",
    [ALARMS, "aws-sdk:cloudwatch:describeAlarmHistory", "ExplainFailure", REJECT, "ReportDeployment"],
)
def test_a_rollback_ends_as_one_whatever_breaks_on_its_way(deployment: Runner, broken: str) -> None:
    plays(deployment, "canary", endpoint("InService", OLD))
    before = [QUIET] if broken == ALARMS else []  # the look before the change is on no way back
    deployment.services.answer(broken, *before, Failure("Broken"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert "SageMaker put configuration old back" in ended["cause"]
    assert len(deployment.services.calls["sns:publish"]) == 1


TAKEN_OVER = {
    "an update": [endpoint("InService", OLD), endpoint("InService", "theirs")],
    "a creation": [NOT_FOUND, endpoint("InService", "theirs")],
}


@pytest.mark.parametrize("looks", TAKEN_OVER.values(), ids=TAKEN_OVER)
def test_an_endpoint_that_somebody_else_changed_is_left_to_them(deployment: Runner, looks: list[Any]) -> None:
    played.play_looks(deployment, looks)
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "EndpointTakenOver")
    assert "serves configuration theirs" in ended["cause"]
    assert "registered and approved, but not served" in ended["cause"]
    assert set(configurations(deployment)) <= {NEW}
    assert [asked["EndpointName"] for asked in deployment.services.calls[DELETE]] == [played.STAGING]


@pytest.mark.parametrize("first", [endpoint("InService", OLD), NOT_FOUND], ids=["update", "creation"])
def test_a_failed_test_takes_nothing_back_that_somebody_else_put_there(
    deployment: Runner, first: Any
) -> None:
    played.play_looks(deployment, [first, endpoint("InService", NEW), endpoint("InService", "theirs")])
    deployment.services.answer("TestEndpoint", played.tested("pass", []), played.tested("stop", ["slow"]))
    assert deployment.run("deployment")["error"] == "DeploymentRolledBack"
    assert set(configurations(deployment)) <= {NEW}
    assert [asked["EndpointName"] for asked in deployment.services.calls[DELETE]] == [played.STAGING]


# What breaks is no fault of the model's


def test_a_refused_update_leaves_the_old_model_and_can_be_gone_on_from(deployment: Runner) -> None:
    refused = Failure("SageMaker.ValidationException", "limits")
    updated = deployment.services.answers[UPDATE][0]
    deployment.services.answer(UPDATE, refused, updated)
    at_rest = endpoint("InService", OLD)
    played.play_looks(
        deployment,
        [at_rest, at_rest, at_rest, endpoint("InService", NEW_AGAIN)],
        [NOT_FOUND, endpoint("InService", "s"), NOT_FOUND, endpoint("InService", "s")],
    )
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "SageMaker.ValidationException")
    assert rejected(deployment) == []
    assert deployment.redrive("deployment")["output"]["outcome"] == "promoted"


def test_production_without_capacity_goes_back_and_rejects_nothing(deployment: Runner) -> None:
    reason = "InsufficientInstanceCapacity"
    plays(deployment, "canary", endpoint("InService", OLD, FailureReason=reason))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "NoCapacity")
    assert rejected(deployment) == []


def test_an_alarm_that_rings_before_the_change_is_waited_for(deployment: Runner) -> None:
    plays(deployment, "canary", endpoint("InService", NEW))
    deployment.services.answer(ALARMS, RAISED, RAISED, QUIET)
    ended = deployment.run("deployment")
    assert ended["output"]["outcome"] == "promoted"
    assert ended["visited"].count("Wait for quiet alarms") == 2


@pytest.mark.parametrize("strategy", ["canary", "ab", "shadow"])
def test_an_alarm_of_the_model_that_serves_is_not_blamed_on_the_new_one(
    deployment: Runner, strategy: str
) -> None:
    plays(deployment, strategy)
    deployment.services.answer(ALARMS, RAISED)
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "AlarmRaisedBefore")
    assert "Alarm latency of endpoint triptych-flights is raised by the model that serves" in ended["cause"]
    assert (configurations(deployment), rejected(deployment)) == ([], [])


def test_a_mended_model_may_go_in_at_once_while_an_alarm_rings(deployment: Runner) -> None:
    deployment.services.answer(ALARMS, RAISED)
    assert deployment.run("deployment")["output"]["outcome"] == "promoted"


def test_a_second_deployment_is_refused_by_name_and_touches_nothing(deployment: Runner) -> None:
    deployment.services.answer("ResolveDeployment", Failure("DeploymentUnderWay", "execution a deploys"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentUnderWay")
    assert not [key for key in deployment.services.calls if "sagemaker" in key]


def test_a_failure_after_the_model_serves_takes_nothing_back(deployment: Runner) -> None:
    deployment.services.answer(f"{SCALING}:putScalingPolicy", Failure("ApplicationAutoScaling.Denied"), {})
    ended = deployment.run("deployment")
    assert ended["status"] == "FAILED"
    assert configurations(deployment) == [NEW]
    ended = deployment.redrive("deployment")
    assert ended["output"]["outcome"] == "promoted"
    assert len(deployment.services.calls["TestEndpoint"]) == 2


# Trials


def judged(verdict: str, final: bool = True, **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "final": final, "reason": "the labels say so", "tested": [], **more}


def compared(verdict: str, final: bool = True) -> dict[str, Any]:
    return {"verdict": verdict, "final": final, "reasons": ["the answers say so"]}


def test_the_winner_of_an_experiment_is_promoted(deployment: Runner) -> None:
    in_trial = endpoint("InService", TRIAL)
    plays(deployment, "ab", in_trial, in_trial, in_trial, endpoint("InService", NEW))
    first = judged("continue", final=False, tested=[{"look": 1}])
    deployment.services.answer("JudgeExperiment", first, judged("promote"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["output"]["outcome"]) == ("SUCCEEDED", "promoted")
    assert ended["output"]["decision"]["verdict"] == "promote"
    assert configurations(deployment) == [TRIAL, NEW]
    trial = deployment.services.calls[CONFIGURE][2]
    variants = [
        (variant["VariantName"], variant["ModelName"], variant["InitialVariantWeight"])
        for variant in trial["ProductionVariants"]
    ]
    assert variants == [("AllTraffic", "old-model", 0.8), ("Challenger", NEW, 0.2)]
    assert trial["DataCaptureConfig"]["InitialSamplingPercentage"] == 100
    asked = deployment.services.calls["JudgeExperiment"]
    assert [(each["look"], each["tested"]) for each in asked] == [(1, []), (2, [{"look": 1}])]
    assert asked[0]["started_at"] == asked[1]["started_at"]
    assert reported(deployment)["variant_names"] == ["AllTraffic", "Challenger"]


def test_a_shadow_that_agrees_is_promoted_under_the_alarms(deployment: Runner) -> None:
    in_trial = endpoint("InService", SHADOW_TRIAL)
    plays(deployment, "shadow", in_trial, in_trial, in_trial, endpoint("InService", NEW))
    deployment.services.answer("CompareShadow", compared("continue", final=False), compared("promote"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["output"]["outcome"]) == ("SUCCEEDED", "promoted")
    trial = deployment.services.calls[CONFIGURE][2]
    assert [variant["ModelName"] for variant in trial["ProductionVariants"]] == ["old-model"]
    assert [variant["ModelName"] for variant in trial["ShadowProductionVariants"]] == [NEW]
    assert [asked.get("DeploymentConfig") for asked in deployment.services.calls[UPDATE]] == [
        None,
        played.TRAFFIC,
    ]
    assert [asked["look"] for asked in deployment.services.calls["CompareShadow"]] == [1, 2]


@pytest.mark.parametrize(
    ("strategy", "judge", "answer"),
    [
        pytest.param("ab", "JudgeExperiment", judged("keep"), id="the challenger is no better"),
        pytest.param("ab", "JudgeExperiment", judged("continue"), id="no more looks"),
        pytest.param("shadow", "CompareShadow", compared("stop"), id="the shadow differs"),
    ],
)
def test_a_trial_that_shows_no_better_model_keeps_the_champion(
    deployment: Runner, strategy: str, judge: str, answer: dict[str, Any]
) -> None:
    trial = TRIAL if strategy == "ab" else SHADOW_TRIAL
    in_trial = endpoint("InService", trial)
    plays(deployment, strategy, in_trial, in_trial, endpoint("InService", OLD))
    deployment.services.answer(judge, answer)
    ended = deployment.run("deployment")
    assert (ended["status"], ended["visited"][-1]) == ("SUCCEEDED", "Champion kept")
    assert (ended["output"]["outcome"], ended["output"]["endpoint_configuration"]) == ("kept", OLD)
    assert configurations(deployment) == [trial, OLD]
    assert "say so" in rejected(deployment)[0]
    assert reported(deployment)["outcome"] == "kept"
    assert deployment.services.calls["aws-sdk:sagemaker:addTags"] == []


@pytest.mark.parametrize(
    ("strategy", "judge"), [("ab", "JudgeExperiment"), ("shadow", "CompareShadow")], ids=["ab", "shadow"]
)
def test_an_alarm_ends_a_trial(deployment: Runner, strategy: str, judge: str) -> None:
    trial = TRIAL if strategy == "ab" else SHADOW_TRIAL
    in_trial = endpoint("InService", trial)
    plays(deployment, strategy, in_trial, in_trial, endpoint("InService", OLD))
    deployment.services.answer(ALARMS, QUIET, RAISED)
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert "alarm latency: latency is ALARM" in ended["cause"]
    assert configurations(deployment) == [trial, OLD]
    assert deployment.services.calls[judge] == []


@pytest.mark.parametrize(
    ("strategy", "judge"), [("ab", "JudgeExperiment"), ("shadow", "CompareShadow")], ids=["ab", "shadow"]
)
def test_a_trial_that_a_person_ended_is_not_judged_any_more(
    deployment: Runner, strategy: str, judge: str
) -> None:
    trial = TRIAL if strategy == "ab" else SHADOW_TRIAL
    plays(
        deployment,
        strategy,
        endpoint("InService", trial),
        endpoint("Updating", trial),
        endpoint("InService", OLD),
        endpoint("InService", OLD),
    )
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "DeploymentRolledBack")
    assert "ended from outside" in ended["cause"]
    assert configurations(deployment) == [trial]
    assert "ended from outside" in rejected(deployment)[0]
    assert deployment.services.calls[judge] == []
    made = deployment.services.calls[CONFIGURE][2]
    assert made["Tags"] == [{"Key": "triptych:champion-configuration", "Value": OLD}]


def test_a_judge_that_breaks_ends_the_trial_and_rejects_nothing(deployment: Runner) -> None:
    in_trial = endpoint("InService", TRIAL)
    plays(deployment, "ab", in_trial, in_trial, in_trial, endpoint("InService", OLD))
    deployment.services.answer("JudgeExperiment", Failure("NoSuchBucket"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "NoSuchBucket")
    assert configurations(deployment) == [TRIAL, OLD]
    assert rejected(deployment) == []


def test_a_champion_that_does_not_come_back_fails_the_deployment(deployment: Runner) -> None:
    in_trial = endpoint("InService", TRIAL)
    plays(deployment, "ab", in_trial, in_trial, endpoint("UpdateRollbackFailed", TRIAL))
    deployment.services.answer("JudgeExperiment", judged("keep"))
    ended = deployment.run("deployment")
    assert (ended["status"], ended["error"]) == ("FAILED", "NotPutBack")
    assert "does not serve its former configuration" in ended["cause"]
    assert rejected(deployment) == []
