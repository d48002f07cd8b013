"""What the router is told at its start."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BODY_BYTES = 25 * 2**20
"""InvokeEndpoint's documented limit"""


@dataclass(frozen=True)
class RouterSettings:
    """Where the gateway is, and the limits. Times in seconds."""

    gateway_host: str
    gateway_port: int
    account_id: str
    log_prefix: str
    """the ARN of a log group without its name: ``arn:aws:logs:us-east-1:123456789012:log-group:``"""
    invoke_seconds: float = 60.0
    """how long a model may take over one request"""
    replacement_seconds: float = 10.0
    """how long a request waits for a server while none of its variant runs"""
    restore_seconds: float = 60.0
    """how long a request waits for an endpoint that comes back after a restart"""
    capture_flush_seconds: float = 1.0
    max_body_bytes: int = MAX_BODY_BYTES
