"""Counts follow alarms, bounds and schedules, through restarts and refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from autoscaling_world import NAMED, World

from triptych.localcloud.cloudwatch.store import Datum
from triptych.localcloud.service import ServiceError


def scaled_out(world: World) -> None:
    """One instance, 150 requests a minute, a target of 60: three are wanted, and made."""
    world.register()
    world.track()
    world.tick()
    world.measure(150)
    world.set_alarm(world.alarm("High"))
    world.tick()
    world.settle()


def test_load_above_the_target_starts_instances(world: World) -> None:
    world.register()
    world.track()
    assert world.tick() == 30.0  # nothing to do but tell of no traffic
    world.measure(150)
    high = world.alarm("High")
    world.set_alarm(high)
    assert world.tick() == 1.0
    assert (world.endpoint.status, world.endpoint.coming) == ("Updating", {"champion": 3})
    [activity] = world.activities(ResourceId=NAMED["ResourceId"])
    assert activity["StatusCode"] == "InProgress"
    assert activity["StatusMessage"].endswith("Waiting for change to be fulfilled by sagemaker.")
    world.time += 2
    world.settle()
    [activity] = world.activities()
    assert activity.pop("ActivityId")
    assert activity == {
        **NAMED,
        "Description": "Setting desired instance count to 3.",
        "Cause": f"monitor alarm {high} in state ALARM triggered policy load",
        "StartTime": datetime.fromtimestamp(world.time - 2, UTC),
        "EndTime": datetime.fromtimestamp(world.time, UTC),
        "StatusCode": "Successful",
        "StatusMessage": "Successfully set desired instance count to 3. Change successfully fulfilled by "
        "sagemaker.",
    }
    assert world.count == 3


def test_data_of_before_a_change_does_not_change_the_count_again(world: World) -> None:
    scaled_out(world)
    world.time += 61  # the alarm is still in ALARM, the cool-down is not the reason
    world.clients.get("cloudwatch")
    world.tick()
    assert (world.count, world.endpoint.status) == (3, "InService")
    world.measure(90, minutes=1)
    world.tick()
    assert world.endpoint.coming == {"champion": 4}  # 3 x 90 / 60 is 5, the maximum 4


def test_too_little_load_stops_instances_down_to_the_minimum(world: World) -> None:
    scaled_out(world)
    world.set_alarm(world.alarm("High"), "OK")
    world.measure(10)
    world.set_alarm(world.alarm("Low"))
    world.tick()
    assert world.endpoint.coming == {"champion": 1}
    world.settle()
    assert [item["Description"] for item in world.activities()] == [
        "Setting desired instance count to 1.",
        "Setting desired instance count to 3.",
    ]


def test_scaling_in_goes_by_the_busiest_of_the_quiet_periods(world: World) -> None:
    world.endpoint.counts["champion"] = 4
    world.register()
    world.track()
    for load in (30, 10, 5):
        world.measure(load, minutes=1)
    world.set_alarm(world.alarm("Low"))
    world.tick()
    assert world.endpoint.coming == {"champion": 2}


def test_a_scale_in_cools_down_before_the_next_one(world: World) -> None:
    world.endpoint.counts["champion"] = 4
    world.register()
    world.track()
    world.measure(40)
    world.set_alarm(world.alarm("Low"))
    world.tick()
    world.settle()
    assert world.count == 3
    world.measure(10)  # three minutes: the cool-down of 200 seconds is not over
    world.tick()
    assert world.endpoint.status == "InService"
    world.measure(10, minutes=1)
    world.tick()
    assert world.endpoint.coming == {"champion": 1}


def test_no_traffic_is_told_as_none(world: World) -> None:
    world.endpoint.counts["champion"] = 2
    world.register()
    world.track()
    for _ in range(6):
        world.tick()
        world.time += 30
    start = datetime.fromtimestamp(world.time - 180, UTC)
    dimensions = (("EndpointName", "flights"), ("VariantName", "champion"))
    found = world.cloud.metrics.statistics(
        "AWS/SageMaker", "InvocationsPerInstance", dimensions, start, start + timedelta(minutes=3), 60, "Sum"
    )
    assert [value for _, value in found] == [0, 0, 0]
    world.set_alarm(world.alarm("Low"))
    world.tick()
    assert world.endpoint.coming == {"champion": 1}


def test_the_maximum_and_the_minimum_hold_and_are_told_once(world: World) -> None:
    world.register(1, 1)
    world.track()
    for _ in range(2):
        world.measure(900)
        world.set_alarm(world.alarm("High"))
        world.tick()
    assert world.endpoint.status == "InService"
    assert world.activities() == []
    [activity] = world.activities(IncludeNotScaledActivities=True)
    assert activity["NotScaledReasons"] == [{"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 1}]
    assert activity["StatusCode"] == "Failed"
    world.set_alarm(world.alarm("High"), "OK")
    world.measure(0)
    world.set_alarm(world.alarm("Low"))
    world.tick()
    reasons = [item["NotScaledReasons"] for item in world.activities(IncludeNotScaledActivities=True)]
    assert reasons[0] == [{"Code": "AlreadyAtMinCapacity", "MinCapacity": 1}]


def test_a_real_time_endpoint_is_never_empty_an_asynchronous_one_may_be(world: World) -> None:
    world.endpoint.counts["champion"] = 2
    world.register(0, 4)
    world.track()
    world.measure(0)
    world.set_alarm(world.alarm("Low"))
    world.tick()
    assert world.endpoint.coming == {"champion": 1}
    world.settle()
    world.endpoint.asynchronous = True
    world.measure(0, minutes=4)
    world.tick()
    assert world.endpoint.coming == {"champion": 0}


@pytest.mark.parametrize(("other_side", "coming"), [("OK", {}), ("ALARM", {"champion": 2})])
def test_all_tracking_policies_must_be_ready_to_scale_in(
    world: World, other_side: str, coming: dict[str, int]
) -> None:
    """The second policy tracks a metric of its own; the one that wants more instances wins."""
    world.endpoint.counts["champion"] = 4
    world.register()
    world.track("load")
    specification = {"Namespace": "Load", "MetricName": "Busy", "Statistic": "Average"}
    configuration = {"TargetValue": 50.0, "CustomizedMetricSpecification": specification}
    world.call(
        "PutScalingPolicy",
        **NAMED,
        PolicyName="busy",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )
    for minute in range(3):
        world.put("Load", "Busy", (), 25)
        world.measure(6, minutes=1)
        assert minute < 3
    world.clients.alarms[world.alarm("Low", "busy")]["StateValue"] = other_side
    if other_side == "ALARM":
        world.set_alarm(world.alarm("Low", "busy"))
    world.set_alarm(world.alarm("Low"))
    world.tick()
    assert world.endpoint.coming == coming


def test_scaling_in_may_be_disabled(world: World) -> None:
    world.endpoint.counts["champion"] = 3
    world.register()
    world.track(DisableScaleIn=True)
    assert len(world.clients.alarms) == 1
    world.measure(1)
    world.tick()
    assert world.endpoint.status == "InService"


@pytest.mark.parametrize(
    ("suspended", "status"),
    [("DynamicScalingOutSuspended", "InService"), ("DynamicScalingInSuspended", "Updating")],
)
def test_scaling_may_be_suspended(world: World, suspended: str, status: str) -> None:
    world.register(SuspendedState={suspended: True})
    world.track()
    world.measure(600)
    world.set_alarm(world.alarm("High"))
    world.tick()
    assert world.endpoint.status == status


def test_while_the_endpoint_is_changing_scaling_waits(world: World) -> None:
    world.register()
    world.track()
    world.tick()
    world.measure(150)
    world.endpoint.status = "Updating"
    world.set_alarm(world.alarm("High"))
    assert world.tick() == 1.0
    assert world.activities() == []
    world.time += 1
    world.endpoint.status = "InService"
    world.tick()
    assert world.endpoint.coming == {"champion": 3}


@pytest.mark.parametrize(
    ("refusal", "failure", "reason"),
    [
        pytest.param(
            'Cannot update in-progress endpoint "x".', "", "Cannot update in-progress", id="refused"
        ),
        pytest.param("", "no ping", "no ping", id="the servers do not start"),
    ],
)
def test_a_change_that_fails_is_told_and_tried_again(
    world: World, refusal: str, failure: str, reason: str
) -> None:
    world.register()
    world.track()
    world.endpoint.refusal = refusal
    world.measure(150)
    world.set_alarm(world.alarm("High"))
    world.tick()
    if failure:
        world.clients.finish("flights", failure)
        world.tick()
    [activity] = world.activities()
    assert activity["StatusCode"] == "Failed"
    assert activity["StatusMessage"].startswith("Failed to set desired instance count to 3. Reason: ")
    assert reason in activity["StatusMessage"]
    assert world.count == 1
    world.endpoint.refusal = ""
    world.measure(150, minutes=1)
    world.tick()
    assert world.endpoint.coming == {"champion": 3}


def test_a_restart_goes_on_with_the_activity_under_way(world: World) -> None:
    world.register()
    world.track()
    world.measure(150)
    world.set_alarm(world.alarm("High"))
    world.tick()
    world.restart()
    assert world.tick() is not None
    assert world.activities()[0]["StatusCode"] == "InProgress"
    world.settle()
    assert world.activities()[0]["StatusCode"] == "Successful"
    assert world.count == 3


def test_an_activity_whose_call_was_never_made_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.register()
    world.track()
    world.measure(150)
    world.set_alarm(world.alarm("High"))

    def killed(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.clients, "UpdateEndpointWeightsAndCapacities", killed, raising=False)
    with pytest.raises(KeyboardInterrupt):
        world.tick()
    monkeypatch.undo()
    world.restart()
    world.tick()
    assert [item["StatusCode"] for item in world.activities()][-1] == "Failed"
    world.time += 60
    world.tick()
    assert world.endpoint.coming == {"champion": 3}


def test_alarms_that_were_in_alarm_before_the_start_are_followed(world: World) -> None:
    world.register()
    world.track()
    world.measure(150)
    world.clients.alarms[world.alarm("High")]["StateValue"] = "ALARM"  # nobody heard it
    world.restart()
    world.tick()
    assert world.endpoint.coming == {"champion": 3}


def test_an_alarm_steps_as_long_as_it_lasts(world: World) -> None:
    world.register(1, 9)
    world.step()
    world.put("Load", "Queue", (), 120)
    world.time += 60
    world.set_alarm("busy")
    world.tick()
    assert world.endpoint.coming == {"champion": 2}
    world.settle()
    world.put("Load", "Queue", (), 120)
    world.time += 60
    world.tick()
    assert world.count == 2  # the same step within the cool-down
    world.put("Load", "Queue", (), 170)
    world.time += 60
    world.tick()
    assert world.endpoint.coming == {"champion": 4}  # the cool-down of 100 seconds is over: two more
    world.settle()
    world.set_alarm("busy", "OK")
    world.time += 600
    assert world.tick() is None
    assert world.count == 4


def test_an_alarm_whose_actions_are_disabled_changes_nothing(world: World) -> None:
    world.register()
    world.step()
    world.clients.alarms["busy"]["ActionsEnabled"] = False
    world.put("Load", "Queue", (), 120)
    world.time += 60
    world.set_alarm("busy")
    assert world.tick() is None
    assert world.endpoint.status == "InService"


@pytest.mark.parametrize(
    ("count", "bounds", "coming", "cause"),
    [
        pytest.param(1, (2, 4), {"champion": 2}, "minimum capacity was set to 2", id="below"),
        pytest.param(5, (1, 3), {"champion": 3}, "maximum capacity was set to 3", id="above"),
        pytest.param(2, (1, 3), {}, None, id="within"),
    ],
)
def test_new_bounds_bring_the_count_within_them(
    world: World, count: int, bounds: tuple[int, int], coming: dict[str, int], cause: str | None
) -> None:
    world.endpoint.counts["champion"] = count
    world.endpoint.status = "Updating"
    world.register(*bounds)
    assert world.tick() == 1.0
    world.endpoint.status = "InService"
    world.tick()
    assert world.endpoint.coming == coming
    assert [item["Cause"] for item in world.activities()] == ([cause] if cause else [])


def test_a_deleted_endpoint_takes_its_targets_along(world: World) -> None:
    world.register()
    world.track()
    world.time += 1
    world.delete_endpoint()
    world.tick()
    assert world.service.registered_variants("flights") == frozenset()
    assert world.clients.alarms == {}


def test_an_endpoint_made_anew_keeps_the_target_that_is_registered_for_it(world: World) -> None:
    endpoint = world.endpoint
    world.register()
    world.delete_endpoint()
    world.clients.endpoints["flights"] = endpoint
    world.call("DeregisterScalableTarget", **NAMED)
    world.time += 1
    world.register()
    world.tick()
    assert world.service.registered_variants("flights") == {"champion"}


def test_scheduled_actions_move_the_bounds(world: World) -> None:
    world.register(1, 4)
    start = datetime.fromtimestamp(world.time, UTC)
    world.call(
        "PutScheduledAction",
        **NAMED,
        ScheduledActionName="morning",
        Schedule=f"at({start + timedelta(minutes=5):%Y-%m-%dT%H:%M:%S})",
        ScalableTargetAction={"MinCapacity": 3},
    )
    [shown] = world.call("DescribeScheduledActions", ServiceNamespace="sagemaker")["ScheduledActions"]
    assert shown["ScalableTargetAction"] == {"MinCapacity": 3}
    clock = world.service.schedules.clock
    assert clock.tick() is not None
    world.time += 301
    clock.tick()
    world.tick()
    assert world.endpoint.coming == {"champion": 3}
    assert [item["Cause"] for item in reversed(world.activities())] == [
        "scheduled action name morning was triggered",
        "minimum capacity was set to 3",
    ]
    world.call("DeleteScheduledAction", **NAMED, ScheduledActionName="morning")
    assert world.call("DescribeScheduledActions", ServiceNamespace="sagemaker") == {"ScheduledActions": []}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Schedule": "every(5 minutes)"}, "Schedule is not valid"),
        ({"Timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"ScalableTargetAction": {}}, "must set MinCapacity, MaxCapacity or both"),
        ({"ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 1}}, "cannot be less than"),
        ({"Schedule": None}, "Schedule must be given"),
    ],
)
def test_a_scheduled_action_that_cannot_fire_is_refused(
    world: World, changes: dict[str, object], message: str
) -> None:
    world.register()
    params = {
        "ScheduledActionName": "a",
        "Schedule": "cron(0 6 ? * MON-FRI *)",
        "ScalableTargetAction": {"MinCapacity": 2},
        **changes,
    }
    assert message in world.refused("PutScheduledAction", **NAMED, **params).message


def test_the_thread_does_all_this_by_itself(world: World) -> None:
    """One real thread: it hears the alarm, starts the instances and tells the end."""
    import threading

    done = threading.Event()
    world.register()
    world.track()
    world.measure(150)
    update = world.clients.UpdateEndpointWeightsAndCapacities

    def update_and_finish(**params: object) -> dict[str, object]:
        answer = update(**params)  # type: ignore[arg-type]
        world.clients.finish("flights")
        done.set()
        return answer

    world.clients.UpdateEndpointWeightsAndCapacities = update_and_finish  # type: ignore[method-assign]
    world.service.start()
    try:
        world.set_alarm(world.alarm("High"))
        assert done.wait(10)
    finally:
        world.service.stop()
    world.tick()
    assert world.count == 3


def test_trouble_does_not_end_the_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    failed, worked = threading.Event(), threading.Event()
    describe = world.clients.DescribeEndpoint

    def once(**params: str) -> dict[str, object]:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("the disk is full")
        worked.set()
        return describe(**params)

    world.timing = type(world.timing)(look_seconds=0.01)
    world.restart()
    world.register(2, 4)
    world.clients.DescribeEndpoint = once  # type: ignore[method-assign]
    world.service.start()
    try:
        assert worked.wait(10)
    finally:
        world.service.stop()
    assert "the disk is full" in caplog.text


def test_metric_math_is_asked_of_cloudwatch(world: World) -> None:
    asked: list[dict[str, object]] = []

    def get_metric_data(**params: object) -> dict[str, object]:
        asked.append(params)
        return {"MetricDataResults": [{"Id": "b", "Values": [20.0, 200.0]}]}

    world.clients.get_metric_data = get_metric_data  # type: ignore[attr-defined]
    metric = {"Namespace": "Load", "MetricName": "Queue"}
    queries = [
        {"Id": "a", "MetricStat": {"Metric": metric, "Stat": "Average"}, "ReturnData": False},
        {"Id": "b", "Expression": "a / 2"},
    ]
    world.register()
    world.call(
        "PutScalingPolicy",
        **NAMED,
        PolicyName="load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 100.0,
            "CustomizedMetricSpecification": {"Metrics": queries},
        },
    )
    world.set_alarm(world.alarm("High"))
    world.tick()
    assert world.endpoint.coming == {"champion": 2}
    assert asked[0]["EndTime"] == datetime.fromtimestamp(world.time, UTC)


def test_errors_of_cloudwatch_are_told_as_they_are(world: World) -> None:
    world.register()
    world.clients.broken = [ServiceError("InternalFailure", "broken", 500)]
    assert world.refused(
        "PutScalingPolicy", **NAMED, PolicyName="p", PolicyType="TargetTrackingScaling"
    ).code == ("ValidationException")
    with pytest.raises(ServiceError, match="broken"):
        world.track()


def test_points_of_other_variants_do_not_count(world: World) -> None:
    world.register()
    world.track()
    moment = datetime.fromtimestamp(world.time, UTC)
    other = (("EndpointName", "flights"), ("VariantName", "challenger"))
    world.cloud.metrics.put([Datum("AWS/SageMaker", "InvocationsPerInstance", other, moment, 900.0)])
    world.measure(30)
    world.set_alarm(world.alarm("High"))
    world.tick()
    assert world.endpoint.status == "InService"
