"""The part of the page about a trial: an A/B experiment or a shadow test, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triptych.core.charts import bar_chart, interval_chart, number
from triptych.core.experiment import TITLES
from triptych.core.report import Tile, escape, figure, section, table, tiles

_VERDICTS = {
    "promote": ("promote", "good"),
    "keep": ("keep", "warn"),
    "stop": ("stop", "bad"),
    "continue": ("not decided", ""),
}


def decision_section(decision: Mapping[str, Any], variants: Sequence[str]) -> str:
    """The section for either kind of trial, or nothing for a decision of another kind."""
    if decision.get("kind") == "experiment":
        return _experiment(decision, variants)
    if decision.get("kind") == "shadow":
        return _shadow(decision)
    return ""


def _experiment(decision: Mapping[str, Any], variants: Sequence[str]) -> str:
    title = TITLES.get(decision.get("metric", ""), "loss")
    text, tone = _VERDICTS[decision["verdict"]]
    low, high = decision.get("interval") or (None, None)
    found = decision["variants"]
    names = [name for name in variants if name in found] or list(found)
    labels = decision.get("labels") or {}
    head = tiles(
        [
            Tile("Decision", text, f"at look {decision['look']}", tone),
            Tile("Difference", _signed(decision.get("difference")), f"{title}, challenger minus champion"),
            Tile("It lies between", f"{_signed(low)} to {_signed(high)}", "all looks allowed for"),
            Tile("p-value", _p(decision.get("p_value")), f"proof is {_p(decision.get('threshold'))} or less"),
        ]
    )
    rows = [
        [
            escape(name),
            number(found[name]["requests"]),
            number(found[name]["labelled"]),
            _value(found[name].get("mean_loss"), 5),
            _percent(found[name].get("error_rate")),
            _latency(found[name].get("latency_ms"), "mean"),
            _latency(found[name].get("latency_ms"), "p99"),
        ]
        for name in names
    ]
    looks = [look for look in decision.get("tested") or [] if look["interval"][0] is not None]
    chart = (
        figure(
            interval_chart(
                "Difference at each look",
                [
                    (
                        f"look {look['look']}: {number(sum(look['labelled']))} labels",
                        look["interval"][0],
                        look["difference"],
                        look["interval"][1],
                    )
                    for look in looks
                ],
                limit=-float(decision.get("min_effect") or 0.0),
            ),
            f"Difference in {title}",
            "left of the line the challenger is better; proof is an interval that lies on one side of it",
        )
        if looks
        else ""
    )
    told = ", ".join(
        f"{number(labels[name])} {text}"
        for name, text in (
            ("read", "labels read"),
            ("duplicate", "repeated"),
            ("conflicting", "of these with another value"),
            ("late", "for requests before the experiment"),
            ("orphan", "for other requests, unknown or long before"),
            ("malformed", "unreadable"),
        )
        if labels.get(name) or name == "read"
        if name in labels
    )
    return section(
        "The experiment",
        head
        + table(
            [
                "variant",
                "captured requests",
                "labelled",
                f"mean {title}",
                "failed",
                "mean latency",
                "p99 latency",
            ],
            rows,
            numeric=tuple(range(1, 7)),
        )
        + chart
        + (f'<p class="note">{escape(told)}.</p>' if told else ""),
        f"Mean {title} of the requests whose outcome is known by now; less is better.",
    )


def _shadow(decision: Mapping[str, Any]) -> str:
    text, tone = _VERDICTS[decision["verdict"]]
    limits = decision.get("limits") or {}
    bins = decision.get("differences") or {"edges": [], "pairs": []}
    head = tiles(
        [
            Tile("Decision", text, f"at look {decision['look']}", tone),
            Tile(
                "Pairs compared",
                number(decision["pairs"]),
                f"of {number(decision.get('requests'))} captured requests",
            ),
            Tile(
                "Mean difference",
                _value(decision.get("mean_difference"), 4),
                f"at most {limits.get('max_mean_difference', '–')}",
            ),
            Tile("Largest", _value(decision.get("max_difference"), 4), "difference of two scores"),
            Tile("Agreement", _percent(decision.get("agreement")), "on the same side of 0.5"),
            Tile("Score drift (PSI)", _value(decision.get("psi"), 4), "below 0.1 is calm"),
        ]
    )
    edges = bins["edges"]
    labels = [
        f"< {edges[index + 1]:g}" if index + 1 < len(edges) else f"≥ {edge:g}"
        for index, edge in enumerate(edges)
    ]
    errors, latency = decision.get("errors") or {}, decision.get("latency_ms") or {}
    rows = [
        [
            escape(name),
            number(errors[name]["requests"]),
            number(errors[name]["client_errors"]),
            number(errors[name]["server_errors"]),
            _latency(latency.get(name), "mean"),
            _latency(latency.get(name), "p99"),
        ]
        for name in ("production", "shadow")
        if name in errors
    ]
    chart = figure(
        bar_chart("Differences", labels, bins["pairs"], unit="pairs", colour=2, width=1080, height=190),
        "Differences",
        "how far apart the two scores of a request are",
    )
    return section(
        "The shadow test",
        head
        + table(
            ["variant", "requests", "refused (4xx)", "failed (5xx)", "mean latency", "p99 latency"],
            rows,
            numeric=tuple(range(1, 6)),
        )
        + (chart if labels else ""),
        "The same requests, answered by both; only production's answers went to the callers.",
    )


def _value(value: Any, digits: int) -> str:
    return "–" if value is None else f"{float(value):.{digits}g}"


def _signed(value: Any) -> str:
    return "–" if value is None else f"{float(value):+.2g}".replace("-", "−")


def _p(value: Any) -> str:
    if value is None:
        return "–"
    return f"{float(value):.2g}" if float(value) >= 1e-4 or not value else f"{float(value):.0e}"


def _percent(value: Any) -> str:
    return "–" if value is None else f"{float(value):.2%}"


def _latency(latency: Any, which: str) -> str:
    value = (latency or {}).get(which)
    return "–" if value is None else f"{number(float(value))} ms"
