"""AWS Glue job runs: a job's own script runs on DuckDB or on real Spark."""
