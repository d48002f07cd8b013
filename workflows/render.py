"""Render the definitions to ``rendered/<machine>.asl.json``: ``python -m workflows.render [--check]``.

The rendered files are committed and are what the template deploys, on AWS and on the laptop; ``--check`` says
which of them differ from what the definitions give, and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

MACHINES = ("data_engineering", "model", "deployment", "pipeline")
RENDERED = Path(__file__).with_name("rendered")


def definitions() -> dict[str, dict[str, Any]]:
    """Every machine's definition by name. Importing the SDK takes seconds, so it is done here only."""
    from workflows import data_engineering, deployment, model, pipeline

    return {
        "data_engineering": data_engineering.build(),
        "model": model.build(),
        "deployment": deployment.build(),
        "pipeline": pipeline.build(),
    }


def as_text(definition: dict[str, Any]) -> str:
    """The committed form: indented, with the states in the order in which they are reached."""
    return json.dumps(definition, indent=2, ensure_ascii=False) + "\n"


def path_of(machine: str) -> Path:
    """Where a machine's rendered definition is."""
    return RENDERED / f"{machine}.asl.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workflows.render", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 when a file is out of date"
    )
    options = parser.parse_args(arguments)
    stale = []
    for machine, definition in definitions().items():
        path, text = path_of(machine), as_text(definition)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if options.check and stale:
        print(
            f"out of date: {', '.join(stale)}; run `python -m workflows.render` and commit the result",
            file=sys.stderr,
        )
        return 1
    print(f"{'nothing changed' if not stale else 'wrote ' + ', '.join(stale)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
