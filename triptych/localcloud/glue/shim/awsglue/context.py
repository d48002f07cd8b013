"""``GlueContext``: the way to the Spark session in scripts that start from Glue's template."""

from __future__ import annotations

import logging
from typing import Any


class GlueContext:
    """Wraps a SparkContext; ``spark_session`` is the session of this job."""

    def __init__(self, sparkContext: Any = None, **options: Any) -> None:
        from pyspark.sql import SparkSession

        self.spark_session = SparkSession.builder.getOrCreate()

    def get_logger(self) -> logging.Logger:
        """A logger with ``info``, ``warn`` and ``error``; it writes to standard error."""
        logger = logging.getLogger("awsglue")
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
            logger.setLevel(logging.INFO)
        return logger

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(
            f"GlueContext.{name} is not part of the local cloud: read and write with "
            "glueContext.spark_session (data frames), which runs on AWS and here alike."
        )
