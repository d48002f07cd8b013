"""The operations: what they take, keep, show and refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from autoscaling_world import NAMED, RESOURCE, TRACKING, World

from triptych.localcloud.service import ServiceError

ARN = r"arn:aws:{}:us-east-1:123456789012:{}"


def test_a_target_is_registered_shown_changed_and_deregistered(world: World) -> None:
    arn = world.register(1, 4, Tags={"team": "ml"})["ScalableTargetARN"]
    world.call("RegisterScalableTarget", **NAMED, MaxCapacity=6)
    world.call("RegisterScalableTarget", **NAMED, SuspendedState={"DynamicScalingInSuspended": True})
    [target] = world.call("DescribeScalableTargets", ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target == {
        **NAMED,
        "MinCapacity": 1,
        "MaxCapacity": 6,
        "RoleARN": "arn:aws:iam::123456789012:role/aws-service-role/sagemaker.application-autoscaling."
        "amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
        "CreationTime": datetime.fromtimestamp(world.time, UTC),
        "SuspendedState": {
            "DynamicScalingInSuspended": True,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        },
        "ScalableTargetARN": arn,
    }
    assert world.call("ListTagsForResource", ResourceARN=arn) == {"Tags": {"team": "ml"}}
    world.call("TagResource", ResourceARN=arn, Tags={"stage": "prod"})
    world.call("UntagResource", ResourceARN=arn, TagKeys=["team"])
    assert world.call("ListTagsForResource", ResourceARN=arn) == {"Tags": {"stage": "prod"}}
    assert world.service.registered_variants("flights") == {"champion"}
    world.track()
    world.call("DeregisterScalableTarget", **NAMED)
    assert world.service.registered_variants("flights") == frozenset()
    for operation, member in (
        ("DescribeScalableTargets", "ScalableTargets"),
        ("DescribeScalingPolicies", "ScalingPolicies"),
    ):
        assert world.call(operation, ServiceNamespace="sagemaker") == {member: []}
    assert world.clients.alarms == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"ResourceId": "endpoint/flights"}, "Unsupported service namespace", id="no variant"),
        pytest.param({"ResourceId": "table/flights"}, "Unsupported service namespace", id="a table"),
        pytest.param(
            {"ResourceId": "endpoint/trains/variant/champion"},
            'Could not find endpoint "trains"',
            id="endpoint",
        ),
        pytest.param(
            {"ResourceId": "endpoint/flights/variant/third"}, "no variant third in service", id="variant"
        ),
        pytest.param(
            {"ScalableDimension": "sagemaker:variant:DesiredProvisionedConcurrency"},
            "scales sagemaker:variant:DesiredInstanceCount only",
            id="dimension",
        ),
        pytest.param({"MaxCapacity": None}, "MaxCapacity must be given", id="no maximum"),
        pytest.param({"MinCapacity": 5}, "Maximum capacity cannot be less than minimum", id="bounds"),
        pytest.param({"MinCapacity": -1}, "Minimum capacity cannot be less than 0", id="negative"),
    ],
)
def test_a_target_that_cannot_be_scaled_is_refused(
    world: World, changes: dict[str, Any], message: str
) -> None:
    params = {**NAMED, "MinCapacity": 1, "MaxCapacity": 4, **changes}
    refusal = world.refused("RegisterScalableTarget", **params)
    assert refusal.code == "ValidationException"
    assert message in refusal.message
    assert world.call("DescribeScalableTargets", ServiceNamespace="sagemaker") == {"ScalableTargets": []}


def test_tags_go_with_the_registration_only(world: World) -> None:
    world.register()
    assert (
        "use the TagResource API" in world.refused("RegisterScalableTarget", **NAMED, Tags={"a": "b"}).message
    )


def test_a_tracking_policy_makes_its_two_alarms(world: World) -> None:
    world.register()
    answer = world.track()
    high, low = (item["AlarmName"] for item in answer["Alarms"])
    assert high.startswith(f"TargetTracking-{RESOURCE}-AlarmHigh-")
    assert low.startswith(f"TargetTracking-{RESOURCE}-AlarmLow-")
    shared = {
        "Namespace": "AWS/SageMaker",
        "MetricName": "InvocationsPerInstance",
        "Dimensions": [
            {"Name": "EndpointName", "Value": "flights"},
            {"Name": "VariantName", "Value": "champion"},
        ],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 3,
    }
    assert shared.items() <= world.clients.alarms[high].items()
    assert shared.items() <= world.clients.alarms[low].items()
    sides = [
        (alarm["ComparisonOperator"], alarm["Threshold"])
        for alarm in (world.clients.alarms[high], world.clients.alarms[low])
    ]
    assert sides == [("GreaterThanThreshold", 60.0), ("LessThanThreshold", 54.0)]
    assert world.clients.alarms[high]["AlarmActions"][0].startswith(answer["PolicyARN"] + ":createdBy/")
    [shown] = world.call("DescribeScalingPolicies", ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert shown["TargetTrackingScalingPolicyConfiguration"] == TRACKING
    assert shown["Alarms"] == answer["Alarms"]
    world.call("DeleteScalingPolicy", **NAMED, PolicyName="load")
    assert world.clients.alarms == {}


@pytest.mark.parametrize(
    ("changes", "period", "threshold"),
    [
        pytest.param({}, 10, 10.0, id="a sum of a sixth of a minute"),
        pytest.param({}, 120, 120.0, id="a sum of two minutes"),
        pytest.param({"Statistic": "Average"}, 10, 60.0, id="an average of any time"),
        pytest.param({"Statistic": "SampleCount"}, 30, 30.0, id="a count"),
        pytest.param({"Stat": "Sum"}, 10, 10.0, id="metric math over sums"),
        pytest.param({"Stat": "p99"}, 10, 60.0, id="metric math over a percentile"),
    ],
)
def test_a_target_per_minute_fits_the_alarms_period(
    world: World, changes: dict[str, Any], period: int, threshold: float
) -> None:
    world.timing = type(world.timing)(period_seconds=period)
    world.restart()
    world.register()
    configuration: dict[str, Any] = dict(TRACKING)
    metric = {"Namespace": "Load", "MetricName": "Queue"}
    if "Statistic" in changes:
        del configuration["PredefinedMetricSpecification"]
        configuration["CustomizedMetricSpecification"] = metric | changes
    elif "Stat" in changes:
        del configuration["PredefinedMetricSpecification"]
        queries = [
            {"Id": "a", "MetricStat": {"Metric": metric, **changes}, "ReturnData": False},
            {"Id": "b", "Expression": "a / 2"},
        ]
        configuration["CustomizedMetricSpecification"] = {"Metrics": queries}
    answer = world.call(
        "PutScalingPolicy",
        **NAMED,
        PolicyName="load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )
    alarm = world.clients.alarms[answer["Alarms"][0]["AlarmName"]]
    assert alarm["Threshold"] == pytest.approx(threshold)
    if "Stat" in changes:
        assert alarm["Metrics"][0]["MetricStat"]["Period"] == period
        assert [query["ReturnData"] for query in alarm["Metrics"]] == [False, True]
    else:
        assert alarm["Period"] == period


def test_a_changed_policy_keeps_its_identity_and_the_alarms_it_still_has(world: World) -> None:
    world.register()
    first = world.track()
    second = world.track(TargetValue=30.0, DisableScaleIn=True)
    assert second["PolicyARN"] == first["PolicyARN"]
    assert second["Alarms"] == first["Alarms"][:1]
    assert [alarm["Threshold"] for alarm in world.clients.alarms.values()] == [30.0]


def test_alarms_that_cannot_be_made_leave_no_policy(world: World) -> None:
    world.register()
    world.clients.broken = [ServiceError("LimitExceeded", "no more alarms")]
    with pytest.raises(ServiceError, match="no more alarms"):
        world.track()
    assert world.call("DescribeScalingPolicies", ServiceNamespace="sagemaker") == {"ScalingPolicies": []}


def test_the_next_process_makes_alarms_that_a_crash_kept_from_being_made(world: World) -> None:
    world.register()
    answer = world.track()
    lost = answer["Alarms"][1]["AlarmName"]
    kept = world.clients.alarms[answer["Alarms"][0]["AlarmName"]] | {"StateValue": "ALARM"}
    world.clients.alarms[kept["AlarmName"]] = kept
    del world.clients.alarms[lost]
    world.restart()
    world.service.start()
    world.service.stop()
    assert lost in world.clients.alarms
    assert world.clients.alarms[kept["AlarmName"]] is kept


TRACKED = "TargetTrackingScaling"
STEPPED = "StepScaling"


def custom(**specification: Any) -> dict[str, Any]:
    return {"TargetValue": 5.0, "CustomizedMetricSpecification": specification}


def stepping(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": list(steps), **more}


def one(low: float | None, high: float | None, adjustment: int = 1) -> dict[str, Any]:
    bounds = {"MetricIntervalLowerBound": low, "MetricIntervalUpperBound": high}
    given = {name: value for name, value in bounds.items() if value is not None}
    return {**given, "ScalingAdjustment": adjustment}


@pytest.mark.parametrize(
    ("kind", "configuration", "message"),
    [
        pytest.param(TRACKED, {"TargetValue": 5.0}, "Exactly one of", id="no metric"),
        pytest.param(TRACKED, TRACKING | custom(), "Exactly one of", id="two metrics"),
        pytest.param(TRACKED, TRACKING | {"TargetValue": 0.0}, "greater than 0", id="no target"),
        pytest.param(TRACKED, TRACKING | {"ScaleInCooldown": -1}, "must not be negative", id="cool-down"),
        pytest.param(
            TRACKED,
            {"TargetValue": 5.0, "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSService"}},
            "PredefinedMetricType ECSService is not one that the local cloud measures",
            id="a metric that nobody measures",
        ),
        pytest.param(TRACKED, custom(MetricName="Queue"), "lacks Namespace, Statistic", id="half a metric"),
        pytest.param(
            TRACKED,
            custom(Metrics=[{"Id": "a", "Expression": "1"}, {"Id": "b", "Expression": "2"}]),
            "must return data, not 2",
            id="two results",
        ),
        pytest.param(TRACKED, custom(Metrics=[{"Id": "a"}]), "either MetricStat or Expression", id="empty"),
        pytest.param(STEPPED, {"StepAdjustments": [one(0, None)]}, "AdjustmentType must be", id="no type"),
        pytest.param(STEPPED, stepping(), "At least one StepAdjustment", id="no steps"),
        pytest.param(STEPPED, stepping(*[one(n, n + 1) for n in range(21)]), "At most 20", id="many"),
        pytest.param(STEPPED, stepping(one(None, None)), "a lower bound or an upper bound", id="unbounded"),
        pytest.param(STEPPED, stepping(one(5, 5)), "upper bound 5 must be above", id="empty interval"),
        pytest.param(STEPPED, stepping(one(0, 5), one(4, None)), "must not overlap", id="overlap"),
        pytest.param(STEPPED, stepping(one(0, 5), one(6, None)), "gap between 5 and 6", id="gap"),
        pytest.param(STEPPED, stepping(one(-5, 0)), "no lower bound", id="nothing for less"),
        pytest.param(STEPPED, stepping(one(0, 5)), "no upper bound", id="nothing for more"),
        pytest.param(
            STEPPED,
            stepping(one(0, None), MinAdjustmentMagnitude=2),
            "MinAdjustmentMagnitude",
            id="magnitude",
        ),
        pytest.param(
            STEPPED,
            stepping(one(0, None, -1), AdjustmentType="ExactCapacity"),
            "ScalingAdjustment must not be negative",
            id="exactly less than none",
        ),
        pytest.param(
            "PredictiveScaling", {}, "no scaling policies of type PredictiveScaling", id="predictive"
        ),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(
    world: World, kind: str, configuration: dict[str, Any], message: str
) -> None:
    world.register()
    params = {f"{kind}PolicyConfiguration": configuration}
    refusal = world.refused("PutScalingPolicy", **NAMED, PolicyName="p", PolicyType=kind, **params)
    assert refusal.code == "ValidationException"
    assert message in refusal.message
    assert world.clients.alarms == {}


def test_a_policy_does_not_change_its_type(world: World) -> None:
    world.register()
    world.track("p")
    configuration = stepping(one(0, None))
    refusal = world.refused(
        "PutScalingPolicy",
        **NAMED,
        PolicyName="p",
        PolicyType=STEPPED,
        StepScalingPolicyConfiguration=configuration,
    )
    assert "cannot become a StepScaling policy" in refusal.message
    both = world.refused(
        "PutScalingPolicy", **NAMED, PolicyName="p", StepScalingPolicyConfiguration=configuration
    )
    assert "does not go with PolicyType TargetTrackingScaling" in both.message


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        ("PutScalingPolicy", {"PolicyName": "p"}, "No scalable target registered for service namespace: "),
        ("DeregisterScalableTarget", {}, "No scalable target found for service namespace: sagemaker, "),
        ("DeleteScalingPolicy", {"PolicyName": "p"}, ", policy name: p"),
        ("PutScheduledAction", {"ScheduledActionName": "a"}, f"resource ID: {RESOURCE}, scalable dimension"),
        ("DeleteScheduledAction", {"ScheduledActionName": "a"}, ", scheduled action name: a"),
    ],
)
def test_what_is_not_there_is_not_found(
    world: World, operation: str, params: dict[str, str], message: str
) -> None:
    refusal = world.refused(operation, **NAMED, **params)
    assert refusal.code == "ObjectNotFoundException"
    assert message in refusal.message


def test_pages_lead_to_each_other(world: World) -> None:
    world.register()
    for name in "abc":
        world.time += 1
        world.track(name)
    first = world.call("DescribeScalingPolicies", ServiceNamespace="sagemaker", MaxResults=2)
    more = world.call("DescribeScalingPolicies", ServiceNamespace="sagemaker", NextToken=first["NextToken"])
    names = [item["PolicyName"] for page in (first, more) for item in page["ScalingPolicies"]]
    assert names == ["a", "b", "c"]
    assert "NextToken" not in more
    refusal = world.refused("DescribeScalingPolicies", ServiceNamespace="sagemaker", NextToken="x")
    assert refusal.code == "InvalidNextTokenException"


def test_the_targets_of_other_services_stay_motos(world: World) -> None:
    params = {"ServiceNamespace": "dynamodb", "ResourceIds": ["table/x"]}
    assert world.call("DescribeScalableTargets", **params) == {"forwarded": True}
    assert world.forwarded == [params]
    assert world.call("ListTagsForResource", ResourceARN="arn:else") == {"forwarded": True}
