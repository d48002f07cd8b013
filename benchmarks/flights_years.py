"""The shipped flights of 2013 again in the years after it, as raw CSV files of any size."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from measuring import ROOT

FIRST_YEAR = 2013


def write_flights(folder: Path, copies: int, spoiled: float = 0.0) -> tuple[int, int]:
    """A CSV file a year; every copy's keys are its own. Rows, and how many of them were made bad on purpose."""
    header, year = _lines(folder, "flights")
    rows = bad = 0
    chance = random.Random(7)
    target = folder / "raw" / "flights"
    target.mkdir(parents=True)
    for number in range(FIRST_YEAR, FIRST_YEAR + copies):
        lines = [_in_year(line, number, 0) for line in year] if number > FIRST_YEAR else list(year)
        if spoiled:
            bad += _spoil(lines, chance, round(len(lines) * spoiled))
        rows += len(lines)
        (target / f"{number}.csv").write_bytes(header + b"".join(lines))
    return rows, bad


def write_others(folder: Path, copies: int) -> None:
    """Weather of the same years, and the planes as they are."""
    header, year = _lines(folder, "weather")
    weather, planes = folder / "raw" / "weather", folder / "raw" / "planes"
    weather.mkdir(parents=True)
    planes.mkdir(parents=True)
    lines = [_in_year(line, number, 1) for number in range(FIRST_YEAR, FIRST_YEAR + copies) for line in year]
    # Hours of New Year's Eve that are the next year's already, in UTC, come from both years.
    seen = {(line.split(b",", 1)[0], line.rsplit(b",", 1)[1]): line for line in lines}
    (weather / "weather.csv").write_bytes(header + b"".join(seen.values()))
    plane_header, plane_lines = _lines(folder, "planes")
    (planes / "planes.csv").write_bytes(plane_header + b"".join(plane_lines))


def _lines(folder: Path, table: str) -> tuple[bytes, list[bytes]]:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from usecases.flights.sample import write_raw

    files = sorted(path for path in write_raw(folder / "year") if path.parent.name == table)
    parts = [path.read_bytes().splitlines(keepends=True) for path in files]
    return parts[0][0], [line for part in parts for line in part[1:]]


def _in_year(line: bytes, year: int, field: int) -> bytes:
    """The row with its ``year`` (the field of that number) and its ``time_hour`` (the last one) moved."""
    fields = line.split(b",")
    fields[field] = str(year).encode()
    fields[-1] = str(int(fields[-1][:4]) + year - FIRST_YEAR).encode() + fields[-1][4:]
    return b",".join(fields)


def _spoil(lines: list[bytes], chance: random.Random, count: int) -> int:
    """Make rows bad, in place, in four ways in turn; a duplicate is one row more."""
    for number, place in enumerate(sorted(chance.sample(range(len(lines)), count))):
        fields = lines[place].split(b",")
        match number % 4:
            case 0:
                fields[15] = b"0"  # distance
            case 1:
                fields[12] = b"PHL"  # origin
            case 2:
                fields[4] = b"NA"  # sched_dep_time
            case 3:
                lines.append(lines[place])
        lines[place] = b",".join(fields)
    return count
