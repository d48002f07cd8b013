"""Evidently's data-drift preset over two Parquet files, saved as HTML.

python drift_evidently.py REFERENCE CURRENT OUTPUT_FOLDER
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset


def main(reference: Path, current: Path, output: Path) -> None:
    """Read, compare, save the page; print seconds of work (reading left out), and the page's size."""
    warnings.simplefilter("ignore")
    before, after = pd.read_parquet(reference), pd.read_parquet(current)
    started = time.perf_counter()
    snapshot = Report([DataDriftPreset()]).run(reference_data=before, current_data=after)
    output.mkdir(parents=True, exist_ok=True)
    page = output / "drift.html"
    snapshot.save_html(str(page))
    seconds = time.perf_counter() - started
    print(json.dumps({"work_seconds": seconds, "html_bytes": page.stat().st_size}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
