"""``Job``: where Glue keeps bookmarks; the local cloud has none, so both calls only mark begin and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Job:
    """The running job of a GlueContext."""

    def __init__(self, glue_context: Any) -> None:
        self.name = ""

    def init(self, job_name: str, args: Mapping[str, str] | None = None) -> None:
        """Begin."""
        self.name = job_name

    def commit(self) -> None:
        """End."""
