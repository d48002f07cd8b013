"""How often and how long a delivery is tried."""

from __future__ import annotations

import time
from typing import Any

import pytest

from triptych.localcloud.events.outbox import Delivery
from triptych.localcloud.events.targets import is_exhausted, retry_delay


@pytest.mark.parametrize(
    ("policy", "attempts", "age_seconds", "condition"),
    [
        pytest.param({}, 185, 0, None, id="default attempts"),
        pytest.param({}, 186, 0, "MaximumRetryAttempts", id="default attempts used up"),
        pytest.param({}, 1, 86399, None, id="default age"),
        pytest.param({}, 1, 86400, "MaximumEventAgeInSeconds", id="default age reached"),
        pytest.param({"MaximumRetryAttempts": 0}, 1, 0, "MaximumRetryAttempts", id="no retry"),
        pytest.param({"MaximumRetryAttempts": 3}, 3, 0, None, id="three retries"),
        pytest.param({"MaximumEventAgeInSeconds": 60}, 1, 61, "MaximumEventAgeInSeconds", id="a minute"),
    ],
)
def test_a_retry_policy_ends_the_attempts(
    policy: dict[str, Any], attempts: int, age_seconds: float, condition: str | None
) -> None:
    delivery = Delivery(
        "e", "arn:rule", {"Arn": "arn:t", "RetryPolicy": policy}, "{}", time.time() - age_seconds
    )
    assert is_exhausted(delivery, attempts) == condition


def test_pauses_grow_to_a_minute() -> None:
    assert [retry_delay(attempts) for attempts in (1, 2, 3, 6, 7, 100)] == [1, 2, 4, 32, 60, 60]
