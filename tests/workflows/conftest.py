"""The four machines, ready to be run with services that a test plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rendered_machines import Runner


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    found = Runner(tmp_path / "home")
    yield found
    found.close()
