"""Processes that compute: fork servers with the heavy imports loaded, one process group a job."""
