"""End a failed execution with its error and cause; let it go on once it was redriven.

A Fail state could not do the second: a redrive begins at the state where the execution ended, and that would
fail again. What this function raises is the execution's error.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from ending import ending

logger = Logger()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    error = ending(event)
    if error is not None:
        raise error
    logger.info("redriven", redrive_count=event["redrive_count"])
    return {"redrive_count": event["redrive_count"]}
