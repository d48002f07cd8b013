"""The README's commands, run as they stand there, in a small project after its first run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import CHECKOUT, shell_blocks
from tests.docs.test_documents import PLACEHOLDER
from tests.pipeline.project import Project

pytestmark = [pytest.mark.cloud]

STOPS = ".venv/bin/triptych down"


def runnable(text: str) -> bool:
    """What is installed into .venv and names no placeholder; make and the deployment to AWS are only checked."""
    return ".venv/bin/" in text and not PLACEHOLDER.search(re.sub(r"'[^']*'", "", text)) and text != STOPS


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A run has been made; the files that the README speaks of are there."""
    project = Project(tmp_path / "checkout")
    try:
        project.triptych("up", "--port", "0")
        summary = project.run()
        # the month's upload shall not start a second run beside those of the commands
        project.client("events").disable_rule(Name=project.outputs()["UploadRuleName"])
        (project.root / "row.csv").write_text(summary["deployment"]["test"]["sample"]["features"])
        december = project.home / "s3" / project.outputs()["DataBucket"] / "raw" / "flights" / "2013-12.csv"
        january = december.read_bytes().replace(b"2013,12,", b"2014,1,")
        (project.root / "2014-01.csv").write_bytes(january)
        (project.root / ".venv").symlink_to(sys.prefix)
        yield project
    finally:
        project.triptych("down", code=None)


def shell(project: Project, script: str) -> str:
    """Run a script as a person's shell would; a failing line fails the test with what it said."""
    ambient = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TRIPTYCH_"))}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=project.root,
        env={**ambient, "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_commands_do_what_the_readme_says(project: Project) -> None:
    blocks = [
        [command.text for command in block if runnable(command.text)]
        for block in shell_blocks(CHECKOUT / "README.md")
    ]
    printed = ["".join(shell(project, "\n".join(block))) for block in blocks if block]
    assert len(printed) >= 2, "the README shows how to look at runs and how to use an AWS client"
    everything = "\n".join(printed)
    assert "nothing new" in everything, "--if-new ends early"
    assert "✓ Train model" in everything
    assert "triptych-flights-local-pipeline" in everything, "the AWS CLI lists the state machines"
    assert 0 < float((project.root / "answer.txt").read_text()) < 1
    uploaded = project.client("s3").list_objects_v2(
        Bucket=project.outputs()["DataBucket"], Prefix="raw/flights/2014-01"
    )
    assert uploaded["KeyCount"] == 1
    assert "stopped" in shell(project, STOPS)
    assert STOPS in (CHECKOUT / "README.md").read_text()
