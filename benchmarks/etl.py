"""Cleaning and features at ten million rows: the product's DuckDB engine, the same on local Spark, and SQL by hand.

The product's two engines run the very code of the Glue jobs `clean_data` and `engineer_features`. Each contestant is a
process of its own, from raw CSV to feature rows in Parquet; its figure is the wall time of all of it.

    python benchmarks/etl.py [--factor 30] [--rounds 1] [--skip spark]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from flights_years import write_flights, write_others
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
CONTESTANTS = {
    "triptych on DuckDB": ["etl_triptych.py", "duckdb"],
    "DuckDB by hand": ["etl_duckdb.py"],
    "triptych on Spark": ["etl_triptych.py", "spark"],
}


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factor", type=int, default=30, help="copies of the year's 336,776 flights")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--skip", action="append", default=[], choices=["spark"])
    options = parser.parse_args()
    say_machine()
    folder = Path(tempfile.mkdtemp(prefix="triptych-etl-"))
    try:
        return compare(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(options: argparse.Namespace, folder: Path) -> int:
    """All measurements in ``folder``."""
    rows, _ = write_flights(folder, options.factor)
    write_others(folder, options.factor)
    print(f"{rows} flights", flush=True)
    python = triptych_command().with_name("python")

    def contestant(name: str) -> Measurement:
        script, *engine = CONTESTANTS[name]
        found = measure([python, BASELINES / script, *engine, folder / "raw", folder / "out"])
        shutil.rmtree(folder / "out")
        if found.last_json()["rows"] != rows:
            raise ContestantFailed(f"{name} made {found.last_json()['rows']} feature rows of {rows} flights")
        return found

    names = [name for name in CONTESTANTS if "Spark" not in name or "spark" not in options.skip]
    found = alternate({name: lambda name=name: contestant(name) for name in names}, options.rounds)
    seconds = {name: median_seconds(measurements) for name, measurements in found.items()}
    memory = {name: max(one.peak_bytes for one in measurements) / 1e9 for name, measurements in found.items()}
    print(f"\n{'median of ' + str(options.rounds):24} {'seconds':>8} {'peak GB':>8}  steps")
    for name, value in seconds.items():
        print(f"{name:24} {value:8.2f} {memory[name]:8.2f}  {found[name][-1].last_json()['seconds']}")
    figures: dict[str, Any] = {
        "rows": rows,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_gb": {name: round(value, 3) for name, value in memory.items()},
        "steps": {name: measurements[-1].last_json()["seconds"] for name, measurements in found.items()},
    }
    ours = "triptych on DuckDB"
    goals = {
        "by hand: triptych / DuckDB": (seconds[ours] / seconds["DuckDB by hand"], 1.6),
        "triptych's peak memory (GB)": (memory[ours], 3.0),
    }
    if "triptych on Spark" in seconds:
        goals["triptych on DuckDB / on Spark"] = (seconds[ours] / seconds["triptych on Spark"], 1 / 7)
    return finish("etl", figures, goals)


if __name__ == "__main__":
    sys.exit(main())
