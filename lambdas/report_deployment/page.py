"""``deployment.html``: what a person looks at after a deployment, and shows to others after a rollback."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from decision import decision_section
from document import Facts
from measures import Alarm
from story import EARLIER_TRIAL, STRATEGIES, alarm_lane, duration, reason_of

from triptych.core.charts import number
from triptych.core.report import Tile, banner, escape, figure, page, section, table, tiles
from triptych.core.timelines import Axis, Line, lanes_chart, lines_chart, shares_chart, stacked_chart
from triptych.core.traffic import Point

# the page's colours for a shadow, 4xx, an earlier trial and 5xx
_OTHER, _REFUSED, _EARLIER, _FAILED = 3, 4, 5, 6
_LONGEST_CELL = 400


def render(facts: Facts) -> str:
    """The whole page."""
    story, subject = facts.story, facts.subject
    axis = Axis(story.start, story.end, story.marks)
    body = [
        banner(story.headline, story.sentence, story.tone),
        tiles(_tiles(facts)),
        section("What happened", _plots(facts, axis), f"{_day(axis)} All times are UTC."),
        decision_section(subject.decision, subject.variant_names) if subject.decision else "",
        _alarm_section(facts.alarms, axis),
        _event_section(facts),
        _test_section(facts.tests),
        _details(facts),
    ]
    return page(
        f"Deployment: {subject.endpoint}",
        f"{STRATEGIES.get(subject.strategy, subject.strategy)}, {facts.execution_name}",
        "".join(body),
        f"Written {facts.written:%Y-%m-%d %H:%M:%S} UTC from the execution's history and CloudWatch, "
        f"metrics of each {_each(facts.traffic.period_seconds)}.",
    )


def _tiles(facts: Facts) -> list[Tile]:
    story, traffic = facts.story, facts.traffic
    # what a shadow gets are copies
    answering = facts.subject.variant_names[: 1 if facts.subject.strategy == "shadow" else None]
    requests, failed, refused = (
        traffic.total(metric, answering) for metric in ("requests", "server_errors", "client_errors")
    )
    found = [Tile("Strategy", STRATEGIES.get(facts.subject.strategy, facts.subject.strategy))]
    if story.began and story.settled:
        found.append(
            Tile(
                "The change took",
                duration((story.settled - story.began).total_seconds()),
                "until the endpoint rested",
            )
        )
    if story.recovered_seconds is not None:
        found.append(
            Tile(
                "Back after",
                duration(story.recovered_seconds),
                "from the first alarm to the former model",
                "good",
            )
        )
    found += [
        Tile(
            "Requests",
            number(requests),
            f"{number(refused)} refused (4xx)" if refused else "in the time shown below",
        ),
        Tile(
            "Failed requests",
            number(failed),
            f"5xx, {failed / requests:.2%} of all" if failed else "none with 5xx",
            "bad" if failed else "good",
        ),
        Tile("Slowest p99", _ms(traffic.highest("p99")), f"of any {_each(traffic.period_seconds)}"),
    ]
    return found


def _plots(facts: Facts, axis: Axis) -> str:
    story, traffic = facts.story, facts.traffic
    colours = {"champion": 1, "former model": 1, "challenger": 2, "new model": 2, EARLIER_TRIAL: _EARLIER}
    several = len(traffic.variants) > 1
    period = traffic.period_seconds
    gap = 3.5 * period
    plots = [
        figure(
            lanes_chart(
                "States",
                axis,
                [
                    *story.lanes,
                    *(
                        alarm_lane(alarm.name, alarm.state, alarm.changes, axis.start, axis.end)
                        for alarm in facts.alarms
                    ),
                ],
            ),
            "States",
            "of the endpoint and of the alarms that watch it",
        )
    ]
    if story.shares:
        plots.append(
            figure(
                shares_chart("Traffic", axis, story.shares, {name: colours[name] for name in story.models}),
                "Traffic",
                "share of the requests that each model gets",
            )
        )
    if not traffic.total("requests"):
        return "".join(plots) + '<p class="note">No requests came in this time.</p>'
    layers, rates, latencies = [], [], []
    for name, found in _by_model(facts).items():
        colour = colours.get(name, _OTHER if several else 1)
        bad = {point.at: point.value for point in found["server_errors"]}
        refused = {point.at: point.value for point in found["client_errors"]}
        good = [
            (point.at, (point.value - bad.get(point.at, 0) - refused.get(point.at, 0)) / period)
            for point in found["requests"]
        ]
        layers.append(Line(name, good, colour))
        share = [
            (point.at, 100 * bad.get(point.at, 0) / point.value) for point in found["requests"] if point.value
        ]
        rates.append(
            Line(name if several else "failed (5xx)", share, colour if several else _FAILED, False, gap)
        )
        for percentile, dashed in (("p50", True), ("p99", False)):
            title = f"{name}, {percentile}" if several else percentile
            latencies.append(Line(title, _pairs(found[percentile]), colour, dashed, gap))
    for name, metric, colour in (
        ("refused (4xx)", "client_errors", _REFUSED),
        ("failed (5xx)", "server_errors", _FAILED),
    ):
        if traffic.total(metric):
            layers.append(Line(name, _per_second(facts, metric), colour))
    plots += [
        figure(
            stacked_chart("Requests", axis, layers, unit="per s", period_seconds=period),
            "Requests",
            "each second, by what became of them",
        ),
        figure(
            lines_chart("Failed requests", axis, rates, unit="%", height=120),
            "Failed requests",
            "share of the requests answered with 5xx",
        ),
        figure(
            lines_chart("Latency", axis, latencies, unit="ms"),
            "Latency",
            "how long the model took: half of the answers (p50) and 99 of 100 (p99) were faster",
        ),
    ]
    return "".join(plots)


def _by_model(facts: Facts) -> dict[str, dict[str, list[Point]]]:
    """The points of each model where variants tell the models apart, else of all requests ("answered").

    A variant that is no production variant (a shadow) keeps its own name; what an earlier trial's variants were
    asked stands by itself.
    """
    variants = facts.traffic.variants
    if len(variants) == 1:
        return {"answered": {name: list(points) for name, points in next(iter(variants.values())).items()}}
    period = timedelta(seconds=facts.traffic.period_seconds)
    found: dict[str, dict[str, list[Point]]] = {}
    for variant, metrics in variants.items():
        for metric, points in metrics.items():
            for point in points:
                name = facts.story.model_behind(variant, point.at, point.at + period)
                found.setdefault(name, {each: [] for each in metrics})[metric].append(point)
    return {
        name: {metric: _merged(points, metric) for metric, points in metrics.items()}
        for name, metrics in found.items()
    }


def _merged(points: Sequence[Point], metric: str) -> list[Point]:
    """In order of time; where two variants have a value, their sum, or of a latency the greater one."""
    found: dict[datetime, float] = {}
    for point in points:
        if point.at not in found:
            found[point.at] = point.value
        elif metric in ("p50", "p99"):
            found[point.at] = max(found[point.at], point.value)
        else:
            found[point.at] += point.value
    return [Point(at, value) for at, value in sorted(found.items())]


def _per_second(facts: Facts, metric: str) -> list[tuple[datetime, float]]:
    totals: dict[datetime, float] = {}
    for found in facts.traffic.variants.values():
        for point in found[metric]:
            totals[point.at] = totals.get(point.at, 0.0) + point.value / facts.traffic.period_seconds
    return sorted(totals.items())


def _alarm_section(alarms: Sequence[Alarm], axis: Axis) -> str:
    if not alarms:
        return ""
    plots = [
        figure(
            lines_chart(
                alarm.name,
                axis,
                [Line("value", _steps(alarm), 3, gap_seconds=1.5 * alarm.period_seconds)],
                limit=("threshold", alarm.threshold) if alarm.threshold is not None else None,
                unit=alarm.unit,
                height=110,
            ),
            alarm.name,
            alarm.description,
        )
        for alarm in alarms
        if alarm.points
    ]
    rows = [
        [
            escape(alarm.name),
            f'<span class="{_state_class(alarm.state)}">{escape(_state_text(alarm.state))}</span>',
            f"{number(alarm.threshold)} {alarm.unit}".strip() if alarm.threshold is not None else "–",
            number(len(alarm.changes)),
            f'<span class="wrap">{escape(alarm.reason[:_LONGEST_CELL])}</span>',
        ]
        for alarm in alarms
    ]
    return section(
        "What the alarms saw",
        "".join(plots)
        + table(["alarm", "state now", "threshold", "changes", "reason"], rows, numeric=(2, 3)),
        "The values that each alarm judges, at its own period.",
    )


def _test_section(tests: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    rows = []
    for name, result in tests.items():
        passed = result["verdict"] == "pass"
        latency = result.get("latency_ms") or {}
        refused = result.get("refused") or []
        good = sum(400 <= one["status"] < 500 for one in refused)
        rows.append(
            [
                escape(name),
                f'<span class="{"good-text" if passed else "bad-text"}">{"passed" if passed else "failed"}</span>',
                number(result.get("rows")),
                _number(result.get("parity_difference")),
                *(_ms(latency.get(which)) for which in ("p50", "p99", "max")),
                f"{good} of {len(refused)}" if refused else "–",
            ]
        )
        parts += [f"<li>{escape(name)}: {escape(str(reason))}</li>" for reason in result.get("reasons") or []]
    if not rows:
        return ""
    listed = f'<ul class="reasons">{"".join(parts)}</ul>' if parts else ""
    return section(
        "The test",
        table(
            [
                "endpoint",
                "verdict",
                "rows",
                "largest difference",
                "p50",
                "p99",
                "max",
                "bad requests refused",
            ],
            rows,
            numeric=(2, 3, 4, 5, 6, 7),
        )
        + listed,
        "Rows of the test split: each answer must equal the batch prediction, in time; bad requests must get 4xx.",
    )


def _event_section(facts: Facts) -> str:
    story = facts.story
    zero = story.began or story.start
    rows = [
        [
            f"{event.at:%H:%M:%S}",
            _offset((event.at - zero).total_seconds()),
            f'<span class="wrap {event.tone}-text">{escape(event.text)}</span>',
        ]
        for event in story.events
    ]
    return section(
        "Step by step",
        table(["time", "after", "what"], rows, numeric=(1,)),
        "From the execution's history and the alarms'; the second column counts from the beginning of the change.",
    )


def _details(facts: Facts) -> str:
    story = facts.story
    cause = reason_of(facts.subject.failure)
    rows = [
        ["Endpoint", escape(facts.subject.endpoint)],
        ["Model package", _mono(facts.model_package_arn)],
        *(
            [
                ["Configuration before", _mono(story.former_configuration or "none")],
                ["Configuration after", _mono(story.final_configuration)],
            ]
            if story.final_configuration
            else []
        ),
        ["Variants", escape(", ".join(facts.subject.variant_names))],
        ["Execution", _mono(facts.execution_id)],
        *([["Cause", f'<span class="wrap">{escape(cause)}</span>']] if cause else []),
    ]
    return section("Details", table(["", ""], rows))


def _day(axis: Axis) -> str:
    if axis.start.date() == axis.end.date():
        return f"{axis.start:%d %B %Y}."
    return f"{axis.start:%d %B} to {axis.end:%d %B %Y}."


def _steps(alarm: Alarm) -> list[tuple[datetime, float]]:
    """Each value from the beginning to the end of its period."""
    length = timedelta(seconds=alarm.period_seconds)
    return [
        pair for point in alarm.points for pair in ((point.at, point.value), (point.at + length, point.value))
    ]


def _pairs(points: Sequence[Point]) -> list[tuple[datetime, float]]:
    return [(point.at, point.value) for point in points]


def _each(period_seconds: int) -> str:
    return {1: "second", 60: "minute", 3600: "hour"}.get(period_seconds, duration(period_seconds))


def _state_class(state: str) -> str:
    return {"OK": "good-text", "ALARM": "bad-text"}.get(state, "")


def _state_text(state: str) -> str:
    return "not enough data" if state == "INSUFFICIENT_DATA" else state


def _mono(text: str) -> str:
    return f'<span class="mono wrap">{escape(text)}</span>'


def _offset(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{duration(abs(seconds))}"


def _ms(value: Any) -> str:
    return f"{number(float(value))} ms" if isinstance(value, int | float) and math.isfinite(value) else "–"


def _number(value: Any) -> str:
    return number(float(value)) if isinstance(value, int | float) else "–"
