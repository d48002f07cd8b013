"""``validation.json``: the verdict and every violation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triptych.core.constraints import Violation, worst


def validation_report(violations: Sequence[Violation], compared_with: str | None) -> dict[str, Any]:
    """The file's content; ``compared_with`` is the version that drift was measured against."""
    return {
        "verdict": worst(violation.severity for violation in violations),
        "compared_with": compared_with,
        "violations": [violation.document() for violation in violations],
    }
