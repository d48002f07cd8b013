"""Start the model server: ``python serve.py``, or the own container's ``serve`` command."""

from __future__ import annotations

import sys

from triptych_serve.server import main

if __name__ == "__main__":
    sys.exit(main())
