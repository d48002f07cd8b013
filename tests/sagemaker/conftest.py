"""Fixtures of the SageMaker tests: one laptop a session, for its fork server takes seconds to load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sagemaker_laptop import Laptop, booster_bytes


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    laptop = Laptop(tmp_path_factory.mktemp("home"), stop_grace_seconds=1.0, capture_flush_seconds=0.05)
    yield laptop
    laptop.close()


@pytest.fixture(scope="session")
def model_uri(laptop: Laptop) -> str:
    return laptop.archive(
        "models/fixed/model.tar.gz", {"xgboost-model": booster_bytes(names=["a", "b", "c"])}
    )
