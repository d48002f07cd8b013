"""The real notebooks, executed in a kernel against a small project's local cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.pipeline.project import CHECKOUT, Project

NOTEBOOKS = CHECKOUT / "notebooks"
CELL_TIMEOUT_SECONDS = 240


@dataclass
class Executed:
    """An executed notebook: what its cells printed and showed."""

    notebook: Any

    @property
    def printed(self) -> str:
        """Everything on stdout."""
        return "".join(output["text"] for output in self._outputs() if output.get("name") == "stdout")

    @property
    def pages(self) -> list[str]:
        """The HTML that was displayed."""
        return [
            output["data"]["text/html"]
            for output in self._outputs()
            if output["output_type"] == "display_data" and "text/html" in output["data"]
        ]

    def _outputs(self) -> Iterator[Any]:
        for cell in self.notebook.cells:
            yield from cell.get("outputs", [])


def execute(project: Project, name: str) -> Executed:
    """Execute a committed notebook inside the project; a cell that raises fails the test with its traceback."""
    folder = project.root / "notebooks"
    folder.mkdir(exist_ok=True)
    shutil.copy(NOTEBOOKS / name, folder / name)
    notebook = nbformat.read(folder / name, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    ambient = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TRIPTYCH_"))}
    client.execute(env={**ambient, "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    return Executed(notebook)


@dataclass
class Notebooks:
    """A small project in whose home the first notebook has run the pipeline."""

    project: Project
    first: Executed


@pytest.fixture(scope="package")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebooks]:
    project = Project(tmp_path_factory.mktemp("notebooks") / "checkout")
    try:
        project.triptych("up", "--port", "0")
        yield Notebooks(project, execute(project, "01_run_the_pipeline.ipynb"))
    finally:
        project.triptych("down", code=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the texts and their notebooks."""
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "notebooks"
