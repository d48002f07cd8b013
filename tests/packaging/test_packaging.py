"""Archives are complete, carry nothing else, and are the same bytes for the same source."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from triptych import packaging


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "triptych/__init__.py": "",
        "triptych/core/__init__.py": "",
        "triptych/core/names.py": "x = 1\n",
        "triptych/core/__pycache__/names.pyc": "junk",
        "lambdas/check_it/handler.py": "def handler(event, context): ...\n",
        "lambdas/check_it/rules.py": "",
        "lambdas/notes/readme.txt": "no handler here",
        "glue_jobs/lib/engine.py": "",
        "sagemaker_jobs/train/train.py": "",
        "sagemaker_jobs/containers/train": "built into an image, not uploaded",
        "usecases/toy/contract.yaml": "version: 1\n",
        "usecases/toy/features.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def files_in(archive: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(archive).namelist() if not name.endswith("/")]


def test_what_each_archive_holds(project: Path) -> None:
    built = packaging.build(project, "toy")
    assert set(built.lambdas) == {"check_it"}
    assert files_in(built.lambdas["check_it"]) == ["handler.py", "rules.py"]
    assert files_in(built.core_layer) == [
        "python/triptych/__init__.py",
        "python/triptych/core/__init__.py",
        "python/triptych/core/names.py",
    ]
    assert files_in(built.libs) == [
        "glue_lib/engine.py",
        "triptych/__init__.py",
        "triptych/core/__init__.py",
        "triptych/core/names.py",
        "usecases/toy/contract.yaml",
        "usecases/toy/features.py",
    ]
    assert set(built.sagemaker) == {"train"}
    with tarfile.open(built.sagemaker["train"]) as archive:
        assert archive.getnames() == [
            "train.py",
            "triptych/__init__.py",
            "triptych/core/__init__.py",
            "triptych/core/names.py",
        ]


def test_a_use_case_is_imported_from_the_archive(project: Path) -> None:
    libs = packaging.build(project, "toy").libs
    code = f"import sys; sys.path[:0] = [{str(libs)!r}]; import usecases.toy.features as m; print(m.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(libs))


def test_same_source_same_bytes(project: Path, tmp_path: Path) -> None:
    first = packaging.build(project, "toy", tmp_path / "a")
    for path in project.rglob("*"):
        os.utime(path, (time.time() - 5000,) * 2)
    second = packaging.build(project, "toy", tmp_path / "b")
    assert first.fingerprint() == second.fingerprint()
    assert first.libs.read_bytes() == second.libs.read_bytes()


def test_a_changed_line_changes_the_fingerprint(project: Path) -> None:
    before = packaging.build(project, "toy").fingerprint()
    (project / "lambdas/check_it/rules.py").write_text("y = 2\n")
    assert packaging.build(project, "toy").fingerprint() != before


def test_an_unknown_use_case_names_those_known(project: Path) -> None:
    with pytest.raises(packaging.SourceMissing, match="known use cases: toy"):
        packaging.build(project, "trains")


def test_a_missing_folder_is_named(project: Path) -> None:
    (project / "lambdas").rename(project / "elsewhere")
    with pytest.raises(packaging.SourceMissing, match="lambdas is not there"):
        packaging.build(project, "toy")
