"""What is fixed when an execution starts, and the statuses it may have."""

from __future__ import annotations

from dataclasses import dataclass

RUNNING, SUCCEEDED, FAILED, ABORTED, TIMED_OUT = "RUNNING", "SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"


@dataclass(frozen=True)
class Facts:
    """What is fixed when an execution starts."""

    arn: str
    name: str
    machine_arn: str
    machine_name: str
    role_arn: str
    region: str
    account_id: str
    partition: str
    input_text: str
    start_time: float
    seed: int
    express: bool = False
    timeout_seconds: float | None = None
    version_arn: str | None = None
    alias_arn: str | None = None
