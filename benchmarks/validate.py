"""The contract's checks with a quarantine at ten million rows: the product, Great Expectations, pandera on Polars.

Raw CSV in; out come the good rows as Parquet and the bad ones, with reasons, in a quarantine. The flights of 2013
are replicated into later years, and about one row in a thousand is made bad in one of four ways. Every contestant
must find exactly those. Each runs in a process of its own, whose tree's peak memory is sampled.

    python benchmarks/validate.py [--factor 30] [--rounds 3] [--skip great_expectations]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from flights_years import write_flights
from measuring import (
    ContestantFailed,
    Measurement,
    alternate,
    finish,
    measure,
    median_seconds,
    say_machine,
    triptych_command,
)

BASELINES = Path(__file__).parent / "baselines"
MEMORY_GOAL_GB = 3.0


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factor", type=int, default=30, help="copies of the year's 336,776 flights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", action="append", default=[], choices=["great_expectations", "pandera"])
    options = parser.parse_args()
    say_machine()
    folder = Path(tempfile.mkdtemp(prefix="triptych-validate-"))
    try:
        return compare(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(options: argparse.Namespace, folder: Path) -> int:
    """All measurements in ``folder``."""
    rows, bad = write_flights(folder, options.factor, spoiled=0.001)
    source = folder / "raw" / "flights"
    sys.path.insert(0, str(BASELINES))
    from flights_rules import count_checks

    size = sum(file.stat().st_size for file in source.iterdir())
    print(f"{rows} rows, {size / 1e6:.0f} MB of CSV, {count_checks()} checks, {bad} bad rows", flush=True)

    def contestant(name: str, python: Path) -> Measurement:
        output = folder / name
        found = measure([python, BASELINES / f"validate_{name}.py", source, output])
        shutil.rmtree(output)
        told = found.last_json()
        if told != {"rows": rows, "good": rows - bad, "quarantined": bad}:
            raise ContestantFailed(f"{name} found {told} in {rows} rows of which {bad} are bad")
        return found

    pythons = {"triptych": triptych_command().with_name("python")}
    for name in ("great_expectations", "pandera"):
        if name not in options.skip:
            pythons[name] = Path(sys.executable)
    found = alternate(
        {name: lambda name=name, python=python: contestant(name, python) for name, python in pythons.items()},
        options.rounds,
    )
    seconds = {name: median_seconds(measurements) for name, measurements in found.items()}
    memory = {name: max(one.peak_bytes for one in measurements) / 1e9 for name, measurements in found.items()}
    print(f"\n{'median of ' + str(options.rounds):24} {'seconds':>8} {'peak GB':>8}")
    for name, value in seconds.items():
        print(f"{name:24} {value:8.2f} {memory[name]:8.2f}")
    figures: dict[str, Any] = {
        "rows": rows,
        "bad_rows": bad,
        "checks": count_checks(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_gb": {name: round(value, 3) for name, value in memory.items()},
    }
    goals = {"triptych's peak memory (GB)": (memory["triptych"], MEMORY_GOAL_GB)}
    if "great_expectations" in seconds:
        goals["triptych / Great Expectations"] = (seconds["triptych"] / seconds["great_expectations"], 0.25)
    if "pandera" in seconds:
        goals["triptych / pandera on Polars"] = (seconds["triptych"] / seconds["pandera"], 1.0)
    return finish("validate", figures, goals)


if __name__ == "__main__":
    sys.exit(main())
