"""A Lambda function's modules as they import each other there: by plain names, from the function's own folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

LAMBDAS = Path(__file__).parents[2] / "lambdas"


def load_function(name: str) -> SimpleNamespace:
    """The modules of ``lambdas/<name>``; other functions' modules of the same names stay apart."""
    stems = [path.stem for path in sorted((LAMBDAS / name).glob("*.py"))]
    others = {stem: sys.modules.pop(stem) for stem in stems if stem in sys.modules}
    sys.path.insert(0, str(LAMBDAS / name))
    try:
        return SimpleNamespace(**{stem: importlib.import_module(stem) for stem in stems})
    finally:
        sys.path.remove(str(LAMBDAS / name))
        for stem in stems:
            sys.modules.pop(stem, None)
        sys.modules.update(others)
