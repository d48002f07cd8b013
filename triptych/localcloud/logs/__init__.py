"""CloudWatch Logs: events in SQLite, so that a job's output outlives the process that wrote it."""
