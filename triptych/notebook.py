"""What a notebook needs to work with the local cloud: a place, the command line, and pages below a cell."""

from __future__ import annotations

import os
import shlex
from html import escape
from pathlib import Path

from triptych import cli
from triptych.place import Place, default_home, find_project


class CommandEnded(Exception):
    """A command did not succeed; what it said stands above the message."""


def triptych(line: str) -> None:
    """Run a command as in a shell, ``triptych("up flights")``; raises CommandEnded unless it succeeds."""
    code = cli.main(shlex.split(line))
    if code:
        raise CommandEnded(f"`triptych {line}` ended with exit code {code}; what it said is above")


def connect(start: Path | None = None) -> Place:
    """The running local cloud of the checkout around ``start`` (default: the working folder).

    Points every AWS client that this process makes from now on at it. Raises CommandFailed when none runs.
    """
    project = find_project(start)
    place = Place(project, default_home(project))
    place.use_running_gateway()
    os.environ.update(place.exports())
    return place


class Page:
    """A whole HTML page below a cell, in a frame: its styles stay its own. ``height`` is in pixels."""

    def __init__(self, html: str | bytes, height: int = 420) -> None:
        self.html = html.decode() if isinstance(html, bytes) else html
        self.height = height

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" sandbox '
            f'style="width:100%;height:{self.height}px;border:0"></iframe>'
        )
