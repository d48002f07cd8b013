"""The files below ``home.s3``: staging, linking, placing and pruning. Knows nothing of the index."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from triptych.localcloud.s3.names import natural_path, odd_name
from triptych.localcloud.service import ServiceError

STAGING = ".uploads"
VERSIONS = ".versions"
ODD = ".odd"
_HASH_CHUNK_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FileArea:
    """Paths here are relative to ``root`` unless they are ``Path`` objects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (STAGING, VERSIONS, ODD):
            (root / name).mkdir(parents=True, exist_ok=True)
        self._tells_case_apart = not self._folds_case()

    def _folds_case(self) -> bool:
        probe = self.root / STAGING / f"case-{uuid4().hex}"
        probe.touch()
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()

    def absolute(self, relative: str) -> str:
        return f"{self.root}/{relative}"

    def new_staging(self) -> Path:
        """A path in the staging area that nothing has yet."""
        return self.root / STAGING / f"put-{uuid4().hex}"

    def new_version(self, bucket: str) -> str:
        """A relative path for a version that is no longer current; its folder exists."""
        name = uuid4().hex
        folder = f"{VERSIONS}/{bucket}/{name[:2]}"
        os.makedirs(self.absolute(folder), exist_ok=True)
        return f"{folder}/{name}"

    def target(self, bucket: str, key: str, owned: str | None) -> str:
        """Where the current version of ``key`` goes; its folder exists.

        ``owned`` is where it stands now. The key itself is the path wherever that can be: not where it is no
        path at all, where another object's file or folder is in the way (``a`` and ``a/b``), or where the
        file system takes two keys for one name (upper and lower case on macOS).
        """
        natural = natural_path(key)
        if natural is not None:
            path = f"{bucket}/{natural}"
            if path == owned:
                return path
            absolute = self.absolute(path)
            try:
                os.makedirs(os.path.dirname(absolute), exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                pass
            else:
                if not os.path.lexists(absolute) or (self._tells_case_apart and not os.path.isdir(absolute)):
                    return path
        os.makedirs(self.absolute(f"{ODD}/{bucket}"), exist_ok=True)
        return f"{ODD}/{bucket}/{odd_name(key)}"

    def link(self, source: str, target: str) -> None:
        """A second name for a file; a copy where the file system has no hard links."""
        try:
            os.link(self.absolute(source), self.absolute(target))
        except FileExistsError:
            raise
        except OSError:
            shutil.copyfile(self.absolute(source), self.absolute(target))

    def move(self, source: str, target: str) -> None:
        """Replace ``target`` by ``source``; when ``source`` is gone it has been done before."""
        with suppress(FileNotFoundError):
            os.replace(self.absolute(source), self.absolute(target))
            # An object copied to itself: renaming one name of a file to another of its names does nothing.
            os.unlink(self.absolute(source))

    def remove(self, relative: str) -> None:
        """Unlink the file, then the folders above it that are now empty, up to the bucket's own."""
        try:
            os.unlink(self.absolute(relative))
        except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError):
            if os.path.isfile(self.absolute(relative)):
                raise
        folder = os.path.dirname(relative)
        while folder.count("/") >= 1:
            try:
                os.rmdir(self.absolute(folder))
            except OSError:
                return
            folder = os.path.dirname(folder)

    def remove_bucket(self, bucket: str) -> None:
        """Remove what folders the bucket left behind; a file that is no object is left alone."""
        for base in (bucket, f"{VERSIONS}/{bucket}", f"{ODD}/{bucket}"):
            for folder, _, _ in os.walk(self.absolute(base), topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)

    def take(self, source: Path, *, move: bool) -> Path:
        """Bring a file into the staging area: renamed, or copied when it must stay or is on another disk."""
        staged = self.new_staging()
        if move:
            try:
                os.rename(source, staged)
                return staged
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        try:
            shutil.copyfile(source, staged)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        if move:
            source.unlink()
        return staged

    def sweep(self, keep: frozenset[str]) -> None:
        """Delete what unfinished writes left in the staging area, but for the relative paths in ``keep``."""
        for folder, _, names in os.walk(self.root / STAGING, topdown=False):
            for name in names:
                if os.path.relpath(os.path.join(folder, name), self.root) not in keep:
                    os.unlink(os.path.join(folder, name))
            if folder != str(self.root / STAGING):
                with suppress(OSError):
                    os.rmdir(folder)


def md5_of(path: Path) -> str:
    """The file's MD5 as hex, which is the ETag of an object written in one piece."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(_HASH_CHUNK_BYTES)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turns a full or unwritable disk into an answer that names the folder and the way out."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = "is full" in str(error) if isinstance(error, sqlite3.Error) else error.errno in _FULL
        if not full:
            raise
        raise ServiceError(
            "InsufficientStorage",
            f"The disk that holds {root} is full; nothing was stored. "
            "Free some space and send the request again.",
            507,
        ) from error
