"""What jobs and Lambda workers find in their environment."""

from __future__ import annotations

import pytest

from triptych.localcloud.cloud import Settings
from triptych.localcloud.jobs.environment import base_environment


@pytest.mark.parametrize(
    ("settings", "runtime"),
    [
        pytest.param(Settings(port=1, runtime_port=2), "http://127.0.0.1:2", id="router"),
        pytest.param(Settings(port=1), None, id="no-router"),
    ],
)
def test_aws_clients_in_jobs_come_here(settings: Settings, runtime: str | None) -> None:
    environment = base_environment(settings)
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment.get("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME") == runtime
    assert environment["AWS_REGION"] == settings.region
