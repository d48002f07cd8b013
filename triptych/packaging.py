"""Build what is deployed: Lambda zips, the core layer, Glue's libraries and SageMaker's source archives.

The same source gives the same bytes, so that a hash tells whether anything changed: entries are sorted,
carry a fixed time and fixed permissions, and caches are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}


class SourceMissing(Exception):
    """A folder that must be packaged is not there."""


@dataclass(frozen=True)
class Build:
    """Where the archives of one build are."""

    folder: Path
    lambdas: dict[str, Path]
    core_layer: Path
    libs: Path
    sagemaker: dict[str, Path]
    contract: Path

    def fingerprint(self) -> str:
        """SHA-256 over every archive and the contract: equal when nothing that is deployed differs."""
        digest = hashlib.sha256()
        for path in [
            *self.lambdas.values(),
            self.core_layer,
            self.libs,
            *self.sagemaker.values(),
            self.contract,
        ]:
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def build(project: Path, use_case: str, folder: Path | None = None) -> Build:
    """Write all archives of ``project`` below ``folder`` (``build/`` by default)."""
    folder = folder or project / "build"
    contract = project / "usecases" / use_case / "contract.yaml"
    if not contract.is_file():
        known = sorted(path.parent.name for path in (project / "usecases").glob("*/contract.yaml"))
        raise SourceMissing(
            f"use case '{use_case}' has no {contract}; known use cases: {', '.join(known) or 'none'}"
        )
    core = [
        ("triptych/__init__.py", project / "triptych" / "__init__.py"),
        *_tree(project / "triptych" / "core", "triptych/core"),
    ]
    return Build(
        folder=folder,
        lambdas={
            source.name: _zip(folder / "lambdas" / f"{source.name}.zip", _tree(source, ""))
            for source in _sources(project / "lambdas", "handler.py")
        },
        core_layer=_zip(folder / "layers" / "core.zip", [(f"python/{name}", path) for name, path in core]),
        libs=_zip(
            folder / "libs.zip",
            [
                *core,
                *_tree(project / "glue_jobs" / "lib", "glue_lib"),
                *_tree(project / "usecases" / use_case, f"usecases/{use_case}"),
            ],
        ),
        sagemaker={
            source.name: _sagemaker_source(folder / "sagemaker", source, core)
            for source in _sources(project / "sagemaker_jobs", "*.py")
        },
        contract=contract,
    )


def _sagemaker_source(folder: Path, source: Path, core: list[tuple[str, Path]]) -> Path:
    """A source archive for script mode; a program (``__main__.py``) as an archive that Python runs."""
    entries = [*_tree(source, ""), *core]
    if (source / "__main__.py").is_file():
        return _zip(folder / f"{source.name}.pyz", entries)
    return _tar(folder / f"{source.name}.tar.gz", entries)


def _sources(folder: Path, marker: str) -> Iterator[Path]:
    """The folders below ``folder`` that hold a file like ``marker``."""
    if not folder.is_dir():
        raise SourceMissing(f"{folder} is not there; run this from the project's checkout")
    for source in sorted(folder.iterdir()):
        if source.is_dir() and source.name not in _LEFT_OUT and any(source.glob(marker)):
            yield source


def _tree(folder: Path, prefix: str) -> list[tuple[str, Path]]:
    entries = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        for name in files:
            if name not in _LEFT_OUT and not name.endswith(".pyc"):
                path = Path(root, name)
                relative = path.relative_to(folder).as_posix()
                entries.append((f"{prefix}/{relative}" if prefix else relative, path))
    return entries


def _zip(target: Path, entries: Iterable[tuple[str, Path]]) -> Path:
    entries = sorted(entries)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        # Python finds a package without __init__.py in an archive only by its folder's own entry.
        for folder in sorted({parent for name, _ in entries for parent in PurePosixPath(name).parents}):
            if folder.name:
                archive.writestr(zipfile.ZipInfo(f"{folder}/", _EPOCH), b"")
        for name, path in entries:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    return _write_if_changed(target, data.getvalue())


def _tar(target: Path, entries: Iterable[tuple[str, Path]]) -> Path:
    data = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=data, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, path in sorted(entries):
            content = path.read_bytes()
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o644, 0
            archive.addfile(info, io.BytesIO(content))
    return _write_if_changed(target, data.getvalue())


def _write_if_changed(target: Path, content: bytes) -> Path:
    """Write atomically, and not at all when the bytes are there already (so two builds at once agree)."""
    if not (target.is_file() and target.read_bytes() == content):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(target)
    return target
