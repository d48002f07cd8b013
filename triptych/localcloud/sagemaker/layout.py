"""The container's ``/opt/ml`` as a folder of the job's own: there is no root here to make the real one."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triptych.localcloud.cloud import Settings
from triptych.localcloud.sagemaker.errors import JobRefused

CONTAINER_ROOT = "/opt/ml"
_PREFIX = re.compile(r"(?<![\w.-])(?<![^/]/)/opt/ml(?=/|$|[\s:;,'\"])")


class Layout:
    """A job's scratch folder; ``root`` stands for ``/opt/ml``, ``code`` for the unpacked source."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.root = scratch / "opt" / "ml"

    def create(self) -> None:
        """An empty folder, whatever an earlier job of that name left."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.root.mkdir(parents=True)
        (self.scratch / "tmp").mkdir()

    def remove(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def path(self, container_path: str) -> Path:
        """Where a path of the container is here; raises JobRefused for one outside ``/opt/ml``."""
        normal = os.path.normpath(container_path)
        if normal != CONTAINER_ROOT and not normal.startswith(f"{CONTAINER_ROOT}/"):
            raise JobRefused(
                f"ClientError: the local path '{container_path}' is not below {CONTAINER_ROOT}; "
                "SageMaker and the "
                "local cloud give a job folders below it only."
            )
        return self.root / os.path.relpath(normal, CONTAINER_ROOT)

    def rewrite(self, text: str) -> str:
        """``text`` with each path below ``/opt/ml`` replaced by its place here."""
        return _PREFIX.sub(lambda _: str(self.root), text)

    def rewrite_all(self, texts: Sequence[str]) -> list[str]:
        return [self.rewrite(text) for text in texts]

    def write_json(self, container_path: str, value: Any) -> None:
        path = self.path(container_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, default=str))

    def folder(self, container_path: str) -> Path:
        """The folder, made."""
        path = self.path(container_path)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def read_message(self, container_path: str, limit: int = 1024) -> str:
        """The text a job left, such as ``/opt/ml/output/failure``; empty when it left none."""
        path = self.path(container_path)
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace").strip()


def base_environment(settings: Settings, scratch: Path) -> dict[str, str]:
    """What every process gets: a PATH with our Python first, and AWS clients that come to this cloud."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {
        "PATH": path,
        "HOME": os.environ.get("HOME", str(scratch)),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TMPDIR": str(scratch / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    if settings.runtime_endpoint_url:
        environment["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = settings.runtime_endpoint_url
    return environment


def unpack(archive: Path, folder: Path, what: str) -> None:
    """Unpack a .tar.gz below ``folder``, refusing members that would leave it; raises JobRefused."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise JobRefused(f"ClientError: {what} is not a readable .tar.gz archive: {error}") from error


def pack(folder: Path, archive: Path) -> None:
    """Write ``folder``'s content as a .tar.gz; the quickest level, since it stays on this disk."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)


def has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))


def json_text(value: Any) -> str:
    """Compact JSON, as the ``SM_*`` variables hold it."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, default=str)


def with_environment(base: dict[str, str], extra: Mapping[str, str] | None, layout: Layout) -> dict[str, str]:
    """The base environment with the request's own variables, their ``/opt/ml`` paths rewritten."""
    return base | {key: layout.rewrite(value) for key, value in (extra or {}).items()}
