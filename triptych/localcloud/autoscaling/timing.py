"""How quickly target tracking looks: AWS's minutes, unless the environment says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PERIOD_VARIABLE = "TRIPTYCH_AUTOSCALING_PERIOD_SECONDS"
_PERIODS_OF_ALARMS = (10, 20, 30)
"""the periods below a minute that a CloudWatch alarm may have"""


@dataclass(frozen=True)
class Timing:
    """The alarms of a target tracking policy, and the scaler's own pace."""

    period_seconds: int = 60
    """a datapoint's length; target values stay per minute, the alarms' thresholds follow the period"""
    high_periods: int = 3
    """datapoints above the target before a variant scales out"""
    low_periods: int = 15
    """datapoints below nine tenths of the target before it scales in"""
    look_seconds: float = 1.0
    """between two looks at an endpoint that is changing"""

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> Timing:
        """The defaults, with the period of ``TRIPTYCH_AUTOSCALING_PERIOD_SECONDS``; raises ValueError."""
        text = environment.get(PERIOD_VARIABLE)
        if not text:
            return Timing()
        if not text.isdecimal() or not (
            int(text) in _PERIODS_OF_ALARMS or (int(text) and int(text) % 60 == 0)
        ):
            raise ValueError(f"{PERIOD_VARIABLE} is {text!r}; it must be 10, 20, 30 or a multiple of 60")
        return Timing(period_seconds=int(text))
