"""What the tests read out of Markdown: commands in fenced blocks, links, headings, paths in backticks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PLACEHOLDER = re.compile(r"/N[A-Z]+")
_COMMENT = re.compile(r"\s+#\s.*$")


@dataclass(frozen=True)
class Command:
    """One shell command of a document, without its comment; lines ended by a backslash are joined."""

    document: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}: {self.text}"


def documents() -> list[Path]:
    """README, CONTRIBUTING, CHANGELOG, and everything below docs/."""
    return sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])


def shell_blocks(document: Path) -> list[list[Command]]:
    """The commands of each block marked ``sh``; a block without a language counts where its lines call make."""
    found = []
    for language, body in _FENCE.findall(document.read_text()):
        if language in ("sh", "bash") or (not language and body.startswith("make ")):
            lines = re.sub(r"\\\n\s*", "", body).splitlines()
            name = str(document.relative_to(CHECKOUT))
            texts = (_COMMENT.sub("", line).strip() for line in lines)
            found.append([Command(name, text) for text in texts if text and not text.startswith("#")])
    return found


def commands() -> list[Command]:
    """All commands of all documents."""
    return [command for path in documents() for block in shell_blocks(path) for command in block]


def prose(document: Path) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", document.read_text())


def links(document: Path) -> Iterator[str]:
    """Targets of links and images."""
    yield from _LINK.findall(_CODE.sub("", prose(document)))


def anchors(document: Path) -> set[str]:
    """The headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(document: Path) -> Iterator[str]:
    """Paths of this repository in backticks: they begin with a folder of it and hold no placeholder."""
    tops = {path.name for path in CHECKOUT.iterdir() if path.is_dir()} - {"build"}
    for code in _CODE.findall(prose(document)):
        is_path = "/" in code and re.fullmatch(r"[\w./*-]+", code) and not _PLACEHOLDER.search(code)
        if is_path and code.split("/")[0] in tops:
            yield code
