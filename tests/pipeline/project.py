"""A checkout for the pipeline tests: the real one with a twentieth of the flights and lower gates."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
PARTS = (
    "cloudformation",
    "workflows/rendered",
    "lambdas",
    "glue_jobs",
    "sagemaker_jobs",
    "usecases",
    "triptych",
)
SAMPLE = '''"""Every twentieth flight of the shipped sample, and all of the other tables."""

import importlib.util
from pathlib import Path

spec = importlib.util.spec_from_file_location("whole_sample", Path(__file__).with_name("whole_sample.py"))
whole = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole)


def write_raw(folder):
    for path in whole.write_raw(folder):
        if path.parent.name == "flights":
            header, *lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(header + b"".join(lines[::20]))
'''


class Project:
    """A project folder with its home; ``triptych`` runs commands in it."""

    def __init__(self, root: Path, use_case: str = "flights") -> None:
        self.root = root
        self.use_case = use_case
        self.home = root / ".triptych"
        for part in PARTS:
            shutil.copytree(
                CHECKOUT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "localcloud")
            )
        if use_case != "flights":
            return
        folder = root / "usecases" / "flights"
        (folder / "sample.py").rename(folder / "whole_sample.py")
        (folder / "sample.py").write_text(SAMPLE)
        self.change_contract(
            ("{metric: auc, split: test, min: 0.73}", "{metric: auc, split: test, min: 0.5}"),
            ("num_round: 200", "num_round: 20"),
        )

    @property
    def contract(self) -> Path:
        return self.root / "usecases" / self.use_case / "contract.yaml"

    def change_contract(self, *changes: tuple[str, str]) -> None:
        text = self.contract.read_text()
        for old, new in changes:
            assert old in text, f"the contract has no {old!r}"
            text = text.replace(old, new)
        self.contract.write_text(text)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "triptych.cli", *words, "--home", str(self.home)]

    def triptych(
        self, *words: str, code: int | None = 0, timeout_seconds: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``code`` is the exit code that it must have."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """``triptych run`` to its end; the summary."""
        done = self.triptych("run", self.use_case, "--json", *words, code=code)
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def environment(self) -> dict[str, str]:
        """What points an AWS client at this project's cloud."""
        exports: dict[str, str] = json.loads(self.triptych("env", "--json").stdout)
        return exports

    def aws(self, *words: str) -> str:
        """Run PyPI's AWS CLI; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "awscli", *words],
            env={**os.environ, **self.environment(), "AWS_PAGER": ""},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, service: str) -> Any:
        """A boto3 client."""
        import boto3

        exports = self.environment()
        return boto3.client(
            service,
            endpoint_url=exports["AWS_ENDPOINT_URL"],
            region_name=exports["AWS_REGION"],
            aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        )

    def outputs(self) -> dict[str, str]:
        """The root stack's outputs."""
        stack = self.client("cloudformation").describe_stacks(StackName=f"triptych-{self.use_case}-local")[
            "Stacks"
        ][0]
        return {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]}

    def kill_cloud(self) -> None:
        """kill -9 of the gateway."""
        status = json.loads(self.triptych("status", "--json").stdout)
        os.kill(status["pid"], signal.SIGKILL)
        wait_until(lambda: self.triptych("status", code=None).returncode == 3, "the gateway is gone")

    def runs(self) -> list[dict[str, Any]]:
        """``triptych runs``, newest first."""
        found: list[dict[str, Any]] = json.loads(
            self.triptych("runs", "--use-case", self.use_case, "--json").stdout
        )
        return found

    def predict(self, row: str) -> float:
        """One prediction of the endpoint that serves."""
        answer = self.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=self.outputs()["EndpointName"], ContentType="text/csv", Body=row
        )
        return float(answer["Body"].read().decode().strip())


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = 180) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_seconds:g} s in vain until {what}"
        time.sleep(0.1)
