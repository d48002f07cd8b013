"""The flights contract by the product: the code of Glue job ``clean_data`` on its DuckDB engine, without the cloud.

It starts from text, as the job does: types are checked too, quarantined rows carry file, line, reasons and the
original text, and rows in are proved to be rows out plus quarantined.

    python validate_triptych.py CSV_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import duckdb

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2
MEMORY_LIMIT = "2000MB"


def main(source: Path, output: Path) -> None:
    """Clean the flights table; write good and bad rows, print the counts."""
    sys.path.insert(0, str(ROOT))
    package = ROOT / "glue_jobs" / "lib" / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        "glue_lib", package, submodule_search_locations=[str(package.parent)]
    )
    sys.modules["glue_lib"] = importlib.util.module_from_spec(spec)
    from glue_lib.duckdb_engine import DuckDbEngine
    from glue_lib.engine_io import SourceFile

    from glue_jobs.clean_data import clean_table
    from triptych.core.contract import parse_contract

    path = ROOT / "usecases" / "flights" / "contract.yaml"
    table = parse_contract(path.read_text(), str(path), check=False).tables["flights"]
    settings = {"threads": THREADS, "memory_limit": MEMORY_LIMIT, "temp_directory": str(output / "spill")}
    engine = DuckDbEngine(SimpleNamespace(_conn=duckdb.connect(config=settings)))
    files = [SourceFile(str(file), f"raw/flights/{file.name}") for file in sorted(source.glob("*.csv"))]
    counts = clean_table(engine, table, files, str(output / "clean"))
    engine.write_parquet("SELECT * FROM flights_bad ORDER BY source_file, line", str(output / "quarantine"))
    print(json.dumps({"rows": counts.rows_in, "good": counts.rows_out, "quarantined": counts.quarantined}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
