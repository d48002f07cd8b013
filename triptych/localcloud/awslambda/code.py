"""Functions' and layers' zips unpacked, once each, below ``home.code/<sha256>/``."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import zipfile
from pathlib import Path
from uuid import uuid4

from triptych.localcloud.awslambda.functions import Archive
from triptych.localcloud.home import Home
from triptych.localcloud.service import ServiceError

_COMPILED = (".so", ".pyd", ".dylib")


class CodeStore:
    """Answers with folders that hold what an archive holds.

    An archive with compiled packages was built for Lambda's own runtime and not for this machine: what the
    environment has of them comes from the environment.
    """

    def __init__(self, home: Home) -> None:
        self._root = home.code

    def function(self, archive: Archive) -> Path:
        """The function's task root."""
        return self._unpacked(archive, ".")

    def layer(self, archive: Archive) -> list[str]:
        """The folders of a layer that go on Python's path."""
        root = self._unpacked(archive, "python")
        paths = [root / "python", *root.glob("python/lib/python3.*/site-packages")]
        return [str(path) for path in paths if path.is_dir()]

    def _unpacked(self, archive: Archive, modules: str) -> Path:
        folder = self._root / archive.sha256
        if folder.is_dir():
            return folder
        temporary = self._root / f".{archive.sha256}.{uuid4().hex}"
        try:
            with zipfile.ZipFile(io.BytesIO(archive.read())) as content:
                content.extractall(temporary)
        except zipfile.BadZipFile as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise ServiceError(
                "InvalidZipFileException", f"Lambda was unable to unzip the file: {error}", 502
            ) from error
        _leave_to_environment(temporary / modules)
        try:
            os.rename(temporary, folder)
        except OSError:  # another thread was quicker
            shutil.rmtree(temporary, ignore_errors=True)
            if not folder.is_dir():
                raise
        return folder


def _leave_to_environment(python: Path) -> None:
    for folder in [python, *python.glob("lib/python3.*/site-packages")]:
        if not any(path.suffix in _COMPILED for path in folder.rglob("*")):
            continue
        for path in folder.iterdir():
            name = path.name.split(".")[0]
            if name not in ("lib", "triptych") and name.isidentifier() and importlib.util.find_spec(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
