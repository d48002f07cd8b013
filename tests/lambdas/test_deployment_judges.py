"""The functions that judge an A/B experiment and a shadow test: joins, limits, and their handlers on fake services."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from deployment_fakes import BEGIN, ENDPOINT, capture_record, label_record
from deployment_scenarios import (
    CAPTURE,
    SHADOW,
    TRUTH,
    Scenario,
    after,
    experiment_request,
    shadow_request,
    shadow_tested,
)
from function_modules import load_function

from triptych.core.captures import Captured, Label
from triptych.core.traffic import Traffic

judge_experiment = load_function("judge_experiment")
compare_shadow = load_function("compare_shadow")
QUIET = Traffic(1000, 0, 0, 0.5, 0.9)


def requests(*items: tuple[str, float, tuple[float, ...]]) -> list[Captured]:
    return [Captured(identity, after(seconds), scores) for identity, seconds, scores in items]


# evidence


def test_requests_and_labels_are_joined_by_id() -> None:
    evidence = judge_experiment.evidence.gather(
        "brier",
        after(10.5),
        [
            Label("a", 1.0),
            Label("b", 0.0),
            Label("b", 0.0),  # said twice
            Label("c", 0.0),
            Label("c", 1.0),  # corrected
            Label("before", 1.0),  # of a request before the experiment
            Label("nobody", 1.0),
            Label("odd", 0.5),
            Label("batch", 1.0),
            Label("repeated", 1.0),
        ],
        {
            "champion": requests(
                ("a", 11, (0.5,)),
                ("b", 10, (0.5,)),  # in the second in which the experiment began
                ("before", 9, (0.5,)),
                ("unlabelled", 12, (0.5,)),
                ("batch", 12, (0.5, 0.5)),
                ("repeated", 12, (0.0,)),
            ),
            "challenger": requests(("c", 11, (0.75,)), ("repeated", 13, (0.0,))),
        },
    )
    labels = evidence.labels
    assert evidence.requests == {"champion": 5, "challenger": 2}
    assert evidence.losses["champion"].sample.count == 3
    assert evidence.losses["champion"].sample.mean == pytest.approx((0.25 + 0.25 + 1.0) / 3)
    assert evidence.losses["challenger"].sample.mean == pytest.approx(0.0625)
    assert evidence.unusable == 2  # a request of two rows, an id that another request had
    assert (labels.read, labels.duplicate, labels.conflicting) == (10, 2, 1)
    assert (labels.late, labels.malformed) == (1, 1)
    assert labels.orphan == 2  # nobody's, and that of the request whose rows it could not tell apart


def test_memory_is_bounded_and_the_first_labels_count() -> None:
    evidence = judge_experiment.evidence.gather(
        "error",
        BEGIN,
        [Label(str(number), 1.0) for number in range(10)],
        {"champion": requests(*((str(number), 1.0, (0.9,)) for number in range(10)))},
        most_labels=4,
    )
    assert evidence.labels.left_out == 6
    assert evidence.losses["champion"].count == 4


# the experiment's handler


def experiment(
    labelled: int, champion: float, challenger: float, **changed: Any
) -> tuple[Scenario, dict[str, Any]]:
    """So many labelled requests a variant, all labels 1, with scores around the given ones."""
    scenario = Scenario(now=after(120))
    for variant, score in (("AllTraffic", champion), ("Challenger", challenger)):
        records = [
            capture_record(f"{variant}-{number}", after(30), f"{score + 0.05 * (number % 3 - 1):.3f}\n")
            for number in range(labelled)
        ]
        scenario.s3.put_lines(
            f"{CAPTURE}/{ENDPOINT}/{variant}/2026/11/21/09/30-30-x.jsonl", records, after(31)
        )
        scenario.s3.put_lines(
            f"{TRUTH}/2026/11/21/09/{variant}.jsonl",
            [label_record(f"{variant}-{number}", "1") for number in range(labelled)],
            after(60),
        )
        for number in range(labelled):
            scenario.traffic(variant, after(30), 503 if number % 50 == 0 else 200, 1.5)
    return scenario, experiment_request(1, []) | changed


def test_a_better_challenger_is_promoted_with_all_its_numbers() -> None:
    scenario, asked = experiment(300, champion=0.6, challenger=0.9)
    answer = scenario.run(judge_experiment, asked)
    assert answer["verdict"] == "promote"
    assert answer["final"] is True
    assert answer["look"] == 1
    assert answer["difference"] == pytest.approx(-0.15, abs=0.001)
    low, high = answer["interval"]
    assert low < answer["difference"] < high < 0
    assert answer["p_value"] < answer["threshold"]
    assert set(answer["variants"]) == {"AllTraffic", "Challenger"}
    champion = answer["variants"]["AllTraffic"]
    assert (champion["requests"], champion["labelled"]) == (300, 300)
    assert champion["error_rate"] == pytest.approx(0.02)
    assert champion["latency_ms"] == {"mean": pytest.approx(1.5), "p99": pytest.approx(1.5)}
    assert answer["labels"]["read"] == 600
    assert len(json.dumps(answer)) < 4000


def test_a_worse_challenger_is_not_kept_waiting() -> None:
    scenario, asked = experiment(300, champion=0.9, challenger=0.6)
    answer = scenario.run(judge_experiment, asked)
    assert (answer["verdict"], answer["final"]) == ("keep", True)


def test_equal_models_go_on_to_the_last_look_and_the_champion_stays() -> None:
    scenario, asked = experiment(300, champion=0.7, challenger=0.7)
    tested: list[dict[str, Any]] = []
    for look in range(1, 5):
        answer = scenario.run(judge_experiment, asked | {"look": look, "tested": tested})
        assert answer["verdict"] == ("continue" if look < 4 else "keep")
        tested = json.loads(json.dumps(answer["tested"]))
    assert [look["look"] for look in tested] == [1, 2, 3, 4]


def test_only_the_hours_since_the_beginning_are_read() -> None:
    scenario, asked = experiment(10, champion=0.7, challenger=0.7)
    for key in (
        f"{CAPTURE}/{ENDPOINT}/AllTraffic/2026/11/21/08/59-59-x.jsonl",
        f"{CAPTURE}/{ENDPOINT}/AllTraffic2/2026/11/21/09/59-59-x.jsonl",
        f"{CAPTURE}/{ENDPOINT}/AllTraffic/2026/11/21/10/00-01-x.jsonl",
        f"{TRUTH}/2026/11/20/23/old.jsonl",
    ):
        scenario.s3.put_lines(key, ["{"], BEGIN - timedelta(hours=1))
    scenario.run(judge_experiment, asked)
    assert sorted(scenario.s3.read) == [
        f"capture/{ENDPOINT}/AllTraffic/2026/11/21/09/30-30-x.jsonl",
        f"capture/{ENDPOINT}/Challenger/2026/11/21/09/30-30-x.jsonl",
        f"ground-truth/{ENDPOINT}/2026/11/21/09/AllTraffic.jsonl",
        f"ground-truth/{ENDPOINT}/2026/11/21/09/Challenger.jsonl",
    ]


def test_files_finished_before_the_beginning_are_not_read() -> None:
    scenario, asked = experiment(10, champion=0.7, challenger=0.7)  # began at 20.25 s
    folder = f"capture/{ENDPOINT}/AllTraffic/2026/11/21/09"
    for name, captured_at, written in (
        ("20-00-000-x", -600, -599),
        ("30-12-000-x", 12, 13),
        ("30-13-000-x", 13, 16),  # the two services' clocks may differ by seconds
        ("30-14-000-x", 14, 120),  # begun before, but what it ends with is the experiment's
    ):
        scenario.s3.put_lines(
            f"s3://data/{folder}/{name}.jsonl",
            [capture_record(name, after(captured_at), "0.5"), capture_record(f"{name}-b", after(21), "0.5")],
            after(written),
        )
    names = ["20-00-000-x", "30-14-000-x", "30-14-000-x-b", "nobody"]
    scenario.s3.put_lines(f"{TRUTH}/more.jsonl", [label_record(name, "1") for name in names], after(60))
    answer = scenario.run(judge_experiment, asked)
    assert [key for key in sorted(scenario.s3.read) if key.startswith(folder)] == [
        f"{folder}/{name}.jsonl" for name in ("30-13-000-x", "30-14-000-x", "30-30-x")
    ]
    assert answer["variants"]["AllTraffic"]["requests"] == 12
    assert answer["variants"]["AllTraffic"]["labelled"] == 11
    assert (answer["labels"]["late"], answer["labels"]["orphan"]) == (1, 2)


def test_an_experiment_over_several_hours_reads_them_all() -> None:
    scenario, asked = experiment(10, champion=0.7, challenger=0.7)
    scenario.now = after(3 * 3600)
    for hour in (10, 11, 12, 13):
        scenario.s3.put_lines(
            f"{CAPTURE}/{ENDPOINT}/Challenger/2026/11/21/{hour}/00-00-x.jsonl",
            [capture_record(f"late-{hour}", after(3600 * (hour - 9)), "0.5\n")],
            after(3600 * (hour - 9)),
        )
    answer = scenario.run(judge_experiment, asked)
    assert answer["variants"]["Challenger"]["requests"] == 13  # the hour of 13 is yet to come


def test_garbled_lines_are_counted_and_stop_nothing() -> None:
    scenario, asked = experiment(250, champion=0.6, challenger=0.9)
    scenario.s3.put_lines(
        f"{CAPTURE}/{ENDPOINT}/Challenger/2026/11/21/09/31-00-x.jsonl",
        ["{", "", capture_record("x", after(40), "no number"), capture_record("y", after(40), "0.9")],
        after(61),
    )
    scenario.s3.put_lines(f"{TRUTH}/bad.jsonl", ["not json", label_record("x", "maybe")], after(70))
    answer = scenario.run(judge_experiment, asked)
    assert answer["verdict"] == "promote"
    assert answer["unusable"] == 2
    assert answer["labels"]["malformed"] == 2
    assert answer["variants"]["Challenger"]["requests"] == 251


def test_nothing_captured_and_no_labels_yet() -> None:
    answer = Scenario(now=after(60)).run(judge_experiment, experiment_request(1, []))
    assert answer["verdict"] == "continue"
    assert answer["variants"]["Challenger"] == {
        "requests": 0,
        "labelled": 0,
        "mean_loss": None,
        "error_rate": None,
        "latency_ms": {"mean": None, "p99": None},
    }
    assert answer["interval"] == [None, None]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"experiment": {"metric": "auc"}}, "lack 'alpha'"),
        ({"tested": [{"look": 1}]}, "'tested' must hold"),
        ({"started_at": "soon"}, "started_at"),
    ],
)
def test_a_wrong_request_is_refused_by_name(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says):
        Scenario(now=after(60)).run(judge_experiment, experiment_request(1, []) | changed)


# the shadow


def test_answers_to_the_same_requests_are_paired_row_by_row() -> None:
    comparison = compare_shadow.comparison.compare(
        after(10),
        requests(
            ("a", 11, (0.4,)),
            ("b", 11, (0.1, 0.9)),
            ("not sampled", 12, (0.5,)),
            ("before", 9, (0.5,)),
            ("a", 13, (0.0,)),  # the id again: its answer is taken
        ),
        requests(("b", 11, (0.1, 0.7)), ("a", 12, (0.6,)), ("lost", 12, (0.5,)), ("before", 9, (0.5,))),
    )
    assert comparison.pairs == 3
    assert comparison.requests == 4
    assert comparison.unpaired == 1
    assert comparison.mean == pytest.approx((0.2 + 0.0 + 0.2) / 3)
    assert comparison.largest == pytest.approx(0.2)
    assert comparison.agreement == pytest.approx(2 / 3)
    assert sum(comparison.differences) == 3
    assert comparison.differences[0] == 1


def test_scores_beyond_the_memory_are_left_out_and_counted() -> None:
    both = requests(*((str(number), 11, (0.5,)) for number in range(10)))
    comparison = compare_shadow.comparison.compare(after(10), both, both, most_scores=6)
    assert (comparison.pairs, comparison.left_out, comparison.unpaired) == (6, 4, 4)


def test_score_drift_tells_shifted_scores_from_equal_ones() -> None:
    scores = [(str(number), 11.0, (number / 1000,)) for number in range(1000)]
    same = compare_shadow.comparison.compare(BEGIN, requests(*scores), requests(*scores))
    moved = [(identity, at, (score[0] ** 3,)) for identity, at, score in scores]
    shifted = compare_shadow.comparison.compare(BEGIN, requests(*scores), requests(*moved))
    assert same.psi == pytest.approx(0.0, abs=1e-9)
    assert shifted.psi > 0.25


@pytest.mark.parametrize(
    ("pairs", "apart", "shadow", "look", "verdict", "says"),
    [
        (500, 0.01, QUIET, 1, "continue", "nothing against"),
        (500, 0.01, QUIET, 2, "promote", "none of the shadow's requests failed"),
        (500, 0.20, QUIET, 1, "stop", "0.2 apart on average, at most 0.05"),
        (100, 0.20, QUIET, 1, "continue", "100 pairs"),
        (100, 0.01, QUIET, 2, "stop", "100 pairs of answers, 200 are needed"),
        (500, 0.01, Traffic(1000, 0, 1, 0.5, 0.9), 1, "stop", "0.10% of 1000 requests"),
        (500, 0.01, Traffic(1000, 30, 0, 0.5, 0.9), 1, "stop", "2.00% of 1000 requests"),
        (500, 0.01, Traffic(1000, 10, 0, 0.5, 0.9), 2, "promote", "none"),
        (500, 0.01, Traffic(0, 0, 0, None, None), 2, "stop", "errors are not known"),
        (0, 0.0, Traffic(0, 0, 0, None, None), 2, "stop", "0 pairs"),
        (0, 0.0, Traffic(50, 0, 50, 0.5, 0.9), 1, "stop", "100.00% of 50 requests"),
    ],
    ids=[
        "fine, go on",
        "fine to the end",
        "too far apart",
        "too far apart, but too few to say",
        "too few at the end",
        "one error",
        "refuses what production answers",
        "refuses what production refuses",
        "no metrics",
        "nothing at all",
        "every request fails",
    ],
)
def test_shadow_verdicts(
    pairs: int, apart: float, shadow: Traffic, look: int, verdict: str, says: str
) -> None:
    module = compare_shadow.comparison
    comparison = module.Comparison()
    for _ in range(pairs):
        comparison.add(0.5, 0.5 + apart)
    production = Traffic(1000, 10, 0, 0.5, 0.9)
    found, reasons = module.judge(module.Limits.from_event(SHADOW), comparison, production, shadow, look, 2)
    assert found == verdict
    assert says in "; ".join(reasons)


def test_a_good_shadow_is_promoted_after_the_last_look() -> None:
    answer = shadow_tested().request["decision"]
    assert (answer["verdict"], answer["final"], answer["look"]) == ("promote", True, 2)
    assert answer["pairs"] > 700
    assert 0.005 < answer["mean_difference"] < 0.015
    assert answer["max_difference"] < 0.1
    assert answer["agreement"] > 0.95
    assert answer["latency_ms"]["shadow"]["mean"] == pytest.approx(0.7)
    assert answer["errors"]["shadow"]["server_errors"] == 0


def test_a_failing_shadow_is_stopped_at_the_first_look() -> None:
    answer = shadow_tested(failing=0.1).request["decision"]
    assert (answer["verdict"], answer["look"]) == ("stop", 1)
    assert answer["errors"]["shadow"]["server_errors"] > 10


def test_a_shadow_without_any_traffic_is_not_promoted() -> None:
    answer = Scenario(now=after(60)).run(compare_shadow, shadow_request(2))
    assert answer["verdict"] == "stop"
    assert answer["mean_difference"] is None
    assert answer["agreement"] is None
    assert answer["psi"] is None
