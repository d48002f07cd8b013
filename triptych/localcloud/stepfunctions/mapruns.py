"""Map runs: the children of a Distributed Map, how many run at once, and when too many have failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_PARALLEL_CHILDREN = 1_000
"""children under way at once where MaxConcurrency sets no lower limit (AWS: 10,000)"""


@dataclass
class MapRun:
    """What the engine remembers of a running map run."""

    arn: str
    execution_arn: str
    join_key: int
    label: str
    express: bool
    total: int
    max_concurrency: int
    tolerated_count: int | None
    tolerated_percentage: float | None
    writer: dict[str, Any] | None
    next_index: int = 0
    item_counts: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    """indexes to start before ``next_index`` goes on: children to be redriven"""
    running: dict[int, str] = field(default_factory=dict)
    """child execution's ARN by index"""
    succeeded: int = 0
    failed_items: int = 0
    failed: int = 0
    ending: bool = False
    """results are being written, or the run was given up"""

    def room(self) -> bool:
        """Whether another child may start now."""
        limit = self.max_concurrency or MAX_PARALLEL_CHILDREN
        return len(self.running) < min(limit, MAX_PARALLEL_CHILDREN)

    def take(self) -> int | None:
        """The index of the child to start next, if any is left."""
        if self.waiting:
            return self.waiting.pop(0)
        if self.next_index < self.total:
            self.next_index += 1
            return self.next_index - 1
        return None

    @property
    def finished(self) -> bool:
        return not self.running and not self.waiting and self.next_index >= self.total

    @property
    def intolerable(self) -> bool:
        """More items have failed than the state tolerates (by default none may)."""
        if self.failed_items == 0:
            return False
        limits = []
        if self.tolerated_count is not None:
            limits.append(self.failed_items > self.tolerated_count)
        if self.tolerated_percentage is not None:
            items = sum(self.item_counts) or 1
            limits.append(self.failed_items * 100 / items > self.tolerated_percentage)
        return any(limits) if limits else True
