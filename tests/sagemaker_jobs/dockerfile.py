"""The own image's Dockerfile as data, and the image that its instructions make, carried out without Docker.

Only ``/opt`` is the image's own: each instruction sees a folder there, by a mount of its own, and the rest of this
machine around it. The base image's Python is stood in for by a fresh virtual environment with pip.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_IN_A_NAMESPACE = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--map-root-user", "--mount-proc"]


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


@dataclass
class Stage:
    """What follows a FROM; ``name`` is its AS."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)

    def texts(self, name: str) -> list[str]:
        return [each.text for each in self.instructions if each.name == name]


@dataclass(frozen=True)
class Copy:
    sources: tuple[str, ...]
    target: str
    stage: str | None


def read(path: Path) -> tuple[dict[str, str], list[Stage]]:
    """The global arguments with their defaults, and the stages."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, text = line.strip().split(maxsplit=1)
        if name == "FROM":
            base, _, stage = text.partition(" AS ")
            stages.append(Stage(base, stage or None))
        elif stages:
            stages[-1].instructions.append(Instruction(name, text))
        else:
            assert name == "ARG", f"{name} before the first FROM"
            key, _, default = text.partition("=")
            arguments[key] = default
    return arguments, stages


def copy_of(text: str) -> Copy:
    """What a COPY asks for."""
    words = shlex.split(text)
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    assert not any(word.startswith("--") for word in words), f"COPY {text}: an option that nothing here knows"
    return Copy(tuple(words[:-1]), words[-1], stage)


def ignored(context: Path, ignore_file: Path) -> set[str]:
    """The context's files, as relative names, that the build does not get to see."""
    patterns = [line for line in ignore_file.read_text().splitlines() if line and not line.startswith("#")]
    return {
        path.relative_to(context).as_posix()
        for path in context.rglob("*")
        for pattern in patterns
        if _matches(path.relative_to(context).as_posix(), pattern)
    }


def _matches(name: str, pattern: str) -> bool:
    parts = name.split("/")
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts)
    return any(fnmatch.fnmatch("/".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


@cache
def namespaces_allowed() -> bool:
    """Whether this machine lets a process have a mount and a process namespace of its own."""
    try:
        tried = subprocess.run(
            [*_IN_A_NAMESPACE, "mount", "--bind", "/tmp", "/opt"],
            capture_output=True,
            timeout=30,
            check=False,
        )
    except OSError:
        return False
    return tried.returncode == 0


@dataclass
class Image:
    """A stage's outcome: the folder that is ``/opt`` in it, and its environment."""

    opt: Path
    environment: dict[str, str]
    folder: str = "/"
    command: list[str] = field(default_factory=list)

    def words(self, *command: str, ml: Path | None = None) -> list[str]:
        """The command line that runs ``command`` as process 1 of a container, ``ml`` as its ``/opt/ml``."""
        script = f"mount --bind {shlex.quote(str(self.opt))} /opt"
        if ml is not None:
            script += f" && mount --bind {shlex.quote(str(ml))} /opt/ml"
        script += f' && cd {shlex.quote(self.folder)} && exec "$@"'
        return [*_IN_A_NAMESPACE, "/bin/sh", "-c", script, "sh", *command]

    def run(self, *command: str, ml: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            self.words(*command, ml=ml), env=self.environment, capture_output=True, text=True, check=False
        )


def build(dockerfile: Path, context: Path, work: Path) -> Image:
    """Carry out the Dockerfile's instructions, all of them, in their order; the last stage's image."""
    seed = work / "base"
    subprocess.run([os.path.realpath(sys.executable), "-m", "venv", str(seed)], check=True)
    hidden = ignored(context, dockerfile.with_name(dockerfile.name + ".dockerignore"))
    made: dict[str, Image] = {}
    _, stages = read(dockerfile)
    image = None
    for number, stage in enumerate(stages):
        opt = work / f"stage-{number}"
        (opt / "ml").mkdir(parents=True)
        image = Image(opt, {"PATH": f"{seed}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(work)})
        for instruction in stage.instructions:
            _carry_out(instruction, image, context, hidden, made)
        made[stage.name or str(number)] = image
    assert image is not None, f"{dockerfile} has no FROM"
    return image


def _carry_out(
    instruction: Instruction, image: Image, context: Path, hidden: set[str], made: dict[str, Image]
) -> None:
    match instruction.name:
        case "COPY":
            _copy(copy_of(instruction.text), image, context, hidden, made)
        case "RUN":
            done = image.run("/bin/sh", "-c", instruction.text)
            assert done.returncode == 0, f"RUN {instruction.text}\n{done.stdout}\n{done.stderr}"
        case "ENV":
            for word in shlex.split(instruction.text):
                name, _, value = word.partition("=")
                image.environment[name] = re.sub(
                    r"\$\{(\w+)\}", lambda found: image.environment[found[1]], value
                )
        case "WORKDIR":
            image.folder = instruction.text
        case "CMD":
            image.command = json.loads(instruction.text)
        case "LABEL" | "EXPOSE":
            pass
        case other:
            raise AssertionError(f"nothing here knows what {other} does")


def _copy(copy: Copy, image: Image, context: Path, hidden: set[str], made: dict[str, Image]) -> None:
    target = image.opt / copy.target.removeprefix("/opt/")
    for source in copy.sources:
        found = made[copy.stage].opt / source.removeprefix("/opt/") if copy.stage else context / source
        if found.is_dir():
            shutil.copytree(
                found,
                target,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=None if copy.stage else _hiding(context, hidden),
            )
            continue
        place = target / found.name if copy.target.endswith("/") else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(found, place)


def _hiding(context: Path, hidden: set[str]) -> Callable[[str, list[str]], set[str]]:
    def left_out(folder: str, names: list[str]) -> set[str]:
        below = Path(folder).relative_to(context)
        return {name for name in names if (below / name).as_posix() in hidden}

    return left_out
