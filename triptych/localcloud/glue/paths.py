"""``s3://`` paths of one job run, for both engines: read in place, written to a staging area.

What a run writes is seen by itself at once and by others only when the run has succeeded and the gateway
adopts the staging area into the object store; a run that fails or is killed leaves nothing.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_MANIFEST = "writes.jsonl"
_GLOB_CHARACTERS = frozenset("*?[{")


class PathNotFound(Exception):
    """Nothing can be read at an ``s3://`` path."""


class PathAlreadyExists(Exception):
    """A writer in mode ``errorifexists`` met files at its path."""


@dataclass(frozen=True)
class StagedWrite:
    """One finished or unfinished write: the files below ``folder`` are to become ``s3://bucket/prefix/…``."""

    bucket: str
    prefix: str
    folder: str
    replace: bool

    def covers(self, key: str) -> bool:
        return key == self.prefix or key.startswith(f"{self.prefix}/") or not self.prefix


class JobPaths:
    """What one job run sees of S3: the objects below ``home_s3`` and, over them, its own writes."""

    def __init__(self, home_s3: Path, staging: Path) -> None:
        self.home_s3 = home_s3
        self.staging = staging
        self.writes: list[StagedWrite] = []
        self._numbers = itertools.count()

    def is_remote(self, path: str) -> bool:
        """Whether the path names S3 (``s3``, ``s3a`` and ``s3n`` do)."""
        return path.split("://", 1)[0] in ("s3", "s3a", "s3n") and "://" in path

    def read(self, uri: str) -> list[Path]:
        """The files below the path (a key, a prefix or a pattern), by key.

        As Spark has it, names that begin with ``_`` or ``.`` are not data. Raises PathNotFound.
        """
        bucket, key = split(uri)
        found = {name: path for name, path in self._visible(bucket, key) if not _is_hidden(name)}
        if not found:
            raise PathNotFound(
                f"Path does not exist: {uri}. Nothing is stored there in the local cloud; list it with "
                f"`aws s3 ls {uri.rsplit('/', 1)[0]}/`, and run the step that writes it first."
            )
        return [found[name] for name in sorted(found)]

    def has_staged(self, uri: str) -> bool:
        """Whether this run wrote something at, above or below the path."""
        bucket, key = split(uri)
        base = _before_pattern(key)
        return any(
            write.bucket == bucket and (write.covers(base) or write.prefix.startswith(base))
            for write in self.writes
        )

    def begin_write(self, uri: str, mode: str | None) -> Path | None:
        """The folder that a writer shall fill for this path; None when ``ignore`` finds files there.

        ``mode`` is one of Spark's: ``append``, ``overwrite``, ``ignore``, ``error`` or ``errorifexists``,
        which is the default.
        """
        bucket, key = split(uri)
        if not (self.home_s3 / bucket).is_dir():
            raise PathNotFound(f"Cannot write to {uri}: bucket {bucket!r} does not exist in the local cloud.")
        mode = (mode or "errorifexists").lower()
        if mode not in ("append", "overwrite", "ignore", "error", "errorifexists"):
            raise ValueError(f"save mode {mode!r}: use append, overwrite, ignore, error or errorifexists")
        if mode not in ("append", "overwrite") and any(self._visible(bucket, key)):
            if mode == "ignore":
                return None
            raise PathAlreadyExists(f"Path {uri} already exists; write with mode('overwrite') to replace it.")
        if mode == "overwrite":
            # What this run wrote there before is replaced before anyone else saw it.
            self.writes = [
                write
                for write in self.writes
                if not (
                    write.bucket == bucket and (write.prefix == key or write.prefix.startswith(f"{key}/"))
                )
            ]
        folder = self.staging / str(next(self._numbers))
        folder.mkdir(parents=True)
        self.writes.append(StagedWrite(bucket, key, str(folder), mode == "overwrite"))
        self._save()
        return folder

    def uri_of(self, path: Path) -> str:
        """The ``s3://`` name of a file that ``read`` answered."""
        for write in reversed(self.writes):
            if path.is_relative_to(write.folder):
                return "/".join(
                    filter(None, (f"s3://{write.bucket}", write.prefix, str(path.relative_to(write.folder))))
                )
        return f"s3://{path.relative_to(self.home_s3).as_posix()}"

    def _save(self) -> None:
        temporary = self.staging / f".{_MANIFEST}"
        temporary.write_text("".join(json.dumps(asdict(write)) + "\n" for write in self.writes))
        temporary.replace(self.staging / _MANIFEST)

    def _visible(self, bucket: str, key: str) -> Iterator[tuple[str, Path]]:
        """Key and file of everything at the path, this run's writes over what was there."""
        layers = [(self.home_s3 / bucket, "", False)] + [
            (Path(write.folder), write.prefix, write.replace)
            for write in self.writes
            if write.bucket == bucket
        ]
        pattern = key if _GLOB_CHARACTERS & set(key) else None
        base = _before_pattern(key)
        seen: dict[str, Path] = {}
        for root, prefix, replace in layers:
            if replace:
                seen = {
                    name: path
                    for name, path in seen.items()
                    if not (name == prefix or name.startswith(f"{prefix}/") or not prefix)
                }
            for name, path in _files(root, prefix, base):
                if _matches(name, key, pattern):
                    seen[name] = path
        yield from seen.items()


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` path, the key without slashes around it."""
    _, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not separator or not bucket:
        raise ValueError(f"not an S3 path: {uri!r} (s3://bucket/key)")
    return bucket, key.strip("/")


def staged_writes(staging: Path) -> list[StagedWrite]:
    """What a finished run wrote, in its order."""
    manifest = staging / _MANIFEST
    if not manifest.exists():
        return []
    return [StagedWrite(**json.loads(line)) for line in manifest.read_text().splitlines()]


def _files(root: Path, prefix: str, base: str) -> Iterator[tuple[str, Path]]:
    """Files of one layer whose keys begin with ``base``; ``root`` holds the keys below ``prefix``."""
    if prefix and not (base == prefix or base.startswith(f"{prefix}/") or prefix.startswith(base)):
        return
    inside = base[len(prefix) :].lstrip("/") if prefix and base.startswith(prefix) else base
    if prefix and not base.startswith(prefix):
        inside = ""
    start = root / inside
    if start.is_file():
        yield "/".join(filter(None, (prefix, inside))), start
        return
    for folder, folders, names in os.walk(start):  # nothing, when there is no such folder
        folders.sort()
        for name in names:
            path = Path(folder) / name
            yield "/".join(filter(None, (prefix, path.relative_to(root).as_posix()))), path


def _before_pattern(key: str) -> str:
    """The longest parent of the key that holds no pattern."""
    parts: list[str] = []
    for part in key.split("/"):
        if _GLOB_CHARACTERS & set(part):
            break
        parts.append(part)
    return "/".join(parts)


def _matches(name: str, key: str, pattern: str | None) -> bool:
    if pattern is None:
        return not key or name == key or name.startswith(f"{key}/")
    wanted = pattern.split("/")
    return _match_parts(name.split("/"), wanted)


def _match_parts(name: Sequence[str], pattern: Sequence[str]) -> bool:
    """A pattern matches whole path parts; what lies below a matched folder belongs to it."""
    return len(name) >= len(pattern) and all(
        any(fnmatch.fnmatchcase(part, one) for one in _braces(wanted))
        for part, wanted in zip(name, pattern, strict=False)
    )


def _braces(part: str) -> list[str]:
    """``{a,b}`` as Hadoop's globs have it, one level deep."""
    before, brace, rest = part.partition("{")
    if not brace:
        return [part]
    inside, _, after = rest.partition("}")
    return [f"{before}{choice}{after}" for choice in inside.split(",")]


def _is_hidden(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith(("_", "."))
