"""Everything that the page shows, and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from measures import Alarm, Traffic
from story import Story, Subject

from triptych.core.traffic import Point


@dataclass(frozen=True)
class Facts:
    """What is known of a finished deployment."""

    subject: Subject
    story: Story
    traffic: Traffic
    alarms: Sequence[Alarm]
    tests: Mapping[str, Mapping[str, Any]]
    model_package_arn: str
    execution_id: str
    execution_name: str
    written: datetime


def document(facts: Facts) -> dict[str, Any]:
    """``deployment.json``; times are ISO 8601 in UTC, latencies milliseconds, the rest counts a period."""
    story, traffic = facts.story, facts.traffic
    return {
        "execution_id": facts.execution_id,
        "execution_name": facts.execution_name,
        "endpoint_name": facts.subject.endpoint,
        "strategy": facts.subject.strategy,
        "model_package_arn": facts.model_package_arn,
        "outcome": facts.subject.outcome,
        "summary": story.sentence,
        "began": _time(story.began),
        "settled": _time(story.settled),
        "recovered_seconds": story.recovered_seconds,
        "configurations": {"before": story.former_configuration, "after": story.final_configuration},
        "failure": facts.subject.failure,
        "decision": facts.subject.decision,
        "tests": facts.tests,
        "written": _time(facts.written),
        "window": {"start": _time(story.start), "end": _time(story.end)},
        "events": [{"at": _time(event.at), "text": event.text, "tone": event.tone} for event in story.events],
        "shares": [{"at": _time(at), "of": dict(shares)} for at, shares in story.shares],
        "traffic": {
            "period_seconds": traffic.period_seconds,
            "totals": {name: traffic.total(name) for name in ("requests", "client_errors", "server_errors")},
            "variants": {
                variant: {name: _points(points) for name, points in found.items()}
                for variant, found in traffic.variants.items()
            },
        },
        "alarms": [
            {
                "name": alarm.name,
                "state": alarm.state,
                "reason": alarm.reason,
                "threshold": alarm.threshold,
                "unit": alarm.unit,
                "changes": [
                    {"at": _time(change.at), "from": change.before, "to": change.now, "reason": change.reason}
                    for change in alarm.changes
                ],
                "values": _points(alarm.points),
            }
            for alarm in facts.alarms
        ],
    }


def _points(points: Sequence[Point]) -> list[list[Any]]:
    return [[_time(point.at), point.value] for point in points]


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")
