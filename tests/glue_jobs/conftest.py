"""The flights' raw files, whole and as a small sample."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_harness import ROOT, install

CONTRACT = ROOT / "usecases" / "flights" / "contract.yaml"


@pytest.fixture(scope="session")
def flights_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped data, all months."""
    install()
    from usecases.flights.sample import write_raw

    folder = tmp_path_factory.mktemp("flights")
    write_raw(folder)
    return folder


@pytest.fixture(scope="session")
def contract_path() -> Path:
    return CONTRACT
