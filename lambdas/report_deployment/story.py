"""What happened in a deployment, in words and in order: from the history, the alarms and the decision."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from history import Change, History, Look
from measures import StateChange
from models import Models

from triptych.core.timelines import Lane, Mark, Span

Outcome = Literal["promoted", "kept", "rolled_back", "created"]
HEADLINES: Mapping[str, str] = {
    "promoted": "The new model serves",
    "kept": "The champion stays",
    "rolled_back": "Rolled back",
    "created": "The endpoint is in service",
}
_UNTOUCHED = "Taken back before production"
TONES: Mapping[str, str] = {"promoted": "good", "kept": "warn", "rolled_back": "bad", "created": "good"}
STRATEGIES: Mapping[str, str] = {
    "all_at_once": "all at once",
    "blue_green": "blue/green",
    "canary": "canary",
    "linear": "linear",
    "rolling": "rolling",
    "ab": "A/B",
    "shadow": "shadow",
}
EARLIER_TRIAL = "earlier trial"
_STATUS_TONES = {
    "InService": "good",
    "Failed": "bad",
    "OutOfService": "bad",
    "UpdateRollbackFailed": "bad",
    "RollingBack": "warn",
}
_ALARM_TONES = {"OK": "good", "ALARM": "bad"}
_SMALL_PRINT = re.compile(r"\s*\(minimum [^)]*transition\)|(?<=\d)\s*\(\d\d/\d\d/\d\d \d\d:\d\d:\d\d\)")
_MANY_DIGITS = re.compile(r"\d+\.\d{5,}")
_MOST_EVENTS = 150
_LONGEST_TEXT = 600


@dataclass(frozen=True)
class Subject:
    """What the deployment was about; ``variant_names`` are the one that served and, of a trial, the one on trial."""

    endpoint: str
    outcome: Outcome
    strategy: str
    variant_names: tuple[str, ...]
    started: datetime
    failure: Mapping[str, Any] | None
    decision: Mapping[str, Any] | None


@dataclass(frozen=True)
class Event:
    """Something that happened; ``tone`` is "", "good", "warn" or "bad"."""

    at: datetime
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Story:
    """``start`` to ``end`` is what the plots show; ``shares`` are of the requests, by model, from each moment on,
    ``variant_models`` the model behind each variant that has one only.

    ``recovered_seconds`` is from the first sign of trouble until the former configuration served alone again.
    """

    headline: str
    tone: str
    sentence: str
    start: datetime
    end: datetime
    began: datetime | None
    settled: datetime | None
    recovered_seconds: float | None
    former_configuration: str | None
    final_configuration: str | None
    models: tuple[str, ...]
    shares: tuple[tuple[datetime, Mapping[str, float]], ...]
    variant_models: tuple[tuple[datetime, Mapping[str, str]], ...]
    lanes: tuple[Lane, ...]
    marks: tuple[Mark, ...]
    events: tuple[Event, ...]

    def model_behind(self, variant: str, at: datetime, until: datetime) -> str:
        """The model behind a variant from ``at`` to ``until``; the variant's own name where it never was a
        production variant, ``EARLIER_TRIAL`` where it answered before this change began and was gone by then.

        A variant answers requests before the first look sees it: then what that look saw counts. Trials give
        their variants the same names: what one answered before the change is another model's.
        """
        known = [(since, models[variant]) for since, models in self.variant_models if variant in models]
        earlier = [model for since, model in known if since <= at]
        if earlier:
            return earlier[-1]
        if self.began is not None and until <= self.began:
            return EARLIER_TRIAL
        return known[0][1] if known else variant


def window(subject: Subject, history: History, now: datetime) -> tuple[datetime, datetime]:
    """What is worth showing: the change of the endpoint, with as much before it as tells how things were."""
    changes = _production_changes(subject, history)
    if not changes:
        return subject.started, now
    began = changes[0].at
    before = min(max((now - began) * 0.5, timedelta(seconds=5)), timedelta(minutes=15))
    return began - before, now


def tell(subject: Subject, history: History, alarms: Sequence[StateChange], now: datetime) -> Story:
    """The whole story, for the window that ``window`` answers."""
    start, end = window(subject, history, now)
    looks = [look for look in history.looks if look.endpoint == subject.endpoint]
    changes = _production_changes(subject, history)
    models = Models(subject.strategy, subject.variant_names, looks, changes)
    began = changes[0].at if changes else None
    last = looks[-1] if looks else None
    settled = _settled(looks) if last is not None and began is not None else None
    trouble = _first_trouble(looks, alarms, began)
    recovered = None
    if subject.outcome == "rolled_back" and trouble and settled and settled > trouble:
        recovered = (settled - trouble).total_seconds()
    return Story(
        headline=HEADLINES[subject.outcome] if changes or subject.outcome != "rolled_back" else _UNTOUCHED,
        tone=TONES[subject.outcome],
        sentence=_sentence(subject, began, settled, alarms),
        start=start,
        end=end,
        began=began,
        settled=settled,
        recovered_seconds=recovered,
        former_configuration=models.former_configuration,
        final_configuration=last.configuration if last else None,
        models=models.names,
        shares=tuple(models.shares_over_time(start)),
        variant_models=tuple(models.variants_over_time(start)),
        lanes=tuple(_lanes(subject, history, start, end)),
        marks=tuple(_marks(subject, history, changes, looks, alarms, settled)),
        events=tuple(_events(subject, history, models, alarms)[:_MOST_EVENTS]),
    )


def alarm_lane(name: str, state: str, changes: Sequence[StateChange], start: datetime, end: datetime) -> Lane:
    """An alarm's states from ``start`` to ``end``; ``state`` is the one at the end."""
    spans = []
    since, current = start, changes[0].before if changes else state
    for change in changes:
        spans.append(Span(since, change.at, _alarm_text(current), _ALARM_TONES.get(current, "")))
        since, current = change.at, change.now
    spans.append(Span(since, end, _alarm_text(current), _ALARM_TONES.get(current, "")))
    return Lane(name, spans)


def _alarm_text(state: str) -> str:
    return "not enough data" if state == "INSUFFICIENT_DATA" else state


def reason_of(failure: Mapping[str, Any] | None) -> str:
    """The cause of a failure as Step Functions or ``explain_failure`` has it; "" for none."""
    if not failure:
        return ""
    cause = failure.get("Cause") or failure.get("cause") or failure.get("Error") or failure.get("error") or ""
    if isinstance(cause, str) and cause.strip().startswith("{"):
        try:
            inner = json.loads(cause)
        except ValueError:
            inner = None
        if isinstance(inner, dict):
            cause = inner.get("FailureReason") or inner.get("errorMessage") or inner.get("Cause") or cause
    return str(cause)[:_LONGEST_TEXT]


def duration(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _production_changes(subject: Subject, history: History) -> list[Change]:
    return [change for change in history.changes if change.endpoint == subject.endpoint]


def _settled(looks: Sequence[Look]) -> datetime | None:
    """When the endpoint was first seen in service with what it serves in the end."""
    since = None
    for look in looks:
        if look.status != "InService" or look.configuration != looks[-1].configuration:
            since = None
        elif since is None:
            since = look.at
    return since


def _first_trouble(
    looks: Sequence[Look], alarms: Iterable[StateChange], began: datetime | None
) -> datetime | None:
    signs = [
        change.at for change in alarms if change.now == "ALARM" and (began is None or change.at >= began)
    ]
    signs += [look.at for look in looks if look.status == "RollingBack"]
    return min(signs, default=None)


def _sentence(
    subject: Subject, began: datetime | None, settled: datetime | None, alarms: Iterable[StateChange]
) -> str:
    decision = subject.decision or {}
    why = decision.get("reason") or "; ".join(decision.get("reasons") or [])
    took = (
        f", {duration((settled - began).total_seconds())} after the change began" if began and settled else ""
    )
    since = f" since {settled:%H:%M:%S} UTC{took}" if settled else ""
    if subject.outcome == "rolled_back":
        ending = (
            f"The former model serves all requests again{since}."
            if began
            else "The endpoint in production was not touched."
        )
        raised = [change for change in alarms if change.now == "ALARM" and began and change.at >= began]
        why = _raised(raised[0]) if raised else reason_of(subject.failure) or "No reason was given"
        return f"{_sentence_of(why)} {ending}"
    if subject.outcome == "kept":
        why = why or reason_of(subject.failure) or "No reason was given"
        return f"{_sentence_of(why)} It serves all requests{since}."
    if subject.outcome == "created":
        return f"The endpoint is new and answers{since}."
    return f"{_sentence_of(why) + ' ' if why else ''}All requests go to the new model{since}."


def _raised(change: StateChange) -> str:
    """That an alarm was raised, with the numbers of CloudWatch's reason but without its small print."""
    why = _SMALL_PRINT.sub("", change.reason).removeprefix("Threshold Crossed:").strip().rstrip(".")
    why = _MANY_DIGITS.sub(lambda found: f"{float(found[0]):.4g}", why)
    return f"Alarm {change.alarm} was raised{f': {why}' if why else ''}"


def _sentence_of(text: str) -> str:
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def _lanes(subject: Subject, history: History, start: datetime, end: datetime) -> Iterator[Lane]:
    names = dict.fromkeys([subject.endpoint, *(look.endpoint for look in history.looks)])
    for name in names:
        looks = [look for look in history.looks if look.endpoint == name]
        if not looks or looks[-1].at < start:
            continue
        gone = [
            change.at
            for change in history.changes
            if change.endpoint == name and change.action == "deleteEndpoint" and change.at > looks[0].at
        ]
        last = gone[-1] if gone and gone[-1] >= looks[-1].at else end
        created = [
            change.at
            for change in history.changes
            if change.endpoint == name and change.action == "createEndpoint" and change.at <= looks[0].at
        ]
        title = "endpoint" if name == subject.endpoint else name
        yield Lane(title, list(_status_spans(looks, created[-1] if created else start, last)))


def _status_spans(looks: Sequence[Look], start: datetime, end: datetime) -> Iterator[Span]:
    since, status = min(start, looks[0].at), looks[0].status
    for look in looks[1:]:
        if look.status != status:
            yield Span(since, look.at, status, _STATUS_TONES.get(status, "busy"))
            since, status = look.at, look.status
    yield Span(since, end, status, _STATUS_TONES.get(status, "busy"))


def _marks(
    subject: Subject,
    history: History,
    changes: Sequence[Change],
    looks: Sequence[Look],
    alarms: Iterable[StateChange],
    settled: datetime | None,
) -> Iterator[Mark]:
    if changes:
        yield Mark(changes[0].at, "change begins")
    began = changes[0].at if changes else subject.started
    fired = [change.at for change in alarms if change.now == "ALARM" and change.at >= began]
    if fired:
        yield Mark(min(fired), "alarm", "bad")
    back = [look.at for look in looks if look.status == "RollingBack"]
    if back:
        yield Mark(back[0], "rolling back", "warn")
    if history.verdicts and history.verdicts[-1].answer.get("final"):
        yield Mark(history.verdicts[-1].at, "decided")
    if settled and changes:
        text = "former model serves" if subject.outcome in ("rolled_back", "kept") else "in service"
        yield Mark(settled, text, "good")


def _events(subject: Subject, history: History, models: Models, alarms: Iterable[StateChange]) -> list[Event]:
    # in one millisecond the verdict comes before what is done about it
    events = [_verdict_event(verdict.at, verdict.answer) for verdict in history.verdicts]
    events += [Event(change.at, _sentence_of(change.text)) for change in history.changes]
    for name in dict.fromkeys(look.endpoint for look in history.looks):
        looks = [look for look in history.looks if look.endpoint == name]
        events += _look_events(looks, models if name == subject.endpoint else None)
    for change in alarms:
        text = (
            f"Alarm {change.alarm}: {_alarm_text(change.before)} → {_alarm_text(change.now)}. {change.reason}"
        )
        events.append(Event(change.at, text[:_LONGEST_TEXT], _ALARM_TONES.get(change.now, "")))
    return sorted(events, key=lambda event: event.at)


def _verdict_event(at: datetime, answer: Mapping[str, Any]) -> Event:
    why = answer.get("reason") or "; ".join(answer.get("reasons") or [])
    tone = {"promote": "good", "keep": "warn", "stop": "bad"}.get(answer["verdict"], "")
    return Event(at, f"Look {answer['look']}: {answer['verdict']}. {_sentence_of(why)}", tone)


def _look_events(looks: Sequence[Look], models: Models | None) -> Iterator[Event]:
    status: str | None = None
    shares: dict[str, float] = {}
    stages: set[str] = set()
    for look in looks:
        said = []
        tone = ""
        if look.status != status:
            why = f": {look.reason}" if look.reason and look.status in ("Failed", "RollingBack") else ""
            said.append(f"endpoint {look.endpoint} is {look.status}{why}")
            status = look.status
            tone = "" if status == "InService" else _STATUS_TONES.get(status, "")
        now = models.shares(look) if models else {}
        if now and now != shares:
            if shares:
                said.append(_requests_go(now))
            shares = now
        fresh = {stage for fleet in look.fleets for stage in fleet.stages}
        said += sorted(fresh - stages)
        stages = fresh
        if said:
            yield Event(look.at, " ".join(_sentence_of(text) for text in said)[:_LONGEST_TEXT], tone)


def _requests_go(shares: Mapping[str, float]) -> str:
    if len(shares) == 1:
        return f"all requests go to the {next(iter(shares))}"
    return " and ".join(f"{share:.0%} of the requests go to the {name}" for name, share in shares.items())
