"""Train, evaluate, judge, transform the test split in batch, package, approve."""

from workflows.model.definition import build

__all__ = ["build"]
