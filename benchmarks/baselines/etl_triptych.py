"""The product's cleaning and features as its Glue jobs do them, on one engine, without the cloud around them.

python etl_triptych.py duckdb|spark RAW_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MEMORY_MB = 2000


def open_engine(name: str, scratch: Path) -> Any:
    """The jobs' engine, configured as the local cloud does."""
    from glue_lib.duckdb_engine import DuckDbEngine
    from glue_lib.spark_engine import SparkEngine

    scratch.mkdir(parents=True)
    threads = os.cpu_count() or 2
    if name == "duckdb":
        import duckdb

        settings = {
            "threads": threads,
            "memory_limit": f"{MEMORY_MB}MB",
            "temp_directory": str(scratch / "duckdb"),
        }
        return DuckDbEngine(SimpleNamespace(_conn=duckdb.connect(config=settings)))
    from triptych.localcloud.glue import spark_engine
    from triptych.localcloud.glue.paths import JobPaths

    for folder in (scratch / "s3", scratch / "staging"):
        folder.mkdir(parents=True)
    spark_engine.activate(JobPaths(scratch / "s3", scratch / "staging"), scratch, threads, MEMORY_MB)
    from pyspark.sql import SparkSession

    return SparkEngine(SparkSession.builder.appName("etl").getOrCreate())


def main(name: str, raw: Path, output: Path) -> None:
    """Clean the three tables that the features need, compute the features, write both; print counts and seconds."""
    started = time.perf_counter()
    sys.path.insert(0, str(ROOT))
    package = ROOT / "glue_jobs" / "lib" / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        "glue_lib", package, submodule_search_locations=[str(package.parent)]
    )
    sys.modules["glue_lib"] = importlib.util.module_from_spec(spec)
    from glue_lib.engine_io import SourceFile

    from glue_jobs.clean_data import clean_table
    from glue_jobs.engineer_features import CODED_ROWS, features_module, transform
    from triptych.core.contract import parse_contract

    path = ROOT / "usecases" / "flights" / "contract.yaml"
    contract = parse_contract(path.read_text(), str(path), check=False)
    module = features_module(contract)
    engine = open_engine(name, output / "scratch")
    ready = time.perf_counter()
    for table in module.TABLES:
        files = [
            SourceFile(str(file), f"raw/{table}/{file.name}") for file in sorted((raw / table).glob("*.csv"))
        ]
        clean_table(engine, contract.tables[table], files, str(output / "clean" / table))
    cleaned = time.perf_counter()
    for table in module.TABLES:
        engine.open_parquet(table, str(output / "clean" / table))
    engine.run(transform(module, contract))
    engine.write_parquet(f"SELECT * FROM {CODED_ROWS}", str(output / "features"))
    engine.open_parquet("written", str(output / "features"))
    rows = engine.rows("SELECT count(*) AS n FROM written")[0]["n"]
    ended = time.perf_counter()
    seconds = {"start": ready - started, "clean": cleaned - ready, "features": ended - cleaned}
    print(json.dumps({"rows": rows, "seconds": {step: round(value, 3) for step, value in seconds.items()}}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
