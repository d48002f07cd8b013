"""A drift report over twelve features, 250,000 reference and 55,000 current rows: against Evidently and numpy.

Against Evidently's data-drift preset in work (Evidently's without reading, the product's with it) and in the wall
time of the whole process; against the same statistics by hand in numpy, on arrays in memory; and ten million
reference rows, whose peak memory is sampled.

    python benchmarks/drift.py [--rounds 3] [--evidently PYTHON]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from drift_data import flights_table
from measuring import ROOT, Measurement, alternate, finish, measure, median_seconds, say_machine

BASELINES = Path(__file__).parent / "baselines"
REFERENCE_ROWS, CURRENT_ROWS, COPIES = 250_000, 55_000, 40


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--evidently",
        default=sys.executable if importlib.util.find_spec("evidently") else None,
        help="a Python with evidently, which wants pandas below 3 and so an environment of its own",
    )
    options = parser.parse_args()
    say_machine()
    folder = Path(tempfile.mkdtemp(prefix="triptych-drift-"))
    try:
        return compare(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(options: argparse.Namespace, folder: Path) -> int:
    """All measurements in ``folder``."""
    import pyarrow.parquet as parquet

    table = flights_table(folder)
    reference, current = folder / "reference.parquet", folder / "current.parquet"
    parquet.write_table(table.slice(0, REFERENCE_ROWS), reference)
    parquet.write_table(table.slice(REFERENCE_ROWS, CURRENT_ROWS), current)

    def contestant(name: str, python: str) -> Measurement:
        return measure([python, BASELINES / f"drift_{name}.py", reference, current, folder / name])

    pythons = {"triptych": sys.executable}
    if options.evidently:
        pythons["evidently"] = options.evidently
    else:
        print("evidently is not installed here: without --evidently PYTHON its two goals are left out")
    found = alternate(
        {name: lambda name=name, python=python: contestant(name, python) for name, python in pythons.items()},
        options.rounds,
    )
    wall = {name: median_seconds(measurements) for name, measurements in found.items()}
    work = {name: median(_told(one, "work_seconds") for one in taken) for name, taken in found.items()}
    pages = {name: _told(taken[0], "html_bytes") for name, taken in found.items()}
    by_hand = measure([sys.executable, BASELINES / "drift_numpy.py", reference, current, ROOT])
    many = folder / "many"
    many.mkdir()
    for number in range(COPIES):
        os.link(reference, many / f"{number:02}.parquet")
    large = measure([sys.executable, BASELINES / "drift_triptych.py", many, current, folder / "large"])

    print(f"\n{'median of ' + str(options.rounds):16} {'work s':>8} {'wall s':>8} {'page kB':>8}")
    for name in found:
        print(f"{name:16} {work[name]:8.3f} {wall[name]:8.2f} {pages[name] / 1e3:8.0f}")
    print(f"{COPIES * REFERENCE_ROWS:,} rows: {large.seconds:.1f} s, peak {large.peak_bytes / 1e9:.2f} GB")
    figures: dict[str, Any] = {
        "work_seconds": {name: round(value, 4) for name, value in work.items()},
        "wall_seconds": {name: round(value, 3) for name, value in wall.items()},
        "in_memory_seconds": by_hand.last_json(),
        "large_seconds": round(large.seconds, 2),
    }
    goals = {
        "the page (kB)": (pages["triptych"] / 1e3, 500.0),
        "triptych / numpy by hand": (_told(by_hand, "triptych") / _told(by_hand, "numpy"), 1.5),
        "peak memory at ten million rows (GB)": (large.peak_bytes / 1e9, 4.0),
    }
    if "evidently" in found:
        goals["triptych / Evidently, work"] = (work["triptych"] / work["evidently"], 0.1)
        goals["triptych / Evidently, wall"] = (wall["triptych"] / wall["evidently"], 0.1)
    return finish("drift", figures, goals)


def _told(measurement: Measurement, name: str) -> float:
    return float(str(measurement.last_json()[name]))


if __name__ == "__main__":
    sys.exit(main())
