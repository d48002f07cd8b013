"""Create model and endpoint configuration, create or update the endpoint, test it, or put the old one back."""

from workflows.deployment.definition import build

__all__ = ["build"]
