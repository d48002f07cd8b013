"""``getResolvedOptions``: a job's arguments by name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

_RESERVED = ("job-bookmark-option", "job-bookmark-from", "job-bookmark-to", "continuation-option")


class GlueArgumentError(Exception):
    """An argument that the script asks for is missing."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise GlueArgumentError(message)


def getResolvedOptions(args: Sequence[str], options: Sequence[str]) -> dict[str, str]:
    """The values of ``options`` in ``args`` (``sys.argv``), given as ``--name value`` or ``--name=value``.

    Other arguments are left alone. Raises GlueArgumentError when one is missing.
    """
    parser = _Parser(add_help=False)
    for name in options:
        if name in _RESERVED:
            raise RuntimeError(f"Using reserved arguments --{name}")
        # Glue resolves TempDir even where the job has none.
        parser.add_argument(f"--{name}", required=name not in ("TempDir", "RedshiftTempDir"))
    resolved, _ = parser.parse_known_args(list(args[1:]))
    return vars(resolved)
