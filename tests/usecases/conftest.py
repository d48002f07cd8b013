"""Lets these tests use the Glue jobs' harness."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "glue_jobs"))
