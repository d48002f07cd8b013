"""Twelve features of the shipped flights, as Parquet: what the drift benchmarks read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from measuring import ROOT

NUMBERS = [
    *("sched_dep_time", "sched_arr_time", "dep_delay", "arr_delay", "air_time"),
    *("distance", "day", "hour", "minute"),
]
CATEGORIES = ["carrier", "origin", "dest"]
LATE_MINUTES = 15


def flights_table(folder: Path) -> Any:
    """The year's flights as a pyarrow table: nine numbers (float, null where missing) and three categories."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from usecases.flights.sample import write_raw

    files = sorted(path for path in write_raw(folder / "raw") if path.parent.name == "flights")
    types = {**dict.fromkeys(NUMBERS, pa.float64()), **dict.fromkeys(CATEGORIES, pa.string())}
    options = arrow_csv.ConvertOptions(
        column_types=types, null_values=["NA", ""], include_columns=NUMBERS + CATEGORIES
    )
    return pa.concat_tables([arrow_csv.read_csv(path, convert_options=options) for path in files])
