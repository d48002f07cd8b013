"""Keep each notebook and its text the same: ``NAME.py`` (percent format) is what is read and reviewed.

    python notebooks/pair.py                 # write NAME.ipynb from NAME.py
    python notebooks/pair.py --from-ipynb    # after an edit in Jupyter: NAME.py from NAME.ipynb, outputs stripped
    python notebooks/pair.py --check         # exit code 1 where a pair differs

In the text, ``# %%`` begins a code cell and ``# %% [markdown]`` a cell whose lines are comments.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_MARK = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def texts(folder: Path) -> list[Path]:
    """The notebooks' texts: their names begin with a number."""
    return sorted(folder.glob("[0-9]*.py"))


def to_notebook(text: str) -> dict[str, Any]:
    """The notebook (nbformat 4.5) of a text; raises ValueError where code stands before the first mark."""
    before, *parts = _MARK.split(text)
    if before.strip():
        raise ValueError(f"a text begins with '# %%', not with {before.splitlines()[0]!r}")
    cells: list[dict[str, Any]] = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip("\n").split("\n")
        cell: dict[str, Any] = {"cell_type": "code", "id": f"cell-{len(cells) + 1:02}", "metadata": {}}
        if kind:
            cell["cell_type"] = "markdown"
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        else:
            cell |= {"execution_count": None, "outputs": []}
        cell["source"] = "\n".join(lines).splitlines(keepends=True)
        cells.append(cell)
    return {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}


def to_text(notebook: dict[str, Any]) -> str:
    """The text of a notebook; outputs and counts are left out."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            source = "\n".join(f"# {line}".rstrip() for line in source.split("\n"))
        parts.append(f"# %%{' [markdown]' if cell['cell_type'] == 'markdown' else ''}\n{source}\n")
    return "\n".join(parts)


def rendered(notebook: dict[str, Any]) -> str:
    """A notebook as the file's text."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(argv: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(description="Keep each notebook and its text the same.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a pair differs")
    which.add_argument("--from-ipynb", action="store_true", help="write the texts from the notebooks")
    arguments = parser.parse_args(argv)
    if arguments.from_ipynb:
        for path in sorted(folder.glob("*.ipynb")):
            path.with_suffix(".py").write_text(to_text(json.loads(path.read_text())))
    differing = []
    for path in texts(folder):
        pair, wanted = path.with_suffix(".ipynb"), rendered(to_notebook(path.read_text()))
        if pair.is_file() and pair.read_text() == wanted:
            continue
        differing.append(pair.name)
        if not arguments.check:
            pair.write_text(wanted)
    if arguments.check and differing:
        print(f"{', '.join(differing)}: not what the text says; run `make notebooks`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
