"""Behaviour recorded on AWS, replayed; the recordings lie beside the checkout, never in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stepfunctions_fakes import FakeTasks, HttpEndpoint, cloud_at

from triptych.localcloud.stepfunctions.service import StepFunctionsService

RECORDINGS = Path(__file__).parents[3] / "shared" / "conformance"

KNOWN_DIFFERENCES = {
    # The recording has the number 1 where GetExecutionHistory's output is a string by its model.
    "test_assign_reference_variables::test_reference_in_map_state[MAP_STATE_REFERENCE_IN_MAX_CONCURRENCY_PATH]",
}


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}")
def test_recorded_behaviour(tmp_path: Path) -> None:
    service = StepFunctionsService(cloud_at(tmp_path / "home"), FakeTasks())
    service.start()
    endpoint = HttpEndpoint(service)
    report = tmp_path / "report.json"
    try:
        run = subprocess.run(
            [
                sys.executable, str(RECORDINGS / "compare.py"), str(RECORDINGS / "asl"), "--endpoint",
                endpoint.url,
                "--jobs", "4", "--quiet", "--json", str(report),
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        endpoint.close()
        service.stop()
    assert report.exists(), run.stderr
    cases = json.loads(report.read_text())["cases"]
    assert cases
    different = {case["id"]: case["difference"] for case in cases if not case["pass"]}
    assert {name: found for name, found in different.items() if name not in KNOWN_DIFFERENCES} == {}
