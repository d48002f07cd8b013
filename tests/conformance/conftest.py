"""Lets the conformance test use the Step Functions tests' HTTP endpoint."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stepfunctions"))
