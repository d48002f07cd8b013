"""Fixtures of the Step Functions tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stepfunctions_harness import Harness


@pytest.fixture
def sfn(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.close()
