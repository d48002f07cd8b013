"""The deployment's report: what its page and its JSON say of whole deployments."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from deployment_fakes import BEGIN, ENDPOINT, FakeCloudWatch, Journal, endpoint_answer
from deployment_scenarios import (
    NEW,
    OLD,
    SCENARIOS,
    TRIAL,
    Scenario,
    ab_promoted,
    after,
    canary_rolled_back,
    created,
    request,
    shadow_tested,
    staging_failed,
)
from function_modules import load_function

from triptych.core.traffic import variants_traffic

report = load_function("report_deployment")
HOSTILE = '<script>alert("x")</script>'


class Checker(HTMLParser):
    """Holds that every element is closed in its order, and collects the text."""

    VOID = {"meta", "br", "rect", "line", "path", "circle"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def texts(page: str) -> str:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.tags
    return " ".join(" ".join(checker.text).split())


def documented(scenario: Scenario) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scenario.s3.objects["data", "deployments/run-7/deployment.json"][0])
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_pages_are_small_whole_and_self_contained(name: str) -> None:
    page, answer = SCENARIOS[name]().report()
    assert answer == {"report_uri": "s3://data/deployments/run-7/deployment.html"}
    assert len(page) < 500_000
    assert "http" not in page
    assert "src=" not in page
    assert "nan" not in texts(page).lower().split()


def test_a_rollback_says_why_how_long_and_what_it_cost() -> None:
    scenario = canary_rolled_back()
    text = texts(scenario.report()[0])
    document = documented(scenario)
    assert "Rolled back" in text
    assert (
        f"Alarm {ENDPOINT}-errors was raised: 1 datapoint [0.1521] was greater than the threshold (0.01). The former"
        in text
    )
    assert f"Cause Alarm {ENDPOINT}-errors went to ALARM during the deployment" in text
    assert f"{ENDPOINT}-latency OK 500 ms" in text
    assert (
        "The former model serves all requests again since 09:30:43 UTC, 23 s after the change began." in text
    )
    assert document["recovered_seconds"] == pytest.approx(5.6)
    assert document["configurations"] == {"before": OLD, "after": OLD}
    assert [(share["at"][11:19], share["of"]) for share in document["shares"]] == [
        ("09:29:58", {"former model": 1.0}),
        ("09:30:27", {"former model": 0.5, "new model": 0.5}),
        ("09:30:41", {"former model": 1.0}),
    ]
    assert [(change["from"], change["to"]) for change in document["alarms"][0]["changes"]] == [
        ("INSUFFICIENT_DATA", "OK"),
        ("OK", "ALARM"),
        ("ALARM", "OK"),
    ]
    assert document["alarms"][0]["state"] == "OK"
    values = [value for _, value in document["alarms"][0]["values"]]
    assert max(values) > 0.1
    assert values[-1] == 0.0
    totals = document["traffic"]["totals"]
    assert totals["requests"] == 60 * 64
    assert 80 < totals["server_errors"] < 160
    assert document["traffic"]["period_seconds"] == 1
    assert document["tests"]["staging"]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("make", "aftermath", "slept"),
    [
        (canary_rolled_back, "10", [7.0]),  # the last look was three seconds ago
        (canary_rolled_back, "2", [0.0]),
        (canary_rolled_back, None, [0.0]),
        (staging_failed, "10", []),
        (created, "10", []),
    ],
    ids=["rolled back", "long ago", "not asked for", "production untouched", "not rolled back"],
)
def test_the_report_of_a_rollback_waits_for_what_came_after(
    make: Any, aftermath: str | None, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AFTERMATH_SECONDS", raising=False)
    if aftermath:
        monkeypatch.setenv("AFTERMATH_SECONDS", aftermath)
    scenario = make()
    scenario.report()
    assert scenario.slept == pytest.approx(slept)


def test_an_experiment_is_told_by_champion_and_challenger() -> None:
    scenario = ab_promoted()
    text = texts(scenario.report()[0])
    document = documented(scenario)
    assert "The new model serves" in text
    assert "the challenger is better" in text.replace("The challenger", "the challenger")
    assert [share["of"] for share in document["shares"]] == [
        {"champion": 1.0},
        {"champion": 0.5, "challenger": 0.5},
        {"challenger": 1.0},
    ]
    assert document["configurations"] == {"before": OLD, "after": NEW}
    looks = [event["text"] for event in document["events"] if event["text"].startswith("Look ")]
    assert len(looks) == document["decision"]["look"]
    assert "Difference in Brier score" in text
    assert "for requests before the experiment" in text


def test_requests_between_two_looks_belong_to_a_model_too() -> None:
    scenario = ab_promoted()
    scenario.traffic("Challenger", after(19), 200, 0.5)  # before the look that saw it
    text = texts(scenario.report()[0])
    assert "champion, 09:30:1" in text
    assert "Challenger, 09:" not in text
    assert "AllTraffic, 09:" not in text


def test_a_shadow_gets_copies_that_are_no_requests() -> None:
    scenario = shadow_tested()
    text = texts(scenario.report()[0])
    document = documented(scenario)
    assert [share["of"] for share in document["shares"]] == [{"former model": 1.0}, {"new model": 1.0}]
    assert "1,280 in the time shown below" in text
    assert "Pairs compared" in text
    assert document["settled"].startswith("2026-11-21T09:31:03")


def test_a_kept_champion_is_told_with_the_reason() -> None:
    scenario = shadow_tested(away=0.2)
    text = texts(scenario.report()[0])
    assert "The champion stays" in text
    assert "apart on average, at most 0.05 is allowed" in text
    assert documented(scenario)["shares"][-1]["of"] == {"former model": 1.0}


def test_what_fails_in_staging_leaves_production_alone() -> None:
    scenario = staging_failed()
    text = texts(scenario.report()[0])
    document = documented(scenario)
    assert "Taken back before production" in text
    assert "did not pass the ping health check" in text
    assert "The endpoint in production was not touched." in text
    assert document["began"] is None
    assert document["shares"] == []


def test_a_new_endpoint_with_metrics_by_the_minute() -> None:
    scenario = created()
    text = texts(scenario.report()[0])
    document = documented(scenario)
    assert "The endpoint is new and answers since 09:34:01 UTC, 3 min 31 s after the change began." in text
    assert document["traffic"]["period_seconds"] == 60
    assert document["traffic"]["totals"]["requests"] == 1200
    assert document["configurations"] == {"before": None, "after": NEW}
    assert [share["of"] for share in document["shares"]] == [{"new model": 1.0}]


def test_a_second_attempt_after_a_redrive_tells_its_trial_apart_too() -> None:
    scenario = Scenario(now=after(60))
    journal = scenario.journal
    for second, trial in ((10, TRIAL), (30, f"{TRIAL}-again")):
        journal.looked(after(second - 2), endpoint_answer("InService", OLD, {"AllTraffic": 1.0}))
        journal.asked(
            after(second), "updateEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": trial}
        )
        journal.looked(
            after(second + 8), endpoint_answer("InService", trial, {"AllTraffic": 0.75, "Challenger": 0.25})
        )
    scenario.request = request("kept", "ab", ["AllTraffic", "Challenger"])
    scenario.report()
    assert [share["of"] for share in documented(scenario)["shares"]] == [
        {"champion": 1.0},
        {"champion": 0.75, "challenger": 0.25},
        {"champion": 1.0},
        {"champion": 0.75, "challenger": 0.25},
    ]


@pytest.mark.parametrize(
    ("make", "variant"),
    [(ab_promoted, "Challenger"), (shadow_tested, "Shadow")],
    ids=["ab", "shadow"],
)
def test_what_an_earlier_trial_was_asked_is_not_taken_for_this_ones(
    make: Callable[[], Scenario], variant: str
) -> None:
    scenario = make()
    text = texts(scenario.report()[0])
    assert "earlier trial" not in text
    for number in range(20):  # this change began at 10 s
        scenario.traffic(variant, after(number / 10), 200, 77.0)
    text = texts(scenario.report()[0])
    assert "earlier trial, 09:30:00: 10 per s" in text
    name = "challenger" if variant == "Challenger" else variant
    assert f"{name}, 09:30:2" in text
    assert f"{name}, 09:30:0" not in text


def test_metrics_by_the_minute_in_which_the_change_began_are_this_trials() -> None:
    scenario = shadow_tested()
    scenario.cloudwatch.resolution = 60
    scenario.cloudwatch.values.clear()
    for variant in ("AllTraffic", "Shadow"):
        for second in (21, 30, 70, 80):
            scenario.traffic(variant, after(second), 200, 0.5)
    assert "earlier trial" not in texts(scenario.report()[0])


def test_nothing_that_data_say_becomes_markup() -> None:
    scenario = canary_rolled_back(rate=5)
    scenario.request |= {
        "execution_name": HOSTILE,
        "failure": {"Error": HOSTILE, "Cause": HOSTILE},
        "test": {"verdict": "stop", "reasons": [HOSTILE], "rows": 1, "refused": []},
        "decision": {
            "kind": "experiment",
            "verdict": "keep",
            "look": 1,
            "reason": HOSTILE,
            "variants": {HOSTILE: {"requests": 1, "labelled": 0}},
        },
    }
    scenario.request["alarms"] = [
        dict(scenario.request["alarms"][1], StateReason=HOSTILE, AlarmDescription=HOSTILE)
    ]
    scenario.journal.looked(after(62), endpoint_answer("Failed", HOSTILE, {HOSTILE: 1.0}, reason=HOSTILE))
    page = scenario.report()[0]
    assert "alert(" in texts(page)
    assert "<script" not in page


def test_a_history_without_anything_useful_still_makes_a_page() -> None:
    scenario = Scenario(now=after(30))
    scenario.journal.answered(after(1), "describeEndpoint", "{cut off")
    scenario.journal.answered(after(2), "describeEndpoint", "null")
    scenario.journal.answered(after(2), "invoke", {"Payload": "text"}, kind="lambda")
    scenario.request = request("rolled_back", "canary", ["AllTraffic"], failure={}, test=None)
    text = texts(scenario.report()[0])
    assert "No reason was given." in text


def test_a_long_trial_stays_a_small_page() -> None:
    scenario = Scenario(now=BEGIN + timedelta(days=5))
    journal = scenario.journal
    journal.looked(after(5), endpoint_answer("InService", OLD, {"AllTraffic": 1.0}))
    journal.asked(after(10), "updateEndpoint", {"EndpointName": ENDPOINT, "EndpointConfigName": TRIAL})
    for hour in range(120):
        for status in ("Updating", "InService"):
            at = after(20 + 3600 * hour + (status == "InService"))
            journal.looked(at, endpoint_answer(status, TRIAL, {"AllTraffic": 0.5, "Challenger": 0.5}))
        scenario.traffic("AllTraffic", after(30 + 3600 * hour), 200, 1.0)
    scenario.request = request("kept", "ab", ["AllTraffic", "Challenger"])
    page = scenario.report()[0]
    assert len(page) < 300_000
    assert documented(scenario)["traffic"]["period_seconds"] == 3600
    assert len(documented(scenario)["events"]) <= 150


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (None, ""),
        ({}, ""),
        ({"Error": "Boom"}, "Boom"),
        ({"Error": "Boom", "Cause": "It broke."}, "It broke."),
        ({"error": "Boom", "cause": "It broke."}, "It broke."),
        ({"Cause": '{"FailureReason": "no memory"}'}, "no memory"),
        ({"Cause": '{"errorMessage": "no rows"}'}, "no rows"),
        ({"Cause": "{torn"}, "{torn"),
        ({"Cause": "x" * 5000}, "x" * 600),
    ],
)
def test_reasons_of_failures(failure: Any, reason: str) -> None:
    assert report.story.reason_of(failure) == reason


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.014, "14 ms"),
        (5.64, "5.6 s"),
        (42.2, "42 s"),
        (120, "2 min"),
        (211, "3 min 31 s"),
        (3600, "1 h"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert report.story.duration(seconds) == text


def test_polls_of_other_endpoints_do_not_count_as_production() -> None:
    journal = Journal()
    journal.looked(after(1), endpoint_answer("InService", OLD, {"AllTraffic": 1.0}, name="another"))
    history = report.history.read(journal.events)
    subject = report.story.Subject(ENDPOINT, "created", "canary", ("AllTraffic",), BEGIN, None, None)
    story = report.story.tell(subject, history, [], after(10))
    assert story.shares == ()
    assert story.final_configuration is None


# the metrics behind it


def test_traffic_is_summed_second_by_second_or_by_the_minute() -> None:
    fine, coarse = FakeCloudWatch(), FakeCloudWatch(resolution=60)
    for cloudwatch in (fine, coarse):
        scenario = Scenario(cloudwatch=cloudwatch)
        for second in range(30, 90):
            scenario.traffic(
                "A", after(second), 500 if second % 10 == 0 else 404 if second % 10 == 1 else 200, 2.0
            )
    found = variants_traffic(fine, ENDPOINT, ["A", "B"], after(45), after(100))
    assert (found["A"].requests, found["A"].server_errors, found["A"].client_errors) == (45, 4, 4)
    assert found["A"].error_rate == pytest.approx(4 / 45)
    assert found["A"].latency_mean_ms == pytest.approx(2.0)
    assert found["A"].latency_p99_ms == pytest.approx(2.0)
    assert found["B"].error_rate is None
    # values of standard resolution: the whole first minute counts
    assert variants_traffic(coarse, ENDPOINT, ["A"], after(45), after(100))["A"].requests == 60
    assert variants_traffic(coarse, ENDPOINT, ["A"], after(45), after(7200))["A"].requests == 60


def test_metrics_in_several_answers_are_put_together() -> None:
    class Paged(FakeCloudWatch):
        def get_metric_data(self, **asked: Any) -> dict[str, Any]:
            answer = super().get_metric_data(
                **{name: value for name, value in asked.items() if name != "NextToken"}
            )
            for result in answer["MetricDataResults"]:
                half = len(result["Values"]) // 2
                chosen = slice(half, None) if "NextToken" in asked else slice(None, half)
                result["Values"], result["Timestamps"] = (
                    result["Values"][chosen],
                    result["Timestamps"][chosen],
                )
            return answer | ({} if "NextToken" in asked else {"NextToken": "more"})

    scenario = Scenario(cloudwatch=Paged())
    for second in range(40):
        scenario.traffic("A", after(second), 200, 1.0)
    assert variants_traffic(scenario.cloudwatch, ENDPOINT, ["A"], BEGIN, after(60))["A"].requests == 40


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(Exception, match="started_at"):
        Scenario(now=datetime.now().astimezone()).run(
            report, request("created", "canary", ["A"]) | {"started_at": "2026-11-21T09:30:00"}
        )
