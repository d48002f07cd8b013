"""Hide the project's own modules from a job, so that what its archive brings is what runs.

On AWS only the zip is there. A job that finds ``triptych.core`` in the checkout instead of in its own archive
would pass here and fail there.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PACKAGE = __name__.split(".")[0]
_ROOT = str(Path(__file__).resolve().parents[3])


class _ArchiveOnlyFinder:
    """Finds the package ``triptych`` anywhere but where the local cloud itself was imported from."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _PACKAGE:
            return None
        elsewhere = [entry for entry in sys.path if entry != _ROOT]
        spec = PathFinder.find_spec(name, elsewhere, target)
        if spec is None:
            raise ModuleNotFoundError(
                f"No module named {name!r}: the job's own archive or layer must bring it, as on AWS",
                name=name,
            )
        return spec


def hide_project() -> None:
    """Forget the project's modules and how to find them; running code keeps its references."""
    site_packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    sys.path[:] = [entry for entry in sys.path if entry and (entry != _ROOT or entry in site_packages)]
    sys.path[:] = [entry for entry in sys.path if not entry.startswith("__editable__")]
    for name in [name for name in sys.modules if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")]:
        del sys.modules[name]
    finder: object = _ArchiveOnlyFinder
    sys.meta_path[:] = [finder] + [  # type: ignore[assignment]
        finder for finder in sys.meta_path if not _is_editable_install(finder)
    ]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if not _is_editable_install(hook)]
    sys.path_importer_cache.clear()


def prefer(python_path: Sequence[str]) -> None:
    """Put ``python_path`` first, and forget what the fork server has loaded under the names found there.

    A package that holds compiled modules there is not forgotten: it cannot be loaded twice.
    """
    sys.path[:0] = python_path
    for entry in python_path:
        for top in _top_level_names(entry) - sys.stdlib_module_names:
            loaded = [name for name in sys.modules if name == top or name.startswith(f"{top}.")]
            if loaded and not any(Path(entry, top).rglob("*.so")):
                for name in loaded:
                    del sys.modules[name]


def _top_level_names(entry: str) -> set[str]:
    if os.path.isdir(entry):
        names = set(os.listdir(entry))
    elif zipfile.is_zipfile(entry):
        with zipfile.ZipFile(entry) as archive:
            names = {name.split("/")[0] for name in archive.namelist()}
    else:
        names = set()
    return {name.removesuffix(".py") for name in names}


def _is_editable_install(finder: object) -> bool:
    module = getattr(finder, "__module__", None) or ""
    return module.startswith(f"__editable___{_PACKAGE}")
