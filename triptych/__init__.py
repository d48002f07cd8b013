"""Triptych: three chained AWS Step Functions state machines for ML, on AWS and on a laptop."""

__version__ = "0.1.0"
