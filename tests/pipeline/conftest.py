"""One project with one finished run, shared by the tests of this folder, which run in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.pipeline.project import Project


@dataclass
class FinishedRun:
    """A project whose pipeline succeeded once."""

    project: Project
    summary: dict[str, Any]


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedRun]:
    project = Project(tmp_path_factory.mktemp("pipeline") / "checkout")
    try:
        project.triptych("up", "--port", "0")
        yield FinishedRun(project, project.run())
    finally:
        project.triptych("down", code=None)
