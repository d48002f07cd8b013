"""The parent: chains data engineering, model and deployment."""

from workflows.pipeline.definition import build

__all__ = ["build"]
