"""Schedule expressions: ``rate(5 minutes)``, ``cron(0 6 ? * MON-FRI *)``, ``at(2026-01-02T03:04:05)``.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
_FIRST_YEAR, _LAST_YEAR = 1970, 2199


class InvalidExpression(ValueError):
    """The text is no schedule expression; the message says why."""


@dataclass(frozen=True)
class Rate:
    """Every ``seconds`` from an anchor on."""

    seconds: int

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        """The first of anchor, anchor + one period, … that is later than ``moment``."""
        periods = int((moment - anchor).total_seconds() // self.seconds) + 1
        return anchor + timedelta(seconds=self.seconds * max(0, periods))


@dataclass(frozen=True)
class At:
    """Once, at a wall time in a zone."""

    local: datetime
    zone: tzinfo

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        due = self.local.replace(tzinfo=self.zone).astimezone(UTC)
        return due if due > moment else None


@dataclass(frozen=True)
class Cron:
    """The minutes that AWS's six fields name, in a zone's wall time.

    A wall time that daylight saving skips does not fire; one that comes twice fires at its first coming.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: str
    months: frozenset[int]
    weekdays: str
    years: frozenset[int]
    zone: tzinfo

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        start = moment.astimezone(self.zone).date()
        for day in self._dates(start):
            for hour in self.hours:
                for minute in self.minutes:
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                    due = local.astimezone(UTC)
                    if due > moment and due.astimezone(self.zone).replace(fold=0) == local:
                        return due
        return None

    def _dates(self, start: date) -> Iterator[date]:
        for year in range(start.year, _LAST_YEAR + 1):
            if year not in self.years:
                continue
            for month in range(start.month if year == start.year else 1, 13):
                if month not in self.months:
                    continue
                for number in _month_days(year, month, self.days, self.weekdays):
                    day = date(year, month, number)
                    if day >= start:
                        yield day


Expression = Rate | At | Cron


@lru_cache(maxsize=1024)
def parse_expression(text: str, zone_name: str = "UTC") -> Expression:
    """The expression; raises InvalidExpression."""
    match = re.fullmatch(r"(rate|cron|at)\((.*)\)", text.strip())
    if match is None:
        raise InvalidExpression(f"{text!r} is none of rate(…), cron(…), at(…)")
    kind, body = match.groups()
    if kind == "rate":
        return _rate(body)
    try:
        zone: tzinfo = UTC if zone_name == "UTC" else ZoneInfo(zone_name)
    except (KeyError, ValueError, OSError):
        raise InvalidExpression(f"no time zone {zone_name!r}") from None
    if kind == "at":
        try:
            return At(datetime.strptime(body, "%Y-%m-%dT%H:%M:%S"), zone)
        except ValueError:
            raise InvalidExpression(f"at({body}) must be at(yyyy-mm-ddThh:mm:ss)") from None
    return _cron(body, zone)


def _rate(body: str) -> Rate:
    match = re.fullmatch(r"(\d+) (minute|hour|day)(s?)", body)
    if match is None or int(match[1]) < 1:
        raise InvalidExpression(f"rate({body}) must be a positive number and minute(s), hour(s) or day(s)")
    return Rate(int(match[1]) * _UNITS[match[2]])


def _cron(body: str, zone: tzinfo) -> Cron:
    fields = body.upper().split()
    if len(fields) != 6:
        raise InvalidExpression(f"cron({body}) must have six fields: minutes hours day month weekday year")
    minutes, hours, days, months, weekdays, years = fields
    if (days == "?") == (weekdays == "?"):
        raise InvalidExpression(f"cron({body}): exactly one of day-of-month and day-of-week must be ?")
    cron = Cron(
        minutes=tuple(sorted(_numbers(minutes, 0, 59, {}))),
        hours=tuple(sorted(_numbers(hours, 0, 23, {}))),
        days=days,
        months=_numbers(months, 1, 12, _MONTHS),
        weekdays=weekdays,
        years=_numbers(years, _FIRST_YEAR, _LAST_YEAR, {}),
        zone=zone,
    )
    _month_days(2024, 1, days, weekdays)  # refuses what no month can have
    return cron


def _numbers(field: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    """``*``, ``a``, ``a-b``, ``a/step``, ``a-b/step``, and lists of them."""
    chosen: set[int] = set()
    for part in field.split(","):
        span, _, step_text = part.partition("/")
        step = _number(step_text, {}, field) if step_text or "/" in part else 1
        if step < 1:
            raise InvalidExpression(f"the step in {field!r} must be at least 1")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first_text, last_text = span.split("-", 1)
            first, last = _number(first_text, names, field), _number(last_text, names, field)
        else:
            first = _number(span, names, field)
            last = high if "/" in part else first
        if not (low <= first <= high and low <= last <= high):
            raise InvalidExpression(f"{field!r} is not within {low}-{high}")
        if first <= last:
            chosen.update(range(first, last + 1, step))
        else:  # a range over the end, as FRI-MON
            chosen.update(
                (number - low) % (high - low + 1) + low
                for number in range(first, last + high - low + 2, step)
            )
    return frozenset(chosen)


def _number(text: str, names: dict[str, int], field: str) -> int:
    if text in names:
        return names[text]
    if not re.fullmatch(r"\d{1,4}", text):
        raise InvalidExpression(f"{text!r} in {field!r} is not a number{' or name' if names else ''}")
    return int(text)


def _month_days(year: int, month: int, days: str, weekdays: str) -> list[int]:
    """The days of a month that the two day fields name, in order."""
    length = calendar.monthrange(year, month)[1]
    chosen = (
        _by_day(year, month, days, length) if weekdays == "?" else _by_weekday(year, month, weekdays, length)
    )
    return sorted(day for day in chosen if 1 <= day <= length)


def _by_day(year: int, month: int, field: str, length: int) -> set[int]:
    chosen: set[int] = set()
    for part in field.split(","):
        if part == "L":
            chosen.add(length)
        elif match := re.fullmatch(r"L-(\d+)", part):
            chosen.add(length - int(match[1]))
        elif part == "LW":
            chosen.add(_nearest_workday(year, month, length, length))
        elif match := re.fullmatch(r"(\d+)W", part):
            if int(match[1]) <= length:
                chosen.add(_nearest_workday(year, month, int(match[1]), length))
        else:
            chosen |= _numbers(part, 1, 31, {})
    return chosen


def _by_weekday(year: int, month: int, field: str, length: int) -> set[int]:
    first = date(year, month, 1).isoweekday() % 7 + 1  # AWS counts from Sunday = 1

    def days_of(weekday: int) -> list[int]:
        return list(range(1 + (weekday - first) % 7, length + 1, 7))

    chosen: set[int] = set()
    for part in field.split(","):
        if part == "L":
            chosen.update(days_of(7))
        elif match := re.fullmatch(r"([A-Z]{3}|\d)L", part):
            chosen.add(days_of(_number(match[1], _WEEKDAYS, field))[-1])
        elif match := re.fullmatch(r"([A-Z]{3}|\d)#([1-5])", part):
            occurrences = days_of(_number(match[1], _WEEKDAYS, field))
            if int(match[2]) <= len(occurrences):
                chosen.add(occurrences[int(match[2]) - 1])
        else:
            for weekday in _numbers(part, 1, 7, _WEEKDAYS):
                chosen.update(days_of(weekday))
    return chosen


def _nearest_workday(year: int, month: int, day: int, length: int) -> int:
    """The day itself, or the workday nearest to it within the month."""
    weekday = date(year, month, day).weekday()
    if weekday == 5:
        return day - 1 if day > 1 else day + 2
    if weekday == 6:
        return day + 1 if day < length else day - 2
    return day
