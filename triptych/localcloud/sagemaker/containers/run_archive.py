"""Run a zip application or a folder with ``__main__.py``, as ``python PATH ARGUMENTS`` does."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    del sys.path[0]  # this file's own folder
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
