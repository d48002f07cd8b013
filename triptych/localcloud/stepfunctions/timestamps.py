"""RFC 3339 times: parsed as strictly as Step Functions does, and written as it writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_OFFSET_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d(?::\d\d)?)"
)


def parse_timestamp(text: str) -> datetime | None:
    """An ISO 8601 extended offset date-time as an aware datetime; ``None`` when it is none."""
    match = _OFFSET_DATE_TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    microsecond = int((fraction or "0").ljust(9, "0")[:6])
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond, UTC
        )
    except ValueError:
        return None
    if zone == "Z":
        return moment
    sign = 1 if zone[0] == "+" else -1
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 18 or minutes > 59:
        return None
    try:
        return moment - sign * timedelta(hours=hours, minutes=minutes)
    except OverflowError:
        return None


def format_timestamp(seconds: float) -> str:
    """Seconds since the epoch as ``2026-01-31T08:15:30.123Z``."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
