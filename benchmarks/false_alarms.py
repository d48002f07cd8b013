"""How often the data-quality monitor alarms: on samples of one population, and where drift was put in.

Each run draws a reference and a window that do not overlap from the shipped flights, row by row at random, makes a
baseline of the one and checks the other with the monitor's own code; an alarm is any violation. Drift is one of four
kinds, each in a feature drawn at random: a number moved by half a standard deviation, a category of at least 1 % of the
rows dropped, a fifth of the values null, the share of late flights half as high again.

    python benchmarks/false_alarms.py [--runs 200] [--reference 250000] [--window 55000] [--seed 1]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from drift_data import CATEGORIES, LATE_MINUTES, NUMBERS, flights_table
from measuring import ROOT, finish, say_machine

LATE = "late"
Rng = np.random.Generator


class NotMonitored(Exception):
    """The monitor failed: there is nothing to count."""


def main() -> int:
    """Count, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="of each kind")
    parser.add_argument("--reference", type=int, default=250_000)
    parser.add_argument("--window", type=int, default=55_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    say_machine()
    sys.path[:0] = [str(ROOT / "sagemaker_jobs" / "monitor"), str(ROOT)]
    folder = Path(tempfile.mkdtemp(prefix="triptych-alarms-"))
    try:
        return count(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def count(options: argparse.Namespace, folder: Path) -> int:
    """All runs, in ``folder``."""
    rng = np.random.default_rng(options.seed)
    table = with_labels(flights_table(folder))
    alarms = dict.fromkeys(["none", *DRIFTS], 0)
    beyond_chance = 0
    for kind in alarms:
        for _ in range(options.runs):
            rows = rng.permutation(table.num_rows)
            spare = rows[options.reference :]
            write(folder / "reference.parquet", table.take(rows[: options.reference]))
            window = DRIFTS[kind](table.take(spare), rng) if kind in DRIFTS else table.take(spare)
            write(folder / "window.parquet", window.slice(0, options.window))
            violated, significant = monitored(folder)
            alarms[kind] += violated
            beyond_chance += significant and kind == "none"
        print(f"{kind:20} {alarms[kind]:4} of {options.runs} runs alarm", flush=True)
    print(
        f"{'none, any size':20} {beyond_chance:4} of {options.runs} runs have an effect beyond chance, however small"
    )
    runs = options.runs
    goals = {
        "runs without drift that alarm": (alarms["none"] / runs, 0.05),
        "runs without drift with any effect beyond chance": (beyond_chance / runs, 0.05),
        **{f"runs missed: {kind}": (1 - alarms[kind] / runs, 0.05) for kind in DRIFTS},
    }
    figures = {"runs": runs, "reference": options.reference, "window": options.window, "alarms": alarms}
    return finish("false_alarms", figures, goals)


def monitored(folder: Path) -> tuple[bool, bool]:
    """One run: whether it alarms, and whether any statistic is beyond chance whatever its size."""
    import monitor

    output = folder / "out"
    files = ["--statistics", str(folder), "--constraints", str(folder), "--output", str(output)]
    with contextlib.redirect_stdout(io.StringIO()):
        failed = monitor.main(
            ["baseline", "--data", str(folder / "reference.parquet"), "--output", str(folder)]
        ) or monitor.main(["check", "--data", str(folder / "window.parquet"), *files])
    if failed:
        raise NotMonitored("the monitor ended with an error, see above")
    violations = json.loads((output / "constraint_violations.json").read_text())["violations"]
    drift = json.loads((output / "statistics.json").read_text())["triptych"]["drift"]
    adjusted = [finding["adjusted_p"] for one in drift["features"] for finding in one["findings"]]
    return bool(violations), min(adjusted) <= drift["alpha"]


def with_labels(table: Any) -> Any:
    """The table with a column more: 1 for a flight that arrived late, null where that is not known."""
    import pyarrow.compute as compute

    late = compute.greater(table["arr_delay"], LATE_MINUTES)
    return table.append_column(LATE, compute.cast(late, "double")).combine_chunks()


def write(path: Path, table: Any) -> None:
    import pyarrow.parquet as parquet

    parquet.write_table(table, path, compression="none")


def shifted(table: Any, rng: Rng) -> Any:
    """A number moved by half its standard deviation."""
    import pyarrow.compute as compute

    name = str(rng.choice(NUMBERS))
    moved = compute.add(table[name], compute.stddev(table[name]).as_py() / 2)
    return replaced(table, name, moved)


def dropped(table: Any, rng: Rng) -> Any:
    """Without the rows of a category that at least 1 % of the rows have."""
    import pyarrow.compute as compute

    name = str(rng.choice(CATEGORIES))
    counted = compute.value_counts(table[name]).to_pylist()
    frequent = [one["values"] for one in counted if one["counts"] >= 0.01 * table.num_rows]
    return table.filter(compute.not_equal(table[name], str(rng.choice(frequent))))


def nulls(table: Any, rng: Rng) -> Any:
    """A fifth of a column's values null."""
    import pyarrow as pa
    import pyarrow.compute as compute

    name = str(rng.choice(NUMBERS + CATEGORIES))
    lost = pa.array(rng.random(table.num_rows) < 0.2)
    return replaced(table, name, compute.if_else(lost, pa.scalar(None, table[name].type), table[name]))


def labels(table: Any, rng: Rng) -> Any:
    """Half as many late flights again: of those in time, as many rows are left out as that takes."""
    late = table[LATE].to_numpy()
    rate = float(np.nanmean(late))
    keep_share = rate / (1 - rate) * (1 - 1.5 * rate) / (1.5 * rate)
    in_time = ~np.nan_to_num(late, nan=1.0).astype(bool)
    keep = ~in_time | (rng.random(len(late)) < keep_share)
    return table.filter(keep)


def replaced(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, column)


DRIFTS: dict[str, Callable[[Any, Rng], Any]] = {
    "mean shift": shifted,
    "category dropped": dropped,
    "nulls": nulls,
    "label shift": labels,
}


if __name__ == "__main__":
    sys.exit(main())
