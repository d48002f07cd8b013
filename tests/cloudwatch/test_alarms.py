"""Alarms on a turned clock: states, windows, actions, history, restarts."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudwatch.alarm_world import FUNCTION, POLICY, TOPIC, AlarmWorld
from triptych.localcloud.cloudwatch.store import Datum
from triptych.localcloud.service import ServiceError


@pytest.fixture
def world(tmp_path: Path) -> AlarmWorld:
    return AlarmWorld(tmp_path / "home")


# -- states


def test_an_alarm_goes_off_and_recovers(world: AlarmWorld) -> None:
    world.alarm()
    assert world.state() == "INSUFFICIENT_DATA"
    assert world.described()["StateReason"] == "Unchecked: Initial alarm creation"
    world.put(1)
    world.tick()
    assert world.state() == "OK"
    world.tick(10)
    world.put(6)
    world.tick()
    assert world.state() == "ALARM"
    alarm = world.described()
    assert alarm["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [6.0")
    assert json.loads(alarm["StateReasonData"])["recentDatapoints"] == [6.0]
    assert alarm["StateUpdatedTimestamp"] == alarm["StateTransitionedTimestamp"] == world.now
    world.tick(10)
    world.put(0)
    world.tick()
    assert world.states() == ["OK", "ALARM", "OK"]
    world.tick(31)  # past the evaluation range: one period and two to spare
    assert world.state() == "INSUFFICIENT_DATA"


def test_the_window_ends_now(world: AlarmWorld) -> None:
    """Two values of 3 are one breach when the sliding period holds both, however the clock stands."""
    world.alarm()
    world.tick(7)
    world.put(3, seconds_ago=0.5)
    world.tick(1)
    assert world.state() == "OK"
    world.tick(6)
    world.put(3, seconds_ago=0.5)
    world.tick()
    assert world.state() == "ALARM"
    world.tick(5)
    assert world.state() == "OK"


def test_what_is_over_does_not_set_an_alarm_off_again(world: AlarmWorld) -> None:
    """A burst that slides out of the newest period is whole again in the one before: that is no news."""
    world.alarm(Threshold=6.0, TreatMissingData="notBreaching")
    for _ in range(10):
        world.put(1, seconds_ago=0.5)
        world.tick(1)
    for _ in range(60):
        world.tick(1)
    assert world.states() == ["OK", "ALARM", "OK"]


@pytest.mark.parametrize(
    ("values", "states"),
    [
        # each number is one period of ten seconds; None: no data
        ([9, 0, 9, 0, 9, 0, 0, 0], ["OK", "ALARM", "OK", "ALARM", "OK"]),
        ([9, 9, 9, 9], ["OK", "ALARM"]),
        ([0, 9, 0, 9, 0], ["OK", "ALARM", "OK"]),
        ([0, 9, 0, 0, 9, 0, 0], ["OK"]),
        ([0, 0, 0, 9, None, None, None, 9], ["OK", "ALARM"]),
    ],
    ids=["alternating", "steady", "twice in three", "too rarely", "over a gap"],
)
def test_two_of_three(world: AlarmWorld, values: list[float | None], states: list[str]) -> None:
    world.alarm(EvaluationPeriods=3, DatapointsToAlarm=2)
    for value in values:
        world.skip(10)
        if value is not None:
            world.put(value)
        world.tick()
    assert [state for state in world.states() if state != "INSUFFICIENT_DATA"] == states


@pytest.mark.parametrize(
    ("treat", "states"),
    [
        ("missing", ["ALARM", "INSUFFICIENT_DATA"]),
        ("ignore", ["ALARM"]),
        ("breaching", ["ALARM"]),
        ("notBreaching", ["OK", "ALARM", "OK"]),
    ],
)
def test_silence_after_an_alarm(world: AlarmWorld, treat: str, states: list[str]) -> None:
    world.alarm(TreatMissingData=treat)
    if treat == "notBreaching":
        world.tick()
    world.put(9)
    for _ in range(6):
        world.tick(7)
    assert world.states() == states


def test_a_percentile(world: AlarmWorld) -> None:
    world.alarm("p99", Statistic=None, ExtendedStatistic="p99", Threshold=500.0)
    world.alarm("p90", Statistic=None, ExtendedStatistic="p90", Threshold=500.0)
    world.put(None, values=[10.0, 900.0], counts=[95.0, 5.0])
    world.tick()
    assert world.service.alarm_states(["p99", "p90"]) == {"p99": "ALARM", "p90": "OK"}


def test_a_percentile_of_few_samples_can_be_ignored(world: AlarmWorld) -> None:
    world.alarm(Statistic=None, ExtendedStatistic="p90", EvaluateLowSampleCountPercentile="ignore")
    world.put(None, values=[10.0], counts=[99.0])
    world.tick()
    assert world.state() == "INSUFFICIENT_DATA"
    world.put(10)
    world.tick()
    assert world.state() == "ALARM"


SHARE = [
    {"Id": "share", "Expression": "IF(requests > 0, FILL(errors, 0) / requests, 0)", "Label": "5xx share"},
    *(
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {"Metric": {"Namespace": "N", "MetricName": name}, "Period": 10, "Stat": "Sum"},
        }
        for name in ("errors", "requests")
    ),
]
NO_METRIC = dict.fromkeys(("Namespace", "MetricName", "Statistic", "Period"))


def test_metric_math(world: AlarmWorld) -> None:
    world.alarm(**NO_METRIC, Metrics=SHARE, Threshold=0.1, TreatMissingData="notBreaching")
    world.put(100, "requests")
    world.tick()
    assert world.state() == "OK"
    world.put(11, "errors")
    world.tick()
    assert world.state() == "ALARM"
    assert world.described()["StateReason"].startswith(
        "Threshold Crossed: 1 out of the last 1 datapoints [0.11 ("
    )
    world.tick(35)
    assert world.state() == "OK"


def test_dimensions_and_units_tell_metrics_apart(world: AlarmWorld) -> None:
    world.alarm("x", Dimensions=[{"Name": "v", "Value": "x"}])
    world.alarm("y", Dimensions=[{"Name": "v", "Value": "y"}])
    world.alarm("seconds", Unit="Seconds", TreatMissingData="notBreaching")
    world.cloud.metrics.put([_datum(world, (("v", "x"),), 9.0), _datum(world, (("v", "y"),), 1.0)])
    world.put(9, unit="Milliseconds")
    world.tick()
    assert world.service.alarm_states(["x", "y", "seconds"]) == {"x": "ALARM", "y": "OK", "seconds": "OK"}


def _datum(world: AlarmWorld, dimensions: Any, value: float) -> Any:
    return Datum("N", "m", dimensions, world.now - timedelta(seconds=1), value=value)


def test_a_flapping_alarm_tells_each_change_once_and_in_order(world: AlarmWorld) -> None:
    world.alarm(AlarmActions=[TOPIC], OKActions=[TOPIC])
    wanted = []
    for number in range(40):
        value = 9 if number % 2 else 0
        world.tick(10)
        world.put(value)
        world.tick()
        world.tick()  # the same again changes nothing
        wanted.append("ALARM" if number % 2 else "OK")
    world.deliver()
    assert world.states() == wanted
    assert [message["NewStateValue"] for message in world.published()] == wanted
    assert [change.previous for change in world.changes] == ["INSUFFICIENT_DATA", *wanted[:-1]]
    changed = [event.detail["state"]["value"] for event in world.events if "State" in event.detail_type]
    assert changed == wanted


def test_an_update_keeps_the_state_and_then_judges_anew(world: AlarmWorld) -> None:
    world.alarm()
    world.put(9)
    world.tick()
    world.alarm(Threshold=50.0)
    assert world.state() == "ALARM"
    world.tick()
    assert world.state() == "OK"


def test_a_state_that_was_set_stays_for_a_while(world: AlarmWorld) -> None:
    world.alarm(AlarmActions=[TOPIC])
    world.put(0)
    world.tick()
    world(
        "SetAlarmState",
        AlarmName="a",
        StateValue="ALARM",
        StateReason="a drill",
        StateReasonData='{"by": "me"}',
    )
    assert world.described()["StateReason"] == "a drill"
    assert world.changes[-1].reason_data == {"by": "me"}
    world.tick(5)
    assert world.state() == "ALARM"
    world.put(0)
    world.tick(6)
    assert world.state() == "OK"
    world.deliver()
    assert [message["NewStateReason"] for message in world.published()] == ["a drill"]


# -- actions


def test_a_topic_gets_the_documented_message(world: AlarmWorld) -> None:
    dimensions = [{"Name": "EndpointName", "Value": "flights"}]
    world.alarm("slow", AlarmActions=[TOPIC], AlarmDescription="too slow", Dimensions=dimensions)
    world("SetAlarmState", AlarmName="slow", StateValue="ALARM", StateReason="because")
    world.deliver()
    [(service, operation, params)] = world.clients.calls
    assert (service, operation, params["TopicArn"]) == ("sns", "publish", TOPIC)
    assert params["Subject"] == 'ALARM: "slow" in US East (N. Virginia)'
    assert json.loads(params["Message"]) == {
        "AlarmName": "slow",
        "AlarmDescription": "too slow",
        "AWSAccountId": "123456789012",
        "AlarmConfigurationUpdatedTimestamp": "2026-03-01T12:00:00.000+0000",
        "NewStateValue": "ALARM",
        "NewStateReason": "because",
        "StateChangeTime": "2026-03-01T12:00:00.000+0000",
        "Region": "US East (N. Virginia)",
        "AlarmArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:slow",
        "OldStateValue": "INSUFFICIENT_DATA",
        "OKActions": [],
        "AlarmActions": [TOPIC],
        "InsufficientDataActions": [],
        "Trigger": {
            "MetricName": "m",
            "Namespace": "N",
            "StatisticType": "Statistic",
            "Statistic": "SUM",
            "Unit": None,
            "Dimensions": [{"value": "flights", "name": "EndpointName"}],
            "Period": 10,
            "EvaluationPeriods": 1,
            "DatapointsToAlarm": 1,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 5.0,
            "TreatMissingData": "missing",
            "EvaluateLowSampleCountPercentile": "",
        },
    }


def test_a_function_is_invoked_with_the_documented_event(world: AlarmWorld) -> None:
    world.alarm(**NO_METRIC, Metrics=SHARE, Threshold=0.1, AlarmActions=[FUNCTION])
    world("SetAlarmState", AlarmName="a", StateValue="ALARM", StateReason="because")
    world.deliver()
    [(service, operation, params)] = world.clients.calls
    assert (service, operation) == ("lambda", "invoke")
    assert (params["FunctionName"], params["InvocationType"]) == (FUNCTION, "Event")
    event = json.loads(params["Payload"])
    assert event["source"] == "aws.cloudwatch"
    assert event["alarmArn"] == "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a"
    data = event["alarmData"]
    assert data["state"] == {
        "value": "ALARM",
        "reason": "because",
        "timestamp": "2026-03-01T12:00:00.000+0000",
    }
    assert [metric["id"] for metric in data["configuration"]["metrics"]] == ["share", "errors", "requests"]


def test_eventbridge_hears_of_states_and_configurations(world: AlarmWorld) -> None:
    world.alarm()
    world.put(9)
    world.tick()
    world.alarm(Threshold=7.0)
    world("DeleteAlarms", AlarmNames=["a"])
    world.deliver()
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a"
    assert {(event.source, event.resources) for event in world.events} == {("aws.cloudwatch", (arn,))}
    told = [(event.detail_type.rsplit(" ", 2)[1], event.detail.get("operation")) for event in world.events]
    assert told == [
        ("Configuration", "create"),
        ("State", None),
        ("Configuration", "update"),
        ("Configuration", "delete"),
    ]
    assert world.events[2].detail["previousConfiguration"]["threshold"] == 5.0
    state = world.events[1].detail
    assert state["state"]["value"] == "ALARM"
    assert state["previousState"]["value"] == "INSUFFICIENT_DATA"
    [metric] = state["configuration"]["metrics"]
    assert metric["metricStat"] == {
        "metric": {"namespace": "N", "name": "m", "dimensions": {}},
        "period": 10,
        "stat": "Sum",
    }


def test_scaling_policies_hear_of_it_on_the_bus_only(world: AlarmWorld) -> None:
    world.alarm(AlarmActions=[POLICY])
    world.put(9)
    world.tick()
    world.deliver()
    assert world.clients.calls == []
    [change] = world.changes
    assert (change.name, change.state, change.previous, change.at) == (
        "a",
        "ALARM",
        "INSUFFICIENT_DATA",
        world.now,
    )
    assert change.reason_data["evaluatedDatapoints"][0]["value"] == 9.0


def test_disabled_actions_are_not_taken(world: AlarmWorld) -> None:
    world.alarm(AlarmActions=[TOPIC], OKActions=[TOPIC])
    world("DisableAlarmActions", AlarmNames=["a", "nobody"])
    assert world.described()["ActionsEnabled"] is False
    world.put(9)
    world.tick()
    world.deliver()
    assert (world.state(), world.published()) == ("ALARM", [])
    world("EnableAlarmActions", AlarmNames=["a"])
    world.tick(10)
    world.put(0)
    world.tick()
    world.deliver()
    assert [message["NewStateValue"] for message in world.published()] == ["OK"]
    assert 'Alarm actions disabled for "a"' in world.history()


def _refused(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Publish")


@pytest.mark.parametrize(
    ("failures", "published", "history"),
    [
        ([_refused("InternalError", 500)], 1, "Successfully executed action"),
        ([_refused("Throttling", 429), _refused("InternalError", 500)], 1, "Successfully executed action"),
        ([_refused("InternalError", 500)] * 3, 0, "Failed to execute action"),
        ([_refused("NotFound", 404)], 0, "Failed to execute action"),
    ],
    ids=["once", "twice", "always", "no such topic"],
)
def test_an_action_that_fails_is_tried_again_and_noted(
    world: AlarmWorld, failures: list[Exception], published: int, history: str
) -> None:
    world.alarm(AlarmActions=[TOPIC])
    world("SetAlarmState", AlarmName="a", StateValue="ALARM", StateReason="because")
    world.clients.failures = list(failures)
    world.deliver()
    world.deliver()  # what was given up is not tried again
    assert len(world.published()) == published
    assert world.history(HistoryItemType="Action")[0].startswith(f"{history} {TOPIC}")


# -- restarts


def test_alarms_states_history_and_tags_outlive_the_process(world: AlarmWorld) -> None:
    world.alarm(Tags=[{"Key": "team", "Value": "ml"}], AlarmActions=[TOPIC])
    world.alarm("b", **NO_METRIC, Metrics=SHARE)
    world("PutCompositeAlarm", AlarmName="c", AlarmRule="ALARM(a)")
    world.put(9)
    world.tick()
    before = [world.described(name) for name in "abc"]
    history = world.history()
    later = world.restarted()
    assert [later.described(name) for name in "abc"] == before
    assert later.service.alarm_states("abcd") == {"a": "ALARM", "b": "INSUFFICIENT_DATA", "c": "ALARM"}
    assert later.history() == history
    arn = before[0]["AlarmArn"]
    assert later("ListTagsForResource", ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "ml"}]
    later.tick(1)
    assert later.changes == []
    later.tick(40)
    assert later.state("a") == "INSUFFICIENT_DATA"


def test_an_action_that_a_crash_cut_off_is_taken_by_the_next_start(world: AlarmWorld) -> None:
    world.alarm(AlarmActions=[TOPIC])
    world.put(9)
    world.tick()
    assert world.published() == []  # killed before anything was sent
    later = world.restarted()
    later.deliver()
    assert [message["NewStateValue"] for message in later.published()] == ["ALARM"]
    assert [event.detail_type for event in later.events][-1] == "CloudWatch Alarm State Change"
    later.restarted().deliver()
    assert len(later.published()) == 1


def test_a_deleted_alarm_stays_deleted(world: AlarmWorld) -> None:
    world.alarm()
    world("DeleteAlarms", AlarmNames=["a", "nobody"])
    world.put(9)
    world.tick()
    for life in (world, world.restarted()):
        assert life("DescribeAlarms")["MetricAlarms"] == []
        assert life.service.alarm_states(["a"]) == {}
    assert world.history()[-1] == 'Alarm "a" deleted'
    world.alarm()
    assert world.state() == "INSUFFICIENT_DATA"


# -- composite alarms


def test_a_composite_alarm_follows_its_children(world: AlarmWorld) -> None:
    world.alarm("errors", TreatMissingData="notBreaching")
    world.alarm("latency", MetricName="l", TreatMissingData="notBreaching")
    world.tick()
    world(
        "PutCompositeAlarm",
        AlarmName="any",
        AlarmRule="ALARM(errors) OR ALARM(latency)",
        AlarmActions=[TOPIC],
    )
    world("PutCompositeAlarm", AlarmName="both", AlarmRule="ALARM(errors) AND ALARM(latency)")
    world("PutCompositeAlarm", AlarmName="top", AlarmRule='ALARM("any") AND NOT ALARM(both)')
    assert [world.state(name) for name in ("any", "both", "top")] == ["OK", "OK", "OK"]
    assert world.described("any")["StateReason"].endswith(
        ":alarm:any was created and its alarm rule evaluates to OK"
    )
    world.put(9)
    world.tick()
    assert [world.state(name) for name in ("any", "both", "top")] == ["ALARM", "OK", "ALARM"]
    assert world.described("any")["StateReason"] == (
        "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors transitioned to ALARM at Sunday 01 March, 2026 "
        "12:00:00 UTC"
    )
    world.put(9, "l")
    world.tick()
    assert [world.state(name) for name in ("any", "both", "top")] == ["ALARM", "ALARM", "OK"]
    world.tick(40)
    assert [world.state(name) for name in ("any", "both", "top")] == ["OK", "OK", "OK"]
    world.deliver()
    [message] = world.published()
    assert message["AlarmRule"] == "ALARM(errors) OR ALARM(latency)"
    assert message["TriggeringChildren"] == [
        {
            "Arn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors",
            "State": {"Value": "ALARM", "Timestamp": "2026-03-01T12:00:00.000+0000"},
        }
    ]


def test_a_composite_alarm_is_judged_anew_when_its_rule_or_its_children_go(world: AlarmWorld) -> None:
    world.alarm("child")
    world("PutCompositeAlarm", AlarmName="c", AlarmRule="TRUE")
    assert world.state("c") == "ALARM"
    world("PutCompositeAlarm", AlarmName="c", AlarmRule="OK(child)")
    assert world.state("c") == "OK"
    world.put(0)
    world.tick()
    assert world.state("c") == "ALARM"
    world("DeleteAlarms", AlarmNames=["child"])
    assert world.state("c") == "OK"


def test_composite_alarms_that_watch_each_other_come_to_rest(world: AlarmWorld) -> None:
    world("PutCompositeAlarm", AlarmName="x", AlarmRule="FALSE")
    world("PutCompositeAlarm", AlarmName="y", AlarmRule="ALARM(x)")
    world("PutCompositeAlarm", AlarmName="x", AlarmRule="ALARM(y)")
    world("SetAlarmState", AlarmName="x", StateValue="ALARM", StateReason="begin")
    assert world.service.alarm_states("xy") == {"x": "ALARM", "y": "ALARM"}
    world("PutCompositeAlarm", AlarmName="y", AlarmRule="NOT ALARM(x)")
    assert set(world.service.alarm_states("xy").values()) <= {"OK", "ALARM"}


def test_relatives_are_found(world: AlarmWorld) -> None:
    for name in ("a", "b"):
        world.alarm(name)
    world("PutCompositeAlarm", AlarmName="c", AlarmRule="ALARM(a)")
    world("PutCompositeAlarm", AlarmName="d", AlarmRule="ALARM(c) OR ALARM(b)")

    def names(**params: Any) -> list[str]:
        answer = world("DescribeAlarms", **params)
        return [one["AlarmName"] for one in (*answer["MetricAlarms"], *answer["CompositeAlarms"])]

    assert names(ChildrenOfAlarmName="d") == ["b", "c"]
    assert names(ParentsOfAlarmName="c") == ["d"]
    assert names(ParentsOfAlarmName="d") == []


# -- many at once


def test_changes_from_many_threads_are_told_as_one_chain(world: AlarmWorld) -> None:
    """Each change begins where the one before ended, whoever made them; at last all agree on the state."""
    world.alarm("child", OKActions=[TOPIC])
    world("PutCompositeAlarm", AlarmName="parent", AlarmRule="ALARM(child)")
    stop = threading.Event()

    def evaluate() -> None:
        while not stop.is_set():
            world.tick(0.05)
            world.put(9 if world.now.second % 2 else 0)

    def set_states(number: int) -> None:
        for turn in range(60):
            state = ("OK", "ALARM", "INSUFFICIENT_DATA")[(turn + number) % 3]
            world("SetAlarmState", AlarmName="child", StateValue=state, StateReason="")

    def configure() -> None:
        for turn in range(60):
            world.alarm("child", Threshold=5.0 + turn % 2, OKActions=[TOPIC])

    evaluating = threading.Thread(target=evaluate)
    others = [threading.Thread(target=set_states, args=(number,)) for number in range(3)]
    others.append(threading.Thread(target=configure))
    for thread in (evaluating, *others):
        thread.start()
    for thread in others:
        thread.join()
    stop.set()
    evaluating.join()
    for name in ("child", "parent"):
        items = world.state_updates(name)
        states = [(data["oldState"]["stateValue"], data["newState"]["stateValue"]) for data in items]
        assert [old for old, _ in states[1:]] == [new for _, new in states[:-1]]
        assert states[-1][1] == world.state(name)
    assert (world.state("parent") == "ALARM") == (world.state("child") == "ALARM")


# -- described


def test_alarms_are_found_by_what_was_asked(world: AlarmWorld) -> None:
    world.alarm("one", AlarmActions=[TOPIC])
    world.alarm("other", MetricName="l", Dimensions=[{"Name": "v", "Value": "x"}])
    world("PutCompositeAlarm", AlarmName="whole", AlarmRule="ALARM(one)")
    world("SetAlarmState", AlarmName="one", StateValue="OK", StateReason="fine")

    def names(operation: str = "DescribeAlarms", **params: Any) -> list[str]:
        answer = world(operation, **params)
        return [one["AlarmName"] for one in (*answer["MetricAlarms"], *answer.get("CompositeAlarms", []))]

    assert names() == ["one", "other"]
    assert names(AlarmTypes=["CompositeAlarm"]) == ["whole"]
    assert names(AlarmNamePrefix="o", AlarmTypes=["MetricAlarm", "CompositeAlarm"]) == ["one", "other"]
    assert names(StateValue="OK") == ["one"]
    assert names(ActionPrefix="arn:aws:sns") == ["one"]
    assert names(AlarmNames=["nobody"]) == []
    of_metric = {"Namespace": "N", "MetricName": "l"}
    assert names("DescribeAlarmsForMetric", **of_metric, Dimensions=[{"Name": "v", "Value": "x"}]) == [
        "other"
    ]
    assert names("DescribeAlarmsForMetric", **of_metric) == []


def test_long_lists_come_in_pages(world: AlarmWorld) -> None:
    for number in range(7):
        world.alarm(f"a{number}")
    found, token = [], {}
    while True:
        page = world("DescribeAlarms", MaxRecords=3, **token)
        found.append([alarm["AlarmName"] for alarm in page["MetricAlarms"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert found == [["a0", "a1", "a2"], ["a3", "a4", "a5"], ["a6"]]
    first = world("DescribeAlarmHistory", MaxRecords=5)
    second = world("DescribeAlarmHistory", MaxRecords=5, NextToken=first["NextToken"])
    items = [*first["AlarmHistoryItems"], *second["AlarmHistoryItems"]]
    assert [item["AlarmName"] for item in items] == [f"a{number}" for number in reversed(range(7))]
    assert "NextToken" not in second
    assert world.refusal("DescribeAlarms", NextToken="x").code == "InvalidNextToken"


def test_history_tells_of_states_configurations_and_actions(world: AlarmWorld) -> None:
    world.alarm(AlarmActions=[TOPIC])
    world.put(9)
    world.tick(1)
    world.deliver()
    world.alarm(Threshold=100.0)
    assert world.history() == [
        'Alarm "a" created',
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        f"Successfully executed action {TOPIC}",
        'Alarm "a" updated',
    ]
    item = world("DescribeAlarmHistory", AlarmName="a", HistoryItemType="StateUpdate")["AlarmHistoryItems"][0]
    data = json.loads(item["HistoryData"])
    assert data["oldState"]["stateValue"] == "INSUFFICIENT_DATA"
    assert data["newState"]["stateReasonData"]["recentDatapoints"] == [9.0]
    assert world.history(StartDate=world.now, EndDate=world.now, HistoryItemType="StateUpdate") != []
    assert world.history(EndDate=world.now.replace(hour=1)) == []


def test_tags(world: AlarmWorld) -> None:
    world.alarm(Tags=[{"Key": "a", "Value": "1"}])
    arn = world.described()["AlarmArn"]
    world("TagResource", ResourceARN=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    world("UntagResource", ResourceARN=arn, TagKeys=["a", "c"])
    assert world("ListTagsForResource", ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "3"}]
    assert world.refusal("ListTagsForResource", ResourceARN=arn + "x").code == "ResourceNotFoundException"


# -- wrong input

METRIC = {"Namespace": "N", "MetricName": "m"}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such comparison": ({"ComparisonOperator": "Above"}, "must be one of"),
    "anomaly detection": ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "anomaly detection"),
    "no comparison": ({"ComparisonOperator": None}, "ComparisonOperator"),
    "no periods": ({"EvaluationPeriods": None}, "EvaluationPeriods"),
    "no threshold": ({"Threshold": None}, "Threshold is required"),
    "no namespace": ({"Namespace": None}, "Namespace is required"),
    "a period of seven seconds": ({"Period": 7}, "10, 20, 30 or a multiple of 60; it is 7"),
    "no periods at all": ({"EvaluationPeriods": 0}, "EvaluationPeriods"),
    "M over N": ({"DatapointsToAlarm": 2}, "less than or equal to EvaluationPeriods"),
    "more than a day": ({"Period": 60, "EvaluationPeriods": 1441}, "more than a day"),
    "more than a week": ({"Period": 3600, "EvaluationPeriods": 169}, "more than seven days"),
    "two statistics": ({"ExtendedStatistic": "p99"}, "either Statistic or ExtendedStatistic"),
    "no statistic": ({"Statistic": None}, "either Statistic or ExtendedStatistic"),
    "a strange percentile": ({"Statistic": None, "ExtendedStatistic": "p101"}, "no statistic"),
    "a strange treatment": ({"TreatMissingData": "guess"}, "must be one of missing, ignore"),
    "low samples of a sum": ({"EvaluateLowSampleCountPercentile": "ignore"}, "percentile alarms only"),
    "a strange action": (
        {"AlarmActions": ["arn:aws:sqs:us-east-1:123456789012:q"]},
        "Invalid arn syntax or action",
    ),
    "stopping an instance": ({"OKActions": ["arn:aws:automate:us-east-1:ec2:stop"]}, "acts on SNS topics"),
    "six actions": ({"AlarmActions": [TOPIC] * 6}, "at most 5"),
    "an empty name": ({"AlarmName": ""}, "AlarmName"),
    "a long name": ({"AlarmName": "x" * 256}, "at most 255"),
    "both metric and metrics": ({"Metrics": SHARE}, "exclude each other"),
    "two that return data": (
        {**NO_METRIC, "Metrics": [{**entry, "ReturnData": True} for entry in SHARE]},
        "exactly one element must return data, not 3",
    ),
    "none that returns data": (
        {**NO_METRIC, "Metrics": [{**entry, "ReturnData": False} for entry in SHARE]},
        "not 0",
    ),
    "an expression of nothing": ({**NO_METRIC, "Metrics": SHARE[:1]}, "is no id"),
    "a broken expression": (
        {**NO_METRIC, "Metrics": [{**SHARE[0], "Expression": "errors +"}, *SHARE[1:]]},
        "ends where",
    ),
    "a number": (
        {**NO_METRIC, "Metrics": [{**SHARE[0], "Expression": "SUM(errors)"}, *SHARE[1:]]},
        "must be one time series; it is a number",
    ),
    "several series": (
        {**NO_METRIC, "Metrics": [{**SHARE[0], "Expression": "METRICS()"}, *SHARE[1:]]},
        "it is an array",
    ),
    "only constants": (
        {**NO_METRIC, "Metrics": [{"Id": "e", "Expression": "TIME_SERIES(1)"}]},
        "must be a metric",
    ),
    "wall clock": ({"EvaluationWindow": {"WallClockWindow": {}}}, "sliding windows only"),
    "PromQL": ({"EvaluationCriteria": {"PromQLCriteria": {"Query": "up"}}}, "PromQL"),
}


@pytest.mark.parametrize(("changes", "why"), WRONG.values(), ids=WRONG)
def test_wrong_alarms_are_refused(world: AlarmWorld, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ServiceError, match=why) as caught:
        world.alarm(**changes)
    assert caught.value.code == "ValidationError"
    assert world("DescribeAlarms")["MetricAlarms"] == []


NEW = {"AlarmName": "c", "AlarmRule": "TRUE"}
SET = {"AlarmName": "a", "StateValue": "OK", "StateReason": ""}
WRONG_REQUESTS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "no such child": (
        "PutCompositeAlarm",
        NEW | {"AlarmRule": "ALARM(x)"},
        "ValidationError",
        "does not exist: x",
    ),
    "no rule": (
        "PutCompositeAlarm",
        NEW | {"AlarmRule": "ALARM("},
        "ValidationError",
        "AlarmRule is not valid",
    ),
    "its own child": (
        "PutCompositeAlarm",
        NEW | {"AlarmRule": "ALARM(c)"},
        "ValidationError",
        "the alarm itself",
    ),
    "rule left out": ("PutCompositeAlarm", {"AlarmName": "c"}, "ValidationError", "AlarmRule"),
    "a metric alarm's name": (
        "PutCompositeAlarm",
        NEW | {"AlarmName": "a"},
        "ValidationError",
        "is no CompositeAlarm",
    ),
    "scaling": ("PutCompositeAlarm", NEW | {"AlarmActions": [POLICY]}, "ValidationError", "Invalid arn"),
    "suppressor": ("PutCompositeAlarm", NEW | {"ActionsSuppressor": "a"}, "ValidationError", "suppressed"),
    "unknown alarm": ("SetAlarmState", SET | {"AlarmName": "x"}, "ResourceNotFound", "'x'"),
    "unknown state": ("SetAlarmState", SET | {"StateValue": "GOOD"}, "ValidationError", "must be one of"),
    "no reason": ("SetAlarmState", {"AlarmName": "a", "StateValue": "OK"}, "ValidationError", "StateReason"),
    "reason data": ("SetAlarmState", SET | {"StateReasonData": "{"}, "InvalidFormat", "valid JSON"),
    "names and prefix": (
        "DescribeAlarms",
        {"AlarmNames": ["a"], "AlarmNamePrefix": "a"},
        "InvalidParameterCombination",
        "exclude",
    ),
    "too many records": ("DescribeAlarms", {"MaxRecords": 101}, "ValidationError", "at most 100"),
    "children of nobody": ("DescribeAlarms", {"ChildrenOfAlarmName": "x"}, "ResourceNotFound", "'x'"),
    "nothing to delete": ("DeleteAlarms", {}, "ValidationError", "AlarmNames"),
}


@pytest.mark.parametrize(("operation", "params", "code", "why"), WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_wrong_requests_are_refused(
    world: AlarmWorld, operation: str, params: dict[str, Any], code: str, why: str
) -> None:
    world.alarm()
    error = world.refusal(operation, **params)
    assert error.code == code
    assert why in error.message
