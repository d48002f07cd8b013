"""Each notebook says what its text says, holds no outputs, and comes back from an edit in Jupyter."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.conftest import NOTEBOOKS


def load_pair() -> Any:
    spec = importlib.util.spec_from_file_location("pair", NOTEBOOKS / "pair.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pair = load_pair()
NAMES = [path.stem for path in pair.texts(NOTEBOOKS)]


def test_there_are_pairs_and_nothing_else() -> None:
    assert NAMES == ["01_run_the_pipeline", "02_try_features_and_models"]
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_notebook_is_its_text(name: str) -> None:
    text = (NOTEBOOKS / f"{name}.py").read_text()
    committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(committed)
    assert (NOTEBOOKS / f"{name}.ipynb").read_text() == pair.rendered(pair.to_notebook(text))
    assert pair.to_text(committed) == text
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in committed.cells)


def test_check_names_what_differs_and_writing_mends_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pair.main(["--check"], folder) == 0
    text = folder / "01_run_the_pipeline.py"
    text.write_text(text.read_text().replace("# ## Watch", "# ## Watch it"))
    assert pair.main(["--check"], folder) == 1
    assert "01_run_the_pipeline.ipynb: not what the text says" in capsys.readouterr().err
    assert pair.main([], folder) == 0
    assert pair.main(["--check"], folder) == 0
    assert "## Watch it" in text.with_suffix(".ipynb").read_text()


def test_an_edit_in_jupyter_comes_back_without_outputs(folder: Path) -> None:
    path = folder / "02_try_features_and_models.ipynb"
    edited = json.loads(path.read_text())
    before = len(edited["cells"])
    edited["cells"].append(
        {
            "cell_type": "code", "id": "abc", "metadata": {}, "execution_count": 7, "source": ["a = 1\n", "a"],
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["secret"]}],
        }
    )  # fmt: skip
    path.write_text(json.dumps(edited))
    assert pair.main(["--from-ipynb"], folder) == 0
    assert path.with_suffix(".py").read_text().endswith("# %%\na = 1\na\n")
    written = json.loads(path.read_text())
    assert len(written["cells"]) == before + 1
    assert written["cells"][-1]["outputs"] == []
    assert "secret" not in path.read_text()


def test_code_before_the_first_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="begins with '# %%', not with 'import os'"):
        pair.to_notebook("import os\n# %%\n1\n")
