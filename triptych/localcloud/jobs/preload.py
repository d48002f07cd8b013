"""What each fork server has imported before the first job comes, so that no job pays for it.

A name that is not installed is left out: the job that needs it says so itself.
"""

from __future__ import annotations

import importlib
import os

MODULES: dict[str, tuple[str, ...]] = {
    "jobs": (
        "numpy",
        "numpy.random",
        "pyarrow",
        "pyarrow.parquet",
        "pyarrow.csv",
        "pyarrow.dataset",
        "duckdb",
        "sqlframe.duckdb",
        "sqlframe.duckdb.functions",
        "sqlframe.testing.utils",
        "xgboost",
        "onnxruntime",
        "yaml",
        "boto3",
        "triptych.localcloud.glue.runner",
    ),
    "lambda": (
        "aws_lambda_powertools",
        "aws_lambda_powertools.logging",
        "aws_lambda_powertools.metrics",
        "aws_lambda_powertools.tracing",
        "aws_lambda_powertools.utilities.parser",
        "aws_xray_sdk.core",
        # What a Tracer patches when a function makes one, and so imports.
        "requests",
        "sqlite3",
        "aws_xray_sdk.ext.botocore.patch",
        "aws_xray_sdk.ext.requests.patch",
        "aws_xray_sdk.ext.sqlite3.patch",
        "pydantic",
        "yaml",
        "boto3",
        "triptych.localcloud.awslambda.worker",
    ),
}

AWS_CLIENTS: dict[str, tuple[str, ...]] = {"jobs": ("s3",), "lambda": ("s3",)}
"""Services whose model is parsed beforehand (40 ms for S3), in boto3's default session"""


def load(pool: str) -> None:
    """Import the pool's modules and warm boto3's caches; starts no thread of its own."""
    # The developer's own AWS configuration must not leak into jobs through the cached session.
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    if pool == "lambda":
        # The X-Ray SDK looks once, while it is imported, whether it is in Lambda.
        os.environ |= {"LAMBDA_TASK_ROOT": "/var/task", "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR"}
    for name in MODULES[pool]:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.split(".")[0] == "triptych":
                raise
    if pool == "jobs":
        _warm_sql()
    import boto3

    boto3.setup_default_session()
    for service in AWS_CLIENTS[pool]:
        # The client is thrown away; the session keeps the parsed models, and reads region and credentials
        # from the environment again for each client it makes.
        boto3.client(
            service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        ).close()


def _warm_sql() -> None:
    """Load SQLGlot's dialects, 160 ms at a first query. (A DuckDB connection would start threads.)"""
    import pkgutil

    import sqlglot.dialects
    from sqlglot.optimizer import optimize

    for module in pkgutil.iter_modules(sqlglot.dialects.__path__, "sqlglot.dialects."):
        importlib.import_module(module.name)
    query = "SELECT t.a, SUM(CAST(t.b AS DOUBLE)) AS s FROM t WHERE t.b > 1 GROUP BY t.a"
    optimize(sqlglot.parse_one(query, read="spark"), schema={"t": {"a": "string", "b": "int"}}).sql("duckdb")
