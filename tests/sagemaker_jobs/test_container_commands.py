"""The own image's ``train`` and ``serve`` commands on their own, with a folder for ``/opt/ml``."""

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

import pytest
from job_splits import write_data

CONTAINERS = Path(__file__).parents[2] / "sagemaker_jobs" / "containers"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return root


@pytest.fixture
def base(data: Path, tmp_path: Path) -> Path:
    """``/opt/ml`` as SageMaker fills it for a training job."""
    for place in ("input/config", "input/data", "model", "output/data"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("train", "validation"):
        shutil.copytree(data / "splits" / name, tmp_path / "input" / "data" / name)
    shutil.copytree(data / "features", tmp_path / "input" / "data" / "features")
    write_hyperparameters(tmp_path)
    return tmp_path


def write_hyperparameters(base: Path, **settings: str) -> None:
    chosen = {"num_round": "5", "max_depth": "3", "objective": "binary:logistic", **settings}
    (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps(chosen))


def environment(base: Path, **variables: str) -> dict[str, str]:
    """Nothing of the toolkit's: a container of one's own gets files only."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return {"PATH": path, "SAGEMAKER_BASE_DIR": str(base), **variables}


def train(base: Path) -> Any:
    return subprocess.run(
        [str(CONTAINERS / "train")], env=environment(base), capture_output=True, text=True, check=False
    )


def test_hyperparameters_become_the_values_that_they_are(base: Path) -> None:
    write_hyperparameters(
        base,
        eta="0.5",
        grow_policy="depthwise",
        eval_metric='"logloss"',
        sagemaker_container_log_level="20",
        sagemaker_region='"us-east-1"',
        _tuning_objective_metric="validation:auc",
    )
    done = train(base)
    assert done.returncode == 0, done.stderr
    report = json.loads((base / "model" / "about" / "training.json").read_text())
    assert report["hyperparameters"] == {
        "num_round": 5,
        "max_depth": 3,
        "objective": "binary:logistic",
        "eta": 0.5,
        "grow_policy": "depthwise",
        "eval_metric": "logloss",
    }
    assert "validation-logloss" in done.stdout
    assert not (base / "output" / "failure").exists()


def ask_for_a_script(base: Path) -> None:
    write_hyperparameters(base, sagemaker_program='"train.py"', sagemaker_submit_directory='"s3://a/b"')


def break_hyperparameters(base: Path) -> None:
    (base / "input" / "config" / "hyperparameters.json").write_text('["num_round"]')


def lose_a_channel(base: Path) -> None:
    shutil.rmtree(base / "input" / "data" / "validation")


def empty_a_channel(base: Path) -> None:
    for path in (base / "input" / "data" / "train").iterdir():
        path.unlink()


def garble_a_file(base: Path) -> None:
    (base / "input" / "data" / "train" / "part-0.parquet").write_bytes(b"not Parquet at all")


def choose_nonsense(base: Path) -> None:
    write_hyperparameters(base, objective="binary:guess")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(ask_for_a_script, "this image trains with the one that it holds", id="script-mode"),
        pytest.param(
            break_hyperparameters, "is not a JSON object of hyperparameters", id="hyperparameters-unreadable"
        ),
        pytest.param(lose_a_channel, "SM_CHANNEL_VALIDATION is missing", id="channel-missing"),
        pytest.param(empty_a_channel, "channel 'train' holds no Parquet file", id="channel-empty"),
        pytest.param(garble_a_file, "ArrowInvalid: ", id="file-unreadable"),
        pytest.param(choose_nonsense, "Unknown objective function: `binary:guess`", id="no-such-objective"),
    ],
)
def test_a_failure_leaves_its_reason(base: Path, change: Callable[[Path], None], reason: str) -> None:
    change(base)
    done = train(base)
    assert done.returncode == 1
    assert reason in (base / "output" / "failure").read_text()
    assert reason in done.stderr
    assert not (base / "model" / "xgboost-model").exists()


def test_training_that_is_stopped_has_not_failed(base: Path) -> None:
    write_hyperparameters(base, num_round="1000000", log_every="1")
    process = subprocess.Popen(
        [str(CONTAINERS / "train")],
        env=environment(base, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("validation-auc" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert not (base / "output" / "failure").exists()
    assert list((base / "model").iterdir()) == []


def test_serve_looks_for_the_model_below_the_base(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    started = time.monotonic()
    done = subprocess.run(
        [str(CONTAINERS / "serve")],
        env=environment(tmp_path, SAGEMAKER_BIND_TO_PORT="0", SAGEMAKER_MODEL_SERVER_WORKERS="1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert f"no model in {tmp_path / 'model'}" in done.stderr, time.monotonic() - started
