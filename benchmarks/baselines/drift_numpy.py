"""The statistics of the drift report by hand, in numpy: PSI, Jensen-Shannon, Kolmogorov-Smirnov, chi-square, missing.

Told nothing of chance: no p-value, no correction, no verdict. The product's ``compare_arrays`` is timed on the same
arrays, in turn, in this process.

    python drift_numpy.py REFERENCE CURRENT PROJECT
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as parquet

ROUNDS = 7


def numbers(reference: np.ndarray, current: np.ndarray) -> dict[str, float]:
    """Quantile bins of the reference for PSI and JS; KS exactly, on all values."""
    before, after = np.sort(reference[~np.isnan(reference)]), np.sort(current[~np.isnan(current)])
    edges = np.unique(np.quantile(before, np.linspace(0, 1, 21)[1:-1]))
    left = np.diff(np.searchsorted(before, edges, side="right"), prepend=0, append=len(before))
    right = np.diff(np.searchsorted(after, edges, side="right"), prepend=0, append=len(after))
    ks = 0.0
    for values in (before, after):  # apart, since sorted look-ups are several times faster
        gap = np.searchsorted(before, values, side="right") / len(before)
        gap -= np.searchsorted(after, values, side="right") / len(after)
        ks = max(ks, float(np.abs(gap).max()))
    return {
        "ks": ks,
        "missing": float(np.isnan(current).mean() - np.isnan(reference).mean()),
        **distances(left, right),
    }


def categories(reference: np.ndarray, current: np.ndarray) -> dict[str, float]:
    """Counted by a dictionary, which is faster than ``np.unique`` on texts."""
    before, after = Counter(reference.tolist()), Counter(current.tolist())
    missing = after.pop(None, 0) / len(current) - before.pop(None, 0) / len(reference)
    names = sorted({*before, *after})
    left = np.array([before[name] for name in names])
    right = np.array([after[name] for name in names])
    expected = (left + right) / (left.sum() + right.sum())
    chi_square = sum(
        float(((one - one.sum() * expected) ** 2 / (one.sum() * expected)).sum()) for one in (left, right)
    )
    return {"chi_square": chi_square, "missing": missing, **distances(left, right)}


def distances(left: np.ndarray, right: np.ndarray) -> dict[str, float]:
    p, q = (left + 0.5) / (left.sum() + 0.5 * len(left)), (right + 0.5) / (right.sum() + 0.5 * len(right))
    middle = (p + q) / 2
    return {
        "psi": float(((q - p) * np.log(q / p)).sum()),
        "js": float(np.sqrt(((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum()) / 2)),
    }


def by_hand(reference: dict[str, np.ndarray], current: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        name: (numbers if values.dtype.kind == "f" else categories)(values, current[name])
        for name, values in reference.items()
    }


def main(reference: Path, current: Path, project: Path) -> None:
    """Print the seconds of both, and by how much their KS distances differ (the product's are of 512 bins)."""
    sys.path.insert(0, str(project))
    from triptych.core.drift import compare_arrays

    before, after = arrays(reference), arrays(current)
    seconds: dict[str, list[float]] = {"numpy": [], "triptych": []}
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = by_hand(before, after)
        seconds["numpy"].append(time.perf_counter() - started)
        started = time.perf_counter()
        report = compare_arrays(before, after)
        seconds["triptych"].append(time.perf_counter() - started)
    told = {
        one.feature: {finding.statistic: finding.value for finding in one.findings} for one in report.features
    }
    apart = max(abs(told[name]["ks"] - values["ks"]) for name, values in found.items() if "ks" in values)
    print(json.dumps({**{name: median(times) for name, times in seconds.items()}, "ks_apart": apart}))


def arrays(path: Path) -> dict[str, np.ndarray]:
    table = parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
