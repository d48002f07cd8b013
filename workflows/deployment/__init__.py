"""Create or update the endpoint for a model package, test it, or put the old one back."""

from workflows.deployment.definition import build

__all__ = ["build"]
