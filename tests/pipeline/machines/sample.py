"""Three months of three shifts a day on eight machines, made up from a fixed seed."""

import random
from datetime import datetime, timedelta

MAKERS = ("Ada", "Babbage")
MACHINES = 8


def write_raw(folder):
    chance = random.Random(7)
    machines = folder / "raw/machines/machines.csv"
    machines.parent.mkdir(parents=True)
    lines = [f"m{number};{MAKERS[number % 2]}" for number in range(MACHINES)]
    machines.write_text("\n".join(["machine;maker", *lines, ""]))
    shifts = folder / "raw/shifts/shifts.csv"
    shifts.parent.mkdir(parents=True)
    lines = []
    for shift in range(91 * 3):
        begins = datetime(2024, 1, 1) + timedelta(hours=8 * shift)
        for number in range(MACHINES):
            hours = round(chance.uniform(1, 10), 1)
            wear = min(100, max(0, 8 * hours + 15 * (number % 2) + chance.gauss(0, 10)))
            shown = "" if chance.random() < 0.01 else f"{wear:.1f}"
            lines.append(f"{len(lines) + 1};{begins:%Y-%m-%dT%H:%M:%SZ};m{number};{hours};{shown}")
    # one row that no cleaning lets through
    lines.append(f"{len(lines) + 1};2024-03-31T16:00:00Z;m0;99;10.0")
    shifts.write_text("\n".join(["shift_id;begins;machine;planned_hours;wear", *lines, ""]))
    return [machines, shifts]
