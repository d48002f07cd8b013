"""The monitor's own code: a baseline of the reference, then the check of the current data, both from Parquet.

python drift_triptych.py REFERENCE CURRENT OUTPUT_FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(reference: Path, current: Path, output: Path) -> int:
    """Print seconds of work (reading and writing included) and the page's size; non-zero when the job failed."""
    sys.path[:0] = [str(ROOT / "sagemaker_jobs" / "monitor"), str(ROOT)]
    import monitor

    started = time.perf_counter()
    before, after = str(output / "baseline"), str(output / "check")
    files = ("--statistics", before, "--constraints", before)
    failed = monitor.main(["baseline", "--data", str(reference), "--output", before])
    failed = failed or monitor.main(["check", "--data", str(current), *files, "--output", after])
    seconds = time.perf_counter() - started
    if not failed:
        size = (output / "check" / "drift.html").stat().st_size
        print(json.dumps({"work_seconds": seconds, "html_bytes": size}))
    return failed


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
